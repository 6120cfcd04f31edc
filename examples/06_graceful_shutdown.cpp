// SPDX-License-Identifier: BSL-1.0
// A server with an accept loop and a limit on its sessions. After a SIGTERM every session says goodbye, within a deadline, before
// the program ends: a task group does not end before its children.
// Prints:
//   a: welcome
//   b: welcome
//   c: welcome, now that a has gone
//   b: goodbye
//   c: goodbye
//   no session is left
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

coraii::async_scope<tcp::socket> connection(tcp::socket peer) {
    co_await asio::async_write(peer, asio::buffer("welcome\n", 8), asio::use_awaitable);
    const coraii::exit_status why = co_yield peer;
    if (why.reason() == coraii::exit_reason::cancelled) {
        co_await asio::async_write(peer, asio::buffer("goodbye\n", 8), asio::use_awaitable);
    }
}

coraii::task<> session(tcp::socket peer) {
    tcp::socket& socket = co_await coraii::enter(connection(std::move(peer)).cleanup_timeout(1s));  // the deadline
    char byte = 0;
    const auto [error, size] =
        co_await socket.async_read_some(asio::buffer(&byte, 1), asio::as_tuple(asio::use_awaitable));
    if (error == asio::error::operation_aborted) {
        throw boost::system::system_error(error);  // else the peer has gone
    }
}

coraii::task<> serve(tcp::acceptor& acceptor) {
    coraii::task_group& sessions = co_await coraii::enter(coraii::open_task_group({.max_running = 2}));
    for (;;) {
        tcp::socket peer = co_await acceptor.async_accept(asio::use_awaitable);
        co_await sessions.spawn_when_free(session(std::move(peer)));
    }
}

asio::awaitable<std::string> line_from(tcp::socket& server) {
    std::string line;
    co_await asio::async_read_until(server, asio::dynamic_buffer(line), '\n', asio::use_awaitable);
    co_return line.substr(0, line.size() - 1);
}

asio::awaitable<void> clients(tcp::endpoint server) {
    const auto executor = co_await asio::this_coro::executor;
    tcp::socket a{executor}, b{executor}, c{executor};
    for (tcp::socket* client : {&a, &b, &c}) {
        co_await client->async_connect(server, asio::use_awaitable);
    }
    std::cout << "a: " << co_await line_from(a) << "\nb: " << co_await line_from(b) << '\n';
    a.close();
    std::cout << "c: " << co_await line_from(c) << ", now that a has gone\n";
    std::raise(SIGTERM);  // in place of the operator
    std::cout << "b: " << co_await line_from(b) << "\nc: " << co_await line_from(c) << '\n';
}

asio::awaitable<void> run() {
    const auto executor = co_await asio::this_coro::executor;
    tcp::acceptor acceptor{executor, {asio::ip::address_v4::loopback(), 0}};
    asio::signal_set signals{executor, SIGINT, SIGTERM};
    auto server = signals.async_wait(asio::use_awaitable) || serve(acceptor);
    co_await (std::move(server) && clients(acceptor.local_endpoint()));
    std::cout << "no session is left\n";
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, run(), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
