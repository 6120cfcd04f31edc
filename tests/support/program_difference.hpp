// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_PROGRAM_DIFFERENCE_HPP
#define CORAII_TESTS_SUPPORT_PROGRAM_DIFFERENCE_HPP

#include "coraii/testing/run.hpp"
#include "support/program.hpp"
#include "support/program_record.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace test::program {

/// A destructor's cleanup ends inside it on the executors that coraii knows.
inline constexpr std::array<coraii::testing::run_options, 4> circumstances{{
    {.slot = false, .executor = coraii::testing::on_executor::context},
    {.slot = true, .executor = coraii::testing::on_executor::context},
    {.slot = false, .executor = coraii::testing::on_executor::strand},
    {.slot = true, .executor = coraii::testing::on_executor::strand},
}};

/// Both logs side by side, from a little before the first difference.
inline std::string side_by_side(const std::vector<std::string>& left, const std::vector<std::string>& right) {
    constexpr std::size_t before = 5, width = 60;
    const auto differ = std::ranges::mismatch(left, right).in1 - left.begin();
    const auto first = static_cast<std::size_t>(differ);
    std::string text;
    for (std::size_t i = first - std::min(first, before); i < std::max(left.size(), right.size()); ++i) {
        std::string line = i < left.size() ? left[i] : "-";
        line.resize(std::max(line.size() + 1, width), ' ');
        text += (i < first ? "      " : i == first ? " ==>  " : "      ") + line + (i < right.size() ? right[i] : "-");
        text += '\n';
    }
    return text;
}

/// All there is to say of a run that went otherwise than it should.
inline std::string difference(const statements& program, std::optional<std::size_t> throw_at,
                              const coraii::testing::run_options& options, const record& expected, const record& seen) {
    const bool strand = options.executor == coraii::testing::on_executor::strand;
    return std::string{strand ? "on a strand, " : "on the context, "} + (options.slot ? "with" : "without") +
           " a cancellation slot" +
           (throw_at ? ", with an exception at point " + std::to_string(*throw_at) : std::string{}) + ":\n" +
           to_text(program) + "synchronous, and with coraii:\n" + side_by_side(expected.events(), seen.events());
}

}  // namespace test::program

#endif
