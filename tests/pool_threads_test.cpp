// SPDX-License-Identifier: BSL-1.0
// Pools used from several threads. For ThreadSanitizer.
#include "coraii/pool.hpp"
#include "coraii/with.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <future>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;

namespace {

struct counted {
    int uses = 0;  // not atomic: a lease is exclusive
};

std::atomic<int> open_now{0};
std::atomic<int> most_open{0};
std::atomic<int> opened{0};
std::atomic<int> cleaned{0};

coraii::async_scope<counted> a_counted() {
    const int now = ++open_now;
    for (int seen = most_open; seen < now && !most_open.compare_exchange_weak(seen, now);) {}
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    ++opened;
    counted c;
    co_yield c;
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    --open_now;
    ++cleaned;
}

awaitable<void> worker(coraii::pool<counted>& pool, int rounds, int number) {
    const auto executor = co_await asio::this_coro::executor;
    for (int i = 0; i < rounds; ++i) {
        const auto body = [&](counted& c) -> awaitable<void> {
            ++c.uses;
            if (i % 3 == 0) {
                co_await asio::post(executor, asio::use_awaitable);
            }
            ++c.uses;
            if ((i + number) % 50 == 0) {
                pool.discard(c);
            }
        };
        if (i % 4 == 1) {
            auto guard = co_await pool.acquire();
            ++guard->uses;
        } else if (i % 4 == 2) {
            auto guard = pool.try_acquire();
            if (guard) {
                ++guard->uses;
            }
        } else {
            co_await coraii::with(pool.acquire(), body);
        }
    }
}

}  // namespace

TEST_CASE("rule 9: four threads share a pool whose own work is on another", "[pool][threads]") {
    open_now = most_open = opened = cleaned = 0;
    const bool resets = GENERATE(false, true);
    asio::thread_pool home{1};
    asio::thread_pool away{4};
    coraii::pool_hooks<counted> hooks;
    if (resets) {
        hooks.reset = [](counted& c, coraii::exit_status) -> awaitable<bool> {
            ++c.uses;
            co_return true;
        };
    }
    coraii::pool<counted> pool{home.get_executor(), a_counted, {.max_size = 3, .max_opening = 2}, hooks};
    std::vector<std::future<void>> done;
    for (int i = 0; i < 8; ++i) {
        done.push_back(asio::co_spawn(asio::make_strand(away), worker(pool, 100, i), asio::use_future));
    }
    for (auto& each : done) {
        CHECK_NOTHROW(each.get());
    }
    asio::co_spawn(away, pool.close(), asio::use_future).get();
    CHECK(pool.stats().size == 0);
    CHECK(pool.stats().in_use == 0);
    CHECK(opened == cleaned);
    CHECK(most_open <= 3);
}

TEST_CASE("rule 9: a pool on a strand, cancels from other threads, and hand-offs between them", "[pool][threads]") {
    open_now = most_open = opened = cleaned = 0;
    asio::thread_pool threads{4};
    coraii::pool<counted> pool{asio::make_strand(threads), a_counted, {.max_size = 2}};
    struct one {
        explicit one(asio::strand<asio::thread_pool::executor_type> s) : strand{std::move(s)} {}
        asio::strand<asio::thread_pool::executor_type> strand;
        asio::cancellation_signal signal;
    };
    std::deque<one> all;
    std::vector<std::future<void>> done;
    std::atomic<int> cancelled{0};
    for (int i = 0; i < 200; ++i) {
        one& mine = all.emplace_back(asio::make_strand(threads));
        std::promise<void> ended;
        done.push_back(ended.get_future());
        asio::post(mine.strand, [&, i, ended = std::move(ended)]() mutable {
            asio::co_spawn(mine.strand, worker(pool, 8, i),
                           asio::bind_cancellation_slot(mine.signal.slot(), [&cancelled, ended = std::move(ended)](
                                                                                std::exception_ptr e) mutable {
                               cancelled += e ? 1 : 0;
                               ended.set_value();
                           }));
        });
        if (i % 3 == 0) {
            asio::post(threads, [&mine] {
                asio::post(mine.strand, [&mine] { mine.signal.emit(asio::cancellation_type::terminal); });
            });
        }
    }
    for (auto& each : done) {
        each.get();
    }
    asio::co_spawn(threads, pool.close(), asio::use_future).get();
    threads.join();
    CHECK(pool.stats().size == 0);
    CHECK(opened == cleaned);
    CHECK(most_open <= 2);
}

TEST_CASE("a pool is closed on one thread while another's acquire begins an opening", "[pool][threads]") {
    asio::thread_pool home{1}, away{1};
    const auto endless = []() -> coraii::async_scope<int> {
        asio::steady_timer never{co_await asio::this_coro::executor, asio::steady_timer::time_point::max()};
        co_await never.async_wait(asio::use_awaitable);
        int n = 0;
        co_yield n;
    };
    for (int i = 0; i < 200; ++i) {
        coraii::pool<int> pool{home.get_executor(), endless};
        const auto acquires = [&]() -> awaitable<void> {
            try {
                const auto lease = co_await pool.acquire();
            } catch (const boost::system::system_error&) {  // closed
            }
        };
        const auto closes = [&]() -> awaitable<void> { co_await pool.close(1min); };
        auto acquired = asio::co_spawn(away, acquires(), asio::use_future);
        auto closed = asio::co_spawn(home, closes(), asio::use_future);
        acquired.get();
        closed.get();
        CHECK(pool.stats().opening == 0);
    }
}
