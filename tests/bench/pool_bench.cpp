// SPDX-License-Identifier: BSL-1.0
// What a lease costs beside a pool made by hand from an Asio channel, and how fair both are. Prints tables of times and
// ratios: those of one run on one machine can be compared with each other, and with nothing else.
#include "coraii/coraii.hpp"
#include "coraii/pool.hpp"
#include "coraii/testing/allocations.hpp"
#include "coraii/testing/replace_allocation.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <thread>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using steady = std::chrono::steady_clock;
using error_code = boost::system::error_code;

namespace {

constexpr int cycles = 200'000;
constexpr int rounds = 7;

struct connection {
    long uses = 0;
};

coraii::async_scope<connection> a_connection() {
    connection c;
    co_yield c;
}

awaitable<void> touch(connection& c) {
    ++c.uses;
    co_return;
}

/// The pool by hand: what is idle is in the channel. `Channel` is thread-safe or not.
template <class Channel>
struct by_hand {
    by_hand(const asio::any_io_executor& executor, std::size_t size) : idle{executor, size}, all(size) {
        for (connection& c : all) {
            idle.try_send(error_code{}, &c);
        }
    }
    Channel idle;
    std::deque<connection> all;
};
using channel = asio::experimental::channel<void(error_code, connection*)>;
using concurrent_channel = asio::experimental::concurrent_channel<void(error_code, connection*)>;

void rethrow(std::exception_ptr e) {
    if (e) {
        std::rethrow_exception(e);
    }
}

// ---- one worker, an idle resource

struct cost {
    double time = 1e300;  // ns a cycle, the fastest round
    double allocations = 0;  // a cycle
};

using cycle_runner = std::function<awaitable<void>(int count)>;

awaitable<void> measure_here(cost& c, const cycle_runner& run_cycles) {
    co_await run_cycles(1000);
    const long before = coraii::testing::allocations::made();
    const auto start = steady::now();
    co_await run_cycles(cycles);
    c.time = std::min(c.time, std::chrono::duration<double, std::nano>(steady::now() - start).count() / cycles);
    c.allocations = static_cast<double>(coraii::testing::allocations::made() - before) / cycles;
}

void measure(asio::io_context& context, cost& c, const cycle_runner& run_cycles, bool slot) {
    asio::cancellation_signal signal;
    if (slot) {
        asio::co_spawn(context, measure_here(c, run_cycles), asio::bind_cancellation_slot(signal.slot(), rethrow));
    } else {
        asio::co_spawn(context, measure_here(c, run_cycles), rethrow);
    }
    context.run();
    context.restart();
}

template <class Channel>
awaitable<void> by_hand_cycles(by_hand<Channel>& pool, int count) {
    for (int i = 0; i < count; ++i) {
        connection* c = co_await pool.idle.async_receive(asio::use_awaitable);
        co_await touch(*c);
        pool.idle.try_send(error_code{}, c);
    }
}

awaitable<void> with_cycles(coraii::pool<connection>& pool, int count) {
    for (int i = 0; i < count; ++i) {
        co_await coraii::with(pool.acquire(), touch);
    }
}

awaitable<void> guard_cycles(coraii::pool<connection>& pool, int count) {
    for (int i = 0; i < count; ++i) {
        auto lease = co_await pool.acquire();
        co_await touch(*lease);
    }
}

awaitable<void> try_cycles(coraii::pool<connection>& pool, int count) {
    for (int i = 0; i < count; ++i) {
        auto lease = pool.try_acquire();
        co_await touch(*lease);
    }
}

awaitable<void> plain_scope_cycles(int count) {
    for (int i = 0; i < count; ++i) {
        co_await coraii::with(a_connection(), touch);
    }
}

void idle_table(bool slot) {
    cost hand, hand_concurrent, with, guard, tried, plain;
    for (int round = 0; round < rounds; ++round) {
        asio::io_context context{1};
        by_hand<channel> simple{context.get_executor(), 4};
        by_hand<concurrent_channel> concurrent{context.get_executor(), 4};
        measure(context, hand, [&](int n) { return by_hand_cycles(simple, n); }, slot);
        measure(context, hand_concurrent, [&](int n) { return by_hand_cycles(concurrent, n); }, slot);
        const auto pooled = [&](cost& c, auto run_cycles) {
            // An open resource keeps the context running: so a pool a measurement.
            const auto with_pool = [&](int n) -> awaitable<void> {
                coraii::pool<connection> pool{context.get_executor(), a_connection, {.max_size = 4}};
                co_await coraii::with(pool.acquire(), touch);
                co_await run_cycles(pool, n);
                co_await pool.close();
            };
            measure(context, c, with_pool, slot);
        };
        pooled(with, with_cycles);
        pooled(guard, guard_cycles);
        pooled(tried, try_cycles);
        measure(context, plain, plain_scope_cycles, slot);
    }
    const auto print = [&](const char* name, const cost& c) {
        std::printf("  %-42s %7.0f %9.2f %9.2f %8.2f\n", name, c.time, c.time / hand.time,
                    c.time / hand_concurrent.time, c.allocations);
    };
    std::printf("An idle resource acquired and given back, %s a cancellation slot\n", slot ? "with" : "without");
    std::printf("  %-42s %7s %9s %9s %8s\n", "", "ns", "/channel", "/conc.ch.", "allocs");
    print("channel by hand", hand);
    print("concurrent_channel by hand", hand_concurrent);
    print("with(pool.acquire(), body)", with);
    print("co_await pool.acquire(), dropped", guard);
    print("pool.try_acquire(), dropped", tried);
    print("(any scope: with(connect(), body))", plain);
}

// ---- two threads, a context each, and a resource each: nobody waits for a resource, but both for the pool

/// The time of a cycle, when `thread_count` threads run `cycles_on(context, count)` at once: ns, of the slowest thread.
template <class CyclesOn>
void measure_apart(double& best, std::size_t thread_count, CyclesOn cycles_on) {
    std::deque<asio::io_context> contexts;
    std::vector<std::thread> threads;
    std::vector<double> times(thread_count);
    std::barrier<> together{static_cast<std::ptrdiff_t>(thread_count)};
    for (std::size_t i = 0; i < thread_count; ++i) {
        contexts.emplace_back(1);
        threads.emplace_back([&, i, &context = contexts.back()] {
            const auto timed = [&]() -> awaitable<void> {
                co_await cycles_on(1000);
                together.arrive_and_wait();
                const auto start = steady::now();
                co_await cycles_on(cycles);
                times[i] = std::chrono::duration<double, std::nano>(steady::now() - start).count() / cycles;
            };
            asio::co_spawn(context, timed(), rethrow);
            context.run();
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    best = std::min(best, *std::ranges::max_element(times));
}

/// A context that a thread runs, for what does not belong to those who use it.
struct served_context {
    asio::io_context context;
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
    std::jthread thread{[this] { context.run(); }};

    ~served_context() { context.stop(); }
};

void apart_table() {
    struct {
        double hand = 1e300, with = 1e300, guard = 1e300;
    } times[2];
    for (int round = 0; round < rounds; ++round) {
        for (const std::size_t threads : {1U, 2U}) {
            auto& t = times[threads - 1];
            served_context home;
            by_hand<concurrent_channel> hand{home.context.get_executor(), 4};
            measure_apart(t.hand, threads, [&](int n) { return by_hand_cycles(hand, n); });
            coraii::pool<connection> pool{home.context, a_connection, {.min_size = 4, .max_size = 4}};
            pool.warm_up(asio::use_future).get();
            measure_apart(t.with, threads, [&](int n) { return with_cycles(pool, n); });
            measure_apart(t.guard, threads, [&](int n) { return guard_cycles(pool, n); });
            pool.close(asio::use_future).get();
        }
    }
    std::printf("An idle resource acquired and given back by threads with a context each, ns each\n");
    std::printf("  %-42s %9s %9s %9s %9s\n", "", "1 thread", "2 threads", "/conc.ch.", "/conc.ch.");
    const auto print = [&](const char* name, double one, double two) {
        std::printf("  %-42s %9.0f %9.0f %9.2f %9.2f\n", name, one, two, one / times[0].hand, two / times[1].hand);
    };
    print("concurrent_channel by hand", times[0].hand, times[1].hand);
    print("with(pool.acquire(), body)", times[0].with, times[1].with);
    print("co_await pool.acquire(), dropped", times[0].guard, times[1].guard);
}

// ---- many workers

struct worker_record {
    long cycles = 0;
    std::vector<float> waits;  // us
};

template <class Acquire>
awaitable<void> work(worker_record& record, steady::time_point begin, steady::time_point end, Acquire acquire) {
    const auto executor = co_await asio::this_coro::executor;
    asio::steady_timer all_are_here{executor, begin};
    co_await all_are_here.async_wait(asio::use_awaitable);
    const auto use = [&](connection& c) -> awaitable<void> {
        ++c.uses;
        co_await asio::post(executor, asio::use_awaitable);
    };
    for (;;) {
        const auto start = steady::now();
        if (start >= end) {
            co_return;
        }
        co_await acquire([&](connection& c) -> awaitable<void> {
            record.waits.push_back(std::chrono::duration<float, std::micro>(steady::now() - start).count());
            ++record.cycles;
            return use(c);
        });
    }
}

struct contest {
    double per_cycle = 0;  // ns
    double p50 = 0, p999 = 0;  // us
    double fairness = 0;  // the busiest worker's cycles, by the median
};

template <class MakeAcquire>
contest compete(asio::thread_pool& threads, std::size_t workers, MakeAcquire acquire) {
    std::vector<worker_record> records(workers);
    std::vector<std::future<void>> ended;
    const auto start = steady::now() + std::chrono::milliseconds{20};
    const auto end = start + std::chrono::milliseconds{100};
    for (worker_record& record : records) {
        record.waits.reserve(100'000);
        ended.push_back(
            asio::co_spawn(asio::make_strand(threads), work(record, start, end, acquire), asio::use_future));
    }
    for (auto& each : ended) {
        each.get();
    }
    const double taken = std::chrono::duration<double, std::nano>(steady::now() - start).count();
    std::vector<float> waits;
    std::vector<long> counts;
    for (const worker_record& record : records) {
        waits.insert(waits.end(), record.waits.begin(), record.waits.end());
        counts.push_back(record.cycles);
    }
    std::ranges::sort(waits);
    std::ranges::sort(counts);
    return {taken / static_cast<double>(waits.size()), waits[waits.size() / 2], waits[waits.size() * 999 / 1000],
            static_cast<double>(counts.back()) / static_cast<double>(std::max(counts[counts.size() / 2], 1L))};
}

void contest_table(std::size_t thread_count) {
    std::printf("Workers compete, each use goes once round the event loop, %zu thread%s\n", thread_count,
                thread_count == 1 ? "" : "s");
    std::printf("  %7s %9s   %-19s %9s %9s %10s %9s\n", "workers", "resources", "", "ns/cycle", "p50 us", "p99.9 us",
                "max/med.");
    for (const std::size_t workers : {1U, 8U, 256U}) {
        for (const std::size_t resources : {1U, 4U, 16U}) {
            const auto print = [&](const char* name, const contest& c) {
                std::printf("  %7zu %9zu   %-19s %9.0f %9.1f %10.1f %9.2f\n", workers, resources, name, c.per_cycle,
                            c.p50, c.p999, c.fairness);
            };
            asio::thread_pool threads{thread_count};
            by_hand<concurrent_channel> hand{threads.get_executor(), resources};
            print("concurrent_channel", compete(threads, workers, [&](auto use) -> awaitable<void> {
                      connection* c = co_await hand.idle.async_receive(asio::use_awaitable);
                      co_await use(*c);
                      hand.idle.try_send(error_code{}, c);
                  }));
            coraii::pool<connection> pool{asio::make_strand(threads),
                                          a_connection,
                                          {.min_size = resources, .max_size = resources, .max_opening = resources}};
            asio::co_spawn(threads, pool.warm_up(), asio::use_future).get();
            print("coraii", compete(threads, workers, [&](auto use) -> awaitable<void> {
                      co_await coraii::with(pool.acquire(), std::move(use));
                  }));
            asio::co_spawn(threads, pool.close(), asio::use_future).get();
        }
    }
}

}  // namespace

int main() {
    try {
        idle_table(false);
        idle_table(true);
        apart_table();
        contest_table(1);
        contest_table(2);
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
