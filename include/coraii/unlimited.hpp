// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_UNLIMITED_HPP
#define CORAII_UNLIMITED_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include <cstddef>
#include <limits>

namespace coraii {

/// For a number of which there may be as many as there are.
inline constexpr std::size_t unlimited = (std::numeric_limits<std::size_t>::max)();

}  // namespace coraii

#endif
