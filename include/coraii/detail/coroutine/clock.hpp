// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_CLOCK_HPP
#define CORAII_DETAIL_COROUTINE_CLOCK_HPP

#include "coraii/detail/coroutine/platform.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/wait_traits.hpp>

#include <chrono>
#include <optional>

namespace coraii::detail {

/// The clock of deadlines: the steady clock, or the virtual time that `coraii::testing` has given the calling thread. (In
/// a plug-in that shares no symbols with the program, always the steady clock.)
struct clock {
    using duration = std::chrono::steady_clock::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<clock, duration>;
    static constexpr bool is_steady = true;

    struct virtual_time {
        time_point now;
        std::optional<time_point> next;  // when Asio wants to be woken next
    };
    CORAII_VISIBLE inline static thread_local constinit virtual_time* of_thread = nullptr;

    static time_point now() noexcept {
        return of_thread != nullptr ? of_thread->now : time_point{std::chrono::steady_clock::now().time_since_epoch()};
    }
};

}  // namespace coraii::detail

/// Asio asks here how long it has to wait for the earliest timer: so virtual time learns where to go next.
template <>
struct boost::asio::wait_traits<coraii::detail::clock> {
    using clock = coraii::detail::clock;

    static clock::duration to_wait_duration(const clock::duration& wait) noexcept {
        clock::virtual_time* const time = clock::of_thread;
        if (time == nullptr) {
            return wait;
        }
        if (wait <= clock::duration::zero()) {
            return clock::duration::zero();
        }
        const bool unbounded = wait > (clock::time_point::max)() - time->now;
        time->next = unbounded ? (clock::time_point::max)() : time->now + wait;
        return (clock::duration::max)();
    }
    static clock::duration to_wait_duration(const clock::time_point& at) noexcept {
        return to_wait_duration(at - clock::now());
    }
};

namespace coraii::detail {

template <class Executor>
using timer_on = boost::asio::basic_waitable_timer<clock, boost::asio::wait_traits<clock>, Executor>;

}  // namespace coraii::detail

#endif
