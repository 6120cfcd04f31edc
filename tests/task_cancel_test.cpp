// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>

#include <stdexcept>
#include <string>

using namespace test;
using asio::cancellation_type;

namespace {

/// A wait that writes down how it ended.
awaitable<void> noted_wait(events& log, std::string what_for) {
    try {
        co_await forever();
    } catch (const boost::system::system_error& e) {
        log.push_back(what_for + (e.code() == asio::error::operation_aborted ? " aborted" : " failed"));
        throw;
    }
}

/// A scope that waits at a gate where it is told to.
coraii::async_scope<item> gated(events& log, std::string name, gate* in_setup, gate* in_cleanup) {
    log.push_back("setup " + name);
    if (in_setup != nullptr) {
        co_await in_setup->wait();
    }
    item i{&log, name};
    const coraii::exit_status why = co_yield i;
    log.push_back("cleanup " + name + " " + to_string(why.reason()));
    if (in_cleanup != nullptr) {
        co_await in_cleanup->wait();
    }
    co_await turn();
    log.push_back("cleaned " + name);
}

}  // namespace

TEST_CASE("G27, G7: a cancel during a setup in a task reaches it, and what was entered is cleaned", "[task][cancel]") {
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    asio::io_context context;
    events log;
    const auto waits = [&]() -> coraii::async_scope<item> {
        co_await noted_wait(log, "setup");
        item i{&log, "never"};
        co_yield i;
    };
    const auto work = [&]() -> coraii::task<> {
        co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
        co_await coraii::enter(gated(log, "a", nullptr, nullptr));
        co_await coraii::enter(waits());
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel(type);
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log == events{"setup a", "setup aborted", "cleanup a cancelled", "cleaned a"});
}

