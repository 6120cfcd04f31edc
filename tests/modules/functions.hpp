// SPDX-License-Identifier: BSL-1.0
// What a module does. Each has its own copy.
#ifndef CORAII_TESTS_MODULES_FUNCTIONS_HPP
#define CORAII_TESTS_MODULES_FUNCTIONS_HPP

#include "coraii/file.hpp"
#include "modules/plugin.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/strand.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace modules {

inline awaitable<void> drop(counters& c) {
    const auto g = co_await resource(c);
    co_await turn();
}

inline awaitable<void> drop_on_strand(counters& c) {
    const auto strand = asio::make_strand(co_await asio::this_coro::executor);
    co_await asio::co_spawn(strand, drop(c), asio::use_awaitable);
}

inline awaitable<void> close(counters& c) {
    auto g = co_await resource(c);
    co_await turn();
    co_await g.close();
}

inline awaitable<void> use_with(counters& c) {
    const auto body = [](int&) { return turn(); };
    co_await coraii::with(resource(c), body);
}

inline awaitable<coraii::guard<int>> open(counters& c) {
    co_return co_await resource(c);
}

inline void drop_guard(coraii::guard<int> g) {
    g.reset();
}

inline coraii::async_scope<int> scope(counters& c) {
    return resource(c);
}

inline awaitable<void> use(coraii::async_scope<int> scope) {
    const auto g = co_await std::move(scope);
    co_await turn();
}

inline awaitable<void> join(function body) {
    co_await coraii::joined(std::move(body));
}

inline awaitable<void> fail() {
    const auto throws = [](int&) -> awaitable<void> {
        co_await turn();
        throw std::runtime_error("cleanup");
    };
    const auto opens = []() -> awaitable<int> { co_return 1; };
    const auto g = co_await coraii::async_scope{opens, throws};
}

inline awaitable<void> await_twice(counters& c) {
    auto once = resource(c);
    auto g = co_await std::move(once);
    co_await g.close();
    const auto again = co_await std::move(once);  // NOLINT(bugprone-use-after-move)
}

inline awaitable<void> drain(asio::io_context& context) {
    co_await coraii::async_drain(context, asio::use_awaitable);
}

inline coraii::scope_stats stats(asio::io_context& context) {
    return coraii::stats(context);
}

inline int listed(asio::io_context& context) {
    int n = 0;
    coraii::for_each_scope(context, [&](const coraii::scope_info&) { ++n; });
    return n;
}

inline awaitable<void> offload(asio::thread_pool& workers, counters& c) {
    const auto opens = [&c] { return ++c.opened; };
    const auto closes = [&c](int&) {
        ++c.begun;
        ++c.cleaned;
    };
    const auto body = [](int&) { return turn(); };
    co_await coraii::with(coraii::offload(workers, opens, closes), body);
    const auto g = co_await coraii::offload(workers, opens, closes);
}

inline awaitable<void> lease(coraii::pool<int>& pool) {
    const auto body = [](int&) { return turn(); };
    co_await coraii::with(pool.acquire(), body);
    const auto g = co_await pool.acquire();
    co_await turn();
}

inline std::unique_ptr<coraii::pool<int>> make_pool(asio::any_io_executor executor, counters& c) {
    return std::make_unique<coraii::pool<int>>(std::move(executor), [&c] { return resource(c); });
}

inline awaitable<void> use_first() {
    counters c;
    co_await drop(c);
    co_await coraii::async_drain((co_await asio::this_coro::executor).context(), asio::use_awaitable);
}

inline std::unique_ptr<asio::io_context> make_context() {
    auto context = std::make_unique<asio::io_context>();
    asio::co_spawn(*context, use_first(), [](std::exception_ptr) {});
    context->run();
    context->restart();
    return context;
}

inline awaitable<void> read_from(std::string path) {
    const auto body = [](coraii::file&) { return turn(); };
    co_await coraii::with(coraii::open_file(path), body);
}

inline void read(asio::io_context& context, std::string path, asio::cancellation_slot slot, done when_done) {
    asio::co_spawn(context, read_from(std::move(path)), asio::bind_cancellation_slot(slot, std::move(when_done)));
}

inline constexpr table functions{
    .drop = drop,
    .drop_on_strand = drop_on_strand,
    .close = close,
    .with = use_with,
    .open = open,
    .drop_guard = drop_guard,
    .scope = scope,
    .use = use,
    .join = join,
    .fail = fail,
    .await_twice = await_twice,
    .drain = drain,
    .stats = stats,
    .listed = listed,
    .offload = offload,
    .lease = lease,
    .make_pool = make_pool,
    .make_context = make_context,
    .read = read,
};

}  // namespace modules

#endif
