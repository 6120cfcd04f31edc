// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CLEANUP_DEADLINE_HPP
#define CORAII_DETAIL_CLEANUP_DEADLINE_HPP

#include "coraii/detail/clock.hpp"
#include "coraii/detail/coroutine_thread.hpp"
#include "coraii/detail/recycler.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <utility>

namespace coraii::detail {

/// Cancels a cleanup's thread when its time is up.
template <class Executor>
class cleanup_deadline : public recycled, public boost::intrusive_ref_counter<cleanup_deadline<Executor>> {
public:
    cleanup_deadline(const Executor& executor, clock::duration limit) : timer_{executor}, limit_{limit} {}

    thread_signal& signal() noexcept { return signal_; }
    asio::cancellation_state state() const noexcept { return state_; }

    /// `expire` is asked whether the cleanup is to be cancelled.
    template <class Expire>
    void start(Expire expire) noexcept {
        try {
            timer_.expires_after(limit_);
            timer_.async_wait([self = boost::intrusive_ptr<cleanup_deadline>{this},
                               expire = std::move(expire)](const boost::system::error_code& over) mutable {
                if (!over && expire()) {
                    self->signal_.emit(asio::cancellation_type::terminal);
                }
            });
        } catch (...) {  // no memory for a deadline: the cleanup runs without one
        }
    }

    void end() noexcept {
        timer_.cancel();
        signal_.end();
    }

private:
    timer_on<Executor> timer_;
    clock::duration limit_;
    thread_signal signal_;
    asio::cancellation_state state_{signal_.begin(asio::enable_terminal_cancellation())};
};

}  // namespace coraii::detail

#endif
