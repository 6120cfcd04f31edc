// SPDX-License-Identifier: BSL-1.0
// Runs a form of using a scope many times, and tells what one scope costs.
#ifndef CORAII_TESTS_BENCH_SCOPE_RUNS_HPP
#define CORAII_TESTS_BENCH_SCOPE_RUNS_HPP

#include "coraii/joined.hpp"
#include "counting.hpp"
#include "scope_forms.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <compare>
#include <deque>
#include <filesystem>
#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace scope_bench {

inline constexpr int repetitions = 9;

struct run_of {
    const form* what;
    bool slot;
    int threads;
    long rounds;  // of each thread
    bool for_two = false;  // one thread, on an io_context that is made for two
    auto operator<=>(const run_of&) const = default;
};

struct run_result {
    std::atomic<double> nanoseconds = 0;  // from when all have begun until all are done
    std::atomic<long> allocations = 0;  // of all threads
};

/// Where they meet, each of the coroutines blocks a thread of its own: so together they read every thread's count.
inline awaitable<void> rounds(run_of run, std::barrier<>& all, run_result& result) {
    for (int i = 0; i < 100; ++i) {  // fills the caches
        co_await run.what->round();
    }
    all.arrive_and_wait();
    const auto start = std::chrono::steady_clock::now();
    result.allocations -= counting::allocations;
    for (long i = 0; i < run.rounds; ++i) {
        co_await run.what->round();
    }
    all.arrive_and_wait();
    result.allocations += counting::allocations;
    result.nanoseconds = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

inline awaitable<void> all_rounds(const run_of& run, std::barrier<>& all, run_result& result) {
    const auto body = [&] { return rounds(run, all, result); };
    return run.what->in_a_region ? coraii::joined(body) : body();
}

inline void perform(const run_of& run, run_result& result) {
    asio::io_context context{run.for_two ? 2 : run.threads};
    std::barrier<> all{run.threads};
    std::deque<asio::cancellation_signal> signals;
    std::vector<std::future<void>> ended;
    for (int i = 0; i < run.threads; ++i) {
        const auto slot = run.slot ? signals.emplace_back().slot() : asio::cancellation_slot{};
        ended.push_back(asio::co_spawn(context, all_rounds(run, all, result),
                                       asio::bind_cancellation_slot(slot, asio::use_future)));
    }
    std::vector<std::jthread> others;
    for (int i = 1; i < run.threads; ++i) {
        others.emplace_back([&context] { context.run(); });
    }
    context.run();
    for (std::future<void>& each : ended) {
        each.get();
    }
}

/// A scope's. The program runs itself, doing that and nothing else; what it does once is taken off.
inline double instructions(const run_of& run) {
    static std::map<run_of, double> known;
    const auto [found, is_new] = known.try_emplace(run);
    if (is_new) {
        const std::string command = "'" + std::filesystem::read_symlink("/proc/self/exe").string() + "' --case '" +
                                    run.what->name + "'" + (run.slot ? " --slot" : "") + " --threads " +
                                    std::to_string(run.threads) + " --rounds ";
        found->second = (counting::instructions(command + "1000") - counting::instructions(command + "0")) / 1000 /
                        run.what->scopes / run.threads;
    }
    return found->second;
}

struct cost {
    double time = 1e300;  // ns, the fastest repetition
    double allocations = 0;  // the most
    double instructions = std::nan("");
};

/// Adds a repetition to what one scope costs.
inline void measure(const run_of& run, cost& c) {
    run_result result;
    perform(run, result);
    const double scopes = static_cast<double>(run.rounds) * run.what->scopes;
    c.time = std::min(c.time, result.nanoseconds / scopes);
    c.allocations = std::max(c.allocations, static_cast<double>(result.allocations) / scopes / run.threads);
}

}  // namespace scope_bench

#endif
