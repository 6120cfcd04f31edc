// SPDX-License-Identifier: BSL-1.0
#include "support/pool.hpp"

#include "coraii/joined.hpp"
#include "coraii/scopes.hpp"

#include <boost/asio/post.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace test;
using coraii::errc;

namespace {

using strings = std::vector<std::string>;

template <class F>
boost::system::error_code code_of(F f) {
    try {
        f();
    } catch (const boost::system::system_error& e) { return e.code(); }
    return {};
}

}  // namespace

TEST_CASE("a pool refuses options that make no sense", "[pool]") {
    asio::io_context context;
    server s;
    const auto make = [&](const coraii::pool_options& options) {
        coraii::pool<connection>{context.get_executor(), connects(s), options};
    };
    CHECK_NOTHROW(make({}));
    CHECK_THROWS_AS(make({.max_size = 0}), std::invalid_argument);
    CHECK_THROWS_AS(make({.min_size = 3, .max_size = 2}), std::invalid_argument);
    CHECK_THROWS_AS(make({.max_opening = 0}), std::invalid_argument);
    CHECK_THROWS_AS(make({.acquire_timeout = -1ms}), std::invalid_argument);
    CHECK_THROWS_AS(make({.reset_timeout = 0ms}), std::invalid_argument);
    CHECK_THROWS_AS(make({.idle_timeout = -1ms}), std::invalid_argument);
    CHECK_THROWS_AS(make({.max_lifetime = -1ms}), std::invalid_argument);
    CHECK_THROWS_AS(make({.check_after_idle = -1ms}), std::invalid_argument);
    CHECK_THROWS_AS(make({.lifetime_jitter = 1}), std::invalid_argument);
    CHECK_THROWS_AS(make({.lifetime_jitter = -0.1}), std::invalid_argument);
    CHECK_THROWS_AS(make({.open_backoff = 0ms}), std::invalid_argument);
    CHECK_THROWS_AS(make({.open_backoff = 2s, .open_backoff_max = 1s}), std::invalid_argument);
    CHECK_THROWS_AS(make({.leak_warning = -1ms}), std::invalid_argument);
    CHECK_THROWS_AS((coraii::pool<connection>{context.get_executor(), nullptr}), std::invalid_argument);
    coraii::pool<connection> pool{context.get_executor(), connects(s)};
    CHECK_THROWS_AS(pool.acquire(-1ms), std::invalid_argument);
    CHECK_THROWS_AS(pool.close(-1ms), std::invalid_argument);
    CHECK_THROWS_AS(pool.resize(0), std::invalid_argument);
    CHECK_THROWS_AS(coraii::open_pool(context.get_executor(), connects(s), {.max_size = 0}), std::invalid_argument);
}

TEST_CASE("a lease is a scope, of with and of guards, and is given back", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s)};
        co_await use(pool, 1ms, [&](connection& c) { s.note("use " + std::to_string(c.id)); });
        {
            const auto guard = co_await pool.acquire(200ms);
            s.note("guard " + std::to_string(guard->id));
            CHECK(pool.stats().in_use == 1);
        }
        auto guard = co_await pool.acquire();
        s.note("guard " + std::to_string(guard->id));
        co_await guard.close();
        CHECK(pool.stats().in_use == 0);
        CHECK(pool.stats().idle == 1);
        CHECK(pool.stats().acquired == 3);
        co_await pool.close();
        CHECK(pool.stats().size == 0);
        CHECK(pool.stats().opened == 1);
        CHECK(pool.stats().closed == 1);
    });
    CHECK(s.log == strings{"use 1", "guard 1", "guard 1", "close 1"});
}

TEST_CASE("rule 4: the one used last is lent first, or with fifo the one that is idle for longest", "[pool]") {
    server s;
    for (const coraii::pool_order order : {coraii::pool_order::lifo, coraii::pool_order::fifo}) {
        run([&]() -> awaitable<void> {
            s.made = 0;
            coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s), {.reuse = order}};
            auto a = co_await pool.acquire();
            auto b = co_await pool.acquire();
            co_await a.close();
            co_await b.close();
            const auto next = co_await pool.acquire();
            CHECK(next->id == (order == coraii::pool_order::lifo ? 2 : 1));
        });
    }
}

TEST_CASE("try_acquire gives an idle resource, or an empty guard", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s), {.max_size = 1}};
        CHECK(!pool.try_acquire());
        co_await use(pool, 0ms);
        auto lease = pool.try_acquire();
        REQUIRE(lease);
        CHECK(lease->id == 1);
        CHECK(pool.stats().in_use == 1);
        CHECK(!pool.try_acquire());
        lease.reset();
        CHECK(pool.stats().idle == 1);  // it is given back before reset returns
        lease = pool.try_acquire();
        co_await lease.close();
        CHECK(pool.stats().idle == 1);
        co_await pool.close();
        CHECK(!pool.try_acquire());
    });
    CHECK(s.cleaned == 1);
}

