// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_EXIT_STACK_HPP
#define CORAII_EXIT_STACK_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/region/spawned_thread.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_deadline.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/exit_stack/detail/scope_stack.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace coraii {

template <class Executor>
class basic_exit_stack;

namespace detail {

template <class Stack>
class task_scopes;

/// The time limit of a stack that is a scope's resource: when it is up, the cleanup under way is cancelled, and each that
/// follows.
template <class Executor>
class stack_timeout {
public:
    void expired(asio::cancellation_type_t type) noexcept {
        cancelled_ = type;
        if (now_) {
            cancel();
        }
    }
    void begins(const scope_ptr<Executor>& scope) noexcept {
        now_ = scope;
        if (cancelled_ != asio::cancellation_type::none) {
            cancel();
        }
    }
    void ended() noexcept { now_.reset(); }

private:
    void cancel() noexcept {
        call_on(now_->get_executor(), [scope = now_, type = cancelled_] {
            try {
                scope->cancel_cleanup(type);
            } catch (...) {  // an operation that was begun then: its coroutine is destroyed
                scope->scopes().reports.report({std::current_exception(), nullptr, scope->name(), scope->where_});
            }
        });
    }

    scope_ptr<Executor> now_;
    asio::cancellation_type_t cancelled_ = asio::cancellation_type::none;
};

template <class Executor>
auto end_use_and_wait(scope_core<Executor>& scope, const exit_status& status, stack_timeout<Executor>* timeout) {
    return suspend_until{[&scope, &status] { return end_use_here(scope, status); },
                         [&scope, timeout](auto handler) {
                             if (timeout != nullptr) {
                                 timeout->begins(scope_ptr<Executor>{&scope});
                             }
                             wait_until_closed(scope, std::move(handler));
                         }};
}

/// Owns the scopes, or refers to a stack's, so that it can be there before they are. The time limit may be null.
template <class Executor, class Scopes, class Status>
asio::awaitable<void, Executor> close_in_reverse(own_frame, Scopes scopes, Status why,
                                                 stack_timeout<Executor>* timeout) {
    std::exception_ptr first_error;
    exit_status status = why;
    while (!scopes.empty()) {
        const scope_use<Executor> use{scopes.pop()};  // first: the cleanup may put another on the stack
        const scope_ptr<Executor> scope = use.get();
        co_await end_use_and_wait(*scope, status, timeout);
        if (timeout != nullptr) {
            timeout->ended();
        }
        if (std::exception_ptr error = std::exchange(scope->error_, nullptr)) {
            // Those below are told, as if nested: an error of theirs is reported, and does not hide this one.
            first_error = error;
            status = exit_status{exit_reason::failed, std::move(error)};
        }
    }
    if (first_error) {
        std::rethrow_exception(std::move(first_error));
    }
}

template <class T, class Executor>
asio::awaitable<std::add_pointer_t<T>, Executor> enter_stack(own_frame, basic_exit_stack<Executor>& stack,
                                                             async_scope<T, Executor> scope) {
    stack.scopes_.make_room();
    const asio::cancellation_state caller = co_await asio::this_coro::cancellation_state;
    const Executor executor = co_await asio::this_coro::executor;
    scope_use<Executor> use{scope_access::claim(scope)};
    use->keeps_context_running_ = true;
    co_await set_up(*use.get(), executor, caller);
    use->rethrow_error();
    auto* resource = static_cast<T*>(use->resource_);
    stack.push(std::move(use));
    co_return resource;
}

template <class Executor, class F>
async_scope<void, Executor> deferred_scope(F cleanup) {
    const exit_status why = co_yield entered;
    if constexpr (std::is_void_v<decltype(call_cleanup(cleanup, why))>) {
        call_cleanup(cleanup, why);
    } else {
        co_await call_cleanup(cleanup, why);
    }
}

template <class Executor, class T, class F>
async_scope<T, Executor> adopted_scope(std::unique_ptr<T> resource, F cleanup) {
    const exit_status why = co_yield *resource;
    if constexpr (std::is_void_v<decltype(call_cleanup(cleanup, why, *resource))>) {
        call_cleanup(cleanup, why, *resource);
    } else {
        co_await call_cleanup(cleanup, why, *resource);
    }
}

}  // namespace detail

