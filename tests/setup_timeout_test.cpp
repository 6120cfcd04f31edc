// SPDX-License-Identifier: BSL-1.0
// setup_timeout (G28), in virtual time.
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "support/scenario.hpp"
#include "support/sweep.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace asio = boost::asio;
using asio::awaitable;
using coraii::testing::delay;
using coraii::testing::on_executor;
using coraii::testing::probe;
using test::code;
using test::events;
using test::what;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

namespace {

using coraii::testing::clock;

/// Waits until it is cancelled; then the coroutine is as if it had not been.
awaitable<void> ignore_cancel() {
    try {
        co_await delay(1h);
    } catch (const boost::system::system_error&) {}
    co_await asio::this_coro::reset_cancellation_state();
}

enum class way { with, guard, stack, on };

std::ostream& operator<<(std::ostream& out, way w) {
    return out << (w == way::with ? "with" : w == way::guard ? "guard" : w == way::stack ? "exit_stack" : "on");
}

template <class T>
awaitable<void> use(way w, coraii::async_scope<T> scope, events& log) {
    const auto body = [&log](T&) -> awaitable<void> {
        log.push_back("body");
        co_return;
    };
    switch (w) {
        case way::with: co_await coraii::with(std::move(scope), body); break;
        case way::guard: {
            auto held = co_await std::move(scope);
            log.push_back("body");
            co_await held.close();
            break;
        }
        case way::stack:
            co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                co_await body(*co_await stack.enter(std::move(scope)));
            });
            break;
        case way::on: {
            const asio::any_io_executor executor = co_await asio::this_coro::executor;
            auto held = co_await std::move(scope).on(executor)(asio::use_awaitable);
            log.push_back("body");
            co_await held.close();
            break;
        }
    }
}

/// What the coroutine throws, and after how long, in virtual time.
struct result {
    std::exception_ptr error;
    clock::duration after;
};
template <class F>
result run(F coroutine, coraii::testing::run_options options = {}) {
    result r;
    clock::time_point begin;
    const auto timed = [&]() -> awaitable<void> {
        begin = clock::now();
        try {
            co_await coroutine();
        } catch (...) { r.error = std::current_exception(); }
        r.after = clock::now() - begin;
    };
    coraii::testing::run(timed, options);
    return r;
}

std::string told(coraii::exit_status why) {
    return std::string{test::to_string(why.reason())} + ", " + code(why.error()).message();
}

const std::string cancelled = "cancelled, the setup did not end within its setup_timeout and was cancelled";

}  // namespace

TEST_CASE("G28: a setup that takes too long is cancelled, and the awaiter gets setup_timeout", "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::stack, way::on);
    const bool slot = GENERATE(false, true);
    CAPTURE(w, slot);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await delay(1h);
        int n = 1;
        co_yield n;
        log.push_back("cleanup");
    };
    const auto r = run([&] { return use(w, scope().setup_timeout(5s), log); }, {.slot = slot});
    CHECK(code(r.error) == coraii::errc::setup_timeout);
    CHECK(r.after == 5s);
    CHECK(log.empty());
}

TEST_CASE("G28: a resource that comes late is told cancelled, and is clean before the awaiter gets the error",
          "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::stack, way::on);
    const bool slot = GENERATE(false, true);
    CAPTURE(w, slot);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        try {
            co_await delay(1h);
        } catch (const boost::system::system_error&) { log.push_back("aborted"); }
        co_await asio::this_coro::reset_cancellation_state();
        co_await delay(1s);
        int n = 1;
        const coraii::exit_status why = co_yield n;
        log.push_back(told(why));
        co_await delay(1s);
        log.push_back("cleaned");
    };
    const auto r = run([&] { return use(w, scope().setup_timeout(5s), log); }, {.slot = slot});
    CHECK(code(r.error) == coraii::errc::setup_timeout);
    CHECK(r.after == 7s);
    CHECK(log == events{"aborted", cancelled, "cleaned"});
}

