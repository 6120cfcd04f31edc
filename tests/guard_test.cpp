// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <concepts>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace test;

static_assert(sizeof(coraii::guard<int>) <= 2 * sizeof(void*));
static_assert(!std::is_copy_constructible_v<coraii::guard<int>>);
static_assert(std::is_nothrow_move_constructible_v<coraii::guard<int>>);
static_assert(std::is_nothrow_move_assignable_v<coraii::guard<int>>);
static_assert(std::is_nothrow_destructible_v<coraii::guard<int>>);
static_assert(noexcept(std::declval<coraii::guard<int>&>().reset()));

TEST_CASE("G1: awaiting a scope whose setup throws gives that exception and no cleanup", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(f, log, "a", {.setup_suspends = suspends, .setup_throws = true});
        log.push_back("not reached");
    };
    CHECK_THROWS_WITH(run(work(), s), "setup of a");
    CHECK(log == events{"setup a"});
}

TEST_CASE("G1: what a failed setup had built is unwound by its own locals", "[guard]") {
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        const auto socket = std::shared_ptr<void>(nullptr, [&](void*) { log.push_back("local gone"); });
        co_await turn();
        throw std::runtime_error("half way");
        int n = 0;
        co_yield n;
    };
    run([&]() -> awaitable<void> {
        try {
            auto g = co_await scope();
        } catch (const std::runtime_error& e) { log.push_back(e.what()); }
    }());
    CHECK(log == events{"local gone", "half way"});
}

TEST_CASE("G3: close completes only after the cleanup is done", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool setup_suspends = GENERATE(false, true);
    const bool cleanup_suspends = GENERATE(false, true);
    CAPTURE(f, s, setup_suspends, cleanup_suspends);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(f, log, "a", {.setup_suspends = setup_suspends, .cleanup_suspends = cleanup_suspends});
        REQUIRE(g);
        log.push_back("use " + g->name + (*g).name);
        co_await g.close();
        log.push_back("closed");
        CHECK_FALSE(g);
    };
    run(work(), s);
    CHECK(log == events{"setup a", "use aa", "cleanup a completed", "cleaned a", "closed"});
}

TEST_CASE("G5: close(status with an error) reports the cleanup's error and does not hide the first", "[guard]") {
    asio::io_context context;
    reports reported{context};
    events log;
    run(
        [&]() -> awaitable<void> {
            auto g = co_await make(form::pair, log, "a", {.cleanup_throws = true});
            const auto error = std::make_exception_ptr(std::logic_error("use"));
            co_await g.close(coraii::exit_status{coraii::exit_reason::failed, error});
        }(),
        context);
    CHECK(log[1] == "cleanup a failed");
    REQUIRE(reported.all.size() == 1);
    CHECK(what(reported.all[0].error) == "cleanup of a");
    CHECK(what(reported.all[0].suppressed_by) == "use");
}

TEST_CASE("G6: close throws the cleanup's error", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(f, log, "a", {.cleanup_throws = true});
        co_await g.close();
    };
    CHECK_THROWS_WITH(run(work(), context, s), "cleanup of a");
    CHECK(reported.all.empty());
}

TEST_CASE("G6: on the destructor path the cleanup's error goes to on_cleanup_error once", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const bool suspends = GENERATE(false, true);
    asio::io_context context;
    reports reported{context};
    events log;
    run(
        [&]() -> awaitable<void> {
            auto g = co_await make(f, log, "a", {.cleanup_suspends = suspends, .cleanup_throws = true}).named("it");
        }(),
        context);
    REQUIRE(reported.all.size() == 1);
    CHECK(what(reported.all[0].error) == "cleanup of a");
    CHECK(reported.all[0].suppressed_by == nullptr);
    CHECK(reported.all[0].name == "it");
    CHECK(reported.all[0].line > 0);
}

TEST_CASE("G12: on the scope's executor the cleanup starts before the destructor returns", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const int how = GENERATE(0, 1, 2);
    CAPTURE(f, s, how);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = std::make_unique<coraii::guard<item>>(co_await make(f, log, "a", {.cleanup_suspends = true}));
        if (how == 0) {
            g.reset();
        } else if (how == 1) {
            g->reset();
        } else {
            *g = {};
        }
        log.push_back("dropped");
        co_await coraii::async_drain((co_await asio::this_coro::executor).context());
        log.push_back("drained");
    };
    run(work(), s);
    CHECK(log == events{"setup a", "cleanup a abandoned", "dropped", "cleaned a", "drained"});
}

