// SPDX-License-Identifier: BSL-1.0
// A configuration (it could be a TLS context) that is loaded when first used, and loaded anew on SIGHUP. Sessions that are under
// way go on with the one that they have. One that cannot be loaded changes nothing.
// Prints:
//   loaded 1
//   session a begins with 1
//   loaded 2
//   session b begins with 2
//   session a ends with 1
//   unloaded 1
//   not reloaded: syntax error
//   session c begins with 2
//   session c ends with 2
//   session b ends with 2
//   unloaded 2
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

struct config {
    int version;
};
using shared_config = coraii::shared_scope<config>;

int file_version = 1;  // stands for the file: the third is broken

coraii::async_scope<config> load() {
    if (file_version == 3) {
        throw std::runtime_error("syntax error");
    }
    config loaded{file_version};
    std::cout << "loaded " << loaded.version << '\n';
    co_yield loaded;
    std::cout << "unloaded " << loaded.version << '\n';
}

asio::awaitable<void> wait(std::chrono::milliseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, time};
    co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<void> session(shared_config& configs, std::string name, std::chrono::milliseconds time) {
    co_await coraii::with(configs.use(), [&](config& mine) -> asio::awaitable<void> {
        std::cout << "session " << name << " begins with " << mine.version << '\n';
        co_await wait(time);
        std::cout << "session " << name << " ends with " << mine.version << '\n';
    });
}

asio::awaitable<void> reload_on_sighup(shared_config& configs) {
    asio::signal_set signals{co_await asio::this_coro::executor, SIGHUP};
    for (;;) {
        co_await signals.async_wait(asio::use_awaitable);
        try {
            co_await configs.reload();
        } catch (const std::runtime_error& e) { std::cout << "not reloaded: " << e.what() << '\n'; }
    }
}

asio::awaitable<void> clients(shared_config& configs) {
    const auto after_reload = [&](int version, std::string name,
                                  std::chrono::milliseconds time) -> asio::awaitable<void> {
        co_await wait(version * 50ms - 50ms);
        file_version = version;
        std::raise(SIGHUP);  // in place of the operator
        co_await wait(20ms);
        co_await session(configs, std::move(name), time);
    };
    co_await (session(configs, "a", 90ms) && after_reload(2, "b", 130ms) && after_reload(3, "c", 20ms));
    co_await configs.close();
}

int main() {
    try {
        asio::io_context context;
        shared_config configs{context.get_executor(), load};
        auto done = asio::co_spawn(context, clients(configs) || reload_on_sighup(configs), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
