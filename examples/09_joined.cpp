// SPDX-License-Identifier: BSL-1.0
// Plain RAII in a region: guards are dropped as C++ drops locals, wherever that is, and `joined` waits for their cleanups.
// Prints:
//   connect to db
//   begin
//   commit
//   goodbye, db
//   paid
//   connect to db
//   begin
//   rollback
//   goodbye, db
//   not paid: the account is empty
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;

coraii::async_scope<std::string> connect(std::string name) {
    std::cout << "connect to " << name << '\n';
    co_yield name;
    co_await asio::post(asio::use_awaitable);  // stands for any I/O
    std::cout << "goodbye, " << name << '\n';
}

coraii::async_scope<int> begin() {
    std::cout << "begin\n";
    int balance = 100;
    const coraii::exit_status why = co_yield balance;
    co_await asio::post(asio::use_awaitable);
    std::cout << (why.ok() ? "commit\n" : "rollback\n");  // a guard that is only dropped is not ok
}

asio::awaitable<void> pay(int amount) {
    const auto session = co_await connect("db");
    auto transaction = co_await begin();
    if (*transaction < amount) {
        throw std::runtime_error("the account is empty");
    }
    co_await transaction.close();
}

asio::awaitable<void> run() {
    for (const int amount : {60, 600}) {
        try {
            co_await coraii::joined([&] { return pay(amount); });
            std::cout << "paid\n";  // by now the connection is closed
        } catch (const std::exception& e) { std::cout << "not paid: " << e.what() << '\n'; }
    }
}

int main() {
    asio::io_context context;
    asio::co_spawn(context, run(), [](std::exception_ptr error) {
        if (error) {
            std::rethrow_exception(error);
        }
    });
    context.run();
}