TEST_CASE("G12: on a strand, too", "[guard]") {
    events log;
    asio::io_context context;
    asio::co_spawn(
        asio::make_strand(context),
        [&]() -> awaitable<void> {
            { auto g = co_await make(form::pair, log, "a"); }
            log.push_back("dropped");
        },
        asio::detached);
    finish(context);
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a", "dropped"});
}

TEST_CASE("G12: elsewhere the cleanup is posted to the scope's executor", "[guard]") {
    events log;
    asio::io_context context;
    auto future = make(form::co_yielded, log, "a")(asio::bind_executor(context.get_executor(), asio::use_future));
    context.run_for(10ms);
    REQUIRE(future.wait_for(0s) == std::future_status::ready);
    {
        auto g = future.get();
        log.push_back("dropping");
    }
    CHECK(log == events{"setup a", "dropping"});
    finish(context);
    CHECK(log == events{"setup a", "dropping", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G13: a context that dies cleans open guards as far as that goes without waiting", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool timer_first = GENERATE(false, true);
    CAPTURE(f, s, timer_first);
    events log;
    {
        asio::io_context context;
        if (timer_first) {
            asio::steady_timer{context};
        }
        const auto work = [&]() -> awaitable<void> {
            auto a = co_await make(f, log, "a", {.cleanup_suspends = true});
            auto b = co_await make(f, log, "b");
            co_await forever();
        };
        task t{context, work(), s};
        context.run_for(10ms);
    }
    CHECK(log == events{"setup a", "setup b", "cleanup b abandoned", "cleaned b", "cleanup a abandoned"});
}

TEST_CASE("G13: a guard may outlive its context", "[guard]") {
    events log;
    coraii::guard<item> kept;
    std::optional<coraii::scope_hold> hold;
    bool could_await = true;
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        const coraii::exit_status why = co_yield i;
        could_await = why.can_await();
        log.push_back("cleanup");
        co_await turn();
        log.push_back("never");
    };
    {
        asio::io_context context;
        asio::co_spawn(
            context,
            [&]() -> awaitable<void> {
                kept = co_await scope();
                hold = kept.hold();
            },
            asio::detached);
        context.run_for(10ms);
        CHECK(coraii::stats(context).open == 1);
    }
    CHECK(log == events{"cleanup"});
    CHECK_FALSE(could_await);
    hold.reset();
    kept.reset();
    CHECK(log == events{"cleanup"});
}

TEST_CASE("G13: a guard that was dropped on another thread is cleaned when the stopped context dies", "[guard]") {
    events log;
    coraii::guard<item> kept;
    {
        asio::io_context context;
        const auto executor = asio::make_strand(context);
        asio::co_spawn(
            executor, [&]() -> awaitable<void> { kept = co_await make(form::pair, log, "a"); }, asio::detached);
        context.run_for(10ms);
        context.stop();
        kept.reset();
        CHECK(log == events{"setup a"});
    }
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G13: a stopped thread_pool cleans when it dies, a strand on it too", "[guard]") {
    const bool on_strand = GENERATE(false, true);
    events log;
    coraii::guard<item> kept;
    {
        asio::thread_pool pool{1};
        std::promise<void> open;
        asio::any_io_executor executor = pool.get_executor();
        if (on_strand) {
            executor = asio::make_strand(pool);
        }
        asio::co_spawn(
            executor,
            [&]() -> awaitable<void> {
                kept = co_await make(form::pair, log, "a", {.cleanup_suspends = true});
                open.set_value();
            },
            asio::detached);
        open.get_future().wait();
        pool.stop();
        pool.join();
    }
    CHECK(log == events{"setup a", "cleanup a abandoned"});
    kept.reset();
}

TEST_CASE("G14: one cleanup, whatever the order of close, reset, move and destruction", "[guard]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const int order = GENERATE(0, 1, 2, 3, 4, 5, 6, 7);
    CAPTURE(s, order);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(form::co_yielded, log, "a", {.cleanup_suspends = (order % 2) != 0});
        coraii::guard<item> other;
        switch (order / 2) {
            case 0:
                co_await g.close();
                co_await g.close();
                g.reset();
                break;
            case 1:
                other = std::move(g);
                g.reset();
                co_await g.close();
                other.reset();
                break;
            case 2:
                g.reset();
                co_await g.close();
                other = std::move(g);
                break;
            default: {
                auto closing = g.close();  // never started
                other = std::move(g);
                break;
            }
        }
    };
    run(work(), s);
    REQUIRE(log.size() == 3);
    CHECK(log[2] == "cleaned a");
}

