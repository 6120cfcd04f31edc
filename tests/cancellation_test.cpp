// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <stdexcept>
#include <string>

using namespace test;
using asio::cancellation_type;

namespace {

const char* to_string(cancellation_type type) {
    return type == cancellation_type::terminal ? "terminal" : type == cancellation_type::partial ? "partial" : "total";
}

/// The caller lets all types through, as somebody does who means to use them.
awaitable<void> accept_all() {
    co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
}

/// A wait that writes down how it ended.
awaitable<void> noted_wait(events& log, std::string what_for) {
    try {
        co_await forever();
    } catch (const boost::system::system_error& e) {
        log.push_back(what_for + (e.code() == asio::error::operation_aborted ? " aborted" : " failed"));
        throw;
    }
}

enum class way { with, guard, stack };

std::ostream& operator<<(std::ostream& out, way w) {
    return out << (w == way::with ? "with" : w == way::guard ? "guard" : "exit_stack");
}

/// Uses a scope in each of the ways, all closing it in the end.
awaitable<void> use(way w, coraii::async_scope<item> scope, std::function<awaitable<void>(item&)> body) {
    switch (w) {
        case way::with: co_await coraii::with(std::move(scope), body); break;
        case way::guard: {
            auto g = co_await std::move(scope);
            co_await body(*g);
            co_await g.close();
            break;
        }
        case way::stack: {
            // Named: g++ 12 destroys a closure with captures twice that is a temporary of a co_await expression.
            auto in_stack = [&](coraii::exit_stack& stack) -> awaitable<void> {
                item* i = co_await stack.enter(std::move(scope));
                co_await body(*i);
            };
            co_await coraii::with(coraii::make_exit_stack(), in_stack);
            break;
        }
    }
}

awaitable<void> no_body(item&) {
    co_return;
}

}  // namespace

TEST_CASE("G7: a cancel during setup reaches the setup's operations", "[cancel]") {
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    const auto w = GENERATE(way::with, way::guard, way::stack);
    CAPTURE(to_string(type), w);
    asio::io_context context;
    events log;
    const auto scope = [&]() -> coraii::async_scope<item> {
        co_await noted_wait(log, "setup");
        item i{&log, "a"};
        co_yield i;
        log.push_back("cleanup");
    };
    const auto work = [&]() -> awaitable<void> {
        co_await accept_all();
        co_await use(w, scope(), no_body);
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel(type);
    finish(context);
    REQUIRE(t.finished());
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log == events{"setup aborted"});
    CHECK(coraii::stats(context).opened == (w == way::stack ? 1 : 0));  // the stack is a scope, too
}

TEST_CASE("G7: what the caller's filter keeps out does not reach the setup", "[cancel]") {
    const auto type = GENERATE(cancellation_type::partial, cancellation_type::total);
    const auto w = GENERATE(way::with, way::guard, way::stack);
    CAPTURE(to_string(type), w);
    asio::io_context context;
    events log;
    gate g{context};
    const auto scope = [&]() -> coraii::async_scope<item> {
        co_await g.wait();
        item i{&log, "a"};
        co_yield i;
        log.push_back("cleanup");
    };
    task t{context, use(w, scope(), no_body), slot::connected};  // the default filter: terminal only
    context.run_for(10ms);
    t.cancel(type);
    context.run_for(10ms);
    g.open();
    finish(context);
    CHECK(what(t.error()) == "no error");
    CHECK(log == events{"cleanup"});
}

TEST_CASE("G7: a cancel that setup asks for in its own first steps reaches it", "[cancel]") {
    const auto w = GENERATE(way::with, way::stack);
    asio::io_context context;
    events log;
    asio::cancellation_signal signal;
    const auto scope = [&]() -> coraii::async_scope<item> {
        signal.emit(cancellation_type::terminal);
        co_await noted_wait(log, "setup");
        item i{&log, "a"};
        co_yield i;
    };
    std::exception_ptr error;
    asio::co_spawn(context, use(w, scope(), no_body),
                   asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = std::move(e); }));
    finish(context);
    CHECK(code(error) == asio::error::operation_aborted);
    CHECK(log == events{"setup aborted"});
}

TEST_CASE("G2: a resource that setup produced in spite of a cancel is cleaned", "[cancel]") {
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    const auto w = GENERATE(way::with, way::guard, way::stack);
    CAPTURE(to_string(type), w);
    asio::io_context context;
    events log;
    gate g{context};
    const auto scope = [&]() -> coraii::async_scope<item> {
        co_await asio::this_coro::throw_if_cancelled(false);
        boost::system::error_code ec;
        asio::steady_timer timer{context, asio::steady_timer::time_point::max()};
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        log.push_back(ec ? "setup goes on" : "?");
        item i{&log, "a"};
        co_yield i;
        log.push_back("cleanup");
        co_await turn();
        log.push_back("cleaned");
    };
    const auto body = [&](item&) -> awaitable<void> {
        log.push_back("body");
        co_await turn();
    };
    const auto work = [&]() -> awaitable<void> {
        co_await accept_all();
        co_await use(w, scope(), body);
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel(type);
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);  // thrown by the caller's own next co_await
    CHECK(log == events{"setup goes on", "cleanup", "cleaned"});
    CHECK(coraii::stats(context).cleaned == coraii::stats(context).opened);
}

