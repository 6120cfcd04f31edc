// SPDX-License-Identifier: BSL-1.0
#include "coraii/testing/allocations.hpp"
#include "support/scenario.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>

#include <cstdlib>
#include <exception>
#include <future>
#include <new>
#include <optional>

using namespace test;

namespace allocations = coraii::testing::allocations;

// The sanitizers bring an allocator of their own, and Asio's caches are of no use under it: there these tests are left
// out.
#if defined(__GLIBC__) && !CORAII_TEST_SANITIZED

namespace {

coraii::async_scope<int> no_op_scope() {
    int n = 0;
    co_yield n;
}

awaitable<int> open_no_op() {
    co_return 0;
}
awaitable<void> close_no_op(int&) {
    co_return;
}

coraii::async_scope<int> no_op_pair() {
    return {open_no_op(), close_no_op};
}

awaitable<void> no_op_body(int&) {
    co_return;
}

template <class Round>
long allocations_a_thousand_rounds(slot s, Round round) {
    long counted = -1;
    const auto work = [&]() -> awaitable<void> {
        for (int i = 0; i < 100; ++i) {  // fills the caches
            co_await round();
        }
        const long before = allocations::made();
        for (int i = 0; i < 1000; ++i) {
            co_await round();
        }
        counted = allocations::made() - before;
    };
    asio::io_context context;
    task t{context, work(), s};
    context.run();  // not run_for, which gives every handler a new and empty cache of Asio's
    REQUIRE(t.finished());
    return counted;
}

awaitable<void> nothing() {
    co_return;
}

}  // namespace

TEST_CASE("G21: the counting counts", "[allocation]") {
    const long before = allocations::made();
    ::operator delete(::operator new(sizeof(int)));  // a new expression may be left out
    std::free(std::aligned_alloc(64, 64));
    CHECK(allocations::made() - before == 2);
}

TEST_CASE("G21: in the steady state, with allocates nothing", "[allocation]") {
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(s);
    CHECK(allocations_a_thousand_rounds(s, [] { return coraii::with(no_op_scope(), no_op_body); }) == 0);
    CHECK(allocations_a_thousand_rounds(s, [] { return coraii::with(no_op_pair(), no_op_body); }) == 0);
    CHECK(allocations_a_thousand_rounds(s, [] {
              return coraii::with(no_op_scope(), no_op_scope(), no_op_scope(),
                                  [](int&, int&, int&) -> awaitable<void> { co_return; });
          }) == 0);
}

TEST_CASE("G21: in the steady state, a child of a task group allocates nothing, nor do several scopes at once",
          "[allocation]") {
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(s);
    CHECK(allocations_a_thousand_rounds(s, [] {
              return coraii::with(coraii::open_task_group(), [](coraii::task_group& group) -> awaitable<void> {
                  for (int i = 0; i < 10; ++i) {
                      group.spawn(nothing);
                  }
                  co_await group.join();
              });
          }) == 0);
    CHECK(allocations_a_thousand_rounds(s, [] {
              return coraii::with(coraii::all(no_op_scope(), no_op_scope(), no_op_scope()),
                                  [](auto&, auto&, auto&) -> awaitable<void> { co_return; });
          }) == 0);
}

TEST_CASE("G21: in the steady state, a guard allocates nothing", "[allocation]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool close = GENERATE(false, true);
    CAPTURE(s, close);
    CHECK(allocations_a_thousand_rounds(s, [close]() -> awaitable<void> {
              auto g = co_await no_op_scope();
              if (close) {
                  co_await g.close();
              }
          }) == 0);
}

TEST_CASE("G21: in the steady state, a stack of a hundred scopes allocates nothing", "[allocation]") {
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(s);
    CHECK(allocations_a_thousand_rounds(s, [] {
              return coraii::with(coraii::make_exit_stack(), [](coraii::exit_stack& stack) -> awaitable<void> {
                  for (int i = 0; i < 100; ++i) {
                      co_await stack.enter(no_op_scope());
                  }
              });
          }) == 0);
}

