// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_ENTER_HPP
#define CORAII_DETAIL_SCOPE_ENTER_HPP

// How a scope is begun by those who use it, and how they wait for it.

#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <concepts>
#include <coroutine>
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

/// The same where a cancel may come from outside of the target's executor.
template <class Executor>
struct forward_cancel_to {
    Executor executor;
    forward_cancel<scope_core<Executor>> cancel;
    void operator()(asio::cancellation_type_t type) const {
        asio::dispatch(executor, [cancel = cancel, type] { cancel(type); });
    }
};

/// When the scope is open, or setup has failed, `bind(handler, scope)` makes the function that is to be called on the
/// handler's executor. Until then a cancel of the handler goes to setup.
template <class Executor, class Handler, class Bind>
void wait_for_setup(scope_core<Executor>& scope, const Executor& executor, Handler handler, Bind bind) {
    using handler_executor = asio::associated_executor_t<Handler>;
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) {
        if constexpr (std::is_convertible_v<handler_executor, Executor>) {
            slot.assign(forward_cancel<scope_core<Executor>>{&scope});
        } else {
            slot.assign(forward_cancel_to<Executor>{executor, {&scope}});
        }
    }
    if constexpr (can_post<handler_executor>) {
        scope.waiter_.complete_with([&scope, handler = std::move(handler), bind](deliver how) mutable {
            asio::get_associated_cancellation_slot(handler).clear();
            const auto there = asio::get_associated_executor(handler);
            if (how == deliver::posted) {
                scope.post_to_user(there, bind(std::move(handler), scope));
            } else {
                dispatch_on(scope.scopes(), there, bind(std::move(handler), scope));
            }
        });
    } else {
        scope.waiter_.complete_with([&scope, executor, handler = std::move(handler), bind](deliver) mutable {
            asio::get_associated_cancellation_slot(handler).clear();
            const auto there = asio::get_associated_executor(handler);
            asio::post(executor, asio::bind_executor(there, bind(std::move(handler), scope)));
        });
    }
}

/// Starts a scope on `executor`, and gives a guard: the operation behind `co_await scope`.
template <class Guard, class Executor, class Handler>
void start_scope(Handler handler, const Executor& executor, unstarted_scope<Executor> unstarted) {
    const scope_ptr<Executor> scope = unstarted.claim();
    if (!scope) {
        asio::post(executor, [handler = std::move(handler)]() mutable {
            std::move(handler)(make_error(errc::already_awaited), Guard{});
        });
        return;
    }
    scope->keeps_context_running_ = true;
    const bool cancellable = asio::get_associated_cancellation_slot(handler).is_connected();
    const auto bind = [](Handler&& waiting, scope_core<Executor>& opened) {
        std::exception_ptr error = std::exchange(opened.error_, nullptr);
        Guard given = error ? Guard{} : guard_access::make<Guard>(scope_use<Executor>{scope_ptr<Executor>{&opened}});
        return [waiting = std::move(waiting), error = std::move(error), given = std::move(given)]() mutable {
            std::move(waiting)(std::move(error), std::move(given));
        };
    };
    try {
        wait_for_setup(*scope, executor, std::move(handler), bind);
    } catch (...) {
        scope->cannot_begin();
        throw;
    }
    scope->begin_on_own_thread(executor, cancellable);
    scope->waiter_.arm();
}

/// Begins setup on a thread of its own. True if it is over already, and we are on `executor`. The caller has claimed it.
template <class Executor>
bool begin_setup(scope_core<Executor>& scope, const Executor& executor, asio::cancellation_state caller) {
    return scope.begin_on_own_thread(executor, caller.slot().is_connected()) && scope.waiter_.is_set();
}

/// Ends the use. True if that is all: no cleanup is under way, and we are on the scope's executor.
template <class Executor>
bool end_use_here(scope_core<Executor>& scope, exit_status status) noexcept {
    const use_end end = scope.end_use(std::move(status), true);
    return end == use_end::over || (end == use_end::here && scope.waiter_.is_set());
}

/// Calls `handler` when setup is over. `before`: what had been cancelled when it was begun.
template <class Executor, class Handler>
void wait_until_set_up(scope_core<Executor>& scope, const Executor& executor, asio::cancellation_state caller,
                       asio::cancellation_type_t before, Handler handler) {
    wait_for_setup(scope, executor, std::move(handler), [](auto waiting, scope_core<Executor>&) { return waiting; });
    if (caller.cancelled() != before) {  // setup's own first steps asked for it
        scope.cancel(asio::enable_total_cancellation()(caller.cancelled()));
    }
    scope.waiter_.arm();
}

