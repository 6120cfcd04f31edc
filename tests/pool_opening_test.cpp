// SPDX-License-Identifier: BSL-1.0
#include "support/pool.hpp"

#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <string>
#include <vector>

using namespace test;
using coraii::errc;

using strings = std::vector<std::string>;

TEST_CASE("rule 3: never more than max_size, counted until a discarded one is really clean", "[pool]") {
    server s;
    s.close_time = 50ms;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 3, .max_opening = 2}};
        std::vector<std::unique_ptr<beside>> all;
        for (int i = 0; i < 30; ++i) {
            all.push_back(std::make_unique<beside>(executor, [&] {
                return use(pool, 1ms, [&](connection& c) {
                    if (c.id % 2 == 0) {
                        pool.discard(c);
                    }
                });
            }));
        }
        auto start = clock::now();
        while (pool.stats().waiting != 0 || clock::now() == start) {
            co_await delay(1ms);
            CHECK(pool.stats().size <= 3);
            CHECK(pool.stats().size == static_cast<std::size_t>(s.open));
        }
        auto a = co_await pool.acquire();
        auto b = co_await pool.acquire();
        auto c = co_await pool.acquire();
        pool.discard(a);
        start = clock::now();
        a.reset();
        const auto d = co_await pool.acquire();
        CHECK(clock::now() - start == s.close_time + s.open_time);
    });
    CHECK(s.most_open == 3);
    CHECK(s.most_opening == 2);
}

TEST_CASE("rule 5: opening that fails is repeated after a pause that doubles, while somebody waits", "[pool]") {
    server s;
    s.open_time = 1ms;
    s.fail = 1000;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{
            executor, connects(s), {.max_size = 1, .open_backoff = 100ms, .open_backoff_max = 400ms}};
        beside waits{executor, [&] { return use(pool, 0ms); }};
        std::vector<clock::time_point> failed;
        for (int left = s.fail; failed.size() < 7; co_await delay(1ms)) {
            if (s.fail != left) {
                left = s.fail;
                failed.push_back(clock::now());
            }
        }
        clock::duration full = 100ms;
        for (std::size_t i = 1; i < failed.size(); ++i) {
            CHECK(failed[i] - failed[i - 1] >= full / 2);
            CHECK(failed[i] - failed[i - 1] <= full + 3ms);
            full = std::min<clock::duration>(full * 2, 400ms);
        }
        co_await delay(1min);
        CHECK(waits.code() == errc::pool_timeout);
        CHECK(
            waits.what().starts_with("0 in use, 0 opening, 0 idle, 1 waiting of max 1; last opening error: "
                                     "no answer from the server: "));
        const int left = s.fail;
        co_await delay(1h);
        CHECK(s.fail == left);  // nobody waits
        s.fail = 1;
        co_await use(pool, 0ms);
        CHECK(pool.stats().idle == 1);
        CHECK(pool.stats().opened == 1);
        CHECK(pool.stats().open_failures > 8);
    });
}

TEST_CASE("rule 2: a factory that throws, or gives a scope that was used, is an opening that fails", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        int calls = 0;
        const auto factory = [&]() -> coraii::async_scope<connection> {
            if (++calls == 1) {
                throw std::runtime_error("no factory today");
            }
            auto scope = connect(s);
            if (calls == 2) {
                const auto used = std::move(scope);
            }
            return scope;
        };
        coraii::pool<connection> pool{co_await asio::this_coro::executor, factory};
        co_await use(pool, 0ms);
        CHECK(pool.stats().open_failures == 2);
    });
    CHECK(s.made == 1);
}

