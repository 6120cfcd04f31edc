// SPDX-License-Identifier: BSL-1.0
// Many threads at once, for ThreadSanitizer above all. Every round is bounded, and everything is counted.
#include "support/scenario.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace test;

namespace {

struct counters {
    std::atomic<int> opened{0};
    std::atomic<int> begun{0};  // cleanups
    std::atomic<int> cleaned{0};
};

coraii::async_scope<coraii::scope_handle> counted(counters& c, int turns) {
    coraii::scope_handle self = co_await coraii::this_scope;
    for (int i = 0; i < turns; ++i) {
        co_await turn();
    }
    ++c.opened;
    co_yield self;
    ++c.begun;
    for (int i = 0; i < turns; ++i) {
        co_await turn();
    }
    ++c.cleaned;
}

constexpr int rounds = sanitized ? 20 : 100;
constexpr int tasks = 16;

asio::any_io_executor pick(asio::thread_pool& pool, bool strand) {
    if (strand) {
        return asio::make_strand(pool);
    }
    return pool.get_executor();
}

}  // namespace

TEST_CASE("G20: scopes of all kinds on a thread_pool of four", "[threads]") {
    const bool strand = GENERATE(false, true);
    for (int round = 0; round < rounds; ++round) {
        asio::thread_pool pool{4};
        counters c;
        for (int i = 0; i < tasks; ++i) {
            const auto work = [&c, i]() -> awaitable<void> {
                const auto body = [](coraii::scope_handle&, coraii::scope_handle&) { return turn(); };
                co_await coraii::with(counted(c, i % 3), counted(c, i % 2), body);
                auto g = co_await counted(c, i % 2);
                co_await g.close();
                auto dropped = co_await counted(c, i % 3);
                co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                    for (int k = 0; k < 5; ++k) {
                        co_await stack.enter(counted(c, k % 2));
                    }
                });
            };
            asio::co_spawn(pick(pool, strand), work, asio::detached);
        }
        pool.join();
        CHECK(c.opened == tasks * 9);
        CHECK(c.cleaned == c.opened);
        const auto stats = coraii::stats(pool);
        CHECK(stats.open == 0);
        CHECK(stats.closing == 0);
        CHECK(stats.failed == 0);
    }
}

TEST_CASE("G20, G25: holds are dropped on foreign threads while guards are closed, dropped and moved", "[threads]") {
    const bool strand = GENERATE(false, true);
    for (int round = 0; round < rounds; ++round) {
        asio::thread_pool pool{4};
        counters c;
        std::vector<std::thread> threads;
        std::vector<coraii::guard<coraii::scope_handle>> guards;
        for (int i = 0; i < tasks; ++i) {
            auto future = counted(c, i % 3)(asio::bind_executor(pick(pool, strand), asio::use_future));
            guards.push_back(future.get());
        }
        std::latch ready{2L * tasks};
        for (int i = 0; i < tasks; ++i) {
            auto& g = guards[static_cast<std::size_t>(i)];
            threads.emplace_back([&ready, hold = g.hold()]() mutable {
                ready.arrive_and_wait();
                hold = {};
            });
            threads.emplace_back([&ready, i, g = std::move(g)]() mutable {
                ready.arrive_and_wait();
                if (i % 3 == 0) {
                    g.close(asio::use_future).get();
                } else if (i % 3 == 1) {
                    auto moved = std::move(g);
                } else {
                    g.reset();
                }
            });
        }
        for (auto& t : threads) {
            t.join();
        }
        pool.join();
        CHECK(c.cleaned == tasks);
    }
}

TEST_CASE("G20, G25: with waits for a hold that another thread drops", "[threads]") {
    const bool strand = GENERATE(false, true);
    for (int round = 0; round < rounds; ++round) {
        asio::thread_pool pool{4};
        counters c;
        std::vector<std::thread> threads(tasks);
        for (int i = 0; i < tasks; ++i) {
            auto& thread = threads[static_cast<std::size_t>(i)];
            const auto work = [&c, &thread, i]() -> awaitable<void> {
                const auto body = [&thread](coraii::scope_handle& scope) -> awaitable<void> {
                    thread = std::thread{[hold = scope.hold()]() mutable { hold = {}; }};
                    co_return;
                };
                co_await coraii::with(counted(c, i % 2), body);
                thread.join();
            };
            asio::co_spawn(pick(pool, strand), work, asio::detached);
        }
        pool.join();
        CHECK(c.cleaned == tasks);
    }
}

