// SPDX-License-Identifier: BSL-1.0
// Asio lets a deferred operation be copied, and started again: the second start must find the first.
#include "support/scenario.hpp"

#include "coraii/pool.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace test;

namespace {

constexpr plan slow{.setup_suspends = true, .cleanup_suspends = true};

/// Starts a scope's operation, and expects to be told that it has been used.
template <class Operation>
awaitable<void> expect_already_awaited(Operation& operation) {
    boost::system::error_code told;
    bool got_guard = false;
    try {
        const auto g = co_await operation(asio::use_awaitable);
        got_guard = static_cast<bool>(g);
    } catch (const boost::system::system_error& e) { told = e.code(); }
    CHECK_FALSE(got_guard);
    CHECK(told == coraii::errc::already_awaited);
}

/// Starts an operation of `void(std::exception_ptr)` a second time: it completes, whatever it says.
template <class Operation>
awaitable<void> start_again(Operation&& operation, events& log) {
    try {
        co_await std::forward<Operation>(operation)(asio::use_awaitable);
    } catch (const boost::system::system_error&) {
    }
    log.push_back("second completed");
}

/// Starts the operation, then a copy if it has any, then what has been moved from.
template <class Operation>
awaitable<void> start_twice(Operation operation, events& log) {
    if constexpr (std::copy_constructible<Operation>) {
        Operation copy = operation;
        co_await std::move(operation)(asio::use_awaitable);
        log.push_back("first completed");
        co_await start_again(copy, log);
        co_await start_again(std::move(copy), log);
    } else {
        co_await std::move(operation)(asio::use_awaitable);
        log.push_back("first completed");
    }
    co_await start_again(std::move(operation), log);  // NOLINT(bugprone-use-after-move)
}

/// Starts the operation and a copy, or if it has none, `other`.
template <class Operation, class MakeHandler>
void start_both(Operation operation, Operation other, MakeHandler handler) {
    if constexpr (std::copy_constructible<Operation>) {
        Operation copy = operation;
        std::move(operation)(handler());
        std::move(copy)(handler());
    } else {
        std::move(operation)(handler());
        std::move(other)(handler());
    }
}

/// Assigns an object to itself; the compiler would warn of a plain one.
template <class T>
void assign_to_itself(T& object) {
    T& same = object;
    object = std::move(same);
}

std::ptrdiff_t times(const events& log, const std::string& event) {
    return std::ranges::count(log, event);
}

}  // namespace

TEST_CASE("G22: a scope's operation that is copied and started again gives already_awaited", "[single_use][scope]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    events log;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        auto op = make(f, log, "a", suspends ? slow : plan{})(asio::deferred);
        auto copy = op;
        auto g = co_await op(asio::use_awaitable);
        REQUIRE(g);
        co_await expect_already_awaited(op);
        co_await expect_already_awaited(copy);
        co_await turn();
        CHECK(g);
        CHECK(g->name == "a");
        CHECK(log == events{"setup a"});
        CHECK(coraii::stats(context).open == 1);
        co_await g.close();
        co_await expect_already_awaited(copy);
    };
    run(work(), context, s);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a"});
    CHECK(coraii::stats(context).opened == 1);
    CHECK(coraii::stats(context).cleaned == 1);
}

TEST_CASE("G22: both at once, the second gives already_awaited", "[single_use][scope]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    events log;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        const auto op = make(f, log, "a", suspends ? slow : plan{})(asio::deferred);
        std::optional<coraii::guard<item>> first;
        op(asio::bind_executor(context, [&](std::exception_ptr error, coraii::guard<item> g) {
            CHECK(error == nullptr);
            first.emplace(std::move(g));
        }));
        co_await expect_already_awaited(op);
        for (int i = 0; i < 10 && !first; ++i) {
            co_await turn();
        }
        REQUIRE(first);
        REQUIRE(*first);
        CHECK((*first)->name == "a");
        CHECK(log == events{"setup a"});
        co_await first->close();
    };
    run(work(), context, s);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a"});
    CHECK(coraii::stats(context).opened == 1);
}

TEST_CASE("G22: cancelling the second start leaves the first one's setup alone", "[single_use][scope][cancel]") {
    events log;
    asio::io_context context;
    gate opened{context};
    const auto scope = [&]() -> coraii::async_scope<int> {
        log.push_back("setup");
        co_await opened.wait();
        int n = 1;
        co_yield n;
        log.push_back("cleanup");
    };
    const auto op = scope()(asio::deferred);
    coraii::guard<int> first;
    op(asio::bind_executor(context, [&](std::exception_ptr error, coraii::guard<int> g) {
        log.push_back(error ? "first failed" : "first");
        first = std::move(g);
    }));
    asio::cancellation_signal cancel;
    op(asio::bind_cancellation_slot(
        cancel.slot(), asio::bind_executor(context, [&](std::exception_ptr error, coraii::guard<int> g) {
            log.push_back(!g && code(error) == coraii::errc::already_awaited ? "second refused" : "second");
        })));
    context.poll();
    cancel.emit(asio::cancellation_type::terminal);
    context.poll();
    opened.open();
    context.restart();
    context.poll();
    CHECK(first);
    first.reset();
    finish(context);
    CHECK(log == events{"setup", "second refused", "first", "cleanup"});
}