TEST_CASE("closing in a coroutine does not suspend it if the cleanup does not", "[guard]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto a = co_await make(form::pair, log, "a");
        auto b = co_await make(form::pair, log, "b", {.cleanup_suspends = true});
        static_assert(std::same_as<decltype(a.close()), awaitable<void>>);
        asio::post(co_await asio::this_coro::executor, [&] { log.push_back("another's turn"); });
        co_await a.close();
        log.push_back("closed a");
        co_await b.close();
        log.push_back("closed b");
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup b", "cleanup a completed", "cleaned a", "closed a", "cleanup b completed",
                        "another's turn", "cleaned b", "closed b"});
}

TEST_CASE("G16: assignment over an open guard starts the old one's cleanup", "[guard]") {
    events log;
    run([&]() -> awaitable<void> {
        auto g = co_await make(form::pair, log, "a");
        g = co_await make(form::pair, log, "b");
        CHECK(g->name == "b");
        auto moved = std::move(g);
        CHECK_FALSE(g);
        CHECK(moved->name == "b");
        co_await moved.close();
    }());
    CHECK(log == events{"setup a", "setup b", "cleanup a abandoned", "cleaned a", "cleanup b completed", "cleaned b"});
}

TEST_CASE("G17: release hands the resource out and runs nothing", "[guard]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await make(f, log, "a");
        const item mine = g.release();
        CHECK(mine.name == "a");
        CHECK_FALSE(g);
        CHECK_THROWS_AS((void)g.release(), boost::system::system_error);
        CHECK_THROWS_AS((void)g.hold(), boost::system::system_error);
        co_return;
    };
    run(work(), context, s);
    CHECK(log == events{"setup a"});
    const auto stats = coraii::stats(context);
    CHECK(stats.opened == 1);
    CHECK(stats.cleaned == 0);
    CHECK(stats.abandoned == 0);
}

TEST_CASE("G17: a move-only resource can be released, and the rest of the scope is destroyed", "[guard]") {
    bool locals_gone = false;
    const auto scope = [&]() -> coraii::async_scope<std::unique_ptr<int>> {
        const auto local = std::shared_ptr<void>(nullptr, [&](void*) { locals_gone = true; });
        auto p = std::make_unique<int>(3);
        co_yield p;
        FAIL("the cleanup must not run");
    };
    run([&]() -> awaitable<void> {
        auto g = co_await scope();
        const std::unique_ptr<int> mine = g.release();
        CHECK(*mine == 3);
        CHECK(locals_gone);
    }());
}

TEST_CASE("G18: guards in a loop, closed or dropped, do not grow the native stack", "[guard]") {
    const bool close = GENERATE(false, true);
    const auto s = GENERATE(slot::none, slot::connected);
    constexpr int rounds = sanitized ? 20'000 : 300'000;
    int cleaned = 0;
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 1;
        co_yield n;
        cleaned += n;
    };
    const auto work = [&]() -> awaitable<void> {
        for (int i = 0; i < rounds; ++i) {
            auto g = co_await scope();
            if (close) {
                co_await g.close();
            }
        }
    };
    run(work(), s);
    CHECK(cleaned == rounds);
}

TEST_CASE("G19: run() does not return while a scope is open or cleaning", "[guard]") {
    asio::io_context context;
    events log;
    coraii::guard<item> kept;
    gate g{context};
    const auto scope = [&]() -> coraii::async_scope<item> {
        item i{&log, "a"};
        co_yield i;
        co_await g.wait();
        log.push_back("cleaned");
    };
    asio::co_spawn(context, [&]() -> awaitable<void> { kept = co_await scope(); }, asio::detached);
    context.run_for(20ms);
    CHECK_FALSE(context.stopped());  // open
    kept.reset();
    context.run_for(20ms);
    CHECK_FALSE(context.stopped());  // cleaning
    g.open();
    finish(context);
    CHECK(log == events{"cleaned"});
}

