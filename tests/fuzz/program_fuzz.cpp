// SPDX-License-Identifier: BSL-1.0
// The differential test with libFuzzer's choices instead of random ones.
#include "support/program.hpp"
#include "support/program_coraii.hpp"
#include "support/program_difference.hpp"
#include "support/program_record.hpp"
#include "support/program_synchronous.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>

namespace program = test::program;

/// The first byte says under which circumstances, the second at which point an exception is thrown beside those of the
/// program (0: none); the others are the program.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it so
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) {
        return 0;
    }
    const auto& options = program::circumstances[data[0] % program::circumstances.size()];
    const auto throw_at = data[1] == 0 ? std::nullopt : std::optional<std::size_t>{data[1] - 1U};
    const auto tested = program::from_bytes(std::span{data, size}.subspan(2));

    const program::record expected = program::synchronous::run(tested, throw_at);
    const program::record seen = program::with_coraii::run(tested, throw_at, options);
    if (seen.events() != expected.events()) {
        std::fputs(program::difference(tested, throw_at, options, expected, seen).c_str(), stderr);
        std::abort();
    }
    return 0;
}
