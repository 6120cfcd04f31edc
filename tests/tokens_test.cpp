// SPDX-License-Identifier: BSL-1.0
// Every kind of completion token, for opening a scope and for closing its guard. include/coraii/README.md lists them.
#include "support/scenario.hpp"

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/coro.hpp>
#include <boost/asio/experimental/promise.hpp>
#include <boost/asio/experimental/use_promise.hpp>
#include <boost/asio/prepend.hpp>
#include <boost/asio/use_future.hpp>

#if __has_include(<boost/context/fiber.hpp>) && defined(CORAII_TEST_SPAWN)
#include <boost/asio/spawn.hpp>
#endif

#include <exception>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>

using namespace test;
using guard = coraii::guard<item>;

namespace {

const events whole_life{"setup a", "cleanup a completed", "cleaned a"};

struct token_setting {
    events log;
    asio::io_context context{};

    coraii::async_scope<item> scope() {
        return make(form::co_yielded, log, "a", {.setup_suspends = true, .cleanup_suspends = true});
    }
    auto operation() { return scope().on(context.get_executor()); }
    void check() {
        finish(context);
        CHECK(log == whole_life);
        CHECK(coraii::stats(context).open == 0);
    }
};

asio::experimental::coro<void> use_in_coro(asio::any_io_executor, token_setting& in) {
    guard g = co_await in.scope()(asio::deferred);
    co_await g.close(asio::deferred);
}

}  // namespace

TEST_CASE("Tokens: use_awaitable, deferred, and none, in a coroutine", "[tokens]") {
    token_setting s;
    const auto way = GENERATE(0, 1, 2, 3);
    const auto work = [&]() -> awaitable<void> {
        if (way == 0) {
            guard g = co_await s.scope();
            co_await g.close();
        } else if (way == 1) {
            guard g = co_await s.scope()(asio::use_awaitable);
            co_await g.close(asio::use_awaitable);
        } else if (way == 2) {
            guard g = co_await s.scope()(asio::deferred);
            co_await g.close(asio::deferred);
        } else {
            auto [error, g] = co_await s.scope()(asio::as_tuple(asio::deferred));
            CHECK(!error);
            const auto [closed] = co_await g.close(asio::as_tuple(asio::use_awaitable));
            CHECK(!closed);
        }
    };
    run(work(), s.context);
    CHECK(s.log == whole_life);
}

TEST_CASE("Tokens: callbacks; append and prepend; detached; any_completion_handler", "[tokens]") {
    token_setting s;
    const auto way = GENERATE(0, 1, 2);
    guard open;
    bool closed = false;
    const auto on_closed = [&](std::exception_ptr e) { closed = !e; };
    if (way == 0) {
        s.operation()([&](std::exception_ptr e, guard g) {
            CHECK(!e);
            open = std::move(g);
            open.close(on_closed);
        });
    } else if (way == 1) {
        s.operation()(asio::append(
            [&](std::exception_ptr e, guard g, int more) {
                CHECK((!e && more == 1));
                open = std::move(g);
                open.close(asio::prepend([&](int first, std::exception_ptr c) { closed = !c && first == 2; }, 2));
            },
            1));
    } else {
        asio::any_completion_handler<void(std::exception_ptr, guard)> handler =
            asio::bind_executor(s.context.get_executor(), [&](std::exception_ptr e, guard g) {
                CHECK(!e);
                open = std::move(g);
                open.close(asio::detached);
                closed = true;
            });
        s.operation()(std::move(handler));
    }
    s.check();
    CHECK(closed);
}

TEST_CASE("Tokens: use_future", "[tokens]") {
    token_setting s;
    auto work = asio::make_work_guard(s.context);
    std::jthread loop{[&] { s.context.run(); }};
    guard g = s.operation()(asio::use_future).get();
    g.close(asio::use_future).get();
    work.reset();
    loop.join();
    CHECK(s.log == whole_life);
}

TEST_CASE("Tokens: experimental::use_promise", "[tokens]") {
    token_setting s;
    const auto work = [&]() -> awaitable<void> {
        auto opening = s.operation()(asio::experimental::use_promise);
        auto [error, g] = co_await opening(asio::as_tuple(asio::use_awaitable));
        CHECK(!error);
        auto closing = g.close(asio::experimental::use_promise);
        co_await closing(asio::use_awaitable);
    };
    run(work(), s.context);
    CHECK(s.log == whole_life);
}

TEST_CASE("Tokens: experimental::coro", "[tokens]") {
    token_setting s;
    auto coroutine = use_in_coro(s.context.get_executor(), s);
    bool done = false;
    coroutine.async_resume([&](std::exception_ptr e) { done = !e; });
    s.check();
    CHECK(done);
}

#if __has_include(<boost/context/fiber.hpp>) && defined(CORAII_TEST_SPAWN)
TEST_CASE("Tokens: as_tuple(yield) in asio::spawn", "[tokens]") {
    token_setting s;
    asio::spawn(
        s.context,
        [&](asio::yield_context yield) {
            auto [error, g] = s.scope()(asio::as_tuple(yield));
            CHECK(!error);
            const auto [closed] = g.close(asio::as_tuple(yield));
            CHECK(!closed);
        },
        asio::detached);
    s.check();
}
#endif