TEST_CASE("G20: a guard may be dropped or closed on any thread; the cleanup runs on the scope's executor", "[guard]") {
    const bool on_strand = GENERATE(false, true);
    const int rounds = 50;
    for (int round = 0; round < rounds; ++round) {
        asio::thread_pool pool{4};
        asio::any_io_executor executor = pool.get_executor();
        if (on_strand) {
            executor = asio::make_strand(pool);
        }
        constexpr int guards = 8;
        std::atomic<int> cleaned{0};
        std::atomic<int> elsewhere{0};
        const auto scope = [&]() -> coraii::async_scope<int> {
            int n = 0;
            co_yield n;
            co_await turn();
            if (!pool.get_executor().running_in_this_thread()) {
                ++elsewhere;
            }
            ++cleaned;
        };
        std::vector<std::future<coraii::guard<int>>> futures;
        for (int i = 0; i < guards; ++i) {
            futures.push_back(scope()(asio::bind_executor(executor, asio::use_future)));
        }
        std::vector<std::thread> threads;
        for (int i = 0; i < guards; ++i) {
            threads.emplace_back([g = futures[static_cast<std::size_t>(i)].get(), i]() mutable {
                if (i % 2 == 0) {
                    g.reset();
                } else {
                    g.close(asio::use_future).get();
                }
            });
        }
        for (auto& t : threads) {
            t.join();
        }
        pool.join();
        CHECK(cleaned == guards);
        CHECK(elsewhere == 0);
    }
}

TEST_CASE("G22: a scope awaited twice is errc::already_awaited", "[guard]") {
    events log;
    run([&]() -> awaitable<void> {
        auto scope = make(form::pair, log, "a");
        auto g = co_await std::move(scope);
        auto [error, none] = co_await std::move(scope)(asio::as_tuple(asio::use_awaitable));
        CHECK(code(error) == coraii::errc::already_awaited);
        CHECK_FALSE(none);
        co_await g.close();
    }());
}

TEST_CASE("G22: no co_yield is errc::no_value, a second one errc::yielded_twice", "[guard]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto none = []() -> coraii::async_scope<int> {
        co_await turn();
        if (false) {
            int n = 0;
            co_yield n;
        }
    };
    const auto twice = []() -> coraii::async_scope<void> {
        co_yield coraii::entered;
        co_yield coraii::entered;
    };
    const auto work = [&]() -> awaitable<void> {
        std::exception_ptr error;
        try {
            auto g = co_await none();
        } catch (...) { error = std::current_exception(); }
        CHECK(code(error) == coraii::errc::no_value);
        auto g = co_await twice();
        try {
            co_await g.close();
        } catch (...) { error = std::current_exception(); }
        CHECK(code(error) == coraii::errc::yielded_twice);
    };
    run(work(), s);
}

TEST_CASE("G23: close(status) is what the cleanup is told", "[guard]") {
    coraii::exit_status told;
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        told = co_yield n;
    };
    run([&]() -> awaitable<void> {
        auto a = co_await scope();
        co_await a.close(coraii::exit_reason::cancelled);
        CHECK(told.reason() == coraii::exit_reason::cancelled);
        auto b = co_await scope();
        co_await b.close();
        CHECK(told.ok());
        auto c = co_await scope();
        c.reset();
        CHECK(told.reason() == coraii::exit_reason::abandoned);
        CHECK(told.can_await());
        CHECK(told.error() == nullptr);
    }());
}

#if !defined(_WIN32)
TEST_CASE("G22: a guard that is used after close ends the program with a message, and is not undefined", "[guard]") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(ends[1], STDERR_FILENO);
        std::set_terminate([] { ::_exit(42); });
        const coraii::guard<item> closed;
        (void)closed->name;
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string said(512, '\0');
    const auto n = ::read(ends[0], said.data(), said.size());
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 42);
    CHECK(n > 0);
    CHECK(said.starts_with("coraii: a guard was dereferenced that holds no resource"));
}
#endif

// ---- G25

