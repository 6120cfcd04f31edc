// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_TIME_HPP
#define CORAII_POOL_DETAIL_POOL_TIME_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/error.hpp"
#include "coraii/pool/detail/pool_state.hpp"

#include <boost/asio/cancellation_type.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <utility>

// What a pool does when the time has come. One timer serves all.

namespace coraii::detail {

/// `on_time` is called at `at` or earlier.
template <class T, class Executor>
void pool_state<T, Executor>::arm(clock::time_point at) noexcept {
    if (at >= armed_ || !timer_) {
        return;
    }
    try {
        timer_->expires_at(at);
        timer_->async_wait([weak = this->weak_from_this()](const boost::system::error_code& cancelled) {
            const std::shared_ptr<external_wait> pool = weak.lock();
            if (pool && !cancelled) {
                static_cast<pool_state&>(*pool).on_time();
            }
        });
        armed_ = at;
    } catch (...) {  // no memory: the next event tries again
        armed_ = (clock::time_point::max)();
    }
}

template <class T, class Executor>
void pool_state<T, Executor>::on_time() noexcept {
    const auto now = clock::now();
    queue_type late;
    std::exception_ptr error;
    {
        const std::lock_guard lock{mutex_};
        armed_ = (clock::time_point::max)();
        const auto is_late = [&](const waiter_ptr& waiter) { return waiter->deadline_ <= now; };
        if (std::ranges::any_of(waiting_, is_late) || std::ranges::any_of(warming_, is_late)) {
            error = timeout_error();  // with all of them
        }
        take_late(waiting_, now, late);
        counts_.timeouts += late.size();
        take_late(warming_, now, late);
        expire(now);
    }
    for (const waiter_ptr& waiter : late) {
        waiter->tell(error);
    }
    for (;;) {
        overdue o;
        {
            const std::lock_guard lock{mutex_};
            o = take_overdue(now);
        }
        if (!o.stop) {
            break;
        }
        if (o.returning) {
            o.returning->tell(nullptr);
        }
        o.stop->signal_.emit(asio::cancellation_type::terminal);
    }
    for (;;) {
        std::optional<std::source_location> leak;
        {
            const std::lock_guard lock{mutex_};
            leak = take_leak(now);
        }
        if (!leak) {
            break;
        }
        report({make_error(errc::lease_overdue), nullptr, lease_name, *leak});
    }
    pump();
    const std::lock_guard lock{mutex_};
    arm(next_time());
}

/// What has been idle for too long, or is too old.
template <class T, class Executor>
void pool_state<T, Executor>::expire(clock::time_point now) noexcept {
    places& idle = in(pool_phase::idle);
    for (auto next = idle.begin(); next != idle.end();) {
        const place p = next++;
        if (p->expires <= now || (idle_until(*p) <= now && lasting() > options_.min_size)) {
            move(p, pool_phase::doomed);
        }
    }
}

/// A job that is to be cancelled.
template <class T, class Executor>
auto pool_state<T, Executor>::take_overdue(clock::time_point now) noexcept -> overdue {
    for (const pool_phase phase : {pool_phase::opening, pool_phase::checking, pool_phase::resetting}) {
        for (auto p = in(phase).begin(); p != in(phase).end(); ++p) {
            if (p->due <= now && p->stop) {
                p->due = (clock::time_point::max)();
                overdue found{p->stop, std::move(p->returning)};
                if (phase != pool_phase::opening) {
                    p->broken = true;
                    move(p, pool_phase::resetting);  // nobody counts on it any more
                }
                return found;
            }
        }
    }
    return {};
}

template <class T, class Executor>
std::optional<std::source_location> pool_state<T, Executor>::take_leak(clock::time_point now) noexcept {
    for (auto& lent : in(pool_phase::lent)) {
        if (lent.due <= now) {
            lent.due = (clock::time_point::max)();
            return lent.lent_at;
        }
    }
    return {};
}

template <class T, class Executor>
clock::time_point pool_state<T, Executor>::next_time() const noexcept {
    auto at = (clock::time_point::max)();
    for (const queue_type* queue : {&waiting_, &warming_, &ending_}) {
        for (const waiter_ptr& waiter : *queue) {
            if (queue != &ending_ || waiter->deadline_ > clock::now()) {
                at = (std::min)(at, waiter->deadline_);
            }
        }
    }
    for (const places& each : places_) {
        for (const auto& p : each) {
            if (p.stop || p.phase == pool_phase::lent) {
                at = (std::min)(at, p.due);
            }
        }
    }
    const bool surplus = lasting() > options_.min_size;
    for (const auto& p : in(pool_phase::idle)) {
        at = (std::min)({at, p.expires, surplus ? idle_until(p) : (clock::time_point::max)()});
    }
    return at;
}

template <class T, class Executor>
void pool_state<T, Executor>::begin_backoff(const std::exception_ptr& error) noexcept {
    ++counts_.open_failures;
    open_error_ = error;
    if (clock::now() < retry_at_) {
        return;  // another of the same round has failed already
    }
    auto pause = options_.open_backoff;
    for (unsigned i = 0; i < failures_ && pause < options_.open_backoff_max; ++i) {
        pause = pause > options_.open_backoff_max / 2 ? options_.open_backoff_max : pause * 2;
    }
    ++failures_;
    retry_at_ = later(clock::now(), scaled(pause, 0.5));
}

}  // namespace coraii::detail

#endif