TEST_CASE("G2: a guard whose waiter lost a race is cleaned", "[cancel]") {
    using namespace asio::experimental::awaitable_operators;
    events log;
    asio::io_context context;
    run(
        [&]() -> awaitable<void> {
            const auto open = [&]() -> awaitable<coraii::guard<item>> {
                co_return co_await make(form::co_yielded, log, "a", {.setup_suspends = true, .cleanup_suspends = true});
            };
            const auto both = co_await (open() || turn());
            log.push_back(both.index() == 0 ? "opened first" : "turn first");
        }(),
        context);
    const auto stats = coraii::stats(context);
    CHECK(stats.opened == stats.cleaned);
    CHECK(log.back() == "cleaned a");
}

TEST_CASE("G2: a completion that is never delivered counts as a dropped guard", "[cancel]") {
    events log;
    {
        asio::io_context context;
        std::future<coraii::guard<item>> future =
            make(form::pair, log, "a", {.setup_suspends = true})(asio::bind_executor(context, asio::use_future));
        CHECK(future.valid());
        context.run_one();
        context.run_one();
    }
    CHECK((log == events{"setup a"} || log == events{"setup a", "cleanup a abandoned", "cleaned a"}));
}

TEST_CASE("G8: a cancel during the body is the body's", "[cancel]") {
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto w = GENERATE(way::with, way::stack);
    CAPTURE(to_string(type), f, w);
    asio::io_context context;
    events log;
    const auto body = [&](item&) -> awaitable<void> { co_await noted_wait(log, "body"); };
    const auto work = [&]() -> awaitable<void> {
        co_await accept_all();
        co_await use(w, make(f, log, "a", {.cleanup_suspends = true}), body);
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel(type);
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log == events{"setup a", "body aborted", "cleanup a cancelled", "cleaned a"});
}

