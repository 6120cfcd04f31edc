// SPDX-License-Identifier: BSL-1.0
// What a scope costs beside the same thing written by hand. Prints one table of ratios: times of one run on one machine
// can be compared with each other, and with nothing else.
#include "coraii/coraii.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;

// ---- counting: Asio takes memory by aligned_alloc, the standard library by malloc

namespace {
long allocations = 0;
}

#if defined(__GLIBC__)
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the C library's own names
void* __libc_malloc(std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
void* malloc(std::size_t size) noexcept {
    ++allocations;
    return __libc_malloc(size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    ++allocations;
    return __libc_memalign(alignment, size);
}
}
#endif

namespace {

// ---- no-op setup, body and cleanup

awaitable<int> open_resource() {
    co_return 0;
}
awaitable<void> use_resource(int&) {
    co_return;
}
awaitable<void> close_resource(int&) {
    co_return;
}

coraii::async_scope<int> resource() {
    int r = co_await open_resource();
    co_yield r;
    co_await close_resource(r);
}

// ---- by hand

awaitable<void> by_hand_unshielded() {
    int r = co_await open_resource();
    std::exception_ptr error;
    try {
        co_await use_resource(r);
    } catch (...) { error = std::current_exception(); }
    co_await close_resource(r);
    if (error) {
        std::rethrow_exception(error);
    }
}

awaitable<void> by_hand_shielded() {
    int r = co_await open_resource();
    std::exception_ptr error;
    try {
        co_await use_resource(r);
    } catch (...) { error = std::current_exception(); }
    const bool throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await asio::co_spawn(co_await asio::this_coro::executor, close_resource(r),
                            asio::bind_cancellation_slot(asio::cancellation_slot{}, asio::use_awaitable));
    co_await asio::this_coro::throw_if_cancelled(throws);
    if (error) {
        std::rethrow_exception(error);
    }
}

// ---- with coraii

awaitable<void> with_scope() {
    return coraii::with(resource(), use_resource);
}

awaitable<void> with_three() {
    return coraii::with(resource(), resource(), resource(), [](int& r, int&, int&) { return use_resource(r); });
}

awaitable<void> guard_closed() {
    auto g = co_await resource();
    co_await use_resource(*g);
    co_await g.close();
}

awaitable<void> guard_dropped() {
    auto g = co_await resource();
    co_await use_resource(*g);
}

awaitable<void> region() {
    return coraii::joined(guard_dropped);
}

// ---- measuring

awaitable<void> rounds(benchmark::State& state, awaitable<void> (*round)()) {
    for (int i = 0; i < 1000; ++i) {  // fills the caches
        co_await round();
    }
    const long before = allocations;
    for (auto _ : state) {
        co_await round();
    }
    state.counters["allocs"] =
        benchmark::Counter(static_cast<double>(allocations - before), benchmark::Counter::kAvgIterations);
}

awaitable<void> rounds_in_a_region(benchmark::State& state, awaitable<void> (*round)()) {
    const auto body = [&state, round] { return rounds(state, round); };
    co_await coraii::joined(body);
}

using all_rounds = awaitable<void> (*)(benchmark::State& state, awaitable<void> (*round)());

void measure(benchmark::State& state, awaitable<void> (*round)(), bool slot_connected, all_rounds work = rounds) {
    asio::io_context context{1};
    asio::cancellation_signal signal;
    const auto rethrow = [](std::exception_ptr e) {
        if (e) {
            std::rethrow_exception(e);
        }
    };
    if (slot_connected) {
        asio::co_spawn(context, work(state, round), asio::bind_cancellation_slot(signal.slot(), rethrow));
    } else {
        asio::co_spawn(context, work(state, round), rethrow);
    }
    context.run();
}

/// Keeps the fastest of the repetitions.
class collector : public benchmark::ConsoleReporter {
public:
    struct result {
        double nanoseconds = 1e300;
        double allocations = 0;
    };

    void ReportRuns(const std::vector<Run>& runs) override {
        ConsoleReporter::ReportRuns(runs);
        for (const Run& run : runs) {
            if (run.run_type == Run::RT_Iteration) {
                result& best = results[run.run_name.function_name];
                best.nanoseconds = std::min(best.nanoseconds, run.GetAdjustedRealTime());
                best.allocations = run.counters.at("allocs");
            }
        }
    }

    std::map<std::string, result> results;
};

struct row {
    const char* name;
    const char* by_hand;
    double scopes;  // in one round
    double target;
};

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    const auto add = [](const char* name, awaitable<void> (*round)(), bool slot_connected, all_rounds work = rounds) {
        benchmark::RegisterBenchmark(name, measure, round, slot_connected, work)->Repetitions(5)->MinTime(0.1);
    };
    add("by hand, unshielded, no slot", by_hand_unshielded, false);
    add("with, no slot", with_scope, false);
    add("with of three, no slot", with_three, false);
    add("by hand, shielded, slot", by_hand_shielded, true);
    add("with, slot", with_scope, true);
    add("with of three, slot", with_three, true);
    add("guard, close, slot", guard_closed, true);
    add("guard, dropped, slot", guard_dropped, true);
    add("guard, dropped in a region, slot", guard_dropped, true, rounds_in_a_region);
    add("region of one guard, slot", region, true);
    add("by hand, shielded, no slot", by_hand_shielded, false);
    add("guard, close, no slot", guard_closed, false);
    add("guard, dropped, no slot", guard_dropped, false);
    add("guard, dropped in a region, no slot", guard_dropped, false, rounds_in_a_region);
    add("region of one guard, no slot", region, false);

    collector report;
    benchmark::RunSpecifiedBenchmarks(&report);

    const row rows[] = {
        {"with, no slot", "by hand, unshielded, no slot", 1, 1.15},
        {"with of three, no slot", "by hand, unshielded, no slot", 3, 1.15},
        {"with, slot", "by hand, shielded, slot", 1, 0.9},
        {"with of three, slot", "by hand, shielded, slot", 3, 0.9},
        {"guard, close, slot", "by hand, shielded, slot", 1, 1.0},
        {"guard, dropped, slot", "by hand, shielded, slot", 1, 1.0},
        {"guard, dropped in a region, slot", "by hand, shielded, slot", 1, 1.0},
        {"region of one guard, slot", "by hand, shielded, slot", 1, 2.0},
        {"guard, close, no slot", "by hand, shielded, no slot", 1, 1.0},
        {"guard, dropped, no slot", "by hand, shielded, no slot", 1, 1.0},
        {"guard, dropped in a region, no slot", "by hand, shielded, no slot", 1, 1.0},
        {"region of one guard, no slot", "by hand, shielded, no slot", 1, 2.0},
    };
    std::printf("\nA scope, as a ratio to the same by hand; %u cores, fastest of 5\n",
                std::thread::hardware_concurrency());
    std::printf("%-36s %8s %8s %8s %8s %8s %8s\n", "case", "by hand", "coraii", "ratio", "target", "allocs", "by hand");
    for (const row& r : rows) {
        const auto mine = report.results[r.name];
        const auto other = report.results[r.by_hand];
        const double ratio = mine.nanoseconds / r.scopes / other.nanoseconds;
        std::printf("%-36s %6.0fns %6.0fns %8.2f %8.2f %8.2f %8.2f%s\n", r.name, other.nanoseconds,
                    mine.nanoseconds / r.scopes, ratio, r.target, mine.allocations / r.scopes, other.allocations,
                    ratio > r.target ? "  over" : "");
    }
    return 0;
}