/// Any number of scopes, entered one by one, and cleaned last in, first out; each cleanup is complete before the next
/// begins, and one that fails stops none of the others.
///
/// Get one from `with(make_exit_stack(), ...)`, or make one for an executor and close it. Move-only; moving takes all
/// scopes out of the source, which stays usable, and keeps the resources open beyond the scope the stack came from.
///
/// Effects of the destructor: as of a guard's, for all scopes, in the background, and still one after another.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
template <class Executor = asio::any_io_executor>
class basic_exit_stack {
public:
    using executor_type = Executor;  ///< of the scopes on it

    explicit basic_exit_stack(Executor executor) : executor_{std::in_place, std::move(executor)} {}  ///< empty
    /// The other one is empty.
    basic_exit_stack(basic_exit_stack&& other) noexcept : scopes_{other.take()}, executor_{other.executor_} {}
    /// Drops the scopes that are on it, and takes the other's.
    basic_exit_stack& operator=(basic_exit_stack&& other) noexcept {
        detail::scope_stack<Executor> taken = other.take();  // first: it may be ourselves
        const detail::scope_stack<Executor> dropped = take();
        scopes_ = std::move(taken);
        executor_ = other.executor_;
        return *this;
    }
    ~basic_exit_stack() {
        if (is_of_task_ && !scopes_.empty()) {
            const detail::scope_stack<Executor> dropped = take();
        }
    }

    /// Sets a scope up and keeps it. Gives a pointer to its resource, never null; nothing for a scope of void.
    ///
    /// Cancellation, Errors: as for awaiting the scope. The stack is as before if it fails.
    /// Lifetime: the stack must not be moved or destroyed meanwhile.
    template <class T>
    [[nodiscard]] asio::awaitable<std::add_pointer_t<T>, Executor> enter(async_scope<T, Executor> scope)
        requires(!std::is_void_v<T>)
    {
        return detail::enter_stack<T, Executor>(detail::own_frame{}, *this, std::move(scope));
    }
    /// The same for a scope without a resource. Gives null.
    [[nodiscard]] asio::awaitable<void*, Executor> enter(async_scope<void, Executor> scope) {
        return detail::enter_stack<void, Executor>(detail::own_frame{}, *this, std::move(scope));
    }

    /// Calls `cleanup()` or `cleanup(exit_status)` when the stack is cleaned; it may return an awaitable.
    template <class F>
    void defer(F cleanup, std::source_location where = std::source_location::current()) {
        static_assert(detail::cleanup_for<F, Executor>,
                      "coraii::exit_stack::defer: the function must be callable as f() or f(coraii::exit_status) and "
                      "return asio::awaitable<void>, an async operation, or void");
        keep(detail::deferred_scope<Executor>(std::move(cleanup)), where);
    }

    /// Keeps a resource that exists already; `cleanup(T&)` or `cleanup(T&, exit_status)` cleans it.
    /// Exception safety: if there is no memory, or the context is destroyed before it runs again, the resource is
    ///   destroyed without its cleanup.
    template <class T, class F>
    T& adopt(T resource, F cleanup, std::source_location where = std::source_location::current()) {
        static_assert(detail::cleanup_for<F, Executor, T>,
                      "coraii::exit_stack::adopt: the function must be callable as f(T&) or f(T&, coraii::exit_status) "
                      "and return asio::awaitable<void>, an async operation, or void");
        auto box = std::make_unique<T>(std::move(resource));
        T& kept = *box;
        keep(detail::adopted_scope<Executor>(std::move(box), std::move(cleanup)), where);
        return kept;
    }

    /// Cleans all scopes as `completed`, and completes when the last cleanup is done. Afterwards the stack is empty and
    /// can be used again.
    ///
    /// Without a token it gives an awaitable, as `guard::close` does.
    /// Handler signature: `void(std::exception_ptr)`: the first error of a cleanup; later ones go to `on_cleanup_error`,
    ///   and the scopes below a failed one are told `failed`.
    /// Cancellation: a cancel before the first cleanup begins drops the scopes; from then on none.
    /// Executor: cleanups run on their scopes' executors; the completion on the handler's associated executor, or the
    ///   stack's if it has none.
    [[nodiscard]] asio::awaitable<void, Executor> close() { return close(exit_status{exit_reason::completed}); }
    /// The same with a completion token.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    [[nodiscard]] auto close(Token&& token) {
        return close(exit_status{exit_reason::completed}, std::forward<Token>(token));
    }
    /// As ended so.
    [[nodiscard]] asio::awaitable<void, Executor> close(exit_status status) { return close_here(std::move(status)); }
    /// The same with a completion token.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    [[nodiscard]] auto close(exit_status status, Token&& token) {
        auto close_and_tell = [](auto&& handler, const Executor& executor, detail::scope_stack<Executor> closed,
                                 exit_status why) {
            auto closing = detail::close_in_reverse<Executor, detail::scope_stack<Executor>, exit_status>(
                detail::own_frame{}, std::move(closed), std::move(why), nullptr);
            asio::co_spawn(executor, std::move(closing), std::forward<decltype(handler)>(handler));
        };
        return asio::async_initiate<Token, void(std::exception_ptr)>(detail::initiation{*executor_, close_and_tell},
                                                                     token, take(), std::move(status));
    }

    [[nodiscard]] std::size_t size() const noexcept { return scopes_.size(); }  ///< how many scopes are on it
    [[nodiscard]] bool empty() const noexcept { return scopes_.empty(); }  ///< true if none is
    [[nodiscard]] executor_type get_executor() const { return *executor_; }  ///< that its scopes run on

