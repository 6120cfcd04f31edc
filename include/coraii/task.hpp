// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TASK_HPP
#define CORAII_TASK_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/scope/task_scopes.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_state.hpp>
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

template <class R, class Executor>
class task;

namespace detail {

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
        exit_status why{exit_reason::completed};
        if (this->pending_exception_) [[unlikely]] {
            const asio::cancellation_state now =
                asio_base::await_transform(asio::this_coro::cancellation_state).await_resume();
            const bool cancelled = now.cancelled() != asio::cancellation_type::none;
            why = exit_status{cancelled ? exit_reason::cancelled : exit_reason::failed, this->pending_exception_};
        }
        scopes_.leave(*this, std::move(why), this->pending_exception_);
    }

    scopes_type scopes_;  // none before the first is entered
};

/// The most scopes that a task may have without being named.
inline std::atomic<std::size_t>& most_scopes_of_a_task() noexcept {
    static std::atomic<std::size_t> most{1000};
    return most;
}

inline void note_scopes_of_a_task(std::size_t count, const std::source_location& where) noexcept {
    static std::atomic<const char*> file{nullptr};
    static std::atomic<unsigned> line{0};
    if (count <= most_scopes_of_a_task().load(std::memory_order_relaxed)) {
        return;
    }
    const bool known = line.exchange(where.line()) == where.line() && file.load() == where.file_name();
    file = where.file_name();
    if (!known) {
        std::fprintf(stderr,
                     "coraii: %s:%u: a task has more than %zu scopes; each is kept until the task ends. In a loop use "
                     "coraii::with, or a task of its own\n",
                     where.file_name(), static_cast<unsigned>(where.line()), count - 1);
    }
}

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
        note_scopes_of_a_task(scopes->stack().size() + 1, where);
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

template <class R = void, class Executor = asio::any_io_executor>
class [[nodiscard]] task : public asio::awaitable<R, Executor> {
public:
    using promise_type = detail::task_promise<R, Executor>;

    task() = default;

private:
    friend promise_type;

    explicit task(asio::awaitable<R, Executor>&& coroutine) noexcept
        : asio::awaitable<R, Executor>{std::move(coroutine)} {}
};

template <class T, class Executor>
[[nodiscard]] auto enter(async_scope<T, Executor>&& scope,
                         std::source_location where = std::source_location::current()) {
    return detail::enter_in_task<T, Executor>{std::move(scope), where};
}

template <class T, class Executor>
auto enter(async_scope<T, Executor>&) {
    static_assert(sizeof(T*) == 0, "coraii::enter: a scope is used once; say enter(std::move(scope))");
}

template <class F>
[[nodiscard]] auto defer(F cleanup, std::source_location where = std::source_location::current()) {
    return detail::defer_in_task<F>{std::move(cleanup), where};
}

inline constexpr detail::stack_of_task this_stack{};

inline void warn_about_scopes_of_a_task(std::size_t most) noexcept {
    detail::most_scopes_of_a_task().store(most, std::memory_order_relaxed);
}

}  // namespace coraii

#endif