TEST_CASE("G28: an error of the cleanup of a resource that came late is reported, once", "[setup_timeout]") {
    const bool times_out = GENERATE(false, true);
    events log;
    int opened = 0;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await ignore_cancel();
        int n = ++opened;
        co_yield n;
        if (times_out) {
            co_await delay(1h);
        }
        throw std::runtime_error("disk full");
    };
    const auto r = run([&]() -> awaitable<void> {
        auto& context = asio::query(co_await asio::this_coro::executor, asio::execution::context);
        coraii::on_cleanup_error(context, [&](const coraii::cleanup_failure& f) {
            log.push_back(what(f.error) + " after " + what(f.suppressed_by));
        });
        co_await use(way::with, scope().setup_timeout(5s).cleanup_timeout(3s), log);
    });
    CHECK(code(r.error) == coraii::errc::setup_timeout);
    CHECK(r.after == (times_out ? 8s : 5s));
    REQUIRE(log.size() == 1);
    CHECK(log[0].find(times_out ? "cleanup_timeout" : "disk full") != std::string::npos);
    CHECK(log[0].find("setup_timeout") != std::string::npos);
}

TEST_CASE("G28: a setup that fails by itself is not taken for one that was only cancelled", "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::stack, way::on);
    const bool late = GENERATE(false, true);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        try {
            co_await delay(late ? 1h : 1s);
        } catch (const boost::system::system_error&) {}
        throw std::runtime_error("refused");
        co_yield 7;
    };
    const auto r = run([&] { return use(w, scope().setup_timeout(5s), log); });
    CHECK(what(r.error) == "refused");
    CHECK(r.after == (late ? 5s : 1s));
}

TEST_CASE("G28: a setup in time is not disturbed, nor is what follows", "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::stack, way::on);
    const bool waits = GENERATE(false, true);
    const bool cleanup_is_timed = GENERATE(false, true);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        if (waits) {
            co_await delay(4s);
        }
        int n = 1;
        const coraii::exit_status why = co_yield n;
        co_await delay(10s);
        log.push_back(test::to_string(why.reason()));
    };
    const auto r = run([&] {
        auto timed = scope().setup_timeout(5s);
        return use(w, cleanup_is_timed ? std::move(timed).cleanup_timeout(20s) : std::move(timed), log);
    });
    CHECK(what(r.error) == "no error");
    CHECK(r.after == (waits ? 14s : 10s));
    CHECK(log == events{"body", "completed"});
}

TEST_CASE("G28, G11: the cleanup has its own time", "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::on);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await delay(4s);
        int n = 1;
        co_yield n;
        co_await delay(1h);
    };
    const auto r = run([&] { return use(w, scope().setup_timeout(5s).cleanup_timeout(2s), log); });
    CHECK(code(r.error) == coraii::errc::cleanup_timeout);
    CHECK(r.after == 6s);
}

TEST_CASE("G28, G11: a setup that ends just before its time is up leaves nothing for the cleanup", "[setup_timeout]") {
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await delay(10ms);
        int n = 1;
        co_yield n;
        co_await delay(1ms);
        log.push_back("cleaned");
    };
    asio::io_context context;
    std::exception_ptr error;
    asio::co_spawn(context, use(way::guard, scope().setup_timeout(20ms).cleanup_timeout(1h), log),
                   [&](std::exception_ptr e) { error = std::move(e); });
    // In real time: both waits are over before Asio looks at them, so it has queued the end of both when setup goes on.
    asio::post(context, [] { std::this_thread::sleep_for(40ms); });
    test::finish(context);
    CHECK(what(error) == "no error");
    CHECK(log == events{"body", "cleaned"});
}

TEST_CASE("G28, G7: a cancel before the time is up is an ordinary one", "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::stack, way::on);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await delay(1h);
        co_yield 7;
    };
    const auto one = [&]() -> awaitable<void> {
        try {
            co_await use(w, scope().setup_timeout(5s), log);
        } catch (const boost::system::system_error& e) { log.push_back(e.code().message()); }
    };
    const auto r = run([&]() -> awaitable<void> { co_await (one() || delay(2s)); });
    CHECK(log == events{"Operation canceled"});
    CHECK(r.after == 2s);
}

TEST_CASE("G28, G9: a cancel does not reach the cleanup of a resource that came late", "[setup_timeout]") {
    const auto w = GENERATE(way::with, way::guard, way::stack, way::on);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await ignore_cancel();
        co_yield 7;
        co_await delay(4s);
        log.push_back("cleaned");
    };
    const auto one = [&]() -> awaitable<void> {
        try {
            co_await use(w, scope().setup_timeout(5s), log);
        } catch (const boost::system::system_error& e) {
            log.push_back(e.code() == coraii::errc::setup_timeout ? "timeout" : e.what());
        }
    };
    const auto r = run([&]() -> awaitable<void> { co_await (one() || delay(7s)); });
    CHECK(log == events{"cleaned", "timeout"});
    CHECK(r.after == 9s);
}

