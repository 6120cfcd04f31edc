// SPDX-License-Identifier: BSL-1.0
// A scope as an operation with an executor, and questions to a context that are asked of its executor.
#include "support/executors.hpp"

#include "coraii/pool.hpp"

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <future>
#include <stdexcept>
#include <string>
#include <utility>

using namespace test;

namespace {

coraii::async_scope<int> resource(places& p, std::string name = {}) {
    p.note("setup" + name);
    co_await turn();
    int n = 5;
    co_yield n;
    p.note("cleanup" + name);
    co_await turn();
    p.note("cleaned" + name);
}

/// The same from a pair.
coraii::async_scope<int> resource_pair(places& p) {
    return coraii::async_scope{[&p]() -> awaitable<int> {
                                   p.note("setup");
                                   co_await turn();
                                   co_return 5;
                               },
                               [&p](int&) -> awaitable<void> {
                                   p.note("cleanup");
                                   co_await turn();
                                   p.note("cleaned");
                               }};
}

/// Everything is over, and nothing is left behind.
void finish(places& p) {
    test::finish(p.context);
    const auto left = coraii::stats(p.context);
    CHECK(left.open == 0);
    CHECK(left.closing == 0);
}

}  // namespace

TEST_CASE("G32: with on(executor), a handler without an executor is called there, and the scope runs there",
          "[scope_on]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool pair = GENERATE(false, true);
    const int end = GENERATE(0, 1, 2);
    CAPTURE(e, pair, end);
    places p{e};
    coraii::guard<int> kept;
    const auto opened = [&](std::exception_ptr error, coraii::guard<int> g) {
        p.note(error || !g || *g != 5 ? "failed" : "opened");
        if (end == 0) {
            g.reset();
        } else if (end == 1) {
            g.close([&](std::exception_ptr failed) { p.note(failed ? "not closed" : "closed"); });
        } else {
            kept = std::move(g);
            asio::post(p.context, [&] { kept.reset(); });
        }
    };
    (pair ? resource_pair(p) : resource(p)).on(p.executor)(opened);
    CHECK(p.log().empty());  // nothing runs inside the initiating function, off its executor
    finish(p);
    events expected{"setup: home", "opened: home", "cleanup: home", "cleaned: home"};
    if (end == 1) {
        expected.push_back("closed: home");
    }
    CHECK(p.log() == expected);
}

TEST_CASE("G32: on(executor) after a name and time limits, and of a scope of void", "[scope_on]") {
    places p;
    const auto scope = [&]() -> coraii::async_scope<void> {
        p.note("setup");
        co_yield coraii::entered;
        p.note("cleanup");
    };
    scope().named("it").cleanup_timeout(60s).on(p.executor)(
        [&](std::exception_ptr error, coraii::guard<void> g) { p.note(error || !g ? "failed" : "opened"); });
    finish(p);
    CHECK(p.log() == events{"setup: home", "opened: home", "cleanup: home"});
}

TEST_CASE("G32: with on(executor), a handler's own executor comes first", "[scope_on]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    places p{e};
    asio::io_context other;
    const auto opened = [&](std::exception_ptr error, coraii::guard<int> g) {
        p.note(error || !g ? "failed" : "opened");
    };
    resource(p).on(other.get_executor())(asio::bind_executor(p.executor, opened));
    CHECK(other.poll() == 0);
    finish(p);
    CHECK(other.poll() == 0);
    CHECK(p.log() == events{"setup: home", "opened: home", "cleanup: home", "cleaned: home"});
}

TEST_CASE("G32: with on(executor) awaited in a coroutine, the coroutine's executor comes first", "[scope_on]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(e, s);
    places p{e};
    asio::io_context other;
    p.run(
        [&]() -> awaitable<void> {
            auto g = co_await resource(p).on(other.get_executor());
            p.note("opened");
            CHECK(*g == 5);
            co_await g.close();
            auto scope = resource(p);
            auto dropped = co_await std::move(scope).on(p.pool.get_executor());
            p.note("opened");
        }(),
        s);
    CHECK(other.poll() == 0);
    CHECK(p.log() == events{"setup: home", "opened: home", "cleanup: home", "cleaned: home", "setup: home",
                            "opened: home", "cleanup: home", "cleaned: home"});
}

TEST_CASE("G32: with on(executor), a future that is bound to another", "[scope_on]") {
    places p;
    // A future's handler has an executor, and that is of the system's threads.
    std::future<coraii::guard<int>> future =
        resource(p).on(p.executor)(asio::bind_executor(p.pool.get_executor(), asio::use_future));
    {
        auto g = future.get();
        CHECK(*g == 5);
    }
    p.pool.join();
    CHECK(p.log() == events{"setup: pool", "cleanup: pool", "cleaned: pool"});
}

