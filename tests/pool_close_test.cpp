// SPDX-License-Identifier: BSL-1.0
#include "coraii/scopes.hpp"
#include "support/pool.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace test;
using coraii::errc;

using strings = std::vector<std::string>;

namespace {

/// A connection that is opened and cleaned without waiting: for contexts that are run by hand.
coraii::async_scope<connection> instant(server& s) {
    connection c{++s.made};
    ++s.open;
    const coraii::exit_status why = co_yield c;
    s.note((why.can_await() ? "close " : "close at the end ") + std::to_string(c.id));
    ++s.cleaned;
    --s.open;
}

awaitable<void> for_ever() {
    asio::steady_timer timer{co_await asio::this_coro::executor, asio::steady_timer::time_point::max()};
    co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace

TEST_CASE("rule 7: close tells the waiters at once, waits for the leases, and cleans everything once", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 3}};
        {
            const auto idle = co_await pool.acquire();
            const auto other = co_await pool.acquire();
            beside lent{executor, [&] { return use(pool, 5s); }};
            beside longer{executor, [&] { return use(pool, 8s); }};
            co_await delay(20ms);
            REQUIRE(pool.stats().in_use == 3);
        }
        beside waits{executor, [&] { return use(pool, 8s); }};
        beside waits_too{executor, [&] { return use(pool, 0ms); }};
        co_await delay(1ms);
        const auto start = clock::now();
        clock::time_point told;
        beside last{executor, [&]() -> awaitable<void> {
                        try {
                            co_await use(pool, 9h);
                        } catch (const boost::system::system_error&) {
                            told = clock::now();
                            throw;
                        }
                    }};
        co_await delay(0ms);
        const std::size_t waiting = pool.stats().waiting;
        co_await pool.close();
        CHECK(waiting == 2);
        CHECK(last.code() == errc::pool_closed);
        CHECK(told == start);
        CHECK(clock::now() - start >= 4s);
        CHECK(clock::now() - start <= 8s + 20ms);
        CHECK(pool.stats().size == 0);
        CHECK(s.cleaned == s.made);
        CHECK(s.open == 0);
        beside after{executor, [&] { return use(pool, 0ms); }};
        co_await delay(0ms);
        CHECK(after.code() == errc::pool_closed);
        const auto again = clock::now();
        co_await pool.close();
        CHECK(clock::now() == again);
    });
}

TEST_CASE("rule 7: after the drain, close does not wait for leases; they are cleaned when they come", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s)};
        auto lease = co_await pool.acquire();
        co_await use(pool, 0ms);
        const auto start = clock::now();
        co_await pool.close(2s);
        CHECK(clock::now() - start == 2s);
        CHECK(s.log == strings{"close 2"});
        CHECK(lease->id == 1);
        lease.reset();
        co_await delay(5ms);
        CHECK(s.log == strings{"close 2", "close 1"});
        CHECK(pool.stats().size == 0);
    });
}

TEST_CASE("rule 7: close cancels an opening, and cleans what comes of it all the same", "[pool]") {
    server s;
    s.open_time = 1h;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s)};
        beside waits{executor, [&] { return use(pool, 0ms); }};
        co_await delay(1ms);
        const auto start = clock::now();
        co_await pool.close();
        CHECK(clock::now() == start);
        CHECK(waits.code() == errc::pool_closed);
        CHECK(s.open == 0);

        // One that does not listen.
        const auto deaf = [&]() -> coraii::async_scope<connection> {
            co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
            co_await delay(1min);
            connection c{++s.made};
            co_yield c;
            ++s.cleaned;
        };
        coraii::pool<connection> other{executor, deaf};
        beside gives_up{executor, [&] { return use(other, 0ms); }};
        co_await delay(1ms);
        co_await other.close(1s);
        CHECK(other.stats().opening == 1);
        co_await delay(1min);
        CHECK(other.stats().size == 0);
        CHECK(s.cleaned == 1);
    });
}

TEST_CASE("rule 7: a pool that is destroyed does not break its leases", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        std::optional<coraii::pool<connection>> pool;
        pool.emplace(executor, connects(s), coraii::pool_options{.max_size = 2});
        auto lease = co_await pool->acquire();
        auto tried = co_await pool->acquire();
        tried.reset();
        tried = pool->try_acquire();
        beside body{executor,
                    [&] { return use(*pool, 5ms, [&](connection& c) { s.note("use " + std::to_string(c.id)); }); }};
        co_await delay(1ms);
        pool.reset();
        co_await delay(0ms);
        CHECK(body.code() == errc::pool_closed);
        CHECK(lease->id == 1);
        CHECK(tried->id == 2);
        tried.reset();
        co_await delay(5ms);
        CHECK(s.log == strings{"close 2"});
        co_await lease.close();
        co_await delay(5ms);
        CHECK(s.log == strings{"close 2", "close 1"});
    });
    CHECK(s.open == 0);
}

TEST_CASE("close that is cancelled goes on without the one who waits", "[pool][cancel]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s)};
        auto lease = co_await pool.acquire();
        beside closes{executor, [&] { return pool.close(1h); }};
        co_await delay(1ms);
        closes.cancel();
        co_await delay(1ms);
        CHECK(closes.code() == asio::error::operation_aborted);
        lease.reset();
        co_await delay(5ms);
        CHECK(pool.stats().size == 0);
    });
}

