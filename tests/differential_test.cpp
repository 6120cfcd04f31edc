// SPDX-License-Identifier: BSL-1.0
#include "support/program.hpp"
#include "support/program_coraii.hpp"
#include "support/program_difference.hpp"
#include "support/program_record.hpp"
#include "support/program_synchronous.hpp"
#include "support/scenario.hpp"

#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <string_view>

using namespace test;
namespace program = test::program;

namespace {

/// CORAII_PROGRAM=<seed> runs that program alone, as a failure says.
std::optional<std::uint64_t> the_only_seed() {
    const char* seed = std::getenv("CORAII_PROGRAM");
    return seed == nullptr ? std::nullopt : std::optional<std::uint64_t>{std::strtoull(seed, nullptr, 10)};
}

/// Programs of another kind in each `stream`, and with each `--rng-seed` of Catch2.
std::uint64_t first_of(std::uint32_t stream) {
    return (std::uint64_t{Catch::getSeed()} << 32U) | (stream << 24U);
}

/// Calls `f(seed, program)` for `count` programs.
template <class F>
void for_each_program(std::uint64_t first, std::uint32_t count, F f) {
    const auto only = the_only_seed();
    first = only.value_or(first);
    for (std::uint64_t seed = first; seed < first + (only ? 1 : count); ++seed) {
        f(seed, program::from_bytes(program::random_bytes(seed)));
    }
}

struct figures {
    std::size_t programs = 0, runs = 0, events = 0, exceptions = 0;
};

std::ostream& operator<<(std::ostream& out, const figures& f) {
    return out << f.programs << " programs, " << f.runs << " runs with coraii, " << f.events << " events, "
               << f.exceptions << " exceptions";
}

/// Runs the program in all circumstances, and gives what it should have done.
program::record compare(std::uint64_t seed, const program::statements& tested, std::optional<std::size_t> throw_at,
                        figures& sum) {
    program::record expected = program::synchronous::run(tested, throw_at);
    for (const auto& options : program::circumstances) {
        const program::record seen = program::with_coraii::run(tested, throw_at, options);
        ++sum.runs;
        sum.events += seen.events().size();
        sum.exceptions += seen.thrown();
        if (seen.events() != expected.events()) {
            // Not in the message: Catch2 wraps it.
            std::cout << program::difference(tested, throw_at, options, expected, seen);
            FAIL("program " << seed << " (again: CORAII_PROGRAM=" << seed << ", or --rng-seed " << Catch::getSeed()
                            << ") goes otherwise than with destructors, see above");
        }
    }
    return expected;
}

using counts = std::map<std::string, std::size_t>;

void count_shapes(const program::scope_spec& scope, counts& seen) {
    static constexpr std::array nestings{"nothing nested", "nested, held", "nested, in the setup",
                                         "nested, in the cleanup"};
    ++seen[program::to_string(scope.form)];
    ++seen[nestings[static_cast<std::size_t>(scope.nested)]];
    seen["nested, closed"] += scope.closes_inner ? 1 : 0;
    for (const program::scope_spec& inner : scope.inner) {
        count_shapes(inner, seen);
    }
}

void count_shapes(const program::statements& all, counts& seen) {
    for (const program::node& n : all) {
        ++seen[program::to_string(n.what)];
        for (const program::scope_spec& scope : n.scopes) {
            count_shapes(scope, seen);
        }
        count_shapes(n.children, seen);
    }
}

/// How many there were; a `*` at the end stands for any text.
std::size_t of_kind(std::string_view kind, const counts& seen) {
    const bool open = kind.ends_with('*');
    kind.remove_suffix(open ? 1 : 0);
    std::size_t sum = 0;
    for (const auto& [name, times] : seen) {
        sum += (open ? name.starts_with(kind) : name == kind) ? times : 0;
    }
    return sum;
}

/// Events of the same kind differ in numbers only.
void count_events(const program::record& log, counts& seen) {
    for (std::string event : log.events()) {
        std::erase_if(event, [](char c) { return '0' <= c && c <= '9'; });
        ++seen[event];
    }
}

}  // namespace

TEST_CASE("Random programs do with coraii what they do with destructors", "[differential]") {
    figures sum;
    for_each_program(first_of(0), sanitized ? 600 : 2000, [&](std::uint64_t seed, const program::statements& tested) {
        ++sum.programs;
        compare(seed, tested, std::nullopt, sum);
    });
    std::cout << "differential (--rng-seed " << Catch::getSeed() << "): " << sum << '\n';
    CHECK(sum.events >= sum.runs);
}

TEST_CASE("Random programs, with an exception at every point of each, one after another", "[differential]") {
    figures sum;
    for_each_program(first_of(1), sanitized ? 20 : 60, [&](std::uint64_t seed, const program::statements& tested) {
        ++sum.programs;
        for (std::size_t at = 0; at < compare(seed, tested, at, sum).points(); ++at) {}
    });
    std::cout << "differential, an exception at every point (--rng-seed " << Catch::getSeed() << "): " << sum << '\n';
    CHECK(sum.events >= sum.runs);
}

TEST_CASE("Random programs come to every kind of statement, scope and error", "[differential]") {
    counts seen;
    // The same programs each time: it is the generator that is looked at.
    for_each_program(1, 500, [&](std::uint64_t, const program::statements& tested) {
        count_shapes(tested, seen);
        for (std::size_t at = 0;; ++at) {
            const program::record log = program::synchronous::run(tested, at);
            count_events(log, seen);
            if (log.points() <= at) {
                break;
            }
        }
    });
    if (the_only_seed()) {
        return;
    }
    for (const char* kind : {
             // statements
             "step",
             "block",
             "try",
             "with",
             "try_with",
             "by hand",
             "variable",
             "assign",
             "move",
             "close",
             "reset",
             "release",
             "use",
             "stack",
             "own stack",
             "moved stack",
             "dropped stack",
             "task",
             "moved task",
             "enter",
             // scopes
             "co_yield",
             "pair",
             "object",
             "defer",
             "adopt",
             "nothing nested",
             "nested, held",
             "nested, closed",
             "nested, in the setup",
             "nested, in the cleanup",
             // what they do
             "assigned v",
             "moved v to v",
             "moved v to v, nothing",
             "closed v",
             "reset v",
             "released s",
             "empty v",
             "left ",
             "used s",
             "cleaned s",
             "cleaned d",
             "cleaned a",
             // where it is thrown
             "throws: step ",
             "throws: begin of setup s",
             "throws: end of setup s",
             "throws: cleanup s",
             "throws: cleanup d",
             "throws: cleanup a",
             // what a cleanup is told
             "cleanup s, completed",
             "cleanup s, abandoned",
             "cleanup s, failed: step ",
             "cleanup s, failed: end of setup s",
             "cleanup s, failed: cleanup s",
             "cleanup d, failed: cleanup s",
             // where it comes out
             "caught: step ",
             "caught: begin of setup s",
             "caught: cleanup s",
             "result: step ",
             "result: end of setup s",
             "result: cleanup s",
             "ended by: step ",
             "ended by: cleanup s",
             "reported by s: cleanup s",
             "reported by s: cleanup s, suppressed by: step ",
             "reported by s: cleanup s, suppressed by: end of setup s",
             "reported by s: cleanup s, suppressed by: cleanup s",
             "reported by s: begin of setup s",  // of a scope that a dropped one needs for its cleanup
             "reported by : cleanup d*",
             "reported by : cleanup a*",
         }) {
        INFO(kind);
        CHECK(of_kind(kind, seen) > 0);
    }
}
