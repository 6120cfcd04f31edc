// SPDX-License-Identifier: BSL-1.0
// Pools under the fault-injection kit. A lease that does not come back keeps the pool's memory, which is a leak then.
#include "coraii/pool.hpp"
#include "coraii/testing.hpp"
#include "coraii/with.hpp"
#include "support/sweep.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/this_coro.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using coraii::testing::fault_kind;
using coraii::testing::on_executor;
using coraii::testing::point;
using coraii::testing::probe;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

namespace {

void sweep_on(std::vector<on_executor> executors, bool without_memory, const coraii::testing::scenario& scenario) {
    coraii::testing::sweep_options options{
        .order = coraii::testing::cleanup_order::any,  // resources are cleaned in the background
        .cleanups_may_be_cancelled = true,             // a hook that runs out of time is cancelled
        .errors_may_be_swallowed = true,               // an opening is repeated, a broken resource discarded
        .executors = std::move(executors),
        .pairs = 20};
    if (!without_memory) {
        std::erase(options.kinds, fault_kind::no_memory);
    }
    const auto report = coraii::testing::sweep(scenario, options);
    test::check_sweep(report);
}

/// Without memory to tell one who waits, on an executor that nobody knows, that one is destroyed.
void sweep(const coraii::testing::scenario& scenario, bool without_memory = true) {
    sweep_on({on_executor::context}, without_memory, scenario);
    sweep_on({on_executor::strand, on_executor::forwarding}, false, scenario);
}

coraii::async_scope<probe> a_probe() {
    probe p{"resource"};
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}

enum class hooks { none, both };

coraii::pool_hooks<probe> make(hooks wanted) {
    if (wanted == hooks::none) {
        return {};
    }
    return {.check = [](probe&) -> awaitable<bool> {
                co_await point("check");
                co_return true;
            },
            .reset = [](probe&, coraii::exit_status) -> awaitable<bool> {
                co_await point("reset");
                co_return true;
            }};
}

awaitable<void> turn() {
    co_await point();
}

awaitable<void> use(probe& p) {
    co_await p.use();
}

void nothing_in_use(const coraii::pool<probe>& pool) {
    if (const auto now = pool.stats(); now.in_use != 0 || now.waiting != 0) {
        throw std::logic_error("in use at the end: " + std::to_string(now.in_use));
    }
}

constexpr coraii::pool_options options{.max_size = 1, .check_after_idle = 0s};

}  // namespace

TEST_CASE("sweep: with", "[pool][sweep]") {
    const hooks wanted = GENERATE(hooks::none, hooks::both);
    sweep([=]() -> awaitable<void> {
        coraii::pool<probe> pool{co_await asio::this_coro::executor, a_probe, options, make(wanted)};
        co_await coraii::with(pool.acquire(), use);
        co_await coraii::with(pool.acquire(), use);
        nothing_in_use(pool);
        co_await pool.close();
    });
}

TEST_CASE("sweep: guards, dropped and closed", "[pool][sweep]") {
    const hooks wanted = GENERATE(hooks::none, hooks::both);
    sweep([=]() -> awaitable<void> {
        coraii::pool<probe> pool{co_await asio::this_coro::executor, a_probe, options, make(wanted)};
        {
            auto lease = co_await pool.acquire();
            co_await lease->use();
        }
        auto lease = co_await pool.acquire();
        co_await point();
        co_await lease.close();
        nothing_in_use(pool);
        lease = pool.try_acquire();
        co_await point();
    });
}

TEST_CASE("sweep: waiters, one of which is cancelled", "[pool][sweep]") {
    const hooks wanted = GENERATE(hooks::none, hooks::both);
    sweep(
        [=]() -> awaitable<void> {
            coraii::pool<probe> pool{co_await asio::this_coro::executor, a_probe, options, make(wanted)};
            const auto one = [&]() -> awaitable<void> { co_await coraii::with(pool.acquire(), use); };
            co_await (one() && one() && (one() || turn()));
            nothing_in_use(pool);
        },
        false);
}

TEST_CASE("sweep: a pool as a scope", "[pool][sweep]") {
    sweep(
        []() -> awaitable<void> {
            const auto executor = co_await asio::this_coro::executor;
        // One that is dropped without a chance to close would go on renewing its resource.
            const coraii::pool_options forever{.min_size = 1, .max_size = 2, .idle_timeout = 0s, .max_lifetime = 0s};
            const auto body = [](coraii::pool<probe>& pool) -> awaitable<void> {
                auto lease = co_await pool.acquire();
                auto other = co_await pool.acquire();
                pool.discard(lease);
                co_await lease.close();
                co_await other->use();
                co_await other.close();
                nothing_in_use(pool);
            };
            co_await coraii::with(coraii::open_pool(executor, a_probe, forever), body);
        },
    // Where a promise cannot be made, Clang 19 destroys the parameters of the coroutine after its frame.
#ifdef __clang__
        false
#else
        true
#endif
    );
}

TEST_CASE("sweep: leases that outlive the pool", "[pool][sweep]") {
    sweep([]() -> awaitable<void> {
        auto pool = std::make_unique<coraii::pool<probe>>(co_await asio::this_coro::executor, a_probe,
                                                          coraii::pool_options{.max_size = 2});
        auto lease = co_await pool->acquire();
        auto other = co_await pool->acquire();
        other.reset();
        auto tried = pool->try_acquire();
        pool.reset();
        co_await lease->use();
        tried.reset();
        co_await point();
    });
}
