// SPDX-License-Identifier: BSL-1.0
// For tests of what happens when no thread can be started.
#include "coraii/testing/replace_threads.hpp"
