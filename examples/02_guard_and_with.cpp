// SPDX-License-Identifier: BSL-1.0
// The ways to hold a scope: a guard, closed or dropped; `with` of several; a class with enter() and exit().
// Prints:
//   open a
//   close a
//   after close()
//   open b
//   after the guard was dropped
//   close b
//   after async_drain()
//   open c
//   open d
//   use c and d
//   close d
//   close c
//   counting
//   counted to 2
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>

namespace asio = boost::asio;

coraii::async_scope<char> open(char name) {
    std::cout << "open " << name << '\n';
    co_yield name;
    co_await asio::post(asio::use_awaitable);  // stands for any I/O
    std::cout << "close " << name << '\n';
}

struct counter {
    int count = 0;

    asio::awaitable<int*> enter() {
        std::cout << "counting\n";
        co_return &count;
    }
    asio::awaitable<void> exit(coraii::exit_status) {
        std::cout << "counted to " << count << '\n';
        co_return;
    }
};

asio::awaitable<void> run(asio::io_context& context) {
    coraii::guard<char> a = co_await open('a');
    co_await a.close();  // waits for the cleanup, and would throw its error
    std::cout << "after close()\n";
    { auto b = co_await open('b'); }  // a destructor cannot wait: the cleanup goes on in the background
    std::cout << "after the guard was dropped\n";
    co_await coraii::async_drain(context);
    std::cout << "after async_drain()\n";

    co_await coraii::with(open('c'), open('d'), [](char& c, char& d) -> asio::awaitable<void> {
        std::cout << "use " << c << " and " << d << '\n';
        co_return;
    });
    co_await coraii::with(coraii::scoped(counter{}), [](int* count) -> asio::awaitable<void> {
        *count += 2;
        co_return;
    });
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, run(context), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
