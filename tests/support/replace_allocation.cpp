// SPDX-License-Identifier: BSL-1.0
// Sweeps also try every allocation: here, once for all tests.
#include "coraii/testing/replace_allocation.hpp"
