// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_ERROR_HPP
#define CORAII_ERROR_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>

#include <exception>
#include <type_traits>

namespace coraii {

/// What the library itself reports; everything else is what a setup, a body or a cleanup threw.
enum class errc {
    /// The scope's coroutine ended without a `co_yield`: there is no resource to use.
    no_value = 1,
    /// The scope's coroutine came to a second `co_yield`.
    yielded_twice,
    /// The cleanup did not end within its `cleanup_timeout`, and was cancelled.
    cleanup_timeout,
    /// The scope was awaited before, or moved from.
    already_awaited,
    /// The guard holds nothing: it was closed, released, reset or moved from.
    empty_guard,
    /// The cleanup has begun: the scope can no longer be held. Also: the task group, or the shared scope, takes nobody more.
    scope_closed,
    /// The executor that an offloaded call was given to has been stopped.
    offload_stopped,
    /// The cleanup's coroutine was destroyed before it ended: an operation in it could not begin, or its handler was
    /// dropped.
    cleanup_destroyed,
    /// The pool had no resource to lend within the time given.
    pool_timeout,
    /// The pool has been closed.
    pool_closed,
    /// As many wait for a resource of the pool as its `max_waiting` allows.
    pool_exhausted,
    /// A lease is out for longer than the pool's `leak_warning`. It is only a warning.
    lease_overdue,
    /// The setup did not end within its `setup_timeout`, and was cancelled.
    setup_timeout,
    /// The coroutine of a task group's child was destroyed before it ended: an operation in it could not begin, or its handler
    /// was dropped.
    child_destroyed,
};

/// The category of `errc`, named "coraii".
CORAII_DECL const boost::system::error_category& error_category() noexcept;

/// Finds `errc` as an error code.
inline boost::system::error_code make_error_code(errc e) noexcept {
    return {static_cast<int>(e), error_category()};
}

}  // namespace coraii

template <>
struct boost::system::is_error_code_enum<coraii::errc> : std::true_type {};

namespace coraii {
namespace detail {

[[noreturn]] CORAII_DECL void throw_error(boost::system::error_code e);

/// Never throws: without memory for the error, it is the `std::bad_alloc`.
CORAII_DECL std::exception_ptr make_error(boost::system::error_code e) noexcept;

}  // namespace detail
}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/impl/error.ipp"
#endif

#endif
