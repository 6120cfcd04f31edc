// SPDX-License-Identifier: BSL-1.0
#include "support/pool.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <memory>
#include <string>
#include <vector>

using namespace test;
using coraii::errc;

namespace {

using strings = std::vector<std::string>;

std::string number(int n) {
    return std::to_string(n);
}

}  // namespace

TEST_CASE("rule 1: a waiter served and cancelled in the same instant passes it on", "[pool][cancel]") {
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}};
        auto first = co_await pool.acquire();
        const auto waits = [&]() -> awaitable<void> {
            // All types pass the coroutine's own filter.
            co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
            co_await use(pool, 1ms);
        };
        beside served{executor, waits};
        beside next{executor, waits};
        co_await delay(1ms);
        REQUIRE(pool.stats().waiting == 2);
        first.reset();
        CHECK(pool.stats().waiting == 1);
        served.cancel(type);  // it has the lease, but has not been resumed
        CHECK(pool.stats().waiting == 0);
        CHECK(pool.stats().in_use == 1);
        co_await delay(2ms);
        CHECK(served.code() == asio::error::operation_aborted);
        CHECK(next.what() == "ok");
        CHECK(pool.stats().idle == 1);
        CHECK(pool.stats().cancelled == 1);
    });
    CHECK(s.made == 1);
}

TEST_CASE("rule 1: cancelled one after another, and the last is served", "[pool][cancel]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}};
        auto first = co_await pool.acquire();
        std::vector<std::unique_ptr<beside>> all;
        for (int i = 0; i < 10; ++i) {
            all.push_back(std::make_unique<beside>(executor, [&] { return use(pool, 1ms); }));
        }
        co_await delay(1ms);
        first.reset();
        for (int i = 0; i < 9; ++i) {
            all[static_cast<std::size_t>(i)]->cancel();
        }
        co_await delay(2ms);
        CHECK(all.back()->what() == "ok");
        CHECK(pool.stats().idle == 1);
        CHECK(pool.stats().cancelled == 9);
    });
}

TEST_CASE("rule 2: a waiter that gives up leaves the opening going, and it serves the next", "[pool][cancel]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}};
        beside cancelled{executor, [&] { return use(pool, 1ms); }};
        co_await delay(4ms);
        cancelled.cancel();
        co_await delay(0ms);
        CHECK(cancelled.ended());
        CHECK(pool.stats().opening == 1);
        const auto start = clock::now();
        co_await use(pool, 0ms);
        CHECK(clock::now() - start == 6ms);
        CHECK(s.made == 1);
    });
}

TEST_CASE("rule 2: what nobody waits for any more is idle", "[pool][cancel]") {
    server s;
    run([&]() -> awaitable<void> {
        coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s)};
        boost::system::error_code code;
        try {
            const auto lease = co_await pool.acquire(5ms);
        } catch (const boost::system::system_error& e) { code = e.code(); }
        CHECK(code == errc::pool_timeout);
        co_await delay(6ms);
        CHECK(pool.stats().idle == 1);
        CHECK(pool.try_acquire());
    });
}

TEST_CASE("rule 4: waiters are served in the order of coming", "[pool]") {
    server s;
    strings order;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 2}};
        std::vector<std::unique_ptr<beside>> all;
        for (int i = 0; i < 8; ++i) {
            all.push_back(std::make_unique<beside>(executor, [&, i]() {
                return use(pool, i % 2 == 0 ? 3ms : 1ms, [&order, i](connection&) { order.push_back(number(i)); });
            }));
        }
        co_await delay(1s);
        // One that comes when there is a resource on its way to another does not get that.
        auto a = co_await pool.acquire();
        auto b = co_await pool.acquire();
        beside waits{executor, [&] { return use(pool, 1ms, [&](connection&) { order.push_back("first"); }); }};
        co_await delay(1ms);
        a.reset();
        co_await use(pool, 1ms, [&](connection&) { order.push_back("second"); });
        b.reset();
    });
    CHECK(order == strings{"0", "1", "2", "3", "4", "5", "6", "7", "first", "second"});
}