TEST_CASE("warm_up opens min_size, no more than max_opening at a time, or fails with what opening threw", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.min_size = 4, .max_opening = 2}};
        const auto start = clock::now();
        co_await pool.warm_up();
        CHECK(clock::now() - start == 2 * s.open_time);
        CHECK(pool.stats().idle == 4);
        co_await pool.warm_up();
        co_await pool.close();
        beside closed{executor, [&] { return pool.warm_up(); }};
        co_await delay(0ms);
        CHECK(closed.code() == errc::pool_closed);

        s.fail = 1;
        coraii::pool<connection> failing{executor, connects(s), {.min_size = 1, .open_timeout = 2h}};
        beside fails{executor, [&] { return failing.warm_up(); }};
        co_await delay(20ms);
        CHECK(fails.what() == "no answer from the server");
        co_await delay(1s);
        CHECK(failing.stats().size == 0);
        s.open_time = 1h;
        beside late{executor, [&] { return failing.warm_up(); }};
        co_await delay(31s);
        CHECK(late.code() == errc::pool_timeout);
        co_await failing.close();
    });
    CHECK(s.most_opening == 2);
    CHECK(s.open == 0);
}

TEST_CASE("what is idle for idle_timeout is closed, down to min_size", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.min_size = 1, .idle_timeout = 1min, .max_lifetime = 0s}};
        {
            const auto a = co_await pool.acquire();
            const auto b = co_await pool.acquire();
            const auto c = co_await pool.acquire();
        }
        CHECK(pool.stats().idle == 3);
        co_await delay(30s);
        co_await use(pool, 0ms);  // keeps the one used last
        co_await delay(31s);
        CHECK(pool.stats().idle == 1);
        co_await delay(1h);
        CHECK(pool.stats().idle == 1);
        CHECK(s.cleaned == 2);
        co_await pool.close();
    });
}

TEST_CASE("run() returns when idle_timeout has closed all: looking after them keeps nothing going", "[pool]") {
    server s;
    std::unique_ptr<coraii::pool<connection>> pool;
    clock::time_point left;
    clock::time_point closed;
    const auto check = [&](connection&, coraii::exit_status) -> awaitable<bool> { co_return true; };
    coraii::testing::run([&]() -> awaitable<void> {
        // Times at which nothing is due any more must not be waited for, so they are long.
        pool = std::make_unique<coraii::pool<connection>>(
            co_await asio::this_coro::executor, connects(s),
            coraii::pool_options{.acquire_timeout = 1h, .idle_timeout = 1min, .max_lifetime = 1h, .leak_warning = 1h},
            coraii::pool_hooks<connection>{.reset = check});
        co_await use(*pool, 0ms);
        left = clock::now();
        s.at_close = [&] { closed = clock::now(); };
    });  // fails if the run does not end
    CHECK(s.cleaned == 1);
    CHECK(closed - left == 1min + s.close_time);
    pool.reset();  // after its context
}

TEST_CASE("what is older than max_lifetime is closed when it is idle, and min_size is kept", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{
            executor, connects(s), {.min_size = 2, .idle_timeout = 0s, .max_lifetime = 1min, .lifetime_jitter = 0.5}};
        co_await pool.warm_up();
        auto lease = co_await pool.acquire();
        co_await delay(29s);
        CHECK(s.cleaned == 0);
        co_await delay(32s);
        CHECK(s.cleaned == 1);
        CHECK(pool.stats().size == 2);  // another took its place
        CHECK(lease->id == 2);          // lent, it lives on
        lease.reset();
        co_await delay(5ms);
        CHECK(s.cleaned == 2);
        co_await delay(20ms);
        CHECK(pool.stats().idle == 2);
        co_await delay(10min);
        CHECK(s.cleaned > 10);
        CHECK(s.most_open <= 4);
        co_await pool.close();
    });
}