TEST_CASE("try_acquire does not overtake those who wait", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}};
        auto first = co_await pool.acquire();
        beside waits{executor, [&] { return use(pool, 1ms); }};
        co_await delay(1ms);
        CHECK(pool.stats().waiting == 1);
        first.reset();
        CHECK(!pool.try_acquire());
        co_await delay(5ms);
        CHECK(waits.what() == "ok");
    });
}

TEST_CASE("discard: the resource is cleaned instead of given back", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s), {.max_size = 2}};
        {
            auto a = co_await pool.acquire();
            pool.discard(a);
            pool.discard(a);
            CHECK(a->id == 1);
        }
        auto body = [&](connection& c) -> awaitable<void> {
            pool.discard(c);
            co_return;
        };
        co_await coraii::with(pool.acquire(), body);
        co_await use(pool, 0ms);
        auto tried = pool.try_acquire();
        CHECK(tried->id == 3);
        pool.discard(tried);
        co_await tried.close();
        co_await delay(5ms);
        CHECK(pool.stats().discarded == 3);
        CHECK(pool.stats().size == 0);

        coraii::guard<connection> empty;
        CHECK(code_of([&] { pool.discard(empty); }) == errc::empty_guard);
        auto foreign = co_await connect(s);
        CHECK_THROWS_AS(pool.discard(foreign), std::invalid_argument);
    });
    CHECK(s.log == strings{"abort 1", "abort 2", "abort 3", "abort 4"});  // the last was dropped
}

TEST_CASE("release takes the resource out of the pool, and nothing cleans it", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s), {.max_size = 1}};
        auto lease = co_await pool.acquire();
        const connection mine = lease.release();
        CHECK(mine.id == 1);
        auto next = co_await pool.acquire();  // there is room for another
        CHECK(next->id == 2);
        co_await next.close();
        auto tried = pool.try_acquire();
        CHECK(tried.release().id == 2);
        co_await delay(5ms);
        CHECK(pool.stats().size == 0);
    });
    CHECK(s.cleaned == 0);
    CHECK(s.open == 0);
}

TEST_CASE("rule 6: given back by a body that throws, by a cancel, by a dropped guard", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}};
        beside throws{executor, [&] { return use(pool, 0ms, [](connection&) { throw std::runtime_error("body"); }); }};
        co_await delay(20ms);
        CHECK(throws.what() == "body");
        CHECK(pool.stats().in_use == 0);
        beside cancelled{executor, [&] { return use(pool, 1h); }};
        co_await delay(1ms);
        CHECK(pool.stats().in_use == 1);
        cancelled.cancel();
        co_await delay(1ms);
        CHECK(cancelled.code() == asio::error::operation_aborted);
        CHECK(pool.stats().in_use == 0);
        auto guard = co_await pool.acquire();
        guard = {};
        CHECK(pool.stats().in_use == 0);
        CHECK(pool.stats().idle == 1);
    });
    CHECK(s.made == 1);
    CHECK(s.cleaned == 1);
}

TEST_CASE("rule 6: the reset is awaited, shielded, and told how the use ended", "[pool]") {
    server s;
    const auto reset = [&](connection&, coraii::exit_status why) -> awaitable<bool> {
        s.note(why.ok() ? "reset ok" : "reset not ok");
        co_await delay(10ms);
        s.note("reset ended");
        co_return true;
    };
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}, {.reset = reset}};
        co_await use(pool, 0ms);
        s.note("with returned");
        beside cancelled{executor, [&] { return use(pool, 5ms); }};
        co_await delay(10ms);  // in the reset
        cancelled.cancel();
        co_await delay(1ms);
        CHECK(!cancelled.ended());
        co_await delay(10ms);
        CHECK(cancelled.ended());
        auto tried = pool.try_acquire();
        REQUIRE(tried);
        tried.reset();  // dropped
        CHECK(pool.stats().in_use == 1);  // it is being reset
        co_await delay(11ms);
        CHECK(pool.stats().idle == 1);
        tried = pool.try_acquire();
        co_await tried.close();
        CHECK(pool.stats().idle == 1);
    });
    CHECK(s.log == strings{"reset ok", "reset ended", "with returned", "reset ok", "reset ended", "reset not ok",
                           "reset ended", "reset ok", "reset ended", "close 1"});
}

TEST_CASE("rule 6: a reset that says no, throws, or does not end in time discards the resource", "[pool]") {
    server s;
    std::optional<bool> answer;
    const auto reset = [&](connection&, coraii::exit_status) -> awaitable<bool> {
        if (s.made == 3) {
            co_await delay(1h);
        }
        co_return answer.value();
    };
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.reset_timeout = 1s}, {.reset = reset}};
        answer = false;
        co_await use(pool, 0ms);
        answer.reset();  // throws
        co_await use(pool, 0ms);
        const auto start = clock::now();
        co_await use(pool, 0ms);
        CHECK(clock::now() - start == 1s + s.open_time);
        co_await delay(5ms);
        CHECK(pool.stats().size == 0);
        CHECK(pool.stats().discarded == 3);
    });
    CHECK(s.log == strings{"abort 1", "abort 2", "abort 3"});
}