TEST_CASE("G22: a second start after a setup that failed gives already_awaited", "[single_use][scope]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const bool suspends = GENERATE(false, true);
    events log;
    run([&]() -> awaitable<void> {
        const auto op = make(f, log, "a", {.setup_suspends = suspends, .setup_throws = true})(asio::deferred);
        try {
            const auto g = co_await op(asio::use_awaitable);
        } catch (const std::runtime_error& e) { log.push_back(e.what()); }
        co_await expect_already_awaited(op);
    }());
    CHECK(log == events{"setup a", "setup of a"});
}

TEST_CASE("G17, G22: a second start after release gives already_awaited", "[single_use][scope]") {
    events log;
    run([&]() -> awaitable<void> {
        const auto op = make(form::co_yielded, log, "a")(asio::deferred);
        auto g = co_await op(asio::use_awaitable);
        CHECK(g.release().name == "a");
        co_await expect_already_awaited(op);
    }());
    CHECK(log == events{"setup a"});
}

TEST_CASE("G22: a scope's operation that was moved from gives already_awaited", "[single_use][scope]") {
    events log;
    run([&]() -> awaitable<void> {
        auto op = make(form::co_yielded, log, "a")(asio::deferred);
        auto moved = std::move(op);
        const auto g = co_await std::move(moved)(asio::use_awaitable);
        co_await expect_already_awaited(op);     // NOLINT(bugprone-use-after-move)
        co_await expect_already_awaited(moved);  // NOLINT(bugprone-use-after-move)
        CHECK(g);
    }());
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G24: a scope's operation that is never started runs nothing, copied or not", "[single_use][scope]") {
    events log;
    run([&]() -> awaitable<void> {
        const auto op = make(form::co_yielded, log, "a")(asio::deferred);
        const auto copy = op;
        co_return;
    }());
    CHECK(log.empty());
}

TEST_CASE("G13, G22: copies of a scope's operation may outlive the context, and be started on another",
          "[single_use][scope][context]") {
    const bool open = GENERATE(false, true);
    events log;
    coraii::guard<item> g;
    std::optional<decltype(make(form::pair, log, "a")(asio::deferred))> copy;
    {
        asio::io_context context;
        auto op = make(form::pair, log, "a")(asio::deferred);
        copy.emplace(op);
        op(asio::bind_executor(context, [&](std::exception_ptr, coraii::guard<item> given) {
            if (open) {
                g = std::move(given);
            }
        }));
        context.poll();
    }
    run(expect_already_awaited(*copy));
    copy.reset();
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G22: an offload's operation that is started again opens nothing", "[single_use][offload]") {
    const bool together = GENERATE(false, true);
    asio::thread_pool workers{2};
    std::atomic<int> opened{0}, closed{0};
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        const auto op = coraii::offload(
            workers, [&] { return ++opened; }, [&](int&) { ++closed; })(asio::deferred);
        coraii::guard<int> first;
        if (together) {
            op(asio::bind_executor(context,
                                   [&](std::exception_ptr, coraii::guard<int> g) { first = std::move(g); }));
        } else {
            first = co_await op(asio::use_awaitable);
        }
        co_await expect_already_awaited(op);
        while (!first) {
            co_await turn();
        }
        CHECK(closed == 0);
        co_await first.close();
    };
    run(work(), context);
    CHECK(opened == 1);
    CHECK(closed == 1);
}

TEST_CASE("G22: a pool's lease that is started again takes nothing", "[single_use][pool]") {
    const bool together = GENERATE(false, true);
    asio::io_context context;
    events log;
    coraii::pool<item> pool{context.get_executor(), [&] { return make(form::co_yielded, log, "a", slow); }};
    const auto work = [&]() -> awaitable<void> {
        const auto op = pool.acquire()(asio::deferred);
        coraii::guard<item> first;
        if (together) {
            op(asio::bind_executor(context,
                                   [&](std::exception_ptr, coraii::guard<item> g) { first = std::move(g); }));
        } else {
            first = co_await op(asio::use_awaitable);
        }
        co_await expect_already_awaited(op);
        for (int i = 0; i < 100 && !first; ++i) {
            co_await turn();
        }
        REQUIRE(first);
        CHECK(pool.stats().in_use == 1);
        co_await first.close();
        CHECK(pool.stats().in_use == 0);
        co_await pool.close();
    };
    run(work(), context);
    CHECK(times(log, "setup a") == 1);
    CHECK(times(log, "cleaned a") == 1);
}

// ---- other operations

