// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_COROUTINE_THREAD_HPP
#define CORAII_DETAIL_COROUTINE_COROUTINE_THREAD_HPP

#include "coraii/detail/coroutine/frame.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>

#include <utility>

// Asio's coroutine threads, without co_spawn. This is the one header that names something of `asio::detail`; it is the
// same from Boost 1.83 on.

namespace coraii {

template <class R, class Executor>
class task;

}  // namespace coraii

/// `asio::co_spawn(executor, f, token)` asks this of the type that `f()` returns: it accepts a callable that returns a task.
template <class R, class Executor>
struct boost::asio::detail::awaitable_signature<coraii::task<R, Executor>>
    : boost::asio::detail::awaitable_signature<boost::asio::awaitable<R, Executor>> {};

namespace coraii::detail {

/// What the lowest coroutine of a coroutine thread returns: the one that `co_spawn` puts below the coroutine that it is
/// given. Ours need nothing of what `co_spawn` does around it.
using thread_entry = asio::detail::awaitable_thread_entry_point;
template <class Executor>
using thread_main = asio::awaitable<thread_entry, Executor>;

/// Asio's promise of such a coroutine. It can also be awaited as a child, like any other.
template <class Executor>
using thread_frame = asio_promise<thread_entry, Executor>;

/// One line of execution of coroutines: what Asio moves from one handler to the next as they wait.
///
/// It owns its lowest coroutine. Its destructor lets the executor destroy that; `destroy` does so at once.
template <class Executor>
class coroutine_thread : public asio::detail::awaitable_thread<Executor> {
    using asio_thread = asio::detail::awaitable_thread<Executor>;

public:
    /// `slot` is for the cancellation states that its coroutines set later; it begins with `cancel`.
    coroutine_thread(thread_main<Executor> lowest, const Executor& executor, asio::cancellation_slot slot = {},
                     asio::cancellation_state cancel = {})
        : asio_thread{std::move(lowest), executor, slot, cancel} {}

    /// Takes the thread over that runs the coroutine of `frame`, which is suspending.
    explicit coroutine_thread(thread_frame<Executor>& frame) noexcept
        : asio_thread{std::move(*frame.detach_thread())} {}

    coroutine_thread(coroutine_thread&&) noexcept = default;
    coroutine_thread& operator=(coroutine_thread&&) = delete;

    /// Runs up to its next suspension. We are on its executor. Whoever suspends it takes it over: it is empty then.
    void run() { this->launch(); }

    void destroy() noexcept { const auto gone = std::move(this->bottom_of_stack_); }
};

/// Asio's part of the promise of any coroutine of `Executor`.
template <class Executor>
using any_frame = asio::detail::awaitable_frame_base<Executor>;

/// Whether the thread that runs the coroutine of `frame` has suspended since it began, or since that was set to false.
template <class Frame>
bool& has_suspended(Frame& frame) noexcept {
    return frame.asio_base::await_transform(asio::detail::awaitable_thread_has_context_switched{}).await_resume();
}

/// `bool& suspended = co_await watch_suspension{};` refers to that flag of the calling coroutine's thread.
struct watch_suspension {
    template <class Promise>
    auto await_in(Promise& promise) const noexcept {
        return promise.asio_base::await_transform(asio::detail::awaitable_thread_has_context_switched{});
    }
};

}  // namespace coraii::detail

#endif