TEST_CASE("rule 5: one deadline for waiting, opening and checking; its error tells the counts", "[pool]") {
    server s;
    s.open_time = 1h;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        const auto check = [](connection&) -> awaitable<bool> {
            co_await delay(1h);
            co_return true;
        };
        coraii::pool<connection> pool{executor,
                                      connects(s),
                                      {.max_size = 2,
                                       .open_timeout = 3h,
                                       .check_timeout = 50ms,
                                       .idle_timeout = 0s,
                                       .max_lifetime = 0s,
                                       .check_after_idle = 1s},
                                      {.check = check}};
        beside opening{executor, [&]() -> awaitable<void> { const auto lease = co_await pool.acquire(50ms); }};
        beside other{executor, [&]() -> awaitable<void> { const auto lease = co_await pool.acquire(70ms); }};
        co_await delay(60ms);
        CHECK(opening.code() == errc::pool_timeout);
        CHECK(opening.what().starts_with("0 in use, 2 opening, 0 idle, 2 waiting of max 2: "));
        co_await delay(20ms);
        CHECK(other.what().starts_with("0 in use, 2 opening, 0 idle, 1 waiting of max 2: "));
        co_await delay(2h);
        CHECK(pool.stats().idle == 2);

        beside checking{executor, [&]() -> awaitable<void> { const auto lease = co_await pool.acquire(50ms); }};
        co_await delay(49ms);
        CHECK(!checking.ended());
        co_await delay(2ms);
        CHECK(checking.code() == errc::pool_timeout);
        co_await delay(2ms);
        CHECK(pool.stats().discarded == 1);  // it had the time there was
        CHECK(pool.stats().timeouts == 3);
    });
}

TEST_CASE("rule 5: an acquire of no time takes what is idle", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        coraii::pool<connection> pool{co_await asio::this_coro::executor, connects(s)};
        boost::system::error_code code;
        try {
            const auto lease = co_await pool.acquire(0ms);
        } catch (const boost::system::system_error& e) { code = e.code(); }
        CHECK(code == errc::pool_timeout);
        co_await delay(20ms);
        const auto lease = co_await pool.acquire(0ms);
        CHECK(lease);
        const auto for_ever = co_await pool.acquire(clock::duration::max());
        CHECK(for_ever);
    });
}

TEST_CASE("more than max_waiting fail at once", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1, .max_waiting = 1}};
        const auto first = co_await pool.acquire();
        beside waits{executor, [&] { return use(pool, 0ms); }};
        co_await delay(1ms);
        beside refused{executor, [&] { return use(pool, 0ms); }};
        co_await delay(0ms);
        CHECK(refused.code() == errc::pool_exhausted);
        CHECK(!waits.ended());
        waits.cancel();
    });
}

TEST_CASE("rule 8: a spike opens at most max_opening more than it needs", "[pool]") {
    server s;
    s.open_time = 150ms;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.min_size = 5, .max_size = 50, .max_opening = 2}};
        co_await pool.warm_up();
        REQUIRE(s.made == 5);
        const auto start = clock::now();
        clock::time_point last;
        std::vector<std::unique_ptr<beside>> all;
        for (int i = 0; i < 50; ++i) {
            all.push_back(std::make_unique<beside>(executor, [&]() -> awaitable<void> {
                co_await use(pool, 2ms);
                last = clock::now();
            }));
        }
        co_await delay(30ms);
        for (const auto& each : all) {
            CHECK(each->what() == "ok");
        }
        CHECK(last - start == 20ms);  // ten rounds of five
        CHECK(pool.stats().opening == 2);
        CHECK(pool.stats().wait_time == 5 * (2ms + 4ms + 6ms + 8ms + 10ms + 12ms + 14ms + 16ms + 18ms));
        co_await delay(1s);
        CHECK(s.made == 7);
        CHECK(s.most_opening == 2);
        CHECK(pool.stats().idle == 7);
    });
}

TEST_CASE("a waiter's cancel does not touch the others, or the pool", "[pool][cancel]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}};
        auto first = co_await pool.acquire();
        beside a{executor, [&] { return use(pool, 1ms); }};
        beside b{executor, [&] { return use(pool, 1ms); }};
        beside c{executor, [&] { return use(pool, 1ms); }};
        co_await delay(1ms);
        b.cancel();
        co_await delay(1ms);
        CHECK(b.code() == asio::error::operation_aborted);
        CHECK(pool.stats().waiting == 2);
        first.reset();
        co_await delay(3ms);
        CHECK(a.what() == "ok");
        CHECK(c.what() == "ok");
        CHECK(pool.stats().idle == 1);
    });
}
