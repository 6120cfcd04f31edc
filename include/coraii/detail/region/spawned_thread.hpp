// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_SPAWNED_THREAD_HPP
#define CORAII_DETAIL_REGION_SPAWNED_THREAD_HPP

#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/signal.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/execute.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>

#include <optional>
#include <utility>

namespace coraii::detail {

/// A coroutine thread that the library begins for itself, and how it is cancelled: what reaches it passes all types of a
/// cancel. Its lowest coroutine keeps it alive, and ends it.
template <class Executor>
class spawned_thread {
public:
    explicit spawned_thread(const Executor& executor) : executor_{executor}, cancel_{signal_.begin()} {}
    spawned_thread(const spawned_thread&) = delete;
    spawned_thread& operator=(const spawned_thread&) = delete;

    /// Posts the beginning of `main`, in memory of ours where the executor takes any.
    void start(thread_main<Executor> main) {
        const Executor executor = *executor_;
        execute_reserved(executor, deliver::posted, memory_, [this, main = std::move(main)]() mutable {
            coroutine_thread<Executor>{std::move(main), Executor{*executor_}, signal_.slot(), cancel_}.run();
        });
    }

    /// On its executor. It may end meanwhile, and who calls this keeps it alive.
    void cancel(asio::cancellation_type_t type) { signal_.emit(type); }

    void end() noexcept {
        signal_.end();
        executor_.reset();  // it must not outlive the context
    }

private:
    std::optional<Executor> executor_;
    thread_signal signal_;
    asio::cancellation_state cancel_;
    reserved_memory memory_;
};

/// Calls `f` on `executor`: at once if we are there, or if there is no memory to go there.
template <class Executor, class F>
void call_on(const Executor& executor, F f) noexcept {
    if (!runs_here(executor)) {
        try {
            return asio::dispatch(executor, f);
        } catch (...) {  // no memory
        }
    }
    f();
}

}  // namespace coraii::detail

#endif
