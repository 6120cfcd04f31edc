// SPDX-License-Identifier: BSL-1.0
// expect: coraii needs Clang 16 or later
#include CORAII_HEADER
