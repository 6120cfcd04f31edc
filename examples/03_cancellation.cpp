// SPDX-License-Identifier: BSL-1.0
// A body that ends well commits, a cancelled one rolls back. The cancel does not reach the cleanup.
// Prints:
//   begin
//   insert, quick
//   commit
//   begin
//   insert, slow
//   roll back (cancelled)
//   timed out
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <iostream>
#include <string_view>

namespace asio = boost::asio;
using namespace std::chrono_literals;

asio::awaitable<void> wait(std::chrono::milliseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, time};
    co_await timer.async_wait(asio::use_awaitable);
}

coraii::async_scope<void> transaction() {
    std::cout << "begin\n";
    const coraii::exit_status why = co_yield coraii::entered;
    co_await wait(20ms);  // stands for the round trip; it is not cut short
    if (why.ok()) {
        std::cout << "commit\n";
    } else {
        const bool cancelled = why.reason() == coraii::exit_reason::cancelled;
        std::cout << "roll back (" << (cancelled ? "cancelled" : "failed") << ")\n";
    }
}

asio::awaitable<void> insert(std::string_view how, std::chrono::milliseconds time) {
    co_await coraii::with(transaction(), [&]() -> asio::awaitable<void> {
        std::cout << "insert, " << how << '\n';
        co_await wait(time);
    });
}

asio::awaitable<void> run() {
    using namespace asio::experimental::awaitable_operators;

    co_await insert("quick", 1ms);
    const auto first = co_await (insert("slow", 1h) || wait(50ms));
    if (first.index() == 1) {  // operator|| has cancelled the insert, and waited for its cleanup
        std::cout << "timed out\n";
    }
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
