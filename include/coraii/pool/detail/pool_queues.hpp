// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_QUEUES_HPP
#define CORAII_POOL_DETAIL_POOL_QUEUES_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/error.hpp"
#include "coraii/pool/detail/pool_state.hpp"

#include <boost/system/system_error.hpp>

#include <cstddef>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

// Those who wait for a pool: how they come, and how they go without having got what they wanted.

namespace coraii::detail {

/// No more leases.
template <class T, class Executor>
void pool_state<T, Executor>::refuse() noexcept {
    queue_type told;
    {
        const std::lock_guard lock{mutex_};
        if (std::exchange(closed_, true)) {
            return;
        }
        told = unqueue_all(waiting_);
        told.splice(told.end(), unqueue_all(warming_));
        for (auto& opening : in(pool_phase::opening)) {
            opening.due = clock::now();  // cancelled by the timer, where it runs
            arm(opening.due);
        }
    }
    const std::exception_ptr error = make_error(errc::pool_closed);
    for (const waiter_ptr& waiter : told) {
        waiter->tell(error);
    }
}

template <class T, class Executor>
void pool_state<T, Executor>::wait_in(queue_type& queue, const waiter_ptr& waiter) noexcept {
    std::exception_ptr error;
    try {
        const std::lock_guard lock{mutex_};
        if (closed_ && &queue != &ending_) {
            throw_error(errc::pool_closed);
        }
        if (&queue == &waiting_ && waiting_.size() >= options_.max_waiting) {
            throw_error(errc::pool_exhausted);
        }
        waiter->place_ = queue.insert(queue.end(), waiter);
        waiter->queue_ = &queue;
        waiter->for_lease_ = &queue == &waiting_;
        waiter->since_ = clock::now();
        arm(waiter->deadline_);
    } catch (...) { error = std::current_exception(); }
    if (error) {
        return waiter->tell(error);
    }
    pump();
}

template <class T, class Executor>
void pool_state<T, Executor>::give_up(waiter_type& waiter, const std::exception_ptr& error) noexcept {
    const waiter_ptr queued = withdraw(waiter);
    if (queued) {
        queued->tell(error);
    }
    if (queued ? queued->for_lease_ : waiter.pass_on(error)) {
        const std::lock_guard lock{mutex_};
        ++counts_.cancelled;
    }
    pump();
}

template <class T, class Executor>
auto pool_state<T, Executor>::unqueue(waiter_type& waiter) noexcept -> waiter_ptr {
    if (waiter.queue_ == nullptr) {
        return nullptr;
    }
    waiter_ptr found = std::move(*waiter.place_);
    std::exchange(waiter.queue_, nullptr)->erase(waiter.place_);
    return found;
}

template <class T, class Executor>
auto pool_state<T, Executor>::unqueue_all(queue_type& queue) noexcept -> queue_type {
    for (const waiter_ptr& waiter : queue) {
        waiter->queue_ = nullptr;
    }
    return std::exchange(queue, {});
}

template <class T, class Executor>
void pool_state<T, Executor>::take_late(queue_type& queue, clock::time_point now, queue_type& late) noexcept {
    for (auto next = queue.begin(); next != queue.end();) {
        const auto waiter = next++;
        if ((*waiter)->deadline_ <= now) {
            (*waiter)->queue_ = nullptr;
            late.splice(late.end(), queue, waiter);
        }
    }
}

/// With the counts, and the last error of opening.
template <class T, class Executor>
std::exception_ptr pool_state<T, Executor>::timeout_error() const noexcept {
    try {
        const auto count = [](std::size_t n, const char* what) { return std::to_string(n) + what; };
        std::string text = count(size() - in(pool_phase::idle).size() - in(pool_phase::opening).size(), " in use, ") +
                           count(in(pool_phase::opening).size(), " opening, ") +
                           count(in(pool_phase::idle).size(), " idle, ") + count(waiting_.size(), " waiting of max ") +
                           std::to_string(max_size_);
        if (open_error_) {
            text += "; last opening error: ";
            try {
                std::rethrow_exception(open_error_);
            } catch (const std::exception& e) { text += e.what(); } catch (...) {
                text += "no std::exception";
            }
        }
        return std::make_exception_ptr(boost::system::system_error(make_error_code(errc::pool_timeout), text));
    } catch (...) { return make_error(errc::pool_timeout); }
}

}  // namespace coraii::detail

#endif