namespace {

struct session {
    events* log;
    coraii::scope_handle scope;
};

coraii::async_scope<session> open_session(events& log, bool suspends) {
    coraii::scope_handle self = co_await coraii::this_scope;
    session s{&log, std::move(self)};
    log.push_back("session opened");
    const coraii::exit_status why = co_yield s;
    log.push_back(std::string("session closing ") + to_string(why.reason()));
    if (suspends) {
        co_await turn();
    }
    log.push_back("session closed");
}

coraii::async_scope<int> begin(session& s, std::string name, bool suspends) {
    const coraii::scope_hold hold = s.scope.hold();
    events& log = *s.log;
    log.push_back("begin " + name);
    int n = 0;
    const coraii::exit_status why = co_yield n;
    log.push_back((why.ok() ? "commit " : "rollback ") + name);
    if (suspends) {
        co_await turn();
        co_await turn();
    }
    log.push_back("ended " + name);
}

}  // namespace

TEST_CASE("G25: dropped in one unwinding, the dependant is completely cleaned first", "[guard]") {
    const bool suspends = GENERATE(false, true);
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        try {
            auto connection = co_await open_session(log, suspends);
            auto tx = co_await begin(*connection, "tx", suspends);
            throw std::runtime_error("unwinding");
        } catch (const std::runtime_error&) {}
    };
    run(work(), s);
    CHECK(log == events{"session opened", "begin tx", "rollback tx", "ended tx", "session closing abandoned",
                        "session closed"});
}

TEST_CASE("G25: also when the held one is dropped first", "[guard]") {
    const bool suspends = GENERATE(false, true);
    events log;
    run([&]() -> awaitable<void> {
        auto connection = co_await open_session(log, suspends);
        auto tx = co_await begin(*connection, "tx", suspends);
        connection.reset();
        co_await turn();
        log.push_back("session dropped");
        tx.reset();
    }());
    CHECK(log == events{"session opened", "begin tx", "session dropped", "rollback tx", "ended tx",
                        "session closing abandoned", "session closed"});
}

TEST_CASE("G25: close on the held one waits for its dependants", "[guard]") {
    const bool suspends = GENERATE(false, true);
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto connection = co_await open_session(log, suspends);
        {
            auto one = co_await begin(*connection, "one", suspends);
            auto two = co_await begin(*connection, "two", suspends);
        }
        co_await connection.close();
        log.push_back("close returned");
    };
    run(work(), s);
    REQUIRE(log.size() == 10);
    CHECK(log[7] == "session closing completed");
    CHECK(log[9] == "close returned");
}

TEST_CASE("G25: with waits for dependants whose guards were dropped in the body", "[guard]") {
    const bool suspends = GENERATE(false, true);
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(open_session(log, suspends), [&](session& connection) -> awaitable<void> {
            auto tx = co_await begin(connection, "tx", suspends);
        });
        log.push_back("with returned");
    };
    run(work(), s);
    CHECK(log == events{"session opened", "begin tx", "rollback tx", "ended tx", "session closing completed",
                        "session closed", "with returned"});
}

TEST_CASE("G25: a hold made by the guard's owner counts, copies too", "[guard]") {
    asio::io_context context;
    events log;
    std::optional<coraii::scope_hold> copy;
    asio::co_spawn(
        context,
        [&]() -> awaitable<void> {
            auto g = co_await make(form::pair, log, "a");
            const coraii::scope_hold hold = g.hold();
            copy = hold;
        },
        asio::detached);
    context.run_for(10ms);
    CHECK(log == events{"setup a"});
    CHECK_FALSE(context.stopped());
    copy.reset();
    CHECK(log == events{"setup a"});  // posted, not run inside the destructor of the hold
    finish(context);
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G25: without a hold, guards dropped together are cleaned concurrently", "[guard]") {
    events log;
    run([&]() -> awaitable<void> {
        auto a = co_await make(form::pair, log, "a", {.cleanup_suspends = true});
        auto b = co_await make(form::pair, log, "b", {.cleanup_suspends = true});
    }());
    CHECK(log == events{"setup a", "setup b", "cleanup b abandoned", "cleanup a abandoned", "cleaned b", "cleaned a"});
}

TEST_CASE("guard: any completion token will do", "[guard]") {
    asio::io_context context;
    events log;
    const auto executor = context.get_executor();
    auto callback = [&](std::exception_ptr e, coraii::guard<item> g) {
        CHECK_FALSE(e);
        log.push_back("got " + g->name);
        g.close(asio::bind_executor(executor, [&](std::exception_ptr error) {
            CHECK_FALSE(error);
            log.push_back("closed");
        }));
        log.push_back("close initiated");
    };
    make(form::pair, log, "a")(asio::bind_executor(executor, callback));
    log.push_back("initiated");
    finish(context);
    CHECK(log ==
          events{"initiated", "setup a", "got a", "cleanup a completed", "cleaned a", "close initiated", "closed"});
}