TEST_CASE("G8: a body that goes on after a cancel has completed", "[cancel]") {
    asio::io_context context;
    events log;
    const auto body = [&](item&) -> awaitable<void> {
        try {
            co_await noted_wait(log, "body");
        } catch (const boost::system::system_error&) {}
    };
    task t{context, use(way::with, make(form::pair, log, "a"), body), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(log == events{"setup a", "body aborted", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G9: a cancel before the cleanup does not reach it", "[cancel]") {
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    CAPTURE(to_string(type), f);
    asio::io_context context;
    events log;
    const auto body = [&](item&) -> awaitable<void> {
        try {
            co_await forever();
        } catch (...) {}
        throw std::runtime_error("body");
    };
    const auto work = [&]() -> awaitable<void> {
        co_await accept_all();
        co_await use(way::with, make(f, log, "a", {.cleanup_suspends = true}), body);
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel(type);
    finish(context);
    CHECK(what(t.error()) == "body");  // G10: operation_aborted does not replace it
    CHECK(log == events{"setup a", "cleanup a cancelled", "cleaned a"});
}

TEST_CASE("G9: a cancel during the cleanup does not reach it", "[cancel]") {
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    const auto w = GENERATE(way::with, way::guard, way::stack);
    const bool nested = GENERATE(false, true);
    CAPTURE(to_string(type), w, nested);
    asio::io_context context;
    events log;
    gate g{context};
    const auto wait_in_callee = [&]() -> awaitable<void> {
        co_await g.wait();
        co_await turn();
    };
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        co_yield i;
        log.push_back("cleanup");
        if (nested) {
            co_await wait_in_callee();
        } else {
            co_await g.wait();
            co_await turn();
        }
        log.push_back("cleaned");
    };
    const auto work = [&]() -> awaitable<void> {
        co_await accept_all();
        co_await use(w, scope(), no_body);
        log.push_back("returned");
        // G10: the cancel is still visible, and the next co_await throws as if the library were not there.
        co_await turn();
        log.push_back("not reached");
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    REQUIRE(log == events{"cleanup"});
    t.cancel(type);
    context.run_for(10ms);
    CHECK(log == events{"cleanup"});
    g.open();
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log == events{"cleanup", "cleaned", "returned"});
}

TEST_CASE("G10: the caller's filters and its throw_if_cancelled are untouched", "[cancel]") {
    const auto w = GENERATE(way::with, way::guard, way::stack);
    const bool throws = GENERATE(false, true);
    CAPTURE(w, throws);
    asio::io_context context;
    events log;
    const auto scope = [&]() -> coraii::async_scope<item> {
        // What setup and cleanup do to their own state is theirs.
        co_await asio::this_coro::throw_if_cancelled(!throws);
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        item i{&log, "a"};
        co_yield i;
        co_await asio::this_coro::throw_if_cancelled(!throws);
        co_await turn();
    };
    cancellation_type seen = cancellation_type::none;
    const auto work = [&]() -> awaitable<void> {
        co_await asio::this_coro::reset_cancellation_state(asio::enable_partial_cancellation());
        co_await asio::this_coro::throw_if_cancelled(throws);
        co_await use(w, scope(), no_body);
        const bool still_throws = co_await asio::this_coro::throw_if_cancelled();
        CHECK(still_throws == throws);
        co_await asio::this_coro::throw_if_cancelled(false);
        log.push_back("used");
        boost::system::error_code ec;
        asio::steady_timer never{context, asio::steady_timer::time_point::max()};
        co_await never.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
        seen = state.cancelled();
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    REQUIRE(log == events{"used"});
    t.cancel(cancellation_type::total);  // kept out by the caller's own filter
    context.run_for(10ms);
    CHECK_FALSE(t.finished());
    t.cancel(cancellation_type::partial);
    finish(context);
    CHECK(t.finished());
    CHECK(seen == cancellation_type::partial);
}

TEST_CASE("G10: without a slot, throw_if_cancelled is untouched too", "[cancel]") {
    const bool throws = GENERATE(false, true);
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await asio::this_coro::throw_if_cancelled(!throws);
        int n = 0;
        co_yield n;
        co_await asio::this_coro::throw_if_cancelled(!throws);
    };
    const auto work = [&]() -> awaitable<void> {
        co_await asio::this_coro::throw_if_cancelled(throws);
        co_await coraii::with(scope(), [&](int&) -> awaitable<void> {
            const bool in_body = co_await asio::this_coro::throw_if_cancelled();
            CHECK(in_body == throws);
        });
        const bool after = co_await asio::this_coro::throw_if_cancelled();
        CHECK(after == throws);
    };
    run(work());
}

TEST_CASE("G9: with in a coroutine that is cancelled already and does not throw runs as usual", "[cancel]") {
    asio::io_context context;
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await asio::this_coro::throw_if_cancelled(false);
        try {
            co_await forever();
        } catch (...) {}
        const plan p{.setup_suspends = true, .cleanup_suspends = true};
        co_await use(way::with, make(form::co_yielded, log, "a", p), no_body);
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(what(t.error()) == "no error");
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G24: a coroutine that is cancelled already does not begin a setup", "[cancel]") {
    const auto w = GENERATE(way::with, way::guard, way::stack);
    asio::io_context context;
    events log;
    const auto work = [&]() -> awaitable<void> {
        try {
            co_await forever();
        } catch (...) {}
        co_await use(w, make(form::pair, log, "a"), no_body);
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log.empty());
}

TEST_CASE("guard: closing in a cancelled coroutine throws before it starts, and the guard counts as dropped",
          "[cancel]") {
    asio::io_context context;
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(form::pair, log, "a", {.cleanup_suspends = true});
        try {
            co_await forever();
        } catch (...) {}
        co_await g.close();
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G7: a cancel reaches setup once, also if that goes on at once and resets its cancellation state",
          "[cancel]") {
    asio::io_context context;
    events log;
    // Completes inside the emission.
    auto wait = [](auto handler) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        const auto waiting = std::make_shared<decltype(handler)>(std::move(handler));
        slot.assign([waiting](cancellation_type) {
            auto done = std::move(*waiting);
            std::move(done)(asio::error::operation_aborted);
        });
    };
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        try {
            co_await asio::async_initiate<const asio::deferred_t&, void(boost::system::error_code)>(wait,
                                                                                                    asio::deferred);
        } catch (const boost::system::system_error&) { log.push_back("cancelled"); }
        co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
        co_await turn();
        log.push_back("undone");
        co_yield n;
    };
    const auto work = [&]() -> awaitable<void> {
        const auto g = co_await scope();
        log.push_back("opened");
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    finish(context);
    CHECK(log == events{"cancelled", "undone", "opened"});
}

TEST_CASE("G9: a cancel that is still on its way when setup ends does not reach the cleanup", "[cancel]") {
    const bool drop = GENERATE(false, true);
    asio::io_context context;
    events log;
    asio::cancellation_signal signal;
    coraii::guard<item> kept;
    const auto opened = [&](std::exception_ptr, coraii::guard<item> g) {
        if (!drop) {
            kept = std::move(g);
        }
    };
    make(form::co_yielded, log, "a",
         {.cleanup_suspends = true})(asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(context, opened)));
    signal.emit(cancellation_type::terminal);
    context.run_for(10ms);
    kept.reset();
    finish(context);
    REQUIRE(log.size() == 3);
    CHECK(log.back() == "cleaned a");
}

TEST_CASE("G10: what the body does to throw_if_cancelled stays, what setup does to it does not", "[cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto failing = []() -> coraii::async_scope<int> {
        co_await asio::this_coro::throw_if_cancelled(false);
        throw 7;
        int n = 0;
        co_yield n;
    };
    const auto work = [&]() -> awaitable<void> {
        (void)co_await coraii::try_with(failing(), [](int&) -> awaitable<void> { co_return; });
        const bool after_setup = co_await asio::this_coro::throw_if_cancelled();
        CHECK(after_setup);
        co_await coraii::with(make(form::pair, log, "a"),
                              [](item&) -> awaitable<void> { co_await asio::this_coro::throw_if_cancelled(false); });
        const bool after_body = co_await asio::this_coro::throw_if_cancelled();
        CHECK_FALSE(after_body);
    };
    run(work(), s);
}