TEST_CASE("G1, G32: with on(executor), the error of setup comes there", "[scope_on]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool suspends = GENERATE(false, true);
    CAPTURE(e, suspends);
    places p{e};
    const auto scope = [&]() -> coraii::async_scope<int> {
        p.note("setup");
        if (suspends) {
            co_await turn();
        }
        throw std::runtime_error("setup");
        int n = 0;
        co_yield n;
    };
    scope().on(p.executor)(
        [&](std::exception_ptr error, coraii::guard<int> g) { p.note(g ? "opened" : "error of " + what(error)); });
    finish(p);
    CHECK(p.log() == events{"setup: home", "error of setup: home"});
}

TEST_CASE("G7, G32: with on(executor), a cancel reaches the setup", "[scope_on][cancel]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    places p{e};
    const auto scope = [&]() -> coraii::async_scope<int> {
        p.note("setup");
        co_await forever();
        int n = 0;
        co_yield n;
    };
    asio::cancellation_signal cancel;
    scope().on(p.executor)(asio::bind_cancellation_slot(
        cancel.slot(), [&](std::exception_ptr error, coraii::guard<int> g) {
            p.note(!g && code(error) == asio::error::operation_aborted ? "cancelled" : "not cancelled");
        }));
    p.context.poll();
    CHECK(p.log() == events{"setup: home"});
    asio::post(p.executor, [&] { cancel.emit(asio::cancellation_type::terminal); });
    finish(p);
    CHECK(p.log() == events{"setup: home", "cancelled: home"});
}

TEST_CASE("G32: a parallel group of scopes on an executor sets all up, and all are cleaned", "[scope_on]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool awaited = GENERATE(false, true);
    CAPTURE(e, awaited);
    places p{e};
    const auto done = [&](std::array<std::size_t, 2>, std::exception_ptr ea, coraii::guard<int> a,
                          std::exception_ptr eb, coraii::guard<int> b) {
        p.note(ea || eb || !a || !b ? "failed" : "both");
    };
    const auto both = [&] {
        return asio::experimental::make_parallel_group(resource(p, " a").on(p.executor),
                                                       resource(p, " b").on(p.executor));
    };
    if (awaited) {
        p.run([&]() -> awaitable<void> {
            auto group = both();
            auto [order, ea, a, eb, b] =
                co_await group.async_wait(asio::experimental::wait_for_all{}, asio::use_awaitable);
            p.note(ea || eb || !a || !b ? "failed" : "both");
        }());
    } else {
        both().async_wait(asio::experimental::wait_for_all{}, done);
        finish(p);
    }
    auto log = p.log();
    REQUIRE(log.size() == 7);
    CHECK(log[2] == "both: home");
    std::ranges::sort(log);
    CHECK(log == events{"both: home", "cleaned a: home", "cleaned b: home", "cleanup a: home", "cleanup b: home",
                        "setup a: home", "setup b: home"});
}

TEST_CASE("G2, G32: a parallel group that is satisfied by the first cleans the others", "[scope_on][cancel]") {
    places p;
    const auto endless = [&]() -> coraii::async_scope<int> {
        p.note("endless setup");
        co_await forever();
        int n = 0;
        co_yield n;
    };
    const auto done = [&](std::array<std::size_t, 2> order, std::exception_ptr ea, coraii::guard<int> a,
                          std::exception_ptr eb, coraii::guard<int> b) {
        CHECK(order[0] == 0);
        p.note(!ea && a && eb && !b ? "first" : "failed");
    };
    asio::experimental::make_parallel_group(resource(p, " a").on(p.executor), endless().on(p.executor))
        .async_wait(asio::experimental::wait_for_one{}, done);
    finish(p);
    CHECK(p.log() ==
          events{"setup a: home", "endless setup: home", "first: home", "cleanup a: home", "cleaned a: home"});
}

TEST_CASE("G32: a pool's lease on an executor", "[scope_on][pool]") {
    places p;
    coraii::pool<int> pool{p.context.get_executor(), [&] { return resource(p); }};
    pool.acquire().on(p.executor)([&](std::exception_ptr error, coraii::guard<int> g) {
        p.note(error || !g ? "failed" : "lent");
        g.close([&](std::exception_ptr) {
            p.note("given back");
            const auto closing = [&]() -> awaitable<void> { co_await pool.close(); };
            asio::co_spawn(p.executor, closing, asio::detached);
        });
    });
    finish(p);
    CHECK(p.log() ==
          events{"setup: home", "lent: home", "given back: home", "cleanup: home", "cleaned: home"});
}

TEST_CASE("G24, G32: a scope on an executor that is never started runs nothing", "[scope_on]") {
    places p;
    {
        auto op = resource(p).on(p.executor);
        auto deferred = resource(p).on(p.executor)(asio::deferred);
    }
    finish(p);
    CHECK(p.log().empty());
}

TEST_CASE("G13, G32: a context that dies cleans what was opened on it", "[scope_on][context]") {
    events log;
    coraii::guard<item> kept;
    {
        asio::io_context context;
        make(form::co_yielded, log, "a", {.cleanup_suspends = true})
            .on(context.get_executor())([&](std::exception_ptr, coraii::guard<item> g) { kept = std::move(g); });
        context.poll();
        CHECK(kept);
    }
    CHECK(log == events{"setup a", "cleanup a abandoned"});
}