TEST_CASE("G13: contexts that are stopped at a random moment", "[threads]") {
    const auto seed = static_cast<unsigned>(Catch::getSeed());
    CAPTURE(seed);
    std::mt19937 random{seed};
    for (int round = 0; round < rounds; ++round) {
        counters c;
        const int delay = std::uniform_int_distribution<>{0, 300}(random);
        {
            asio::thread_pool pool{4};
            for (int i = 0; i < tasks; ++i) {
                const auto work = [&c, i]() -> awaitable<void> {
                    for (;;) {
                        const auto body = [](coraii::scope_handle&) { return turn(); };
                        co_await coraii::with(counted(c, i % 3), body);
                        auto g = co_await counted(c, i % 2);
                        auto dropped = co_await counted(c, i % 3);
                        co_await g.close();
                    }
                };
                asio::co_spawn(pick(pool, i % 2 == 0), work, asio::detached);
            }
            std::this_thread::sleep_for(std::chrono::microseconds(delay));
            pool.stop();
            pool.join();
        }
        // What could not wait was cut short; nothing hangs or leaks, and each cleanup was begun, once.
        CHECK(c.begun == c.opened);
        CHECK(c.cleaned <= c.begun);
    }
}

TEST_CASE("G12, G13, G20: guards that are dropped on foreign threads while their context is stopped", "[threads]") {
    const bool strand = GENERATE(false, true);
    for (int round = 0; round < rounds; ++round) {
        counters c;
        {
            asio::thread_pool pool{4};
            std::vector<std::thread> threads;
            std::latch ready{tasks + 1L};
            for (int i = 0; i < tasks; ++i) {
                auto opened = counted(c, i % 2)(asio::bind_executor(pick(pool, strand), asio::use_future));
                threads.emplace_back([&ready, i, g = opened.get()]() mutable {
                    ready.arrive_and_wait();
                    if (i % 2 == 0) {
                        g.reset();
                    } else {
                        auto moved = std::move(g);
                        moved.close(asio::detached);
                    }
                });
            }
            ready.arrive_and_wait();
            pool.stop();
            for (auto& t : threads) {
                t.join();
            }
        }
        CHECK(c.opened == tasks);
        CHECK(c.begun == tasks);
    }
}

TEST_CASE("G20: a pool lets go of everything before the one who waits for it goes on", "[threads]") {
    asio::thread_pool pool{2};
    for (int round = 0; round < 20 * rounds; ++round) {
        asio::io_context context;
        auto owned = std::make_shared<int>(1);
        const std::weak_ptr<int> watched = owned;
        bool released = false;
        const auto work = [&]() -> awaitable<void> {
            try {
                auto open = [owned = std::move(owned)] { return *owned; };
                auto scope = coraii::offload(pool, std::move(open), [](int&) {});
                co_await coraii::with(std::move(scope), [](int&) -> awaitable<void> {
                    throw std::runtime_error("body");
                    co_return;
                });
            } catch (const std::runtime_error& e) { released = watched.expired() && std::string{e.what()} == "body"; }
        };
        asio::co_spawn(context, work(), asio::detached);
        context.run();
        CHECK(released);
    }
}

TEST_CASE("G20: a setup is destroyed by the pool while another thread still begins it", "[threads]") {
    asio::thread_pool pool{2};
    const auto scope = []() -> coraii::async_scope<int> {
        int n = 0;
        auto drop = [](auto) {};
        co_await asio::async_initiate<const asio::deferred_t&, void()>(drop, asio::deferred);
        co_yield n;
    };
    std::atomic<int> told{0};
    for (int i = 0; i < 50 * rounds; ++i) {
        const auto tell = [&told](std::exception_ptr, coraii::guard<int>) { ++told; };
        scope()(asio::bind_executor(pool.get_executor(), tell));
    }
    pool.join();
    CHECK(told == 0);
    CHECK(coraii::stats(pool).opened == 0);
}

TEST_CASE("stats and for_each_scope may be asked from any thread", "[threads]") {
    asio::thread_pool pool{2};
    coraii::track_scopes(pool, true);
    counters c;
    std::atomic<bool> stop{false};
    std::thread observer{[&] {
        std::size_t seen = 0;
        while (!stop) {
            coraii::for_each_scope(pool, [&](const coraii::scope_info& s) { seen += s.name.size(); });
            seen += coraii::stats(pool).open;
        }
        (void)seen;
    }};
    for (int i = 0; i < tasks; ++i) {
        const auto work = [&c]() -> awaitable<void> {
            for (int k = 0; k < rounds; ++k) {
                const auto body = [](coraii::scope_handle&) { return turn(); };
                co_await coraii::with(counted(c, 1).named("one of many"), body);
            }
        };
        asio::co_spawn(pick(pool, true), work, asio::detached);
    }
    pool.join();
    stop = true;
    observer.join();
    CHECK(c.cleaned == tasks * rounds);
}
