// SPDX-License-Identifier: BSL-1.0
// Every way in which opening, checking, resetting and cleaning may go, under a storm of cancels, in virtual time.
#include "coraii/scopes.hpp"
#include "support/pool.hpp"

#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

using namespace test;

namespace {

enum class way { ok, error, slow, never };
constexpr way ways[] = {way::ok, way::error, way::slow, way::never};

/// A quarter of the time it goes wrong, if it does.
awaitable<void> go(way w, std::minstd_rand& random) {
    const bool wrong = random() % 4 == 0;
    co_await delay(wrong && w == way::slow ? 3s : 1ms);
    if (wrong && w == way::error) {
        throw std::runtime_error("it went wrong");
    }
    if (wrong && w == way::never) {
        co_await delay(24h * 365);  // until it is cancelled
    }
}

struct counts {
    int opened = 0;
    int cleaned = 0;
    int used_at_once = 0;
};

struct resource {
    explicit resource(counts& c) : all{c} { ++all.opened; }
    resource(const resource&) = delete;
    resource& operator=(const resource&) = delete;
    ~resource() { ++all.cleaned; }
    counts& all;
    bool in_use = false;
};

struct table {
    way open, check, reset, cleanup;
};

coraii::async_scope<resource> open(table t, std::minstd_rand& random, counts& all) {
    co_await go(t.open, random);
    resource r{all};
    co_yield r;
    co_await go(t.cleanup, random);
}

awaitable<void> storm(table t, unsigned seed, counts& all) {
    const auto executor = co_await asio::this_coro::executor;
    coraii::on_cleanup_error(asio::query(executor, asio::execution::context), [](const coraii::cleanup_failure&) {});
    std::minstd_rand random{seed};
    const coraii::pool_hooks<resource> hooks{.check = [&](resource&) -> awaitable<bool> {
                                                 co_await go(t.check, random);
                                                 co_return true;
                                             },
                                             .reset = [&](resource&, coraii::exit_status) -> awaitable<bool> {
                                                 co_await go(t.reset, random);
                                                 co_return true;
                                             }};
    coraii::pool<resource> pool{executor,
                                [&] { return open(t, random, all).cleanup_timeout(1s); },
                                {.max_size = 3,
                                 .acquire_timeout = 2s,
                                 .reset_timeout = 1s,
                                 .check_after_idle = 2ms,
                                 .open_backoff = 5ms,
                                 .open_backoff_max = 50ms},
                                hooks};
    const auto user = [&]() -> awaitable<void> {
        for (int i = 0; i < 4; ++i) {
            const auto body = [&](resource& r) -> awaitable<void> {
                if (r.in_use) {
                    ++all.used_at_once;
                }
                struct used {
                    bool& flag;
                    explicit used(bool& f) : flag{f} { flag = true; }
                    ~used() { flag = false; }
                };
                const used now{r.in_use};
                co_await delay(std::chrono::milliseconds{random() % 5});
                if (random() % 8 == 0) {
                    throw std::runtime_error("the use went wrong");
                }
                if (random() % 8 == 0) {
                    pool.discard(r);
                }
            };
            try {
                co_await coraii::with(pool.acquire(), body);
            } catch (const std::exception&) {  // a cancel is thrown again, at the next wait
            }
            co_await delay(std::chrono::milliseconds{random() % 5});
        }
    };
    std::vector<std::unique_ptr<beside>> users;
    for (int i = 0; i < 8; ++i) {
        users.push_back(std::make_unique<beside>(executor, user));
    }
    for (int i = 0; i < 6; ++i) {
        co_await delay(std::chrono::milliseconds{random() % 10});
        users[random() % users.size()]->cancel();
        const auto now = pool.stats();
        if (now.size > 3 || now.opening > 2) {
            throw std::logic_error("too many");
        }
    }
    co_await delay(1h);
    for (const auto& each : users) {
        if (!each->ended()) {
            throw std::logic_error("one waits for ever");
        }
    }
    const auto now = pool.stats();
    if (now.in_use != 0 || now.waiting != 0) {
        throw std::logic_error("in use at the end: " + std::to_string(now.in_use) + ", waiting " +
                               std::to_string(now.waiting));
    }
    co_await pool.close();
    if (pool.stats().size != 0) {
        throw std::logic_error("not all are closed");
    }
    if (const auto end = pool.stats(); end.opened != end.closed) {
        throw std::logic_error("opened " + std::to_string(end.opened) + ", closed " + std::to_string(end.closed));
    }
}

}  // namespace

TEST_CASE("rule 6: in_use returns to 0 whatever goes wrong, and what was opened is cleaned once", "[pool][cancel]") {
    const unsigned seed = Catch::getSeed() % 1'000'000 + 1;
    unsigned runs = 0;
    for (const way o : ways) {
        for (const way c : ways) {
            for (const way r : ways) {
                for (const way e : ways) {
                    ++runs;
                    INFO("seed " << seed + runs << ": open " << int(o) << ", check " << int(c) << ", reset " << int(r)
                                 << ", cleanup " << int(e));
                    counts all;
                    CHECK_NOTHROW(run([&]() -> awaitable<void> { return storm({o, c, r, e}, seed + runs, all); }));
                    CHECK(all.opened == all.cleaned);
                    CHECK(all.used_at_once == 0);
                }
            }
        }
    }
    CHECK(runs == 256);
}
