// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_JOINED_HPP
#define CORAII_JOINED_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/signal.hpp"
#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/detail/region/region.hpp"
#include "coraii/detail/region/region_executor.hpp"
#include "coraii/detail/scope/enter.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii {
namespace detail {

/// Cancels the body of a region. The caller's slot and the body share it.
struct body_signal : thread_signal, recycled, boost::intrusive_ref_counter<body_signal> {
    void cancel(asio::cancellation_type_t type) { emit(type); }
};
using body_signal_ptr = boost::intrusive_ptr<body_signal>;

/// The body's part in a region. A parameter of its coroutine, so that it also tells of one that is destroyed.
struct body_of_region {
    body_of_region(boost::intrusive_ptr<region> r, body_signal_ptr c) noexcept
        : where{std::move(r)}, cancel{std::move(c)} {}
    body_of_region(body_of_region&&) noexcept = default;
    body_of_region& operator=(body_of_region&&) = delete;
    ~body_of_region() {
        if (where) {
            where->body_destroyed();
        }
        if (cancel) {
            cancel->end();
        }
    }

    boost::intrusive_ptr<region> where;
    body_signal_ptr cancel;  // null where nobody can
};

template <class R, class Body>
thread_main<asio::any_io_executor> run_in_region(own_frame, body_of_region part, std::optional<Body>& body,
                                                 bool throws_if_cancelled, pending_result<R>& result,
                                                 std::exception_ptr& error) {
    co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
    try {
        if constexpr (std::is_void_v<R>) {
            co_await std::invoke(*body);
        } else {
            result.emplace(co_await std::invoke(*body));
        }
    } catch (...) { error = std::current_exception(); }
    body.reset();  // inside
    const boost::intrusive_ptr<region> here = std::move(part.where);
    here->body_ended();
}

template <class R, class Body>
asio::awaitable<R> join(own_frame, std::optional<Body> body) {
    const asio::cancellation_state caller = co_await asio::this_coro::cancellation_state;
    const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
    const asio::any_io_executor executor = co_await asio::this_coro::executor;

    const boost::intrusive_ptr<region> here{new region{without_region(executor)}};
    const region_executor inside{*here};
    const region_executor work = inside.require(asio::execution::outstanding_work.tracked);
    body_signal_ptr cancel;
    asio::cancellation_state cancel_state;
    if (caller.slot().is_connected()) {
        cancel.reset(new body_signal);
        // What reaches the body has passed the caller's own filter. What has been requested, it finds requested.
        cancel_state = cancel->begin();
        cancel->emit(caller.cancelled());
        caller.slot().assign(forward_cancel<body_signal>{cancel});
    }
    struct report_if_destroyed {
        region& of;
        ~report_if_destroyed() { of.report(nullptr); }
    };
    const report_if_destroyed cleanup_error{*here};
    pending_result<R> result;
    std::exception_ptr error;
    const auto start = [&] {
        const asio::any_io_executor executor_inside{inside};
        auto main =
            run_in_region<R>(own_frame{}, body_of_region{here, cancel}, body, throws_if_cancelled, result, error);
        const bool on_executor = runs_here(executor_inside);
        const auto later = cancel ? cancel->slot() : asio::cancellation_slot{};
        asio::dispatch(executor_inside, [main = std::move(main), executor_inside, later, cancel_state]() mutable {
            coroutine_thread<asio::any_io_executor>{std::move(main), executor_inside, later, cancel_state}.run();
        });
        return on_executor && here->when_over_.is_set();
    };
    // From here on the body may use what is ours: nothing may fail.
    const auto wait = [&](auto handler) {
        auto go_on = resume(here->scopes(), std::move(handler));
        static_assert(unique_function<deliver>::fits<decltype(go_on)>);
        here->when_over_.complete_with(std::move(go_on));
        here->when_over_.arm();
    };
    co_await suspend_until{start, wait};
    if (cancel) {
        caller.slot().clear();
    }

    if (error) {
        here->report(error);
        std::rethrow_exception(std::move(error));
    }
    if (std::exception_ptr first = here->take_error()) {
        std::rethrow_exception(std::move(first));
    }
    if constexpr (!std::is_void_v<R>) {
        co_return std::move(*result);
    }
}

}  // namespace detail

/// `co_await joined(body)`: a region in which plain RAII is enough. It awaits `body()`. It returns the body's result when all
/// guards that were dropped inside are clean: those that the body dropped, the functions that it calls, and the coroutines that
/// were spawned on its executor. A destructor can only start an asynchronous cleanup; here something waits for it.
///
/// Cleanups run one after another, in the order in which their guards were dropped. So those of local variables run in
/// reverse order of their setup. The first begins when its guard is dropped. A guard that a cleanup drops is cleaned as a
/// part of that cleanup. A scope that is held (`scope_hold`) lets others pass. The cleanups are shielded, each with its own
/// `cleanup_timeout`. They are told `exit_reason::abandoned`, as with every dropped guard. A dropped guard never commits; call
/// `close()` to commit.
///
/// It matters where a guard is dropped, not where it was set up. The region does not wait for a guard that leaves it alive; it
/// waits for one that is moved in and dropped there. Code is inside if it runs on the region's executor (that is the one
/// that `this_coro::executor` gives there), on a strand made of it, or is called from there. Code of a shared library counts
/// the same. Regions nest: an inner one waits only for guards that were dropped in it. After the end of a region, code
/// that still runs on its executor belongs to the region around it, if any.
///
/// Cancellation: the body is a coroutine thread of its own, as with `co_spawn`: a cancel that passes the caller's filter reaches
///   it, and a filter or a `throw_if_cancelled` that it sets ends with it. No cancel reaches the cleanups. Afterwards the
///   caller's cancellation state is as without the library.
/// Errors: the exception object that the body threw; else the first that a cleanup threw. Other errors of cleanups go to
///   `on_cleanup_error`.
/// Executor: all runs on the awaiting coroutine's executor; inside, `this_coro::executor` is one that forwards to it.
/// Limits: a cleanup that waits for a scope which is held by one dropped later never ends. If a scope set up outside the
///   region drops guards in its cleanup after that cleanup first suspends, the region does not wait for them. Nor does it
///   wait for guards that code drops while it runs on another executor.
/// Lifetime: the body is moved into the coroutine that is returned, and destroyed inside the region. Coroutines that were
///   spawned inside are not waited for, only the cleanups of the guards they dropped until then. Guards whose scopes
///   belong to another execution context are cleaned as outside. If the context is destroyed, open scopes are cleaned as
///   far as that goes without waiting.
/// Thread safety: guards may be dropped inside on several threads.
/// Exception safety: if there is no memory to begin with, the body does not run. Dropping a guard needs none.
template <class Body>
[[nodiscard]] auto joined(Body&& body) {
    using body_type = std::decay_t<Body>;
    constexpr bool fits = [] {
        if constexpr (std::invocable<body_type&>) {
            using traits = detail::awaitable_traits<std::invoke_result_t<body_type&>>;
            return traits::is_awaitable && std::same_as<typename traits::executor_type, asio::any_io_executor>;
        } else {
            return false;
        }
    }();
    static_assert(fits, "coraii::joined: the body must be callable without arguments and return asio::awaitable<R>");
    if constexpr (fits) {
        using R = typename detail::awaitable_traits<std::invoke_result_t<body_type&>>::value_type;
        return detail::join<R, body_type>(detail::own_frame{}, std::optional<body_type>{std::forward<Body>(body)});
    }
}

}  // namespace coraii

#endif
