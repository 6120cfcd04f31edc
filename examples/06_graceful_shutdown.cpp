// SPDX-License-Identifier: BSL-1.0
// Ctrl-C cancels the workers; what they hold is cleaned up in full before the program ends.
// Prints:
//   worker 1 has its lease
//   worker 2 has its lease
//   worker 3 has its lease
//   interrupted
//   lease 1 returned
//   lease 2 returned
//   lease 3 returned
//   3 opened, 3 cleaned, 0 open
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <csignal>
#include <iostream>

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

asio::awaitable<void> wait(std::chrono::milliseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, time};
    co_await timer.async_wait(asio::use_awaitable);
}

coraii::async_scope<int> lease(int number) {
    co_yield number;
    co_await wait(20ms * number);  // stands for the round trip that returns it
    std::cout << "lease " << number << " returned\n";
}

asio::awaitable<void> worker(int number) {
    const coraii::guard<int> held = co_await lease(number);  // a cancel drops it: background cleanup
    std::cout << "worker " << *held << " has its lease\n";
    for (;;) {
        co_await wait(1h);
    }
}

asio::awaitable<void> work() {
    co_await (worker(1) && worker(2) && worker(3));  // one that fails stops the others
}

asio::awaitable<void> run(asio::io_context& context) {
    asio::signal_set signals{context, SIGINT, SIGTERM};
    auto working = asio::co_spawn(context, work(), asio::as_tuple(asio::use_awaitable));
    const auto ended = co_await (std::move(working) || signals.async_wait(asio::use_awaitable));
    std::cout << (ended.index() == 0 ? "a worker failed\n" : "interrupted\n");

    co_await coraii::async_drain(context);
    const coraii::scope_stats stats = coraii::stats(context);
    std::cout << stats.opened << " opened, " << stats.cleaned << " cleaned, " << stats.open + stats.closing
              << " open\n";
    if (ended.index() == 0) {
        std::rethrow_exception(std::get<0>(std::get<0>(ended)));
    }
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, run(context), asio::use_future);
        asio::steady_timer ctrl_c{context, 50ms};  // in place of the user's
        ctrl_c.async_wait([](boost::system::error_code) { std::raise(SIGINT); });
        context.run();  // returns when nothing is left to do
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