TEST_CASE("G21, G27: in the steady state, a task with scopes, deferred functions and many scopes allocates nothing",
          "[allocation][task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(s);
    const auto one = []() -> coraii::task<> { co_await coraii::enter(no_op_scope()); };
    CHECK(allocations_a_thousand_rounds(s, one) == 0);
    const auto several = []() -> coraii::task<int> {
        co_await coraii::enter(no_op_scope());
        co_await coraii::enter(no_op_pair());
        co_await coraii::defer([] {});
        co_return co_await coraii::enter(no_op_scope());
    };
    CHECK(allocations_a_thousand_rounds(s, several) == 0);
    const auto many = []() -> coraii::task<> {
        for (int i = 0; i < 100; ++i) {
            co_await coraii::enter(no_op_scope());
        }
    };
    CHECK(allocations_a_thousand_rounds(s, many) == 0);
    const auto moved_out = [&]() -> awaitable<void> {
        const auto open = []() -> coraii::task<coraii::exit_stack> {
            co_await coraii::enter(no_op_scope());
            co_await coraii::enter(no_op_scope());
            co_return std::move(co_await coraii::this_stack);
        };
        coraii::exit_stack opened = co_await open();
        co_await opened.close();
    };
    CHECK(allocations_a_thousand_rounds(s, moved_out) == 0);
}

TEST_CASE("G12, G27: leaving a task's scopes needs no memory that was not there before", "[allocation][task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool half_way = GENERATE(false, true);
    CAPTURE(s, half_way);
    long while_leaving = -1, before = 0;
    const auto last = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        while_leaving = allocations::made() - before;
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(last());
        for (int i = 0; i < 10; ++i) {
            co_await coraii::enter(no_op_scope());
        }
        struct at_end {
            long& made;
            ~at_end() {
                coraii::detail::recycler::trim();
                made = allocations::made();
            }
        };
        const at_end local{before};
        if (half_way) {
            co_await forever();
        }
    };
    std::optional<asio::io_context> context{std::in_place};
    {
        task t{*context, work(), s};
        context->poll();
        context.reset();
    }
    CHECK(while_leaving == 0);
}

TEST_CASE("G26: in the steady state, neither a region nor a guard dropped in it allocates", "[allocation][joined]") {
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(s);
    const auto guard_only = []() -> awaitable<void> { const auto g = co_await no_op_scope(); };
    CHECK(allocations_a_thousand_rounds(s, [&] { return coraii::joined(guard_only); }) == 0);
    long inside = -1;
    const auto many = [&]() -> awaitable<void> {
        for (int i = 0; i < 100; ++i) {
            co_await guard_only();
        }
        const long before = allocations::made();
        for (int i = 0; i < 1000; ++i) {
            co_await guard_only();
        }
        inside = allocations::made() - before;
    };
    allocations_a_thousand_rounds(s, [&, first = true]() mutable -> awaitable<void> {
        return std::exchange(first, false) ? coraii::joined(many) : nothing();
    });
    CHECK(inside == 0);
}

TEST_CASE("G12: dropping a guard needs no memory, here or on another thread", "[allocation]") {
    const bool here = GENERATE(false, true);
    const bool on_strand = GENERATE(false, true);
    if (on_strand && !here) {
        return;  // a strand's queue takes memory of Asio's: see below
    }
    asio::io_context context;
    asio::any_io_executor executor = context.get_executor();
    if (on_strand) {
        executor = asio::make_strand(context);
    }
    bool cleaned = false;
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        cleaned = true;
    };
    auto future = scope()(asio::bind_executor(executor, asio::use_future));
    context.run_for(10ms);
    auto g = future.get();
    const auto drop = [&g] {
        const allocations::failing no_memory;
        g.reset();
    };
    if (here) {
        asio::post(executor, drop);
    } else {
        drop();
        CHECK_FALSE(cleaned);
    }
    finish(context);
    CHECK(cleaned);
}

TEST_CASE("G12: where the executor's queue has no memory, the context cleans up in the end", "[allocation]") {
    bool cleaned = false;
    {
        const auto scope = [&]() -> coraii::async_scope<int> {
            int n = 0;
            co_yield n;
            cleaned = true;
        };
        asio::io_context context;
        auto future = scope()(asio::bind_executor(asio::make_strand(context), asio::use_future));
        context.run_for(10ms);
        auto g = future.get();
        {
            const allocations::failing no_memory;
            g.reset();
        }
        CHECK_FALSE(cleaned);
    }
    CHECK(cleaned);
}

#else

TEST_CASE("G21: allocations are counted where the allocator is the C library's", "[allocation]") {
    SKIP("another allocator");
}

#endif
