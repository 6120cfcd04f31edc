// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_DEADLINE_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_DEADLINE_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/recycler.hpp"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/config.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <utility>

namespace coraii::detail {

/// The time that a scope's setup is given, and then its cleanup. A scope that has no limit has no timer.
template <class Executor>
class scope_deadline {
    struct wait : recycled, boost::intrusive_ref_counter<wait> {
        explicit wait(const Executor& executor) : timer{executor} {}

        timer_on<Executor> timer;
        unsigned round = 0;  // a function that Asio has queued already cannot be stopped
        bool expired = false;
    };

public:
    /// Makes the timer, so that `start` for the cleanup takes no memory of ours.
    void reserve(const Executor& executor) { wait_.reset(new wait{executor}); }
    explicit operator bool() const noexcept { return wait_ != nullptr; }

    /// Calls `expire` after `limit`. False if there is no memory to wait.
    template <class Expire>
    BOOST_NOINLINE bool start(clock::duration limit, Expire expire) noexcept {
        try {
            wait_->timer.expires_after(limit);
            wait_->timer.async_wait([waited = wait_, round = wait_->round,
                                     expire = std::move(expire)](const boost::system::error_code& stopped) mutable {
                if (!stopped && waited->round == round) {
                    waited->expired = true;
                    expire();
                }
            });
        } catch (...) { return false; }
        return true;
    }

    /// What it was started for is over: true if too late. Does nothing if it was not started.
    bool stop() noexcept { return wait_ && stop_wait(); }

    void end() noexcept {
        if (wait_) {
            stop_wait();
            wait_.reset();
        }
    }

private:
    // Not inlined: most scopes have no limit.
    BOOST_NOINLINE bool stop_wait() noexcept {
        ++wait_->round;
        wait_->timer.cancel();
        return std::exchange(wait_->expired, false);
    }

    boost::intrusive_ptr<wait> wait_;
};

/// In a cleanup, whose coroutine has `slot`: calls `f(type)` when its time is up. Gives the slot, to be cleared.
template <class F>
asio::cancellation_slot call_on_timeout(asio::cancellation_slot slot, F f) noexcept {
    if (slot.is_connected()) {
        try {
            slot.assign(std::move(f));
        } catch (...) {  // no memory: as where there is none for the timer
        }
    }
    return slot;
}

/// False if what was cancelled has failed by itself.
inline bool is_only_of_the_cancel(const std::exception_ptr& error) noexcept {
    if (!error) {
        return true;
    }
    try {
        std::rethrow_exception(error);
    } catch (const boost::system::system_error& e) {
        return e.code() == boost::asio::error::operation_aborted;
    } catch (...) { return false; }
}

#if defined(CORAII_SEPARATE_COMPILATION)
extern template class scope_deadline<asio::any_io_executor>;
#endif

}  // namespace coraii::detail

#endif
