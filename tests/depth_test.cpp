// SPDX-License-Identifier: BSL-1.0
// Scopes that begin and end inside one another, deeper than the native stack could follow.
#include "coraii/async_scope.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/scopes.hpp"
#include "coraii/task.hpp"
#include "coraii/with.hpp"
#include "support/scenario.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <utility>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace asio = boost::asio;
using asio::awaitable;

namespace {

constexpr int depth = test::sanitized ? 10'000 : 100'000;

/// How a scope ends the use of the one that its setup has opened.
enum class inner { closed, dropped };

struct numbers {
    int open = 0, deepest = 0, cleaned = 0;
};

coraii::async_scope<int> nested(int levels, inner ends, bool waits, numbers& n) {
    coraii::guard<int> below;
    if (levels > 1) {
        below = co_await nested(levels - 1, ends, waits, n);
    } else if (waits) {
        co_await asio::post(asio::use_awaitable);
    }
    n.deepest = (std::max)(n.deepest, ++n.open);
    co_yield levels;
    --n.open;
    ++n.cleaned;
    if (ends == inner::closed) {
        co_await below.close();
    } else {
        below.reset();
    }
    if (waits && levels == 1) {
        co_await asio::post(asio::use_awaitable);
    }
}

/// Each holds the next one, and drops it when it is destroyed.
coraii::async_scope<int> holds_next(coraii::guard<int> given, numbers& n) {
    const coraii::guard<int> next = std::move(given);
    ++n.open;
    int value = 0;
    co_yield value;
    --n.open;
    ++n.cleaned;
}

void run(asio::io_context& context, awaitable<void> work, bool with_slot) {
    asio::cancellation_signal signal;
    std::exception_ptr error;
    bool done = false;
    const auto end = [&](std::exception_ptr e) {
        error = std::move(e);
        done = true;
    };
    asio::co_spawn(context, std::move(work),
                   asio::bind_cancellation_slot(with_slot ? signal.slot() : asio::cancellation_slot{}, end));
    context.run();
    REQUIRE(done);
    if (error) {
        std::rethrow_exception(error);
    }
}

awaitable<void> with_nested(int levels, numbers& n) {
    const auto body = [&n, levels](int&) -> awaitable<void> {
        if (levels > 1) {
            co_await with_nested(levels - 1, n);
        }
    };
    co_await coraii::with(nested(1, inner::dropped, false, n), body);
}

}  // namespace

TEST_CASE("G18: guards whose setups nest, and their cleanups, do not grow the native stack", "[depth][guard]") {
    const inner ends = GENERATE(inner::closed, inner::dropped);
    const bool waits = GENERATE(false, true);
    const bool with_slot = GENERATE(false, true);
    CAPTURE(static_cast<int>(ends), waits, with_slot);
    numbers n;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        auto outermost = co_await nested(depth, ends, waits, n);
        co_await outermost.close();
        co_await coraii::async_drain(context);
    };
    run(context, work(), with_slot);
    CHECK(n.deepest == depth);
    CHECK(n.cleaned == depth);
    CHECK(coraii::stats(context).cleaned == depth);
}

TEST_CASE("G18: guards that are each dropped in the cleanup before it do not grow the native stack", "[depth][guard]") {
    numbers n;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        coraii::guard<int> last;
        for (int i = 0; i < depth; ++i) {
            last = co_await holds_next(std::move(last), n);
        }
        CHECK(n.open == depth);
        last.reset();
        co_await coraii::async_drain(context);
    };
    run(context, work(), false);
    CHECK(n.cleaned == depth);
}

TEST_CASE("G18: with inside with does not grow the native stack", "[depth][with]") {
    const bool with_slot = GENERATE(false, true);
    CAPTURE(with_slot);
    numbers n;
    asio::io_context context;
    run(context, with_nested(depth, n), with_slot);
    CHECK(n.cleaned == depth);
}

namespace {

coraii::async_scope<int> counted_scope(bool waits, numbers& n) {
    int level = ++n.open;
    n.deepest = (std::max)(n.deepest, level);
    if (waits) {
        co_await asio::post(asio::use_awaitable);
    }
    co_yield level;
    if (waits) {
        co_await asio::post(asio::use_awaitable);
    }
    --n.open;
    ++n.cleaned;
}

coraii::task<> nested_tasks(int levels, numbers& n) {
    co_await coraii::enter(counted_scope(false, n));
    if (levels > 1) {
        co_await nested_tasks(levels - 1, n);
    }
}

}  // namespace

TEST_CASE("G18, G27: tasks in a loop do not grow the native stack", "[depth][task]") {
    const bool with_slot = GENERATE(false, true);
    CAPTURE(with_slot);
    constexpr int rounds = test::sanitized ? 50'000 : 1'000'000;
    numbers n;
    asio::io_context context;
    const auto one = [&]() -> coraii::task<> { co_await coraii::enter(counted_scope(false, n)); };
    const auto work = [&]() -> awaitable<void> {
        for (int i = 0; i < rounds; ++i) {
            co_await one();
        }
    };
    run(context, work(), with_slot);
    CHECK(n.cleaned == rounds);
    CHECK(n.deepest == 1);
}

TEST_CASE("G18, G27: 10,000 scopes in one task do not grow the native stack", "[depth][task]") {
    const bool waits = GENERATE(false, true);
    const bool with_slot = GENERATE(false, true);
    const bool dropped = GENERATE(false, true);
    CAPTURE(waits, with_slot, dropped);
    constexpr int many = 10'000;
    coraii::warn_about_scopes_of_a_task(many);
    numbers n;
    asio::io_context context;
    const auto fills = [&]() -> coraii::task<coraii::exit_stack> {
        for (int i = 0; i < many; ++i) {
            co_await coraii::enter(counted_scope(waits, n));
        }
        coraii::exit_stack& all = co_await coraii::this_stack;
        if (dropped) {
            co_return std::move(all);
        }
        co_return coraii::exit_stack{all.get_executor()};
    };
    const auto work = [&]() -> awaitable<void> {
        co_await fills();
        co_await coraii::async_drain(context);
    };
    run(context, work(), with_slot);
    coraii::warn_about_scopes_of_a_task(1000);
    CHECK(n.deepest == many);
    CHECK(n.cleaned == many);
}

TEST_CASE("G18, G27: tasks that nest do not grow the native stack", "[depth][task]") {
    const bool with_slot = GENERATE(false, true);
    numbers n;
    asio::io_context context;
    run(context, nested_tasks(depth, n), with_slot);
    CHECK(n.cleaned == depth);
}

#if !defined(_WIN32)  // where the stack is small anyway
TEST_CASE("G13: a context with a strand that is older than its scopes dies on a small native stack", "[depth]") {
    numbers n;
    const auto live_and_die = [](void* counted) -> void* {
        numbers& counts = *static_cast<numbers*>(counted);
        asio::io_context context;
        const auto work = [&]() -> awaitable<void> {
            const auto guard = co_await holds_next({}, counts);
            co_await test::forever();
        };
        asio::co_spawn(asio::make_strand(context), work, asio::detached);
        context.poll();
        return nullptr;
    };
    pthread_attr_t attributes;
    REQUIRE(::pthread_attr_init(&attributes) == 0);
    REQUIRE(::pthread_attr_setstacksize(&attributes, std::size_t{512} * 1024) == 0);
    pthread_t thread{};
    REQUIRE(::pthread_create(&thread, &attributes, live_and_die, &n) == 0);
    ::pthread_attr_destroy(&attributes);
    REQUIRE(::pthread_join(thread, nullptr) == 0);
    CHECK(n.cleaned == 1);
}
#endif