TEST_CASE("G14, G22: a close of a guard that is started again completes, and cleans nothing", "[single_use][guard]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    const bool with_status = GENERATE(false, true);
    CAPTURE(s, suspends, with_status);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(form::co_yielded, log, "a", {.cleanup_suspends = suspends});
        if (with_status) {
            co_await start_twice(g.close(coraii::exit_status{coraii::exit_reason::completed}, asio::deferred), log);
        } else {
            co_await start_twice(g.close(asio::deferred), log);
        }
    };
    run(work(), s);
    CHECK(times(log, "cleanup a completed") == 1);
    CHECK(times(log, "cleaned a") == 1);
    CHECK(times(log, "first completed") == 1);
    CHECK(times(log, "second completed") >= 1);
}

TEST_CASE("G14, G22: of two closes of one guard that are started at once, both complete", "[single_use][guard]") {
    events log;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(form::co_yielded, log, "a", slow);
        const auto one = [&] {
            return asio::bind_executor(context, [&](std::exception_ptr) { log.push_back("one"); });
        };
        auto op = g.close(asio::deferred);
        start_both(std::move(op), g.close(asio::deferred), one);
    };
    run(work(), context);
    CHECK(times(log, "cleanup a completed") == 1);
    CHECK(times(log, "cleaned a") == 1);
    CHECK(times(log, "one") == 2);
}

TEST_CASE("G14, G22: a close of an exit_stack that is started again completes, and cleans nothing",
          "[single_use][exit_stack]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(s, suspends);
    events log;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack stack{context.get_executor()};
        co_await stack.enter(make(form::co_yielded, log, "a", {.cleanup_suspends = suspends}));
        stack.defer([&] { log.push_back("deferred"); });
        co_await start_twice(stack.close(asio::deferred), log);
        CHECK(stack.empty());
    };
    run(work(), context, s);
    CHECK(times(log, "deferred") == 1);
    CHECK(times(log, "cleanup a completed") == 1);
    CHECK(times(log, "cleaned a") == 1);
    CHECK(times(log, "first completed") == 1);
    CHECK(times(log, "second completed") >= 1);
}

TEST_CASE("G22: async_drain may be started as often as one likes", "[single_use][scopes]") {
    events log;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        { const auto g = co_await make(form::co_yielded, log, "a", slow); }
        const auto op = coraii::async_drain(context, asio::deferred);
        op(asio::bind_executor(context, [&](std::exception_ptr) { log.push_back("drained"); }));
        co_await op(asio::use_awaitable);
        co_await op(asio::use_awaitable);
    };
    run(work(), context);
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a", "drained"});
}

// ---- self-assignment

TEST_CASE("G16: a guard that is assigned to itself stays open", "[single_use][guard]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(form::co_yielded, log, "a", slow);
        assign_to_itself(g);
        REQUIRE(g);
        CHECK(g->name == "a");
        co_await turn();
        CHECK(log == events{"setup a"});
        co_await g.close();
        assign_to_itself(g);
        CHECK_FALSE(g);
    };
    run(work(), s);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G16: a guard of void, too", "[single_use][guard]") {
    int cleaned = 0;
    const auto scope = [&]() -> coraii::async_scope<void> {
        co_yield coraii::entered;
        ++cleaned;
    };
    run([&]() -> awaitable<void> {
        auto g = co_await scope();
        assign_to_itself(g);
        CHECK(g);
        CHECK(cleaned == 0);
        co_await g.close();
    }());
    CHECK(cleaned == 1);
}

TEST_CASE("G16: a scope, a hold and a handle that are assigned to themselves stay what they are", "[single_use]") {
    events log;
    run([&]() -> awaitable<void> {
        auto scope = make(form::co_yielded, log, "a");
        assign_to_itself(scope);
        auto g = co_await std::move(scope);
        auto hold = g.hold();
        assign_to_itself(hold);
        CHECK(hold);
        auto& same = hold;
        hold = same;
        CHECK(hold);
        g.reset();
        CHECK(log == events{"setup a"});
        hold = {};
        co_await coraii::async_drain((co_await asio::this_coro::executor).context(), asio::use_awaitable);
    }());
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G16: an exit_stack that is assigned to itself keeps its scopes", "[single_use][exit_stack]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    asio::io_context context;
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack stack{context.get_executor()};
        assign_to_itself(stack);
        co_await stack.enter(make(form::co_yielded, log, "a", slow));
        stack.defer([&] { log.push_back("deferred"); });
        assign_to_itself(stack);
        CHECK(stack.size() == 2);
        co_await turn();
        CHECK(log == events{"setup a"});
        co_await stack.enter(make(form::co_yielded, log, "b"));
        co_await stack.close();
    };
    run(work(), context, s);
    CHECK(log == events{"setup a", "setup b", "cleanup b completed", "cleaned b", "deferred", "cleanup a completed",
                        "cleaned a"});
}