// ---- G11

TEST_CASE("G11: a cleanup that takes too long is cancelled, and close and with fail with cleanup_timeout", "[cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto w = GENERATE(way::with, way::guard, way::stack);
    const bool gives_up_quietly = GENERATE(false, true);
    CAPTURE(s, w, gives_up_quietly);
    asio::io_context context;
    events log;
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        co_yield i;
        try {
            co_await noted_wait(log, "cleanup");
        } catch (const boost::system::system_error&) {
            if (!gives_up_quietly) {
                throw;
            }
        }
    };
    const auto work = [&]() -> awaitable<void> { co_await use(w, scope().cleanup_timeout(5ms), no_body); };
    task t{context, work(), s};
    finish(context);
    CHECK(code(t.error()) == coraii::errc::cleanup_timeout);
    CHECK(log == events{"cleanup aborted"});
    CHECK(coraii::stats(context).failed == (w == way::stack ? 2 : 1));  // the stack is a scope, too
}

TEST_CASE("G11: a cleanup that is out of time and fails by itself is not taken for one that was only cancelled", "[cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto w = GENERATE(way::with, way::guard, way::stack);
    CAPTURE(s, w);
    asio::io_context context;
    events log;
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        co_yield i;
        bool aborted = false;
        try {
            co_await noted_wait(log, "cleanup");
        } catch (const boost::system::system_error&) { aborted = true; }
        if (aborted) {
            throw std::runtime_error("the disk is full");
        }
    };
    const auto work = [&]() -> awaitable<void> { co_await use(w, scope().cleanup_timeout(5ms), no_body); };
    task t{context, work(), s};
    finish(context);
    CHECK(what(t.error()) == "the disk is full");
    CHECK(log == events{"cleanup aborted"});
}

TEST_CASE("G11: on the destructor path the timeout is reported", "[cancel]") {
    asio::io_context context;
    reports reported{context};
    events log;
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        co_yield i;
        co_await noted_wait(log, "cleanup");
    };
    run([&]() -> awaitable<void> { auto g = co_await scope().cleanup_timeout(5ms); }(), context);
    REQUIRE(reported.all.size() == 1);
    CHECK(code(reported.all[0].error) == coraii::errc::cleanup_timeout);
}

TEST_CASE("G11: a cleanup in time is not disturbed, and a cancel of the user still does not reach it", "[cancel]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    events log;
    gate g{context};
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        co_yield i;
        co_await g.wait();
        log.push_back("cleaned");
    };
    task t{context, use(way::with, scope().cleanup_timeout(1h), no_body), s};
    context.run_for(10ms);
    t.cancel();
    context.run_for(10ms);
    g.open();
    finish(context);
    CHECK(what(t.error()) == "no error");
    CHECK(log == events{"cleaned"});
}

TEST_CASE("G11: a timeout that is not positive is refused", "[cancel]") {
    events log;
    CHECK_THROWS_AS((void)make(form::pair, log, "a").cleanup_timeout(0s), std::invalid_argument);
    CHECK_THROWS_AS((void)make(form::pair, log, "a").cleanup_timeout(-1s), std::invalid_argument);
}

TEST_CASE("G7: a cancel by setup's own first steps, which then fails, is setup's error and nothing else", "[cancel]") {
    asio::io_context context;
    asio::cancellation_signal signal;
    const auto cancels_itself = [&]() -> coraii::async_scope<int> {
        signal.emit(asio::cancellation_type::terminal);
        co_await turn();
        int n = 0;
        co_yield n;
    };
    std::exception_ptr error;
    cancels_itself()(asio::bind_cancellation_slot(
        signal.slot(),
        asio::bind_executor(context, [&](std::exception_ptr e, const coraii::guard<int>&) { error = e; })));
    CHECK_NOTHROW(context.run());
    CHECK(code(error) == asio::error::operation_aborted);
}
