// SPDX-License-Identifier: BSL-1.0
// flags: -fno-exceptions
// expect: coraii needs exceptions: compile without -fno-exceptions
#include CORAII_HEADER
