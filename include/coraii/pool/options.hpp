// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_OPTIONS_HPP
#define CORAII_POOL_OPTIONS_HPP

#include "coraii/exit_status.hpp"
#include "coraii/unlimited.hpp"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

/// Which idle resource is lent first.
enum class pool_order : bool {
    lifo,  ///< the one used last: what is not needed stays idle, and is closed after `idle_timeout`
    fifo,  ///< the one that is idle for longest: all are used in turn
};

/// How a pool works. Durations of zero turn `idle_timeout`, `max_lifetime` and `leak_warning` off.
struct pool_options {
    using duration = std::chrono::steady_clock::duration;  ///< of the steady clock

    /// Opened by `warm_up`, kept open in spite of `idle_timeout`, and opened again after a loss.
    std::size_t min_size = 0;
    /// Never exceeded. A resource counts from the begin of its opening to the end of its cleanup.
    std::size_t max_size = 10;
    /// More fail with `errc::pool_exhausted`.
    std::size_t max_waiting = unlimited;
    /// How many are opened at a time.
    std::size_t max_opening = 2;
    /// For `acquire()` and `warm_up()`.
    duration acquire_timeout = std::chrono::seconds{30};
    /// For the opening of a resource: then it is cancelled, and has failed.
    duration open_timeout = std::chrono::seconds{20};
    /// For the `check` hook.
    duration check_timeout = std::chrono::seconds{5};
    /// For the `reset` hook.
    duration reset_timeout = std::chrono::seconds{5};
    /// What is idle for so long is closed.
    duration idle_timeout = std::chrono::minutes{10};
    /// What is older is closed when it is idle.
    duration max_lifetime = std::chrono::minutes{30};
    /// What is idle for so long is checked before it is lent. Zero: always.
    duration check_after_idle = std::chrono::seconds{1};
    /// By how much of it a `max_lifetime` may be shorter, at random, so that not all end together: from 0 to below 1.
    double lifetime_jitter = 0.1;
    pool_order reuse = pool_order::lifo;  ///< which idle resource is lent
    /// The pause after an opening that failed; doubled for each further failure, and cut by up to a half at random.
    duration open_backoff = std::chrono::milliseconds{100};
    duration open_backoff_max = std::chrono::seconds{5};  ///< the pause is doubled up to this
    /// A lease older than this is reported once to `on_cleanup_error`, with `errc::lease_overdue` and the place of its
    /// `acquire()`.
    duration leak_warning = duration::zero();
};

/// What a pool does with a resource between two leases, and after an opening that failed. All run on the pool's executor;
/// each may be empty: then `default_pool_hooks<T>` has it, or the pool does nothing.
template <class T>
struct pool_hooks {
    /// Before lending what was idle for `check_after_idle`. False, a throw, or no answer within `check_timeout`: the
    /// resource is discarded.
    std::function<asio::awaitable<bool>(T&)> check{};
    /// After a lease, which ended as told. False, a throw, or no answer within `reset_timeout`: the resource is
    /// discarded.
    std::function<asio::awaitable<bool>(T&, exit_status)> reset{};
    /// An opening has failed with that error. False: whoever waits gets the error at once. True, a throw, or no hook: it is
    /// repeated, after `open_backoff`.
    std::function<bool(std::exception_ptr)> retry_opening{};
};

/// The hooks of a pool of T whose own are empty. The header that defines a type of resource may specialize it.
template <class T>
struct default_pool_hooks {
    static pool_hooks<T> get() { return {}; }  ///< none
};

/// The counts of a pool.
struct pool_stats {
    std::size_t size = 0;  ///< all there are, those being opened and cleaned included
    std::size_t idle = 0;  ///< ready to be lent
    std::size_t in_use = 0;  ///< lent, or being checked or reset
    std::size_t opening = 0;  ///< being opened
    std::size_t waiting = 0;  ///< acquires that wait

    std::uint64_t acquired = 0;  ///< leases so far
    std::uint64_t opened = 0;  ///< openings that succeeded
    std::uint64_t closed = 0;  ///< cleanups that ended, for whatever reason they were begun
    std::uint64_t discarded = 0;  ///< of the resources: those found broken, by you, a hook or a hook's timeout
    std::uint64_t timeouts = 0;  ///< acquires that ran out of time
    std::uint64_t cancelled = 0;  ///< acquires that were cancelled
    std::uint64_t open_failures = 0;  ///< openings that failed
    pool_options::duration wait_time{};  ///< that leases were waited for, all together
};

namespace detail {

inline void require(bool fulfilled, const char* otherwise) {
    if (!fulfilled) {
        throw std::invalid_argument(otherwise);
    }
}

template <class T>
pool_hooks<T> with_default_hooks(pool_hooks<T> hooks) {
    pool_hooks<T> all = default_pool_hooks<T>::get();
    if (hooks.check) {
        all.check = std::move(hooks.check);
    }
    if (hooks.reset) {
        all.reset = std::move(hooks.reset);
    }
    if (hooks.retry_opening) {
        all.retry_opening = std::move(hooks.retry_opening);
    }
    return all;
}

template <class Factory>
void check_pool(const Factory& factory, const pool_options& o) {
    constexpr auto zero = pool_options::duration::zero();
    require(static_cast<bool>(factory), "coraii::pool: the factory is empty");
    require(o.max_size > 0, "coraii::pool: max_size must be at least 1");
    require(o.min_size <= o.max_size, "coraii::pool: min_size must not be greater than max_size");
    require(o.max_opening > 0, "coraii::pool: max_opening must be at least 1");
    require(o.acquire_timeout >= zero, "coraii::pool: acquire_timeout must not be negative");
    require(o.open_timeout > zero, "coraii::pool: open_timeout must be greater than zero");
    require(o.check_timeout > zero, "coraii::pool: check_timeout must be greater than zero");
    require(o.reset_timeout > zero, "coraii::pool: reset_timeout must be greater than zero");
    require(o.idle_timeout >= zero, "coraii::pool: idle_timeout must not be negative");
    require(o.max_lifetime >= zero, "coraii::pool: max_lifetime must not be negative");
    require(o.check_after_idle >= zero, "coraii::pool: check_after_idle must not be negative");
    require(o.lifetime_jitter >= 0 && o.lifetime_jitter < 1, "coraii::pool: lifetime_jitter must be in [0, 1)");
    require(o.open_backoff > zero, "coraii::pool: open_backoff must be greater than zero");
    require(o.open_backoff_max >= o.open_backoff, "coraii::pool: open_backoff_max must not be less than open_backoff");
    require(o.leak_warning >= zero, "coraii::pool: leak_warning must not be negative");
}

}  // namespace detail
}  // namespace coraii

#endif
