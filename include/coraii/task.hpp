// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TASK_HPP
#define CORAII_TASK_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/detail/scope/task_scopes.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/this_coro.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>

namespace coraii {
namespace detail {

/// The promise of a task's coroutine: Asio's, with scopes. `coraii::enter` and the like give it what it awaits itself.
template <class R, class Executor>
class task_promise : public frame_promise<R, Executor> {
    using base = frame_promise<R, Executor>;
    using scopes_type = task_scopes<basic_exit_stack<Executor>>;

public:
    using typename base::asio_base;

    task<R, Executor> get_return_object() noexcept {
        static_assert(alignof(task_promise) == alignof(asio_base));
        return task<R, Executor>{asio_base::get_return_object()};
    }

    /// The locals are destroyed, the parameters are not.
    auto final_suspend() noexcept {
        struct end {
            task_promise& task;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept { task.leave(); }
            void await_resume() const noexcept {}
        };
        return end{*this};
    }

    template <class X>
    auto await_transform(X&& x) {
        if constexpr (requires { x.await_in_task(*this); }) {
            return x.await_in_task(*this);
        } else {
            return base::await_transform(std::forward<X>(x));
        }
    }

    scopes_type& scopes() noexcept { return scopes_; }

    basic_exit_stack<Executor>& stack() {
        return scopes_.stack_on(asio_base::await_transform(asio::this_coro::executor).await_resume());
    }

    /// What Asio does where a coroutine awaits something after it was cancelled.
    void throw_if_cancelled_now() { (void)asio_base::await_transform(asio::awaitable<void, Executor>{}); }

private:
    void leave() noexcept {
        if (scopes_.empty()) {
            return this->pop_frame();
        }
        if (this->pending_exception_) [[unlikely]] {
            const auto now = asio_base::await_transform(asio::this_coro::cancellation_state).await_resume();
            const bool cancelled = now.cancelled() != asio::cancellation_type::none;
            scopes_.failed({cancelled ? exit_reason::cancelled : exit_reason::failed, this->pending_exception_});
        }
        scopes_.leave(*this, this->pending_exception_);
    }

    scopes_type scopes_;  // none before the first is entered
};

/// Names the place where a task comes to have more scopes than it should.
struct many_scopes {
    inline static std::atomic<std::size_t> most{1000};
    inline static std::atomic<unsigned> named_line{0};

    static void note(std::size_t count, const std::source_location& where) noexcept {
        if (count > most.load(std::memory_order_relaxed) && named_line.exchange(where.line()) != where.line()) {
            std::fprintf(
                stderr,
                "coraii: %s:%u: a task has more than %zu scopes, and keeps them until it ends (coraii::enter)\n",
                where.file_name(), static_cast<unsigned>(where.line()), count - 1);
        }
    }
};

/// Sets a scope up in a task's coroutine.
template <class T, class Executor, class Promise>
struct entering {
    Promise& task;
    async_scope<T, Executor>& scope;
    std::source_location where;
    setup_of whose;
    task_scopes<basic_exit_stack<Executor>>* scopes = nullptr;
    scope_ptr<Executor> claimed{};

    bool await_ready() {
        scopes = &task.scopes();
        scopes->make_room();
        claimed = scope_access::claim(scope);
#ifndef NDEBUG
        many_scopes::note(scopes->stack().size() + 1, where);
#endif
        return false;
    }
    bool await_suspend(std::coroutine_handle<>) noexcept { return scopes->set_up(task, std::move(claimed), whose); }
    std::add_lvalue_reference_t<T> await_resume() const {
        void* const resource = scopes->take_resource();
        if constexpr (!std::is_void_v<T>) {
            return *static_cast<T*>(resource);
        }
    }
};

template <class T, class Executor>
struct enter_in_task {
    async_scope<T, Executor> scope;
    std::source_location where;

    template <class R>
    auto await_in_task(task_promise<R, Executor>& task) {
        task.throw_if_cancelled_now();
        return entering<T, Executor, task_promise<R, Executor>>{task, scope, where, setup_of::user};
    }
    template <class R, class Other>
    std::suspend_never await_in_task(task_promise<R, Other>&) {
        static_assert(sizeof(Other*) == 0, "coraii::enter: the scope and the task must have the same Executor");
        return {};
    }
    template <class Token>
    auto operator()(Token&&) const {
        static_assert(sizeof(Token) == 0, "coraii::enter: only the coroutine of a coraii::task can enter a scope");
    }
};

template <class F>
struct defer_in_task {
    F cleanup;
    std::source_location where;