private:
    struct of_task {};
    explicit basic_exit_stack(of_task) noexcept : is_of_task_{true} {}

    template <class T, class E>
    friend asio::awaitable<std::add_pointer_t<T>, E> detail::enter_stack(detail::own_frame, basic_exit_stack<E>&,
                                                                         async_scope<T, E>);
    template <class E>
    friend async_scope<basic_exit_stack<E>, E> make_exit_stack();
    friend class detail::task_scopes<basic_exit_stack>;

    asio::awaitable<void, Executor> close_here(exit_status status) {
        return detail::close_in_reverse<Executor, detail::scope_stack<Executor>, exit_status>(
            detail::own_frame{}, take(), std::move(status), nullptr);
    }

    /// All of them, for another owner.
    detail::scope_stack<Executor> take() noexcept {
        if (is_of_task_) {
            for (std::size_t i = scopes_.size(); i-- > 0;) {
                if (i > 0) {
                    hold_below(scopes_[i], scopes_[i - 1]);
                }
                scopes_[i].outlive_coroutine();
            }
        }
        return std::move(scopes_);
    }

    // Each scope holds the one below it until it is clean: so the order is kept however the stack is dropped.
    static void hold_below(detail::scope_core<Executor>& scope, detail::scope_core<Executor>& below) noexcept {
        if (!scope.held_below_ && below.try_hold()) {
            scope.held_below_ = &below;
        }
    }

    void push(detail::scope_use<Executor> use) {
        scopes_.make_room();
        if (!scopes_.empty()) {
            hold_below(*use.get(), scopes_[scopes_.size() - 1]);
        }
        scopes_.push(use.take());
    }

    template <class T>
    void keep(async_scope<T, Executor> scope, std::source_location where) {
        scopes_.make_room();
        detail::scope_access::made_at(scope, where);
        detail::scope_use<Executor> use{detail::scope_access::claim(scope)};
        use->keeps_context_running_ = true;
        use->setup_is_awaited_ = false;
        if (use->begin_on_own_thread(*executor_, false) || use->state() == detail::scope_state::closed) {
            use->rethrow_error();  // elsewhere it may be under way, and only memory can fail it
        }
        push(std::move(use));
    }

    detail::scope_stack<Executor> scopes_;
    std::optional<Executor> executor_;  // a task's has none before somebody sees it
    bool is_of_task_ = false;  // its coroutine answers for some of them: they hold none below, and may be inline
};

using exit_stack = basic_exit_stack<>;  ///< the usual one

/// A scope whose resource is an empty exit stack.
template <class Executor = asio::any_io_executor>
async_scope<basic_exit_stack<Executor>, Executor> make_exit_stack() {
    basic_exit_stack<Executor> stack{co_await asio::this_coro::executor};
    exit_status why;
    detail::stack_timeout<Executor> timeout;
    auto cleanup = detail::close_in_reverse<Executor, detail::scope_stack<Executor>&, const exit_status&>(
        detail::own_frame{}, stack.scopes_, why, &timeout);  // its frame exists before it is needed
    const exit_status how = co_yield stack;
    why = how;
    const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
    asio::cancellation_slot slot =
        detail::call_on_timeout(now.slot(), [&timeout](asio::cancellation_type_t type) { timeout.expired(type); });
    co_await std::move(cleanup);
    slot.clear();
}

#if defined(CORAII_SEPARATE_COMPILATION)
extern template class basic_exit_stack<asio::any_io_executor>;
#endif

}  // namespace coraii

#endif