TEST_CASE("an error of a resource's cleanup goes to on_cleanup_error, once", "[pool]") {
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        strings reported;
        coraii::on_cleanup_error(asio::query(executor, asio::execution::context),
                                 [&](const coraii::cleanup_failure& failure) {
                                     try {
                                         std::rethrow_exception(failure.error);
                                     } catch (const std::exception& e) {
                                         reported.push_back(std::string{failure.name} + ": " + e.what());
                                     }
                                 });
        const auto opens = []() -> coraii::async_scope<connection> {
            connection c{1};
            co_yield c;
            throw std::runtime_error("gone");
        };
        coraii::pool<connection> pool{executor, [&] { return opens().named("db"); }};
        co_await use(pool, 0ms);
        co_await pool.close();
        CHECK(reported == strings{"db: gone"});
        CHECK(pool.stats().size == 0);
    });
}

TEST_CASE("rule 6: given back by a body that dies with its context, and the pool's context lives", "[pool]") {
    server s;
    const bool resets = GENERATE(false, true);
    asio::io_context home;
    coraii::pool_hooks<connection> hooks;
    if (resets) {
        hooks.reset = [](connection&, coraii::exit_status) -> awaitable<bool> { co_return true; };
    }
    coraii::pool<connection> pool{home.get_executor(), [&] { return instant(s); }, {.max_size = 2}, hooks};
    {
        asio::io_context away;
        const auto body = [&]() -> awaitable<void> {
            auto guard = co_await pool.acquire();
            auto in_with = [&](connection&) -> awaitable<void> { co_await for_ever(); };
            co_await coraii::with(pool.acquire(), in_with);
        };
        const auto waiting = [&]() -> awaitable<void> { auto guard = co_await pool.acquire(); };
        asio::co_spawn(away, body, asio::detached);
        const auto work = asio::make_work_guard(home);
        for (int i = 0; i < 10; ++i) {
            away.poll();
            home.poll();
        }
        asio::co_spawn(away, waiting, asio::detached);
        away.poll();
        CHECK(pool.stats().in_use == 2);
        CHECK(pool.stats().waiting == 1);
    }
    home.poll();
    CHECK(pool.stats().in_use == 0);
    CHECK(pool.stats().waiting == 0);
    CHECK(pool.stats().idle == (resets ? 0U : 2U));  // a reset cannot be awaited there
    auto closed = [&]() -> awaitable<void> { co_await pool.close(); };
    asio::co_spawn(home, closed, asio::detached);
    home.restart();
    home.run();
    CHECK(s.cleaned == s.made);
}

TEST_CASE("the pool's context dies before the pool, with leases, waiters and idle resources", "[pool]") {
    server s;
    const bool strand = GENERATE(false, true);
    const bool pool_first = GENERATE(false, true);
    std::optional<coraii::pool<connection>> pool;
    coraii::guard<connection> guard;
    coraii::guard<connection> tried;
    {
        asio::io_context context;
        asio::any_io_executor executor = context.get_executor();
        if (strand) {
            executor = asio::make_strand(context);
        }
        pool.emplace(executor, [&] { return instant(s); }, coraii::pool_options{.max_size = 4, .acquire_timeout = 1h});
        const auto body = [&]() -> awaitable<void> {
            guard = co_await pool->acquire();
            auto another = co_await pool->acquire();
            auto idle = co_await pool->acquire();
            another.reset();
            tried = pool->try_acquire();
            idle.reset();
            auto in_with = [&](connection&) -> awaitable<void> { co_await for_ever(); };
            co_await coraii::with(pool->acquire(), in_with);
        };
        asio::co_spawn(executor, body, asio::detached);
        context.poll();
        asio::co_spawn(executor, body, asio::detached);
        asio::co_spawn(executor, body, asio::detached);
        context.poll();
        REQUIRE(pool->stats().waiting > 0);
        REQUIRE(s.open > 2);
        if (pool_first) {
            pool.reset();
        }
    }
    CHECK(s.open == 0);
    CHECK(s.cleaned == s.made);
}

TEST_CASE("rule 9: acquired on another context, the resource's own work stays on the pool's", "[pool]") {
    asio::io_context home;
    asio::io_context away;
    strings log;
    const auto where = [&](const std::string& what) {
        const bool at_home = home.get_executor().running_in_this_thread();
        log.push_back(what + (at_home ? " at home" : " away"));
    };
    const auto opens = [&]() -> coraii::async_scope<connection> {
        where("open");
        connection c{1};
        co_yield c;
        where("clean");
    };
    const coraii::pool_hooks<connection> hooks{.check = [&](connection&) -> awaitable<bool> {
                                                   where("check");
                                                   co_return true;
                                               },
                                               .reset = [&](connection&, coraii::exit_status) -> awaitable<bool> {
                                                   where("reset");
                                                   co_return true;
                                               }};
    coraii::pool<connection> pool{home.get_executor(), opens, {.check_after_idle = 0s}, hooks};
    const auto work = [&]() -> awaitable<void> {
        for (int i = 0; i < 2; ++i) {
            auto body = [&](connection&) -> awaitable<void> {
                where("use");
                co_return;
            };
            co_await coraii::with(pool.acquire(), body);
            where("back");
        }
        co_await pool.close();
        where("closed");
    };
    asio::co_spawn(away, work, asio::detached);
    for (int i = 0; i < 100; ++i) {
        away.restart();
        away.poll();
        home.restart();
        home.poll();
    }
    CHECK(log == strings{"open at home", "use away", "reset at home", "back away", "check at home", "use away",
                         "reset at home", "back away", "clean at home", "closed away"});
}