TEST_CASE("what was idle for check_after_idle is checked before it is lent", "[pool]") {
    server s;
    bool good = true;
    const auto check = [&](connection& c) -> awaitable<bool> {
        s.note("check " + std::to_string(c.id));
        co_await delay(2ms);
        co_return good;
    };
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.check_after_idle = 1s}, {.check = check}};
        co_await use(pool, 0ms);
        co_await use(pool, 0ms);
        CHECK(s.log.empty());
        co_await delay(1s);
        co_await use(pool, 0ms, [&](connection& c) { s.note("use " + std::to_string(c.id)); });
        co_await delay(1s);
        CHECK(!pool.try_acquire());  // but it begins the check
        co_await delay(3ms);
        CHECK(pool.try_acquire());
        co_await delay(1s);
        good = false;
        co_await use(pool, 0ms, [&](connection& c) { s.note("use " + std::to_string(c.id)); });
        co_await delay(5ms);
    });
    CHECK(s.log == strings{"check 1", "use 1", "check 1", "check 1", "abort 1", "use 2", "close 2"});
}

TEST_CASE("leak_warning reports a lease once, with the place of its acquire", "[pool]") {
    server s;
    std::vector<unsigned> lines;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::on_cleanup_error(
            asio::query(executor, asio::execution::context), [&](const coraii::cleanup_failure& failure) {
                CHECK(failure.name == "pool lease");
                CHECK(code_of([&] { std::rethrow_exception(failure.error); }) == errc::lease_overdue);
                lines.push_back(failure.where.line());
            });
        coraii::pool<connection> pool{executor, connects(s), {.leak_warning = 1min}};
        const auto lease = co_await pool.acquire();
        const unsigned line = __LINE__ - 1;
        co_await use(pool, 59s);
        co_await delay(1h);
        CHECK(lines == std::vector<unsigned>{line});
    });
}

TEST_CASE("rule 10: on an idle resource no allocation, no suspension, no hop", "[pool][alloc]") {
    server s;
    const bool slot = GENERATE(false, true);
    const auto cycles = [&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s)};
        const auto body = [](connection&) -> awaitable<void> { co_return; };
        int leased = 0;
        bool others_ran = false;
        long before = 0;
        co_await use(pool, 0ms);
        for (int i = 0; i < 110; ++i) {
            if (i == 10) {
                asio::post(executor, [&] { others_ran = true; });
            } else if (i == 20) {  // that has taken a block that Asio had kept
                before = coraii::testing::allocations::made();
            }
            co_await coraii::with(pool.acquire(), body);
            auto lease = pool.try_acquire();
            leased += lease ? 1 : 0;
        }
        const long made = coraii::testing::allocations::made() - before;
        CHECK(leased == 110);
        CHECK(!others_ran);
        if (recycling) {
            CHECK(made == 0);
        }
        co_await pool.close();
    };
    coraii::testing::run(cycles, {.slot = slot});
}

TEST_CASE("open_pool is the pool as a scope: warmed up, then closed", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        auto body = [&](coraii::pool<connection>& pool) -> awaitable<void> {
            CHECK(pool.stats().idle == 2);
            co_await use(pool, 1ms);
        };
        co_await coraii::with(coraii::open_pool(executor, connects(s), {.min_size = 2}), body);
        CHECK(s.cleaned == 2);
        s.fail = 1;
        beside fails{executor, [&]() -> awaitable<void> {
                         co_await coraii::with(coraii::open_pool<connection>(executor, connects(s), {.min_size = 2}),
                                               body);
                     }};
        co_await delay(1s);
        CHECK(fails.what() == "no answer from the server");
        CHECK(s.open == 0);
    });
}

TEST_CASE("what is discarded is not reset, and its cleanup is the pool's matter, in a region, too", "[pool]") {
    int resets = 0;
    std::vector<std::string> reported;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::on_cleanup_error(asio::query(executor, asio::execution::context),
                                 [&](const coraii::cleanup_failure& f) { reported.emplace_back(f.name); });
        const auto part = []() -> coraii::async_scope<int> {
            int n = 0;
            co_yield n;
            co_await delay(10s);
            throw std::runtime_error("the part");
        };
        const auto whole = [&]() -> coraii::async_scope<int> {
            auto own = co_await part().named("part");
            int n = 0;
            co_yield n;
            own.reset();
        };
        const auto reset = [&](int&, coraii::exit_status) -> awaitable<bool> {
            ++resets;
            co_return true;
        };
        coraii::pool<int> pool{executor, whole, {}, {.reset = reset}};
        const auto start = clock::now();
        co_await coraii::joined([&]() -> awaitable<void> {
            auto lease = co_await pool.acquire();
            pool.discard(lease);
        });
        CHECK(clock::now() == start);
        co_await pool.close();
        co_await delay(20s);
    });
    CHECK(resets == 0);
    CHECK(reported == std::vector<std::string>{"part"});
}
