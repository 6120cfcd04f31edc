// SPDX-License-Identifier: BSL-1.0
// A protocol that wants a proper goodbye: however its use ends, a session says QUIT and waits for BYE.
// Prints:
//   sent HELLO, got OK
//   sent QUIT, got BYE
//   sent DANCE, got ERROR
//   sent QUIT, got BYE
//   the session failed: DANCE was refused
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

struct session {
    tcp::socket socket;
    std::string received{};

    asio::awaitable<std::string> read_line() {
        auto buffer = asio::dynamic_buffer(received);
        const std::size_t size = co_await asio::async_read_until(socket, buffer, '\n', asio::use_awaitable);
        std::string line = received.substr(0, size - 1);
        received.erase(0, size);
        co_return line;
    }
    asio::awaitable<void> write_line(std::string line) {
        line += '\n';
        co_await asio::async_write(socket, asio::buffer(line), asio::use_awaitable);
    }
    asio::awaitable<std::string> ask(std::string command) {
        co_await write_line(command);
        std::string answer = co_await read_line();
        std::cout << "sent " << command << ", got " << answer << '\n';
        co_return answer;
    }
};

coraii::async_scope<session> open_session(tcp::endpoint server) {
    tcp::socket socket{co_await asio::this_coro::executor};
    co_await socket.async_connect(server, asio::use_awaitable);
    session s{std::move(socket)};
    co_yield s;
    co_await s.ask("QUIT");
}

coraii::task<> tell(tcp::endpoint server, std::string command) {
    session& s = co_await coraii::enter(open_session(server).cleanup_timeout(1s));  // do not wait for a dead server
    if (co_await s.ask(command) != "OK") {
        throw std::runtime_error(command + " was refused");
    }
}

asio::awaitable<void> client(tcp::endpoint server) {
    for (std::string command : {"HELLO", "DANCE"}) {
        try {
            co_await tell(server, command);
        } catch (const std::runtime_error& e) { std::cout << "the session failed: " << e.what() << '\n'; }
    }
}

asio::awaitable<void> serve(tcp::acceptor& acceptor, int sessions) {
    while (sessions-- > 0) {
        tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
        session s{std::move(socket)};
        for (std::string line; line != "QUIT";) {
            line = co_await s.read_line();
            std::string answer = line == "HELLO" ? "OK" : line == "QUIT" ? "BYE" : "ERROR";
            co_await s.write_line(std::move(answer));
        }
    }
}

int main() {
    try {
        asio::io_context context;
        tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
        auto served = asio::co_spawn(context, serve(acceptor, 2), asio::use_future);
        auto done = asio::co_spawn(context, client(acceptor.local_endpoint()), asio::use_future);
        context.run();
        done.get();
        served.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
