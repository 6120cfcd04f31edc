// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_VERSION_HPP
#define CORAII_VERSION_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// The version, for the preprocessor. CMake reads it from here.

/// The major version: grows when source code may break.
#define CORAII_VERSION_MAJOR 0
/// The minor version: grows with what is new. Before 1.0 source code may break, too.
#define CORAII_VERSION_MINOR 1
/// The patch version: grows with corrections.
#define CORAII_VERSION_PATCH 0

/// All three in one number, to compare: 102003 is version 1.2.3.
#define CORAII_VERSION (CORAII_VERSION_MAJOR * 100000 + CORAII_VERSION_MINOR * 1000 + CORAII_VERSION_PATCH)

#endif