TEST_CASE("G27, G8, G9: a cancel of the body is the body's, and reaches no cleanup", "[task][cancel]") {
    const bool throws = GENERATE(true, false);
    CAPTURE(throws);
    asio::io_context context;
    events log;
    gate g{context};
    const auto work = [&]() -> coraii::task<> {
        co_await asio::this_coro::throw_if_cancelled(throws);
        co_await coraii::enter(gated(log, "a", nullptr, &g));
        co_await coraii::enter(gated(log, "b", nullptr, nullptr));
        co_await noted_wait(log, "body");
    };
    const auto outer = [&]() -> awaitable<void> {
        std::exception_ptr error;
        try {
            co_await work();
        } catch (...) { error = std::current_exception(); }
        const bool still_throws = co_await asio::this_coro::throw_if_cancelled();
        CHECK(still_throws == throws);
        const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
        CHECK(now.cancelled() == cancellation_type::terminal);
        log.push_back("after it");
        std::rethrow_exception(error);
    };
    task t{context, outer(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    context.run_for(10ms);
    CHECK(log ==
          events{"setup a", "setup b", "body aborted", "cleanup b cancelled", "cleaned b", "cleanup a cancelled"});
    t.cancel();  // during the cleanup
    context.run_for(10ms);
    CHECK_FALSE(t.finished());
    g.open();
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log.back() == "after it");
    CHECK(log[log.size() - 2] == "cleaned a");
}

TEST_CASE("G27, G9, G10: a cancel during the cleanup is seen afterwards, by the caller", "[task][cancel]") {
    const bool throws = GENERATE(true, false);
    asio::io_context context;
    events log;
    gate g{context};
    const auto work = [&]() -> coraii::task<std::string> {
        co_await coraii::enter(gated(log, "a", nullptr, &g));
        co_return "result";
    };
    const auto outer = [&]() -> awaitable<void> {
        co_await asio::this_coro::throw_if_cancelled(throws);
        const std::string result = co_await work();
        log.push_back(result);
        const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
        CHECK(now.cancelled() == cancellation_type::terminal);
        co_await turn();
        log.push_back("not stopped");
    };
    task t{context, outer(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    context.run_for(10ms);
    CHECK_FALSE(t.finished());
    g.open();
    finish(context);
    REQUIRE(t.finished());
    events expected{"setup a", "cleanup a completed", "cleaned a", "result"};
    if (!throws) {
        expected.emplace_back("not stopped");
    }
    CHECK(log == expected);
    CHECK((code(t.error()) == asio::error::operation_aborted) == throws);
}

TEST_CASE("G27, G10: filters and throw_if_cancelled are untouched, whatever setups and cleanups do", "[task][cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool throws = GENERATE(false, true);
    const bool suspends = GENERATE(false, true);
    CAPTURE(s, throws, suspends);
    asio::io_context context;
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        const bool at_begin = co_await asio::this_coro::throw_if_cancelled();
        CHECK((s == slot::connected || at_begin == throws));
        co_await asio::this_coro::throw_if_cancelled(!throws);
        if (suspends) {
            co_await turn();
        }
        int n = 0;
        co_yield n;
        co_await asio::this_coro::throw_if_cancelled(!throws);
        if (suspends) {
            co_await turn();
        }
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(scope());
        const bool in_body = co_await asio::this_coro::throw_if_cancelled();
        CHECK(in_body == throws);
        co_await coraii::enter(scope());
    };
    const auto outer = [&]() -> awaitable<void> {
        co_await asio::this_coro::reset_cancellation_state(asio::enable_partial_cancellation());
        co_await asio::this_coro::throw_if_cancelled(throws);
        co_await work();
        const bool still_throws = co_await asio::this_coro::throw_if_cancelled();
        CHECK(still_throws == throws);
        co_await asio::this_coro::throw_if_cancelled(false);
        log.push_back("used");
        if (s == slot::connected) {
            boost::system::error_code ec;
            asio::steady_timer never{context, asio::steady_timer::time_point::max()};
            co_await never.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        }
    };
    task t{context, outer(), s};
    context.run_for(10ms);
    REQUIRE(log == events{"used"});
    if (s == slot::connected) {
        t.cancel(cancellation_type::total);  // kept out by the caller's own filter
        context.run_for(10ms);
        CHECK_FALSE(t.finished());
        t.cancel(cancellation_type::partial);
    }
    finish(context);
    CHECK(t.finished());
}

TEST_CASE("G27, G10: what a task does to throw_if_cancelled stays, as of any coroutine", "[task][cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(gated(log, "a", nullptr, nullptr));
        co_await asio::this_coro::throw_if_cancelled(false);
    };
    const auto outer = [&]() -> awaitable<void> {
        co_await work();
        const bool throws = co_await asio::this_coro::throw_if_cancelled();
        CHECK_FALSE(throws);
    };
    run(outer(), s);
}

TEST_CASE("G27, G24: in a task that was cancelled, enter throws and begins nothing, and defer does not throw",
          "[task][cancel]") {
    asio::io_context context;
    events log;
    const auto work = [&]() -> coraii::task<> {
        try {
            co_await forever();
        } catch (const boost::system::system_error&) {}
        co_await coraii::defer([&] { log.push_back("deferred"); });
        coraii::exit_stack& stack = co_await coraii::this_stack;
        CHECK(stack.size() == 1);
        co_await coraii::enter(gated(log, "a", nullptr, nullptr));
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log == events{"deferred"});
}

TEST_CASE("G27, G9: in a task that was cancelled and does not throw, scopes are set up and left as usual",
          "[task][cancel]") {
    asio::io_context context;
    events log;
    const auto work = [&]() -> coraii::task<> {
        co_await asio::this_coro::throw_if_cancelled(false);
        boost::system::error_code ec;
        asio::steady_timer never{context, asio::steady_timer::time_point::max()};
        co_await never.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        co_await coraii::enter(make(form::co_yielded, log, "a", {.setup_suspends = true, .cleanup_suspends = true}));
        throw std::runtime_error("body");
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(what(t.error()) == "body");
    CHECK(log == events{"setup a", "cleanup a cancelled", "cleaned a"});
}

TEST_CASE("G27, G2: a task that loses a race is clean when the race is over", "[task][cancel]") {
    using namespace asio::experimental::awaitable_operators;
    events log;
    const auto loser = [&]() -> coraii::task<> {
        co_await coraii::enter(gated(log, "a", nullptr, nullptr));
        co_await coraii::enter(gated(log, "b", nullptr, nullptr));
        co_await forever();
    };
    const auto work = [&]() -> awaitable<void> {
        co_await (loser() || turn());
        log.push_back("over");
    };
    run(work());
    CHECK(log ==
          events{"setup a", "setup b", "cleanup b cancelled", "cleaned b", "cleanup a cancelled", "cleaned a", "over"});
}

TEST_CASE("G27, G11: a cleanup_timeout in a task is the task's error, and the others are told", "[task][cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto stalls = []() -> coraii::async_scope<void> {
        co_yield coraii::entered;
        co_await forever();
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(gated(log, "a", nullptr, nullptr));
        co_await coraii::enter(stalls().cleanup_timeout(1ms));
    };
    try {
        run(work(), s);
        FAIL("no error");
    } catch (const boost::system::system_error& e) { CHECK(e.code() == coraii::errc::cleanup_timeout); }
    CHECK(log == events{"setup a", "cleanup a failed", "cleaned a"});
}