    template <class R, class Executor>
    auto await_in_task(task_promise<R, Executor>& task) {
        static_assert(cleanup_for<F, Executor>,
                      "coraii::defer: the function must be callable as f() or f(coraii::exit_status) and return "
                      "asio::awaitable<void>, an async operation, or void");
        struct deferring {
            async_scope<void, Executor> scope;
            entering<void, Executor, task_promise<R, Executor>> inner;

            deferring(task_promise<R, Executor>& t, F&& f, const std::source_location& w)
                : scope{deferred_scope<Executor>(std::move(f))}, inner{t, scope, w, setup_of::library} {
                scope_access::made_at(scope, w);
            }
            deferring(const deferring&) = delete;
            deferring& operator=(const deferring&) = delete;
            bool await_ready() { return inner.await_ready(); }
            bool await_suspend(std::coroutine_handle<> self) noexcept { return inner.await_suspend(self); }
            void await_resume() const { inner.await_resume(); }
        };
        return deferring{task, std::move(cleanup), where};
    }
    template <class Token>
    auto operator()(Token&&) const {
        static_assert(sizeof(Token) == 0, "coraii::defer: only the coroutine of a coraii::task can defer a function");
    }
};

struct stack_of_task {
    template <class R, class Executor>
    auto await_in_task(task_promise<R, Executor>& task) const {
        struct awaiter {
            task_promise<R, Executor>& task;

            bool await_ready() const noexcept { return true; }
            void await_suspend(std::coroutine_handle<>) const noexcept {}
            basic_exit_stack<Executor>& await_resume() const { return task.stack(); }
        };
        return awaiter{task};
    }
    template <class Token>
    auto operator()(Token&&) const {
        static_assert(sizeof(Token) == 0, "coraii::this_stack: only the coroutine of a coraii::task has a stack");
    }
};

}  // namespace detail

/// A coroutine that has scopes of its own: they are left when it ends, and whoever awaits it waits for that.
///
///     coraii::task<int> transfer(driver& d) {
///         session& s = co_await coraii::enter(open_session(d, "app"));
///         transaction& tx = co_await coraii::enter(begin(s));
///         co_return co_await tx.execute("...");
///     }   // commits or rolls back, closes the session, and then the caller goes on
///
/// It is an `asio::awaitable`: `co_await`, `asio::co_spawn`, `&&` and `||` take it as one, and so does this library wherever
/// it takes an awaitable, or a callable that returns one.
///
/// Effects: when the coroutine ends, by result or exception, its locals are destroyed; then its scopes are left, the last
///   entered first, each cleanup complete before the next begins; then its parameters are destroyed. So a cleanup may refer
///   to parameters, but not to locals. The scopes are told `completed`, `failed` or `cancelled` (an exception after a cancel
///   was requested), with the exception.
/// Cancellation: during a setup a cancel reaches the setup; otherwise it is the coroutine's own, as in any coroutine; the
///   cleanups are shielded. Afterwards the caller's cancellation state, its filters and its `throw_if_cancelled` are what
///   they would be without scopes.
/// Errors: what the coroutine threw, the same exception object; else the first error of a cleanup. The scopes entered before
///   that one are told `failed` with it. A later error of a cleanup goes to `on_cleanup_error`.
/// Executor: setup and cleanup run on the awaiting coroutine's executor, where `enter` and the task return, even if setup,
///   coroutine or cleanup go to another one and end there. `Executor` is that of the coroutine which awaits it.
/// Lifetime: a lambda's captures are no parameters. The closure has to outlive the coroutine, and with it every cleanup
///   that refers to what it has captured. If a task is destroyed while it is suspended, its scopes are left in the
///   background as `abandoned`, still one after another and the last first; those cleanups outlive the parameters.
/// Thread safety: as an `asio::awaitable`.
/// Exception safety: what leaving needs is there before the first setup begins; leaving takes no memory of the library's.
template <class R = void, class Executor = asio::any_io_executor>
class [[nodiscard]] task : public asio::awaitable<R, Executor> {
public:
    using promise_type = detail::task_promise<R, Executor>;  ///< makes it a coroutine's return type

    task() = default;

private:
    friend promise_type;

    explicit task(asio::awaitable<R, Executor>&& coroutine) noexcept
        : asio::awaitable<R, Executor>{std::move(coroutine)} {}
};

/// `T& x = co_await coraii::enter(scope);` in a task's coroutine sets a scope up, and the task leaves it when it ends. A scope
/// of void gives nothing.
///
/// In a loop, each scope is kept until the task ends. For a block of code there is `with`, or a task of its own for each
/// round. A debug build (without NDEBUG) names the place on stderr, once, where a task comes to have more than a thousand:
/// see `warn_about_scopes_of_a_task`.
///
/// Cancellation, Errors: as for awaiting the scope. If setup fails, the exception is thrown here, and the task may go on.
/// Lifetime: the resource lives until its scope is left: by the task, or by whoever has moved the task's stack out.
/// Exception safety: if there is no memory to begin with, nothing has been set up.
template <class T, class Executor>
[[nodiscard]] auto enter(async_scope<T, Executor>&& scope,
                         std::source_location where = std::source_location::current()) {
    return detail::enter_in_task<T, Executor>{std::move(scope), where};
}

template <class T, class Executor>
auto enter(async_scope<T, Executor>&) {
    static_assert(sizeof(T*) == 0, "coraii::enter: a scope is used once; say enter(std::move(scope))");
}

/// `co_await coraii::defer(f);` in a task's coroutine: `f()` or `f(exit_status)` is called in its turn when the task leaves its
/// scopes. It may return an awaitable, which is awaited. `f` is kept until then.
///
/// Cancellation: none. It neither waits nor throws in a coroutine that was cancelled.
/// Errors: what `f` throws counts as the error of a cleanup.
/// Exception safety: if there is no memory, `f` is destroyed and not called.
template <class F>
[[nodiscard]] auto defer(F cleanup, std::source_location where = std::source_location::current()) {
    return detail::defer_in_task<F>{std::move(cleanup), where};
}

/// `exit_stack& stack = co_await coraii::this_stack;` in a task's coroutine: the task's own stack, for callees. What was
/// entered with `coraii::enter` is on it, too; what is put on it is left with the rest.
///
/// `co_return std::move(co_await coraii::this_stack);` takes all scopes out, and the caller has the resources: so a task
/// opens several, or none if one fails.
/// Lifetime: the stack lives as long as the task's coroutine. What was moved out of it does not depend on the task.
inline constexpr detail::stack_of_task this_stack{};

/// How many scopes a task may have before a debug build names the place where it enters one more. A thousand at first.
/// Thread safety: safe.
inline void warn_about_scopes_of_a_task(std::size_t most) noexcept {
    detail::many_scopes::most = most;
}

}  // namespace coraii

#endif
