// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_EXIT_STATUS_HPP
#define CORAII_EXIT_STATUS_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include <cstdint>
#include <exception>
#include <utility>

namespace coraii {

/// Why a scope is being left.
enum class exit_reason : std::uint8_t {
    /// The body returned, or `close()` was called.
    completed,
    /// The body threw, or `close(exit_status)` said so.
    failed,
    /// The body ended with an error after cancellation had been requested of its coroutine.
    cancelled,
    /// The guard was destroyed or reset without `close()`, or the execution context is being destroyed.
    abandoned,
};

/// How the use of a resource ended: what `co_yield` returns, and what a cleanup is told.
///
/// A transaction commits when `ok()` and rolls back otherwise. Only `completed` is a success; a default-constructed
/// status is `abandoned`, so that a status nobody set is never taken for one.
///
/// Thread safety: as a `std::exception_ptr`.
class exit_status {
public:
    exit_status() = default;

    /// Implicit, so that `guard.close(exit_reason::failed)` reads as it should.
    exit_status(exit_reason reason, std::exception_ptr error = nullptr) noexcept
        : error_{std::move(error)}, reason_{reason} {}

    [[nodiscard]] exit_reason reason() const noexcept { return reason_; }  ///< in a word

    /// True for `completed` alone.
    [[nodiscard]] bool ok() const noexcept { return reason_ == exit_reason::completed; }

    /// The exception of the use when it failed or was cancelled, else null.
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }

    /// False when the execution context is being destroyed: the cleanup runs up to its first suspension, and nothing
    /// that suspends completes. Do what can be done without waiting.
    [[nodiscard]] bool can_await() const noexcept { return can_await_; }

    /// The same status, told that the execution context is being destroyed.
    [[nodiscard]] exit_status without_await() const noexcept {
        exit_status status = *this;
        status.can_await_ = false;
        return status;
    }

private:
    std::exception_ptr error_;
    exit_reason reason_ = exit_reason::abandoned;
    bool can_await_ = true;
};

}  // namespace coraii

#endif
