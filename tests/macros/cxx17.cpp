// SPDX-License-Identifier: BSL-1.0
// flags: -std=c++17
// expect: coraii needs C[+][+]20: compile with -std=c[+][+]20 or later
#include CORAII_HEADER