/// Calls `handler` when the cleanup is over.
template <class Executor, class Handler>
void wait_until_closed(scope_core<Executor>& scope, Handler handler) {
    resume_when_set(scope.waiter_, scope.scopes(), std::move(handler));
}

/// `co_await set_up(scope, executor, caller)`: setup on a thread of its own. Does not suspend if setup does not, and we are on
/// `executor`. The caller has claimed setup; the error is then in `error_`.
template <class Executor>
auto set_up(scope_core<Executor>& scope, const Executor& executor, asio::cancellation_state caller) {
    const auto before = caller.cancelled();
    return suspend_until{[&scope, &executor, caller] { return begin_setup(scope, executor, caller); },
                         [&scope, &executor, caller, before](auto handler) {
                             wait_until_set_up(scope, executor, caller, before, std::move(handler));
                         }};
}

/// `co_await end_use_and_wait(scope, status)`: waits for the cleanup. Does not suspend if that does not, and we are on the scope's
/// executor. The cleanup's error is then in `error_`, unless `status` carries one.
template <class Executor>
auto end_use_and_wait(scope_core<Executor>& scope, exit_status status) {
    return suspend_until{
        [&scope, status = std::move(status)]() mutable { return end_use_here(scope, std::move(status)); },
        [&scope](auto handler) { wait_until_closed(scope, std::move(handler)); }};
}

/// `co_await go_back(scope, suspended)`: to the scope's executor, unless the coroutine has not `suspended` since it was there.
/// Posted, not dispatched: an executor that calls at once would go one level deeper each time.
template <class Executor>
auto go_back(scope_core<Executor>& scope, bool suspended) {
    return suspend_until{[&scope, suspended] { return !suspended || scope.is_where_it_belongs(); },
                         [](auto handler) { asio::post(std::move(handler)); }};
}

/// `co_await run_inline{scope}`: runs the scope's coroutine as a child until it pauses or ends. What it makes of
/// `throw_if_cancelled` is its own.
template <class Executor>
struct run_inline {
    scope_core<Executor>& scope;

    template <class Promise>
    auto await_in(Promise& promise) const {
        struct awaiter {
            scope_core<Executor>& scope;
            Promise& promise;
            bool throws_if_cancelled = false;

            bool await_ready() noexcept {
                throws_if_cancelled = promise.throws_if_cancelled();
                return false;
            }
            void await_suspend(std::coroutine_handle<>) const { scope.frame().push_frame(&promise); }
            void await_resume() const { promise.throw_if_cancelled(throws_if_cancelled); }
        };
        return awaiter{scope, promise};
    }
};

/// `guard::close()` in a coroutine.
template <class Executor>
asio::awaitable<void, Executor> close_use(own_frame, scope_use<Executor> use, exit_status status) {
    if (!use) {
        co_return;
    }
    const scope_ptr<Executor> scope = use.take();
    co_await end_use_and_wait(*scope, std::move(status));
    scope->rethrow_error();
}

/// The executor of operations of a guard: its scope's, or the system's if it has none.
template <class Executor>
Executor executor_of(const scope_use<Executor>& use) {
    if (use && use->state() != scope_state::closed) {
        return without_region(use->get_executor());
    }
    if constexpr (std::constructible_from<Executor, asio::system_executor>) {
        return Executor{asio::system_executor{}};
    } else {
        throw_error(errc::empty_guard);
    }
}

/// `guard::close(token)`: ends the use, and tells `handler` when the scope is closed.
template <class Executor, class Handler>
void close_use_and_tell(Handler&& handler, const Executor& executor, scope_use<Executor> use, exit_status status) {
    completion<std::decay_t<Handler>, Executor> done{std::forward<Handler>(handler), executor};
    if (!use) {
        return std::move(done).post(nullptr);
    }
    use->waiter_.complete_with([done = std::move(done), scope = use.get().get()](deliver how) mutable {
        std::exception_ptr error = std::exchange(scope->error_, nullptr);
        if (how == deliver::posted) {
            std::move(done).post(std::move(error));
        } else {
            std::move(done).dispatch(scope->scopes(), std::move(error));
        }
    });
    const scope_ptr<Executor> scope = use.take();  // not before: what threw so far has dropped the guard
    if (scope->end_use(std::move(status), true) == use_end::over) {
        scope->waiter_.set();
    }
    scope->waiter_.arm();
}

}  // namespace coraii::detail

#endif
