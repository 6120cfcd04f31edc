// SPDX-License-Identifier: BSL-1.0
// For tests of coroutines that hold resources: `testing::run`, `testing::sweep`, `testing::probe`. Works under any test
// framework, and needs nothing but Boost.
#ifndef CORAII_TESTING_HPP
#define CORAII_TESTING_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/testing/allocations.hpp"
#include "coraii/testing/fault.hpp"
#include "coraii/testing/probe.hpp"
#include "coraii/testing/run.hpp"
#include "coraii/testing/sweep.hpp"
#include "coraii/testing/threads.hpp"

#endif
