// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_THREAD_HPP
#define CORAII_DETAIL_COROUTINE_THREAD_HPP

#include "coraii/detail/signal.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <utility>

namespace coraii::detail {

/// The lowest coroutine of a coroutine thread: what `co_spawn` has below the one that it is given. Ours need none of
/// what that does around it, neither two trips through the executor nor its memory. It takes its frame as others of ours
/// do (`own_frame`), and is destroyed in place if it is never run. This is the one header that names something of
/// `asio::detail`; it is the same from Boost 1.83 on.
template <class Executor>
using thread_main = asio::awaitable<asio::detail::awaitable_thread_entry_point, Executor>;

/// Cancels a coroutine thread: through the state that it begins with, or through one that its coroutines have set since.
class thread_signal {
public:
    template <class Filter>
    asio::cancellation_state begin(Filter filter) {
        return asio::cancellation_state{signal::slot{first_}, filter};
    }
    asio::cancellation_slot slot() noexcept { return later_.slot(); }

    void emit(asio::cancellation_type_t type) {
        const bool was_emitting = std::exchange(emitting_, true);
        if (later_.slot().has_handler()) {
            later_.emit(type);
        } else {
            first_.emit(type);
        }
        emitting_ = was_emitting;
        if (over_) {
            end();
        }
    }

    /// The thread is over. What is still in the slots may refer to anything.
    void end() {
        over_ = true;
        if (!emitting_) {
            signal::slot{first_}.clear();
            later_.slot().clear();
        }
    }

private:
    signal first_;
    asio::cancellation_signal later_;  // takes no memory until then
    bool emitting_ = false;  // a handler that is running may end the thread
    bool over_ = false;
};

/// Runs a coroutine thread at once, up to its first suspension. We are on `executor`, which is not used afterwards. It
/// begins with `cancel`; `later` is for the states that its coroutines set.
template <class Executor>
void run_thread(thread_main<Executor> main, const Executor& executor, asio::cancellation_slot later = {},
                asio::cancellation_state cancel = {}) {
    asio::detail::awaitable_thread<Executor>{std::move(main), executor, later, cancel}.launch();
}

}  // namespace coraii::detail

#endif