TEST_CASE("G22, G32: a deferred scope on an executor that is started again gives already_awaited",
          "[scope_on][single_use]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool together = GENERATE(false, true);
    CAPTURE(e, together);
    places p{e};
    coraii::guard<int> first;
    const auto op = resource(p).on(p.executor)(asio::deferred);
    const auto copy = op;
    const auto open = [&](std::exception_ptr error, coraii::guard<int> g) {
        p.note(error || !g ? "failed" : "opened");
        first = std::move(g);
    };
    const auto refused = [&](std::exception_ptr error, coraii::guard<int> g) {
        p.note(!g && code(error) == coraii::errc::already_awaited ? "refused" : "not refused");
    };
    op(open);
    if (!together) {
        p.context.poll();
        p.context.restart();
    }
    copy(refused);
    op(refused);
    p.context.poll();
    CHECK(first);
    first.reset();
    finish(p);
    auto log = p.log();
    std::ranges::sort(log);
    CHECK(log == events{"cleaned: home", "cleanup: home", "opened: home", "refused: home", "refused: home",
                        "setup: home"});
}

TEST_CASE("G22, G32: on(executor) of a scope that was used gives already_awaited", "[scope_on][single_use]") {
    places p;
    p.run([&]() -> awaitable<void> {
        auto scope = resource(p);
        const auto g = co_await std::move(scope);
        boost::system::error_code told;
        try {
            const auto again = co_await std::move(scope).on(p.executor);  // NOLINT(bugprone-use-after-move)
        } catch (const boost::system::system_error& error) { told = error.code(); }
        CHECK(told == coraii::errc::already_awaited);
    }());
    CHECK(p.log() == events{"setup: home", "cleanup: home", "cleaned: home"});
}

// ---- a context's executor in place of the context

TEST_CASE("stats: may be asked of an executor", "[scope_on][scopes]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    places p{e};
    p.run([&]() -> awaitable<void> {
        const auto g = co_await resource(p);
        const asio::any_io_executor here = co_await asio::this_coro::executor;
        CHECK(coraii::stats(here).open == 1);
        CHECK(coraii::stats(p.executor).opened == 1);
        CHECK(coraii::stats(p.context.get_executor()).open == 1);
        CHECK(coraii::stats(asio::make_strand(p.context)).open == 1);
        CHECK(coraii::stats(asio::make_strand(here)).open == 1);
        CHECK(coraii::stats(p.pool.get_executor()).opened == 0);
        CHECK(coraii::stats(p.pool).opened == 0);
    }());
    CHECK(coraii::stats(p.executor).cleaned == 1);
}

TEST_CASE("G32: async_drain may be given an executor, and completes there", "[scope_on][scopes]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool background = GENERATE(false, true);
    const bool hopped = GENERATE(false, true);
    CAPTURE(e, background, hopped);
    places p{e};
    p.run([&]() -> awaitable<void> {
        if (background) {
            const auto g = co_await resource(p);
        }
        if (hopped) {
            co_await p.hop();
        }
        coraii::async_drain(p.executor, [&](std::exception_ptr error) { p.note(error ? "failed" : "drained"); });
    }());
    REQUIRE(!p.log().empty());
    CHECK(p.log().back() == "drained: home");
    CHECK(p.log().size() == (background ? 4U : 1U));
}

TEST_CASE("G32: async_drain of any kind of executor, with any kind of token", "[scope_on][scopes]") {
    using handler = asio::any_completion_handler<void(std::exception_ptr)>;
    places p;
    p.run([&]() -> awaitable<void> {
        const asio::any_io_executor here = co_await asio::this_coro::executor;
        const auto strand = asio::make_strand(here);
        { const auto g = co_await resource(p); }
        co_await coraii::async_drain(here);
        p.note("drained");
        co_await coraii::async_drain(strand);
        co_await coraii::async_drain(p.context.get_executor(), asio::use_awaitable);
        co_await coraii::async_drain(p.context);
        coraii::async_drain(strand, [&p, strand](std::exception_ptr) {
            p.note_as("drained", strand.running_in_this_thread() ? "strand" : p.here());
        });
        coraii::async_drain(here, handler{[&](std::exception_ptr) { p.note("drained"); }});
        coraii::async_drain(here, asio::bind_executor(p.pool, [&](std::exception_ptr) { p.note("drained"); }));
    }());
    p.pool.join();
    auto log = p.log();
    std::ranges::sort(log);
    CHECK(log == events{"cleaned: home", "cleanup: home", "drained: home", "drained: home", "drained: pool",
                        "drained: strand", "setup: home"});
}

TEST_CASE("G32: async_drain of a thread_pool completes on its threads", "[scope_on][scopes]") {
    places p;
    const auto work = [&]() -> awaitable<void> {
        const auto g = co_await resource(p);
    };
    asio::co_spawn(p.pool, work, asio::use_future).get();
    coraii::async_drain(p.pool, [&](std::exception_ptr) { p.note("drained"); });
    p.pool.join();
    CHECK(p.log() == events{"setup: pool", "cleanup: pool", "cleaned: pool", "drained: pool"});
}
