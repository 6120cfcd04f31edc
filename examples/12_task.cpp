// SPDX-License-Identifier: BSL-1.0
// A coroutine with scopes of its own: no nesting. They are left when it ends, the last first, and its caller waits for that.
// Prints:
//   connect to bank
//   begin
//   move 30 from alice to bob
//   commit
//   disconnect from bank
//   transferred: 30
//   connect to bank
//   begin
//   roll back
//   disconnect from bank
//   not transferred: alice has only 70
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;

struct bank {
    int alice = 100, bob = 0;
};

coraii::async_scope<bank> connect(bank& server) {
    co_await asio::post(asio::use_awaitable);  // stands for any I/O
    std::cout << "connect to bank\n";
    co_yield server;
    co_await asio::post(asio::use_awaitable);
    std::cout << "disconnect from bank\n";
}

coraii::async_scope<bank> begin(bank& connected) {
    std::cout << "begin\n";
    bank changed = connected;
    const coraii::exit_status why = co_yield changed;
    co_await asio::post(asio::use_awaitable);
    if (why.ok()) {
        connected = changed;
    }
    std::cout << (why.ok() ? "commit\n" : "roll back\n");
}

coraii::task<int> transfer(bank& server, int amount) {
    bank& connected = co_await coraii::enter(connect(server));
    bank& tx = co_await coraii::enter(begin(connected));
    if (tx.alice < amount) {
        throw std::runtime_error("alice has only " + std::to_string(tx.alice));
    }
    std::cout << "move " << amount << " from alice to bob\n";
    tx.alice -= amount;
    tx.bob += amount;
    co_return amount;
}

coraii::task<> business(bank& server) {
    const int moved = co_await transfer(server, 30);
    std::cout << "transferred: " << moved << '\n';
    try {
        co_await transfer(server, 80);
    } catch (const std::runtime_error& e) { std::cout << "not transferred: " << e.what() << '\n'; }
}

int main() {
    try {
        asio::io_context context;
        bank server;
        asio::co_spawn(context, business(server), [](std::exception_ptr error) {
            if (error) {
                std::rethrow_exception(error);
            }
        });
        context.run();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
