// SPDX-License-Identifier: BSL-1.0
// What a scope costs beside the same thing written by hand, with a setup, a body and a cleanup that do nothing. Prints
// a table of single scopes and one of many guards. Times of one run on one machine can be compared with each other, and
// with nothing else; instructions, allocations and bytes are exact. The exit status tells whether all targets are met.
#include "scope_forms.hpp"
#include "scope_guards.hpp"
#include "scope_runs.hpp"

#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <exception>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace scope_bench {

namespace {

enum class ratio_of { time, instructions };

struct comparison {
    const form* coraii;
    const form* base;
    bool slot;  // connected, so that the coroutine can be cancelled
    double target;
    ratio_of of = ratio_of::instructions;
};

// Of several scopes, each is compared with coraii's own one: none shall be dearer for being among others.
constexpr comparison comparisons[] = {
    {&with, &unshielded, false, 1.5, ratio_of::time},
    {&with, &shielded, true, 0.5, ratio_of::time},
    {&task, &with, false, 1.1, ratio_of::time},
    {&task, &with, true, 1.1, ratio_of::time},
    {&closed, &shielded, false, 1.0},
    {&closed, &shielded, true, 0.8, ratio_of::time},
    {&dropped, &shielded, false, 0.8},
    {&dropped, &shielded, true, 0.8, ratio_of::time},
    {&dropped_inside, &shielded, false, 1.0},
    {&dropped_inside, &shielded, true, 1.0},
    {&region, &shielded, false, 2.0},
    {&region, &shielded, true, 2.0},
    {&three, &with, false, 1.0},
    {&three, &with, true, 1.0},
    {&task_three, &with, false, 1.0},
    {&task_three, &with, true, 1.0},
    {&stack, &closed, false, 1.0},
    {&stack, &closed, true, 1.0},
};

std::string row_name(const comparison& c) {
    return std::string{c.coraii->name} + (c.slot ? ", slot" : ", no slot");
}

void print_machine() {
    std::array<char, 16> date{};
    const std::time_t now = std::time(nullptr);
    std::strftime(date.data(), date.size(), "%F", std::localtime(&now));
    std::printf("%s, %s, %u cores.\n", date.data(), BOOST_COMPILER, std::thread::hardware_concurrency());
}

void print_rows_head() {
    std::printf(
        "\nA scope's time, instructions and allocations: of the base, of coraii.\n"
        "A row's target is of its ratio of times or of its ratio of instructions, as the column `of` says.\n"
        "The design's targets are of times, of the fastest of %d repetitions each; the instructions stand beside.\n"
        "The rows of which the design says nothing have targets of instructions. Allocating fails any row.\n\n",
        repetitions);
    std::printf("| %-35s | %7s | %-19s | %6s | %6s | %5s | %6s | %6s | %5s | %6s | %-6s | %6s | %6s |\n", "case",
                "threads", "base", "ns", "coraii", "ratio", "instr.", "coraii", "ratio", "target", "of", "allocs",
                "coraii");
    constexpr const char* rule = "-------------------------------------";
    std::printf("|%.37s|%.8s:|%.21s|%.7s:|%.7s:|%.6s:|%.7s:|%.7s:|%.6s:|%.7s:|%.8s|%.7s:|%.7s:|\n", rule, rule, rule,
                rule, rule, rule, rule, rule, rule, rule, rule, rule, rule);
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
    const bool of_time = c.of == ratio_of::time;
    const double times = mine.time / base.time;
    const double counts = mine.instructions / base.instructions;
    std::printf("| %-35s | %7d | %-19s | %6.0f | %6.0f | %5.2f |", row_name(c).c_str(), threads, c.base->name,
                base.time, mine.time, times);
    std::printf(" %6.0f | %6.0f | %5.2f |", base.instructions, mine.instructions, counts);
    const bool slow = of_time && !(times <= c.target);
    const bool dear = !of_time && with_instructions && !(counts <= c.target);
    // Threads that pass coroutines to one another empty one's cache of frames and fill another's, Asio's as well.
    const bool allocates = mine.allocations > (threads == 1 ? 0 : 0.005);
    std::printf(" %6.2f | %-6s | %6.2f | %6.2f |%s%s%s\n", c.target, of_time ? "time" : "instr.", base.allocations,
                mine.allocations, slow ? " too slow" : "", dear ? " too many instructions" : "",
                allocates ? " allocates" : "");
    std::fflush(stdout);
    return !slow && !dear && !allocates;
}

struct tally {
    int rows = 0, over = 0;
    void add(bool met) {
        ++rows;
        over += met ? 0 : 1;
    }
};

void print_rows(std::string_view filter, bool with_instructions, tally& t) {
    std::vector<const comparison*> wanted;
    for (const comparison& c : comparisons) {
        if (row_name(c).find(filter) != std::string::npos) {
            wanted.push_back(&c);
        }
    }
    if (!wanted.empty()) {
        print_rows_head();
    }
    for (const int threads : {1, 2}) {
        for (const comparison* const c : wanted) {
            t.add(print_row(*c, threads, with_instructions));
        }
    }
}

void print_guards(std::string_view filter, tally& t) {
    bool has_head = false;
    for (const guards_line& line : guards_lines) {
        if (std::string_view{line.name}.find(filter) != std::string_view::npos) {
            if (!std::exchange(has_head, true)) {
                print_guards_head();
            }
            t.add(print_guards_line(line));
        }
    }
}

/// False: not all rows are within their targets.
bool print_tables(std::string_view filter, bool with_instructions) {
    tally t;
    print_machine();
    print_rows(filter, with_instructions, t);
    print_guards(filter, t);
    if (t.rows == 0) {
        throw std::invalid_argument("no such row: " + std::string{filter});
    }
    if (!with_instructions) {
        std::puts("\nInstructions were not counted.");
    }
    std::printf("\n%d of %d rows are past their targets.\n", t.over, t.rows);
    return t.over == 0;
}

constexpr const char* help =
    "scope_bench [--no-instructions] [TEXT]   prints the tables, or those rows whose names contain TEXT\n"
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
    return print_tables(filter, with_instructions) ? 0 : 1;
}

}  // namespace

}  // namespace scope_bench

int main(int argc, char** argv) {
    try {
        return scope_bench::run_program(argc, argv);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "scope_bench: %s\n", e.what());
        return 2;
    }
}
