// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_CLEANUP_DEADLINE_HPP
#define CORAII_DETAIL_SCOPE_CLEANUP_DEADLINE_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/recycler.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <utility>

namespace coraii::detail {

/// The time that a cleanup is given.
template <class Executor>
class cleanup_deadline : public recycled, public boost::intrusive_ref_counter<cleanup_deadline<Executor>> {
public:
    cleanup_deadline(const Executor& executor, clock::duration limit) : timer_{executor}, limit_{limit} {}

    /// Calls `expire` when it is over.
    template <class Expire>
    void start(Expire expire) noexcept {
        try {
            timer_.expires_after(limit_);
            timer_.async_wait([self = boost::intrusive_ptr<cleanup_deadline>{this},
                               expire = std::move(expire)](const boost::system::error_code& stopped) mutable {
                if (!stopped && !self->ended_) {
                    self->expired_ = true;
                    expire();
                }
            });
        } catch (...) {  // no memory for a deadline: the cleanup runs without one
        }
    }

    void end() noexcept {
        ended_ = true;
        timer_.cancel();
    }

    bool expired() const noexcept { return expired_; }

private:
    timer_on<Executor> timer_;
    clock::duration limit_;
    bool expired_ = false;
    bool ended_ = false;
};

}  // namespace coraii::detail

#endif
