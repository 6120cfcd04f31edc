// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SCOPE_INFO_HPP
#define CORAII_SCOPE_INFO_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>
#include <string_view>

namespace coraii {

/// An error of a cleanup that nobody could be given: the guard was dropped, or an earlier error went before it.
struct cleanup_failure {
    /// What the cleanup threw.
    std::exception_ptr error;
    /// The error that went on instead, if there was one.
    std::exception_ptr suppressed_by;
    /// As given to `named()`; empty otherwise.
    std::string_view name;
    /// Where the scope was made.
    std::source_location where;
};

/// How many scopes an execution context has, and has had. Once none is open or closing,
/// `opened == cleaned + failed` plus the number released.
struct scope_stats {
    std::size_t open = 0;         ///< in use now
    std::size_t closing = 0;      ///< being cleaned now
    std::uint64_t opened = 0;     ///< setups that succeeded
    std::uint64_t cleaned = 0;    ///< cleanups that ended well
    std::uint64_t failed = 0;     ///< cleanups that threw or ran out of time
    std::uint64_t abandoned = 0;  ///< of all these, those whose guard was dropped without `close()`
};

/// Where a scope is in its life.
enum class scope_phase : std::uint8_t { made, setting_up, open, closing, closed };

/// What `for_each_scope` tells of one scope. The name is valid during the call only.
struct scope_info {
    std::string_view name;  ///< as `named`, or empty
    std::source_location where;  ///< where it was made
    std::chrono::steady_clock::duration age;  ///< since its setup began
    scope_phase state;  ///< when it was looked at
};

}  // namespace coraii

#endif
