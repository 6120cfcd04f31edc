// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_SWEEP_HPP
#define CORAII_TESTS_SUPPORT_SWEEP_HPP

#include "coraii/testing/sweep.hpp"

#include <catch2/catch_test_macros.hpp>

#include <sstream>

namespace test {

/// Nothing was found, in more than 50 runs.
inline void check_sweep(const coraii::testing::sweep_report& report) {
    std::ostringstream text;
    text << report;
    INFO(text.str());
    CHECK(report.ok());
    CHECK(report.runs > 50);
}

}  // namespace test

#endif