TEST_CASE("guard: close may complete on another executor than the scope's", "[guard]") {
    asio::io_context context;
    asio::thread_pool pool{1};  // posts to the context, so it must end first
    events log;
    run(
        [&]() -> awaitable<void> {
            auto g = co_await make(form::pair, log, "a", {.cleanup_suspends = true})(
                asio::bind_executor(pool.get_executor(), asio::use_awaitable));
            co_await g.close();
            CHECK(context.get_executor().running_in_this_thread());
            log.push_back("closed");
        }(),
        context);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a", "closed"});
}

TEST_CASE("G13, G25: in a dying context, too, what holds a scope goes first, whatever began first", "[guard]") {
    events log;
    coraii::guard<int> holder;
    coraii::guard<item> held;
    const auto holding = [&](gate& held_is_open) -> coraii::async_scope<int> {
        co_await held_is_open.wait();
        const coraii::scope_hold hold = held.hold();
        int n = 0;
        co_yield n;
        log.push_back("holder cleaned");
    };
    {
        asio::io_context context;
        gate held_is_open{context};
        asio::co_spawn(context, [&]() -> awaitable<void> { holder = co_await holding(held_is_open); }, asio::detached);
        asio::co_spawn(
            context,
            [&]() -> awaitable<void> {
                held = co_await make(form::pair, log, "held");
                held_is_open.open();
            },
            asio::detached);
        context.run_for(10ms);
        REQUIRE(holder);
    }
    CHECK(log == events{"setup held", "holder cleaned", "cleanup held abandoned", "cleaned held"});
}

TEST_CASE("G13: a scope in the cleanup of a dying context is never started, and leaks nothing", "[guard]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    coraii::guard<int> kept;
    {
        const auto scope = [&]() -> coraii::async_scope<int> {
            int n = 0;
            co_yield n;
            const auto local = std::shared_ptr<void>(nullptr, [&](void*) { log.push_back("local"); });
            log.push_back("cleanup");
            co_await coraii::with(make(form::pair, log, "inner", {.setup_suspends = true}),
                                  [](item&) -> awaitable<void> { co_return; });
            log.push_back("never");
        };
        asio::io_context context;
        task t{context, [](auto& open, auto& g) -> awaitable<void> { g = co_await open(); }(scope, kept), s};
        context.run_for(10ms);
    }
    REQUIRE(log.size() >= 2);
    CHECK(log.front() == "cleanup");
    CHECK(log.back() == "local");
}

TEST_CASE("what a handler of close() throws leaves the event loop, wherever the cleanup ends", "[guard]") {
    const bool waits = GENERATE(false, true);
    asio::io_context context;
    events log;
    auto opened =
        make(form::co_yielded, log, "a", {.cleanup_suspends = waits})(asio::bind_executor(context, asio::use_future));
    context.poll();
    auto g = opened.get();
    g.close(asio::bind_executor(context, [](const std::exception_ptr&) { throw std::runtime_error("the handler's"); }));
    context.restart();
    CHECK_THROWS_WITH(context.run(), "the handler's");
    finish(context);
    CHECK(log.back() == "cleaned a");
    CHECK(coraii::stats(context).cleaned == 1);
}

TEST_CASE("G13: what outlives its context has no executor of it left", "[guard]") {
    // Where it had one, the end of it would touch the strand after its context: AddressSanitizer would tell.
    asio::cancellation_signal signal;
    coraii::scope_handle closed;
    {
        asio::io_context context;
        const auto strand = asio::make_strand(context);
        const auto of_handle = []() -> coraii::async_scope<coraii::scope_handle> {
            coraii::scope_handle self = co_await coraii::this_scope;
            co_yield self;
        };
        const auto never_opens = []() -> coraii::async_scope<int> {
            co_await forever();
            int n = 0;
            co_yield n;
        };
        const auto work = [&]() -> awaitable<void> {
            {
                auto g = co_await of_handle();
                closed = *g;
                co_await g.close();
            }
            auto g = co_await never_opens();
        };
        asio::co_spawn(strand, work(), asio::bind_cancellation_slot(signal.slot(), asio::detached));
        context.poll();
    }
    CHECK_THROWS(closed.hold());
}