TEST_CASE("G28, G25: a resource that comes late is not cleaned while it is held", "[setup_timeout]") {
    events log;
    coraii::scope_hold hold;
    const auto scope = [&]() -> coraii::async_scope<int> {
        const coraii::scope_handle self = co_await coraii::this_scope;
        hold = self.hold();
        co_await ignore_cancel();
        co_yield 7;
        log.push_back("cleaned");
    };
    const auto r = run([&]() -> awaitable<void> {
        const auto lets_go = [&]() -> awaitable<void> {
            co_await delay(9s);
            log.push_back("let go");
            hold = {};
        };
        co_await (use(way::with, scope().setup_timeout(5s), log) && lets_go());
    });
    CHECK(code(r.error) == coraii::errc::setup_timeout);
    CHECK(log == events{"let go", "cleaned"});
}

TEST_CASE("G28: a lease of a pool has it as well, and gives back what comes late", "[setup_timeout][pool]") {
    events log;
    const auto factory = [&]() -> coraii::async_scope<int> {
        int n = 1;
        co_yield n;
    };
    const auto r = run([&]() -> awaitable<void> {
        coraii::pool<int> pool{co_await asio::this_coro::executor, factory, {.max_size = 1}};
        {
            auto lease = co_await pool.acquire();
            co_await use(way::with, pool.acquire().setup_timeout(5s), log);
        }
        co_return;
    });
    CHECK(code(r.error) == coraii::errc::setup_timeout);
    CHECK(r.after == 5s);
    CHECK(log.empty());
}

TEST_CASE("G28: with another Executor, on real time", "[setup_timeout]") {
    using io = asio::io_context::executor_type;
    asio::io_context context;
    const auto scope = []() -> coraii::async_scope<int, io> {
        asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, io> timer{
            co_await asio::this_coro::executor, 1h};
        co_await timer.async_wait(asio::use_awaitable_t<io>{});
        co_yield 7;
    };
    const auto work = [&]() -> asio::awaitable<void, io> {
        co_await coraii::with(scope().setup_timeout(5ms), [](int&) -> asio::awaitable<void, io> { co_return; });
    };
    std::exception_ptr error;
    asio::co_spawn(context.get_executor(), work(), [&](std::exception_ptr e) { error = std::move(e); });
    test::finish(context);
    CHECK(code(error) == coraii::errc::setup_timeout);
}

TEST_CASE("G28, G13: the context dies while a setup runs against time, and while what came late is cleaned",
          "[setup_timeout]") {
    const bool late = GENERATE(false, true);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await ignore_cancel();
        const coraii::exit_status why = co_yield 7;
        log.push_back(why.can_await() ? "cleanup" : "cleanup, at the end");
        co_await delay(1h);
    };
    {
        asio::io_context context;
        asio::co_spawn(context, use(way::guard, scope().setup_timeout(late ? 1ms : 1h), log),
                       [](std::exception_ptr) {});
        context.run_for(50ms);
    }
    CHECK(log == (late ? events{"cleanup"} : events{}));
}

TEST_CASE("G28: a timeout that is not positive is refused", "[setup_timeout]") {
    events log;
    CHECK_THROWS_AS((void)test::make(test::form::pair, log, "a").setup_timeout(0s), std::invalid_argument);
    CHECK_THROWS_AS((void)test::make(test::form::pair, log, "a").setup_timeout(-1s), std::invalid_argument);
}

TEST_CASE("sweep: setups against time", "[setup_timeout][sweep]") {
    const bool too_late = GENERATE(false, true);
    coraii::testing::sweep_options options{.order = coraii::testing::cleanup_order::any,  // a guard is dropped
                                           .errors_may_be_swallowed = too_late,
                                           .may_throw = too_late,
                                           .pairs = 20};
    options.executors = {on_executor::context, on_executor::strand, on_executor::forwarding};
    const auto scope = [=]() -> coraii::async_scope<probe> {
        probe p{"resource"};
        if (too_late) {
            co_await ignore_cancel();
        }
        co_await p.set_up();
        co_yield p;
        co_await p.clean_up();
    };
    const auto scenario = [=]() -> awaitable<void> {
        const auto body = [](probe& p) -> awaitable<void> { co_await p.use(); };
        co_await coraii::with(scope().setup_timeout(5s), body);
        auto held = co_await scope().setup_timeout(5s);
        co_await held->use();
    };
    const auto report = coraii::testing::sweep(scenario, options);
    test::check_sweep(report);
}
