// SPDX-License-Identifier: BSL-1.0
// What many guards cost: the memory of those that are open, opening them on two threads, dropping them in any order.
#ifndef CORAII_TESTS_BENCH_SCOPE_GUARDS_HPP
#define CORAII_TESTS_BENCH_SCOPE_GUARDS_HPP

#include "coraii/guard.hpp"
#include "coraii/scopes.hpp"
#include "counting.hpp"
#include "scope_forms.hpp"
#include "scope_runs.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <future>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace scope_bench {

inline constexpr int many = 300'000;

struct guards_cost {
    double coraii, base;  // base: not a number if there is none
};

using guards = std::vector<coraii::guard<int>>;

inline awaitable<void> open_many(guards& opened) {
    for (int i = 0; i < many; ++i) {
        opened.push_back(co_await resource());
    }
}

/// Runs it with a connected slot. `Coroutine` is a callable that returns an awaitable.
template <class Coroutine>
void run_cancellable(Coroutine coroutine) {
    asio::io_context context{1};
    asio::cancellation_signal signal;
    std::future<void> ended =
        asio::co_spawn(context, coroutine, asio::bind_cancellation_slot(signal.slot(), asio::use_future));
    context.run();
    ended.get();
}

// ---- memory

/// What malloc has handed out for one. The guard itself, which is in a vector, is not counted.
inline double bytes_of_open_guard() {
    static const double known = [] {
        guards opened;
        opened.reserve(many);
        long bytes = 0;
        run_cancellable([&]() -> awaitable<void> {
            counting::bytes = 0;
            counting::counts_bytes = true;
            co_await open_many(opened);
            counting::counts_bytes = false;
            bytes = counting::bytes;
            opened.clear();
        });
        return static_cast<double>(bytes) / many;
    }();
    return known;
}

// ---- two threads

inline constexpr int in_a_round = 1000;

inline awaitable<void> open_and_close_guards() {
    for (int i = 0; i < in_a_round; ++i) {
        auto g = co_await resource();
        co_await g.close();
    }
}

inline awaitable<void> post_itself() {
    for (int i = 0; i < in_a_round; ++i) {
        co_await asio::post(asio::use_awaitable);
    }
}

inline constexpr form guards_opened{"guards opened and closed", open_and_close_guards, in_a_round};
inline constexpr form posts{"asio::post", post_itself, in_a_round};

/// How many times as much two threads get done as one. The one runs an io_context that is made for two threads, too: on
/// one that is made for a single thread, Asio posts without a lock.
inline guards_cost scaling_to_two_threads() {
    struct {
        run_of run;
        cost c;
    } measured[] = {{{&guards_opened, true, 1, 200, true}, {}},
                    {{&posts, true, 1, 200, true}, {}},
                    {{&guards_opened, true, 2, 200}, {}},
                    {{&posts, true, 2, 200}, {}}};
    for (int i = 0; i < repetitions; ++i) {
        for (auto& each : measured) {
            measure(each.run, each.c);
        }
    }
    return {2 * measured[0].c.time / measured[2].c.time, 2 * measured[1].c.time / measured[3].c.time};
}

// ---- dropping in an order

enum class order { as_made, random };

/// The same permutation each time.
template <class T>
void arrange(std::vector<T>& made, order o) {
    if (o == order::random) {
        std::ranges::shuffle(made, std::mt19937{1});
    }
}

/// Tells the nanoseconds since it was made, for each of the many.
class stopwatch {
public:
    [[nodiscard]] double each() const {
        return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start_).count() / many;
    }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Until all are clean.
inline double drop_guards(order o) {
    guards opened;
    opened.reserve(many);
    double nanoseconds = 0;
    run_cancellable([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        co_await open_many(opened);
        arrange(opened, o);
        const stopwatch time;
        for (auto& each : opened) {
            each.reset();
        }
        co_await coraii::async_drain(executor);
        nanoseconds = time.each();
    });
    return nanoseconds;
}

/// Blocks as large as the memory of an open guard.
inline double delete_blocks(order o) {
    const auto size = static_cast<std::size_t>(bytes_of_open_guard());
    std::vector<void*> blocks;
    blocks.reserve(many);
    for (int i = 0; i < many; ++i) {
        blocks.push_back(std::memset(::operator new(size), i, size));
    }
    arrange(blocks, o);
    const stopwatch time;
    for (void* const each : blocks) {
        ::operator delete(each);
    }
    return time.each();
}

// ---- the lines

inline guards_cost memory_of_guards() {
    return {bytes_of_open_guard(), std::nan("")};
}

template <order o>
guards_cost dropping_guards() {
    guards_cost fastest{1e300, 1e300};
    for (int i = 0; i < 5; ++i) {  // in turns
        fastest.coraii = std::min(fastest.coraii, drop_guards(o));
        fastest.base = std::min(fastest.base, delete_blocks(o));
    }
    return fastest;
}

/// The target is of the ratio, or of coraii's cost if there is no base.
struct guards_line {
    const char* name;
    guards_cost (*measured)();
    const char* base_name;
    std::string_view limit;  // "<=", ">=", or none
    double target;
};

inline constexpr guards_line guards_lines[] = {
    {"300 000 open guards, bytes each", memory_of_guards, "", "<=", 640},
    {"opened and closed, throughput of 2 threads / of 1", scaling_to_two_threads, "asio::post", ">=", 1.3},
    {"300 000 dropped in order, ns each", dropping_guards<order::as_made>, "plain blocks deleted", "", 0},
    {"300 000 dropped in random order, ns each", dropping_guards<order::random>, "plain blocks deleted", "<=", 3},
};

inline std::string number(double value) {
    std::array<char, 32> text{"-"};
    if (!std::isnan(value)) {
        std::snprintf(text.data(), text.size(), "%.*f", value < 10 ? 2 : 0, value);
    }
    return text.data();
}

inline void print_guards_head() {
    std::printf(
        "\nMany guards, opened with a slot. A target is of the ratio, or of coraii's cost if there is no base.\n\n");
    std::printf("| %-49s | %6s | %-20s | %6s | %5s | %7s | %-3s |\n", "many guards", "coraii", "base", "base", "ratio",
                "target", "met");
    constexpr const char* rule = "---------------------------------------------------";
    std::printf("|%.51s|%.7s:|%.22s|%.7s:|%.6s:|%.8s:|%.5s|\n", rule, rule, rule, rule, rule, rule, rule);
}

/// False: past its target.
inline bool print_guards_line(const guards_line& line) {
    const guards_cost cost = line.measured();
    const double ratio = cost.coraii / cost.base;
    const double value = std::isnan(cost.base) ? cost.coraii : ratio;
    const bool met = line.limit.empty() || (line.limit == "<=" ? value <= line.target : value >= line.target);
    const std::string target = line.limit.empty() ? "-" : std::string{line.limit} + " " + number(line.target);
    std::printf("| %-49s | %6s | %-20s | %6s | %5s | %7s | %-3s |\n", line.name, number(cost.coraii).c_str(),
                line.base_name, number(cost.base).c_str(), number(ratio).c_str(), target.c_str(),
                line.limit.empty() ? "-" : (met ? "yes" : "no"));
    std::fflush(stdout);
    return met;
}

}  // namespace scope_bench

#endif
