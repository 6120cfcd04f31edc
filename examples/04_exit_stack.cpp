// SPDX-License-Identifier: BSL-1.0
// As many scopes as a loop finds, and cleanups of all kinds, on one stack: cleaned last in, first out.
// Prints:
//   connect to alpha
//   connect to beta
//   connect to gamma
//   3 connections, and the log
//   flush the log of 17 bytes
//   all sent
//   disconnect from gamma
//   disconnect from beta
//   disconnect from alpha
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <string>
#include <vector>

namespace asio = boost::asio;

struct connection {
    std::string host;
    void send(std::string& log) const { log += host + '\n'; }
};

coraii::async_scope<connection> connect(std::string host) {
    co_await asio::post(asio::use_awaitable);  // stands for any I/O
    std::cout << "connect to " << host << '\n';
    connection c{std::move(host)};
    co_yield c;
    co_await asio::post(asio::use_awaitable);
    std::cout << "disconnect from " << c.host << '\n';
}

asio::awaitable<void> flush(std::string& log) {
    co_await asio::post(asio::use_awaitable);
    std::cout << "flush the log of " << log.size() << " bytes\n";
}

asio::awaitable<void> broadcast(std::vector<std::string> hosts) {
    co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> asio::awaitable<void> {
        std::vector<connection*> connections;
        for (const std::string& host : hosts) {
            connections.push_back(co_await stack.enter(connect(host)));  // if one throws, the rest is cleaned
        }
        stack.defer([](coraii::exit_status why) { std::cout << (why.ok() ? "all sent\n" : "failed\n"); });
        std::string& log = stack.adopt(std::string{}, flush);

        std::cout << connections.size() << " connections, and the log\n";
        for (const connection* c : connections) {
            c->send(log);
        }
    });
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, broadcast({"alpha", "beta", "gamma"}), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
