// SPDX-License-Identifier: BSL-1.0
// What a scope costs beside the same thing written by hand, with a setup, a body and a cleanup that do nothing. Prints one
// table. Times of one run on one machine can be compared with each other, and with nothing else; instructions and
// allocations are exact, and the exit status tells whether they are within their targets.
#include "coraii/async_scope.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/joined.hpp"
#include "coraii/with.hpp"
#include "counting.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <compare>
#include <cstdio>
#include <ctime>
#include <deque>
#include <exception>
#include <filesystem>
#include <future>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;

namespace {

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

awaitable<void> with_one() {
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

awaitable<void> region_of_one() {
    return coraii::joined(guard_dropped);
}

constexpr int repetitions = 9;
constexpr int stack_size = 100;

awaitable<void> fill(coraii::exit_stack& stack) {
    for (int i = 0; i < stack_size; ++i) {
        int* r = co_await stack.enter(resource());
        co_await use_resource(*r);
    }
}

awaitable<void> stack_of_hundred() {
    return coraii::with(coraii::make_exit_stack(), fill);
}

// ---- the cases

/// One way to use a scope, or to do without.
struct form {
    const char* name;
    awaitable<void> (*round)();
    int scopes = 1;  // in a round
    bool in_a_region = false;
};

constexpr form unshielded{"by hand, unshielded", by_hand_unshielded};
constexpr form shielded{"by hand, shielded", by_hand_shielded};
constexpr form with{"with", with_one};
constexpr form closed{"guard, closed", guard_closed};
constexpr form dropped{"guard, dropped", guard_dropped};
constexpr form dropped_inside{"guard, dropped in a region", guard_dropped, 1, true};
constexpr form region{"region of one guard", region_of_one};
constexpr form three{"three scopes in one with", with_three, 3};
constexpr form stack{"exit_stack of 100", stack_of_hundred, stack_size};

constexpr const form* forms[] = {&unshielded,     &shielded, &with,  &closed, &dropped,
                                 &dropped_inside, &region,   &three, &stack};

struct comparison {
    const form* coraii;
    const form* base;
    bool slot;  // connected, so that the coroutine can be cancelled
    double target;
};

// Of several scopes, each is compared with coraii's own one: none shall be dearer for being among others.
constexpr comparison comparisons[] = {
    {&with, &unshielded, false, 1.15},
    {&with, &shielded, true, 0.5},
    {&closed, &shielded, false, 1.0},
    {&closed, &shielded, true, 1.0},
    {&dropped, &shielded, false, 0.8},
    {&dropped, &shielded, true, 0.8},
    {&dropped_inside, &shielded, false, 1.0},
    {&dropped_inside, &shielded, true, 1.0},
    {&region, &shielded, false, 2.0},
    {&region, &shielded, true, 2.0},
    {&three, &with, false, 1.0},
    {&three, &with, true, 1.0},
    {&stack, &closed, false, 1.0},
    {&stack, &closed, true, 1.0},
};

// ---- measuring

struct run_of {
    const form* what;
    bool slot;
    int threads;
    long rounds;  // of each thread
    auto operator<=>(const run_of&) const = default;
};

struct run_result {
    std::atomic<double> nanoseconds = 0;  // from when all have begun until all are done
    std::atomic<long> allocations = 0;  // of all threads
};

/// Where they meet, each of the coroutines blocks a thread of its own: so together they read every thread's count.
awaitable<void> rounds(run_of run, std::barrier<>& all, run_result& result) {
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

awaitable<void> all_rounds(const run_of& run, std::barrier<>& all, run_result& result) {
    const auto body = [&] { return rounds(run, all, result); };
    return run.what->in_a_region ? coraii::joined(body) : body();
}

void perform(const run_of& run, run_result& result) {
    asio::io_context context{run.threads};
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
double instructions(const run_of& run) {
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
void measure(const run_of& run, cost& c) {
    run_result result;
    perform(run, result);
    const double scopes = static_cast<double>(run.rounds) * run.what->scopes;
    c.time = std::min(c.time, result.nanoseconds / scopes);
    c.allocations = std::max(c.allocations, static_cast<double>(result.allocations) / scopes / run.threads);
}

std::string row_name(const comparison& c) {
    return std::string{c.coraii->name} + (c.slot ? ", slot" : ", no slot");
}

void print_head() {
    std::array<char, 16> date{};
    const std::time_t now = std::time(nullptr);
    std::strftime(date.data(), date.size(), "%F", std::localtime(&now));
    std::printf("%s, %s, %u cores. A scope's time, instructions and allocations: of the base, of coraii.\n\n",
                date.data(), BOOST_COMPILER, std::thread::hardware_concurrency());
    std::printf("| %-35s | %7s | %-19s | %6s | %6s | %5s | %6s | %6s | %5s | %6s | %6s | %6s |\n", "case", "threads",
                "base", "ns", "coraii", "ratio", "instr.", "coraii", "ratio", "target", "allocs", "coraii");
    constexpr const char* rule = "-------------------------------------";
    std::printf("|%.37s|%.8s:|%.21s|%.7s:|%.7s:|%.6s:|%.7s:|%.7s:|%.6s:|%.7s:|%.7s:|%.7s:|\n", rule, rule, rule, rule,
                rule, rule, rule, rule, rule, rule, rule, rule);
}

/// False: past a target.
bool print_row(const comparison& c, int threads, bool with_instructions) {
    const run_of base_run{c.base, c.slot, threads, 50'000 / c.base->scopes};
    const run_of coraii_run{c.coraii, c.slot, threads, 50'000 / c.coraii->scopes};
    cost base, mine;
    for (int i = 0; i < repetitions; ++i) {  // in turns, so that the machine's moods are those of both
        measure(base_run, base);
        measure(coraii_run, mine);
    }
    if (with_instructions) {
        base.instructions = instructions(base_run);
        mine.instructions = instructions(coraii_run);
    }
    std::printf("| %-35s | %7d | %-19s | %6.0f | %6.0f | %5.2f |", row_name(c).c_str(), threads, c.base->name,
                base.time, mine.time, mine.time / base.time);
    const double ratio = mine.instructions / base.instructions;
    std::printf(" %6.0f | %6.0f | %5.2f |", base.instructions, mine.instructions, ratio);
    const bool dear = with_instructions && !(ratio <= c.target);
    // Threads that pass coroutines to one another empty one's cache of frames and fill another's, Asio's as well.
    const bool allocates = mine.allocations > (threads == 1 ? 0 : 0.005);
    std::printf(" %6.2f | %6.2f | %6.2f |%s%s\n", c.target, base.allocations, mine.allocations,
                dear ? " too many instructions" : "", allocates ? " allocates" : "");
    std::fflush(stdout);
    return !dear && !allocates;
}

/// False: not all rows are within their targets.
bool print_table(std::string_view filter, bool with_instructions) {
    print_head();
    int rows = 0, over = 0;
    for (const int threads : {1, 2}) {
        for (const comparison& c : comparisons) {
            if (row_name(c).find(filter) != std::string::npos) {
                ++rows;
                over += print_row(c, threads, with_instructions) ? 0 : 1;
            }
        }
    }
    if (rows == 0) {
        throw std::invalid_argument("no such row: " + std::string{filter});
    }
    if (!with_instructions) {
        std::puts("\nInstructions were not counted.");
    }
    std::printf("\n%d of %d rows are past their targets.\n", over, rows);
    return over == 0;
}

constexpr const char* help =
    "scope_bench [--no-instructions] [TEXT]   prints the table, or those rows whose names contain TEXT\n"
    "scope_bench --case NAME [--slot] [--threads N] [--rounds N]   runs one case, for a profiler\n"
    "scope_bench --list                       prints the names of the cases\n";

int run_program(int argc, char** argv) {
    bool with_instructions = true;
    std::string_view filter;
    run_of alone{nullptr, false, 1, 1000};
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        const auto value = [&] {
            if (++i == argc) {
                throw std::invalid_argument(std::string{option} + " needs a value");
            }
            return std::string{argv[i]};
        };
        if (option == "--help") {
            std::fputs(help, stdout);
            return 0;
        }
        if (option == "--list") {
            for (const form* f : forms) {
                std::puts(f->name);
            }
            return 0;
        }
        if (option == "--no-instructions") {
            with_instructions = false;
        } else if (option == "--slot") {
            alone.slot = true;
        } else if (option == "--threads") {
            alone.threads = std::stoi(value());
        } else if (option == "--rounds") {
            alone.rounds = std::stol(value());
        } else if (option == "--case") {
            const std::string name = value();
            const auto found = std::ranges::find(forms, name, &form::name);
            if (found == std::end(forms)) {
                throw std::invalid_argument("no such case: " + name);
            }
            alone.what = *found;
        } else if (option.starts_with("--")) {
            throw std::invalid_argument("no such option: " + std::string{option});
        } else {
            filter = option;
        }
    }
    if (alone.what != nullptr) {
        run_result not_wanted;
        perform(alone, not_wanted);
        return 0;
    }
    return print_table(filter, with_instructions) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run_program(argc, argv);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "scope_bench: %s\n", e.what());
        return 2;
    }
}
