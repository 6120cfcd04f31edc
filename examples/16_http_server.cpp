// SPDX-License-Identifier: BSL-1.0
// An HTTP server with keep-alive, a limit on connections and graceful shutdown. The answer is the cleanup of an exchange: what
// has been asked is answered, also when the handler throws, or is cancelled by a SIGTERM.
// Prints:
//   /7: HTTP/1.1 200 OK
//   /seven: HTTP/1.1 500 Internal Server Error
//   /0: HTTP/1.1 503 Service Unavailable
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <string>

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

struct exchange {
    http::request<http::string_body> request{};
    http::response<http::string_body> answer{};
};

coraii::async_scope<exchange> next_exchange(tcp::socket& peer, boost::beast::flat_buffer& buffer) {
    exchange now;
    co_await http::async_read(peer, buffer, now.request, asio::use_awaitable);
    const coraii::exit_status why = co_yield now;
    if (!why.ok()) {
        now.answer.result(why.reason() == coraii::exit_reason::failed ? 500U : 503U);
    }
    now.answer.keep_alive(why.ok() && now.request.keep_alive());
    now.answer.prepare_payload();
    co_await http::async_write(peer, now.answer, asio::use_awaitable);
}

asio::awaitable<bool> handle(exchange& now) {
    const int number = std::stoi(std::string{now.request.target().substr(1)});
    if (number == 0) {
        std::raise(SIGTERM);  // in place of the operator
        asio::steady_timer slow{co_await asio::this_coro::executor, 1h};
        co_await slow.async_wait(asio::use_awaitable);
    }
    now.answer.body() = std::to_string(number * number);
    co_return now.request.keep_alive();
}

coraii::task<> session(tcp::socket peer) {
    boost::beast::flat_buffer buffer;
    for (bool more = true; more;) {
        auto exchange = next_exchange(peer, buffer).setup_timeout(30s).cleanup_timeout(5s);
        const auto result = co_await coraii::try_with(std::move(exchange), handle);
        more = result.has_value() && *result;  // an error: the peer has gone or was idle, or it was told of the error
    }
}

coraii::task<> serve(tcp::acceptor& acceptor) {
    coraii::task_group& sessions = co_await coraii::enter(coraii::open_task_group({.max_running = 100}));
    for (;;) {
        tcp::socket peer = co_await acceptor.async_accept(asio::use_awaitable);
        co_await sessions.spawn_when_free(session(std::move(peer)));
    }
}

int main() {
    try {
        asio::thread_pool pool{1};
        tcp::acceptor acceptor{pool, {asio::ip::address_v4::loopback(), 0}};
        const tcp::endpoint here = acceptor.local_endpoint();
        asio::signal_set signals{pool, SIGINT, SIGTERM};
        auto done = asio::co_spawn(pool, signals.async_wait(asio::use_awaitable) || serve(acceptor), asio::use_future);
        for (std::string target : {"/7", "/seven", "/0"}) {  // the clients
            tcp::iostream client{here};
            client << "GET " << target << " HTTP/1.1\r\nHost: localhost\r\n\r\n" << std::flush;
            std::string status;
            std::getline(client, status, '\r');
            std::cout << target << ": " << status << '\n';
        }
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
