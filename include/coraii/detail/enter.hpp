// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_ENTER_HPP
#define CORAII_DETAIL_ENTER_HPP

#include "coraii/detail/place.hpp"
#include "coraii/detail/region_executor.hpp"
#include "coraii/detail/scope_state.hpp"
#include "coraii/detail/scope_threads.hpp"
#include "coraii/detail/scope_use.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// Cancels the coroutine thread of `target`.
template <class Target>
struct forward_cancel {
    boost::intrusive_ptr<Target> target;
    void operator()(asio::cancellation_type_t type) const {
        Target& cancelled = *target;
        const boost::intrusive_ptr<Target> alive{&cancelled};  // we may be destroyed by it
        cancelled.cancel(asio::enable_total_cancellation()(type));
    }
};

/// What is called when a waiting coroutine may go on.
template <class Handler>
auto resume(Handler handler) {
    return [handler = std::move(handler)](deliver how) mutable {
        if (how == deliver::posted) {
            asio::post(std::move(handler));
        } else {
            const running_at there{place_of(asio::get_associated_executor(handler))};
            asio::dispatch(std::move(handler));  // it may have another executor than we
        }
    };
}

/// Asks to be told when the scope is open, or setup has failed; until then a cancel of `handler` goes to
/// setup. `bind(handler)` makes the function that is to be called then.
template <class Executor, class Handler, class Bind>
void when_opened(scope_state<Executor>& state, Handler handler, Bind bind) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) {
        slot.assign(forward_cancel<scope_state<Executor>>{&state});
    }
    state.when_opened_.set([&state, handler = std::move(handler), bind](deliver how) mutable {
        asio::get_associated_cancellation_slot(handler).clear();
        if (how == deliver::posted) {
            const auto executor = asio::get_associated_executor(handler);
            state.post_to_user(executor, bind(std::move(handler), state));
        } else {
            const running_at there{place_of(asio::get_associated_executor(handler))};
            bind(std::move(handler), state)();  // the scope's executor is the handler's
        }
    });
}

/// The operation that `co_await scope` starts.
template <class Guard, class Executor>
struct initiate_enter {
    template <class Handler>
    void operator()(Handler&& handler, scope_ptr<Executor> state) const {
        using handler_type = std::decay_t<Handler>;
        using handler_executor = asio::associated_executor_t<handler_type>;
        static_assert(std::is_convertible_v<handler_executor, Executor>,
                      "coraii::async_scope: the handler's associated executor must convert to the scope's Executor");
        const auto executor = static_cast<Executor>(asio::get_associated_executor(handler));
        if (!state) {
            asio::post(executor, [handler = handler_type(std::forward<Handler>(handler))]() mutable {
                std::move(handler)(make_error(errc::already_awaited), Guard{});
            });
            return;
        }
        state->guarded_ = true;
        state->cancellable_ = asio::get_associated_cancellation_slot(handler).is_connected();
        when_opened(
            *state, handler_type(std::forward<Handler>(handler)),
            [](handler_type&& waiting, scope_state<Executor>& opened) {
                std::exception_ptr error = std::exchange(opened.error_, nullptr);
                Guard guard =
                    error ? Guard{} : guard_access::make<Guard>(scope_use<Executor>{scope_ptr<Executor>{&opened}});
                return [waiting = std::move(waiting), error = std::move(error), guard = std::move(guard)]() mutable {
                    std::move(waiting)(std::move(error), std::move(guard));
                };
            });
        state->start_kept(executor, where_we_are::anywhere);
        state->when_opened_.asked();
    }
};

/// `co_await enter_kept(state, executor, caller)`: setup in a coroutine thread of its own. Does not suspend if setup does not.
template <class Executor>
auto enter_kept(scope_state<Executor>& state, const Executor& executor, asio::cancellation_state caller) {
    const auto before = caller.cancelled();
    state.cancellable_ = caller.slot().is_connected();
    return until{[&state, &executor] {
                     state.start_kept(executor, where_we_are::on_it);
                     return state.when_opened_.has_happened();
                 },
                 [&state, caller, before](auto handler) {
                     when_opened(state, std::move(handler),
                                 [](auto waiting, scope_state<Executor>&) { return waiting; });
                     if (caller.cancelled() != before) {  // setup's own first steps asked for it
                         state.cancel(asio::enable_total_cancellation()(caller.cancelled()));
                     }
                     state.when_opened_.asked();
                 }};
}

/// `co_await leave_kept(state, status)`: waits for the cleanup. Does not suspend if that does not. The cleanup's error is
/// then in `error_`, unless `status` carries one.
template <class Executor>
auto leave_kept(scope_state<Executor>& state, exit_status status, where_we_are we_are) {
    return until{[&state, status = std::move(status), we_are]() mutable {
                     return !state.leave(std::move(status), true, we_are) || state.when_cleaned_.has_happened();
                 },
                 [&state](auto handler) {
                     state.when_cleaned_.set(resume(std::move(handler)));
                     state.when_cleaned_.asked();
                 }};
}

/// `guard::close()` in a coroutine.
template <class Executor>
asio::awaitable<void, Executor> close_use(own_frame, scope_use<Executor> use, exit_status status) {
    if (!use) {
        co_return;
    }
    const scope_ptr<Executor> state = use.take();
    co_await leave_kept(*state, std::move(status), where_we_are::anywhere);
    state->rethrow_error();
}

}  // namespace coraii::detail

#endif
