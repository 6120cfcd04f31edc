// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_CONDITIONS_HPP
#define CORAII_TESTING_DETAIL_CONDITIONS_HPP

#include "coraii/testing/detail/record.hpp"
#include "coraii/testing/fault.hpp"

#include <chrono>
#include <cstddef>

namespace coraii::testing::detail {

/// The conditions of one run.
struct conditions {
    fault injected{};
    bool slot = true;  // cancellation can be requested of the scenario
    on_executor executor = on_executor::context;
    cleanup_order order = cleanup_order::any;
    bool cleanups_may_be_cancelled = false;
    bool keeps_cancellation_state = true;
    bool tracked = true;  // as by `track_scopes`, which `with` differs by
    std::chrono::steady_clock::duration patience = std::chrono::seconds{2};
    std::size_t most_turns = 1'000'000;
    std::chrono::steady_clock::duration most_time = std::chrono::hours{10'000};  // virtual
};

}  // namespace coraii::testing::detail

#endif
