// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_TASK_SCOPES_HPP
#define CORAII_DETAIL_SCOPE_TASK_SCOPES_HPP

#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>

#include <coroutine>
#include <exception>
#include <utility>

namespace coraii::detail {

/// The scopes of a task, and the coroutine that sets them up and leaves them, the *keeper*. The task makes both before its
/// first scope is set up: so leaving needs no memory.
///
/// The keeper is a child of the task's coroutine that is called again and again. It runs once for each scope that is
/// entered, and pauses; it runs once more when the task's coroutine is at its end, where its locals are destroyed and its
/// parameters are not, and then the thread goes on with the task's caller. `Stack` is a `basic_exit_stack`.
template <class Stack>
class task_scopes {
    using executor_type = typename Stack::executor_type;
    using scope_type = scope_ptr<executor_type>;

public:
    class promise_type;

    task_scopes() = default;
    task_scopes(task_scopes&& other) noexcept : keeper_{std::exchange(other.keeper_, nullptr)} {}
    task_scopes& operator=(task_scopes&& other) noexcept {
        std::swap(keeper_, other.keeper_);
        return *this;
    }
    ~task_scopes() {
        if (keeper_ != nullptr) {
            keeper_->destroy();
        }
    }

    static task_scopes make(executor_type) {
        promise_type& keeper = co_await this_keeper{};
        bool& suspended = co_await watch_suspension{};
        while (!keeper.leaving_) {
            try {
                scope_type scope = std::move(keeper.next_);
                const bool is_inline = co_await try_begin_inline<executor_type>{*scope};
                use_in_coroutine<executor_type> use{*scope, is_inline, suspended};
                if (is_inline) {
                    co_await go_back(*scope, use.had_suspended);
                    co_await run_inline<executor_type>{*scope};
                    co_await go_back(*scope, use.suspended);
                    if (scope->state() != scope_state::open) {
                        scope->inline_ended();
                    }
                } else {
                    const asio::cancellation_state caller = co_await asio::this_coro::cancellation_state;
                    const executor_type executor = co_await asio::this_coro::executor;
                    co_await detail::set_up(*scope, executor, caller);
                }
                use.over = true;
                if (!scope->error_) {
                    keeper.resource_ = scope->resource_;
                    keeper.stack_.scopes_.push_back(scope_use<executor_type>{std::move(scope)});
                } else {
                    keeper.error_ = std::exchange(scope->error_, nullptr);
                }
            } catch (...) { keeper.error_ = std::current_exception(); }
            co_await pause_keeper{};
        }
        std::exception_ptr error;
        while (!keeper.stack_.empty()) {
            try {
                const scope_type scope = keeper.take_last();
                use_in_coroutine<executor_type> use{*scope, scope->is_inline(), suspended};
                if (use.is_inline) {
                    co_await go_back(*scope, use.had_suspended);
                    if (!scope->claim_cleanup_inline(keeper.why_)) {
                        co_await suspend_until{[] { return false; },
                                               [&scope](auto handler) { scope->wait_until_unheld(std::move(handler)); }};
                    }
                    co_await run_inline<executor_type>{*scope};
                    co_await go_back(*scope, use.suspended);
                    scope->inline_ended();
                } else {
                    co_await end_use_and_wait(*scope, keeper.why_);
                }
                use.over = true;
                error = std::exchange(scope->error_, nullptr);
            } catch (...) { error = std::current_exception(); }
            if (error && !keeper.why_.error()) {
                // The others are told, as if nested: an error of theirs is reported, and does not hide this one.
                *keeper.error_of_task_ = error;
                keeper.why_ = exit_status{exit_reason::failed, std::move(error)};
            }
        }
    }

    explicit operator bool() const noexcept { return keeper_ != nullptr; }
    Stack& stack() const noexcept { return keeper_->stack_; }
    bool empty() const noexcept { return keeper_ == nullptr || keeper_->stack_.empty(); }

    /// The coroutine of `task` is suspending. Its thread sets up `scope`, which is claimed, and then goes on with `task`.
    /// There is room on the stack.
    void set_up(any_frame<executor_type>& task, scope_type scope) noexcept {
        keeper_->next_ = std::move(scope);
        keeper_->push_frame(&task);
    }
    void make_room() { stack().make_room(); }

    /// What was set up last.
    void* take_resource() {
        if (keeper_->error_) [[unlikely]] {
            std::rethrow_exception(std::exchange(keeper_->error_, nullptr));
        }
        return keeper_->resource_;
    }

    /// The coroutine of `task` is at its end. Its thread leaves the scopes, gives `error` the first error of a cleanup if
    /// `why` has none, and goes on with the task's caller.
    void leave(any_frame<executor_type>& task, exit_status why, std::exception_ptr& error) noexcept {
        keeper_->why_ = std::move(why);
        keeper_->task_ = &task;
        keeper_->error_of_task_ = &error;
        keeper_->leaving_ = true;
        keeper_->push_frame(&task);
    }

private:
    struct this_keeper {};
    struct pause_keeper {};

    explicit task_scopes(promise_type* keeper) noexcept : keeper_{keeper} {}

    promise_type* keeper_ = nullptr;
};

template <class Stack>
class task_scopes<Stack>::promise_type : public frame_promise<void, executor_type> {
    using base = frame_promise<void, executor_type>;

public:
    using typename base::asio_base;

    explicit promise_type(const executor_type& executor) : stack_{executor} { stack_.is_of_task_ = true; }

    task_scopes get_return_object() noexcept {
        static_assert(alignof(promise_type) == alignof(asio_base));
        this->coro_ = std::coroutine_handle<asio_base>::from_promise(*this);
        return task_scopes{this};
    }

    using base::await_transform;
    auto await_transform(pause_keeper) noexcept {
        struct pause {
            promise_type& keeper;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept { keeper.pop_frame(); }
            void await_resume() const noexcept {}
        };
        return pause{*this};
    }
    auto await_transform(this_keeper) noexcept {
        struct self {
            promise_type& keeper;

            bool await_ready() const noexcept { return true; }
            void await_suspend(std::coroutine_handle<>) const noexcept {}
            promise_type& await_resume() const noexcept { return keeper; }
        };
        return self{*this};
    }

    /// The task's coroutine has nothing more to run.
    auto final_suspend() noexcept {
        struct end {
            promise_type& keeper;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept {
                keeper.pop_frame();
                keeper.task_->pop_frame();
            }
            void await_resume() const noexcept {}
        };
        return end{*this};
    }

private:
    friend class task_scopes;

    scope_type take_last() noexcept {
        scope_type last = stack_.scopes_.back().take();
        stack_.scopes_.pop_back();  // first: the cleanup may put another on the stack
        return last;
    }

    Stack stack_;
    scope_type next_;  // to be set up
    void* resource_ = nullptr;  // that was set up last,
    std::exception_ptr error_;  // or what its setup threw
    bool leaving_ = false;
    exit_status why_;
    any_frame<executor_type>* task_ = nullptr;
    std::exception_ptr* error_of_task_ = nullptr;
};

}  // namespace coraii::detail

#endif