TEST_CASE("a hook that does not listen to its cancel holds up nobody, and its late answer does not count", "[pool]") {
    server s;
    const auto deaf = [](connection&) -> awaitable<bool> {
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        co_await delay(10s);
        co_return true;
    };
    const auto reset = [&](connection& c, coraii::exit_status) { return deaf(c); };
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        {
            coraii::pool<connection> pool{
                executor, connects(s), {.max_size = 2, .check_timeout = 50ms, .check_after_idle = 1s}, {.check = deaf}};
            co_await use(pool, 0ms);
            co_await delay(1s);
            beside late{executor, [&]() -> awaitable<void> { const auto lease = co_await pool.acquire(50ms); }};
            co_await delay(51ms);
            CHECK(late.code() == errc::pool_timeout);
            auto start = clock::now();
            const auto lease = co_await pool.acquire(1s);
            CHECK(clock::now() - start == s.open_time);
            CHECK(lease->id == 2);
            co_await delay(10s);
            CHECK(s.log == strings{"abort 1"});
        }
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 2, .reset_timeout = 1s}, {.reset = reset}};
        auto lease = co_await pool.acquire();
        const auto start = clock::now();
        co_await lease.close();
        CHECK(clock::now() - start == 1s);
        CHECK(pool.stats().in_use == 1);  // the hook has it still
        co_await delay(10s);
        CHECK(pool.stats().size == 0);
        CHECK(pool.stats().discarded == 1);
    });
}

TEST_CASE("resize: what is too much is cleaned when it is idle, and what is missing is opened", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 4}};
        auto a = co_await pool.acquire();
        auto b = co_await pool.acquire();
        auto c = co_await pool.acquire();
        c.reset();
        pool.resize(1);
        co_await delay(5ms);
        CHECK(pool.stats().size == 2);
        a.reset();
        co_await delay(5ms);
        CHECK(pool.stats().size == 1);
        beside waits{executor, [&] { return use(pool, 0ms); }};
        co_await delay(50ms);
        CHECK(!waits.ended());
        pool.resize(2);
        co_await delay(50ms);
        CHECK(waits.ended());
        CHECK(pool.stats().size == 2);
    });
}

TEST_CASE("An opening whose error is not to be retried: whoever waits has it at once, and is told no more", "[pool]") {
    server s;
    s.open_time = 1ms;
    s.fail = 2;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        int asked = 0;
        coraii::pool_hooks<connection> hooks;
        hooks.retry_opening = [&](std::exception_ptr error) {
            CHECK(error);
            return ++asked == 1;
        };
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1, .open_backoff = 10ms}, hooks};
        const beside first{executor, [&] { return use(pool, 0ms); }};
        const beside second{executor, [&] { return use(pool, 0ms); }};
        co_await delay(1s);
        CHECK(asked == 2);  // the first opening was repeated
        CHECK(first.what() == "no answer from the server");
        CHECK(second.what() == "no answer from the server");
        CHECK(pool.stats().waiting == 0);
        CHECK(pool.stats().open_failures == 2);
        co_await use(pool, 0ms);  // the next one tries anew
        co_await pool.close();
    });
}

TEST_CASE("A retry_opening hook that throws says yes", "[pool]") {
    server s;
    s.fail = 2;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool_hooks<connection> hooks;
        hooks.retry_opening = [](std::exception_ptr) -> bool { throw 7; };
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 1}, hooks};
        co_await use(pool, 0ms);
        CHECK(pool.stats().open_failures == 2);
        co_await pool.close();
    });
}

TEST_CASE("A resource that is being reset is waited for, instead of opening another", "[pool]") {
    server s;
    run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::pool_hooks<connection> hooks;
        bool good = true;
        hooks.reset = [&](connection&, coraii::exit_status) -> awaitable<bool> {
            co_await delay(20ms);
            co_return good;
        };
        coraii::pool<connection> pool{executor, connects(s), {.max_size = 5}, hooks};
        auto lease = co_await pool.acquire();
        lease.reset();
        lease = co_await pool.acquire();
        CHECK(lease->id == 1);
        good = false;
        lease.reset();
        lease = co_await pool.acquire();  // it was no good: now another is opened
        CHECK(lease->id == 2);
        lease.reset();
        co_await pool.close();
    });
}
