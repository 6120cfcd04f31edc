// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_CLEANUP_DEADLINE_HPP
#define CORAII_DETAIL_SCOPE_CLEANUP_DEADLINE_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/recycler.hpp"

#include <boost/asio/error.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
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

/// False if a cleanup that was cancelled has failed by itself.
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
extern template class cleanup_deadline<asio::any_io_executor>;
#endif

}  // namespace coraii::detail

#endif
