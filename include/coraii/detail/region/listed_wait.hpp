// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_LISTED_WAIT_HPP
#define CORAII_DETAIL_REGION_LISTED_WAIT_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/frame.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <mutex>
#include <tuple>
#include <utility>

namespace coraii::detail {

/// Coroutines that wait until something is so. Under the mutex of those who change it.
class wait_list {
public:
    class entry {
    public:
        entry() = default;
        entry(const entry&) = delete;
        entry& operator=(const entry&) = delete;
        virtual void wake() noexcept = 0;

    protected:
        virtual ~entry() = default;

    private:
        friend class wait_list;
        entry* previous_ = nullptr;
        entry* next_ = nullptr;
    };

    void add(entry& e) noexcept {
        e.previous_ = last_;
        (last_ != nullptr ? last_->next_ : first_) = &e;
        last_ = &e;
    }
    void remove(entry& e) noexcept {
        (e.previous_ != nullptr ? e.previous_->next_ : first_) = e.next_;
        (e.next_ != nullptr ? e.next_->previous_ : last_) = e.previous_;
    }
    void wake_all() noexcept {
        for (entry* e = first_; e != nullptr; e = e->next_) {
            e->wake();
        }
    }

private:
    entry* first_ = nullptr;
    entry* last_ = nullptr;
};

/// One of them. It waits on a timer of its own, so that its context and its cancellation slot know of it by themselves.
template <class Executor>
class listed_wait final : public wait_list::entry {
public:
    listed_wait(const Executor& executor, std::mutex& mutex, wait_list& list)
        : mutex_{mutex}, list_{list}, timer_{executor} {
        const std::lock_guard lock{mutex_};
        list_.add(*this);
    }
    ~listed_wait() {
        const std::lock_guard lock{mutex_};
        list_.remove(*this);
    }

    template <class Ready>
    bool is_ready(Ready& ready) {
        const std::lock_guard lock{mutex_};
        return ready();
    }

    /// Until it is ready, woken, cancelled, or `until` has come.
    template <class Ready, class Handler>
    void start(Ready& ready, clock::time_point until, Handler handler) {
        const std::lock_guard lock{mutex_};
        woken_ = ready();
        timer_.expires_at(woken_ ? (clock::time_point::min)() : until);
        timer_.async_wait(std::move(handler));
    }
    bool was_woken() {
        const std::lock_guard lock{mutex_};
        return woken_;
    }

    void wake() noexcept override {
        woken_ = true;
        timer_.cancel();
    }

private:
    std::mutex& mutex_;
    wait_list& list_;
    timer_on<Executor> timer_;
    bool woken_ = false;
};

/// Waits until `ready()`, which is called under the mutex, is true: then it gives true. False if it is not when `until` has
/// come. Does not suspend if it need not wait. Cancellation: of any type, with `operation_aborted`.
template <class Executor, class Ready>
asio::awaitable<bool, Executor> wait_until(own_frame, std::mutex& mutex, wait_list& list, Ready ready,
                                           clock::time_point until = (clock::time_point::max)()) {
    const Executor executor = co_await asio::this_coro::executor;
    listed_wait<Executor> wait{executor, mutex, list};
    while (!wait.is_ready(ready)) {
        auto start = [&](auto&& handler) { wait.start(ready, until, std::forward<decltype(handler)>(handler)); };
        auto token = asio::as_tuple(asio::deferred);
        auto waiting = asio::async_initiate<decltype(token), void(boost::system::error_code)>(start, token);
        const auto [error] = co_await std::move(waiting);
        if (!wait.was_woken() && !wait.is_ready(ready)) {
            if (error) {
                throw boost::system::system_error(error);
            }
            co_return false;
        }
    }
    co_return true;
}

}  // namespace coraii::detail

#endif
