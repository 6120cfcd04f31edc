// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_TASK_SCOPES_HPP
#define CORAII_DETAIL_SCOPE_TASK_SCOPES_HPP

#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_frame.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/this_coro.hpp>

#include <coroutine>
#include <exception>
#include <utility>

namespace coraii::detail {

/// Whose code a setup is.
enum class setup_of : bool {
    user,
    library,  // it waits for nothing, and may run anywhere
};

/// The scopes of a task, and the coroutine that waits for them, the *keeper*. The task makes both before it sets its first
/// scope up: so leaving needs no memory.
///
/// The keeper is a child of the task's coroutine: on the thread's stack it lies between the task and the scope that is set up
/// or cleaned inline. `go_on` does the work, and the keeper is resumed only where something has to be waited for. When
/// the task's coroutine is at its end, where its locals are destroyed and its parameters are not, the scopes are left, and
/// then the thread goes on with the task's caller. `Stack` is a `basic_exit_stack`.
template <class Stack>
class task_scopes {
    using executor_type = typename Stack::executor_type;
    using scope_type = scope_ptr<executor_type>;
    using task_type = any_frame<executor_type>;

public:
    class promise_type;

    task_scopes() = default;
    task_scopes(task_scopes&&) = delete;
    task_scopes& operator=(task_scopes&&) = delete;
    ~task_scopes() {
        if (keeper_ != nullptr) {
            keeper_->destroy();
        }
    }

    explicit operator bool() const noexcept { return keeper_ != nullptr; }
    bool empty() const noexcept { return keeper_ == nullptr || keeper_->stack_.empty(); }
    Stack& stack() const noexcept { return keeper_->stack_; }

    /// Room for one scope more.
    void make_room() {
        if (keeper_ == nullptr) {
            keeper_ = keep(keeper_tag{}).keeper;
        }
        stack().scopes_.make_room();
    }

    Stack& stack_on(const executor_type& executor) {
        make_room();
        if (!stack().executor_) {
            stack().executor_.emplace(executor);
        }
        return stack();
    }

    /// The coroutine of `task` is suspending. Sets up `scope`, which is claimed. False if that is over already; else the
    /// thread goes on with it, and then with `task`.
    bool set_up(task_type& task, scope_type scope, setup_of whose) noexcept {
        keeper_->push_frame(&task);
        return keeper_->set_up(std::move(scope), whose);
    }

    /// The resource that was set up last.
    void* take_resource() {
        if (keeper_->error_) [[unlikely]] {
            std::rethrow_exception(std::exchange(keeper_->error_, nullptr));
        }
        return keeper_->resource_;
    }

    /// The task has not completed.
    void failed(exit_status why) noexcept { keeper_->why_ = std::move(why); }

    /// The coroutine of `task` is at its end. Leaves the scopes, gives `error` the first error of a cleanup unless the task
    /// has failed, and lets the thread go on with the task's caller.
    void leave(task_type& task, std::exception_ptr& error) noexcept {
        keeper_->push_frame(&task);
        keeper_->leave(task, error);
    }

private:
    struct made {
        using promise_type = task_scopes::promise_type;
        task_scopes::promise_type* keeper;
    };
    struct keeper_tag {};
    struct this_keeper {};
    struct pause_keeper {};

    static made keep(keeper_tag);

    promise_type* keeper_ = nullptr;
};

template <class Stack>
class task_scopes<Stack>::promise_type : public task_keeper<executor_type> {
    using base = task_keeper<executor_type>;

public:
    using typename base::asio_base;

    promise_type() noexcept
        : base{[](base& self) noexcept { static_cast<promise_type&>(self).scope_returned(); }},
          stack_{typename Stack::of_task{}} {}
    promise_type(const promise_type&) = delete;
    promise_type& operator=(const promise_type&) = delete;
    ~promise_type() { abandon(); }

    made get_return_object() noexcept {
        static_assert(alignof(promise_type) == alignof(asio_base));
        this->coro_ = std::coroutine_handle<asio_base>::from_promise(*this);
        return made{this};
    }

    using base::await_transform;
    auto await_transform(pause_keeper) noexcept { return std::suspend_always{}; }
    auto await_transform(this_keeper) noexcept {
        struct self {
            promise_type& keeper;

            bool await_ready() const noexcept { return true; }
            void await_suspend(std::coroutine_handle<>) const noexcept {}
            promise_type& await_resume() const noexcept { return keeper; }
        };
        return self{*this};
    }

private:
    friend class task_scopes;

    enum class step : unsigned char { setup, end_of_setup, is_set_up, next, cleanup, end_of_cleanup };
    enum class wait : unsigned char { executor, setup, holds, cleanup };

    bool set_up(scope_type scope, setup_of whose) noexcept {
        scope_ = std::move(scope);
        try {
            const executor_type executor = asio_base::await_transform(asio::this_coro::executor).await_resume();
            caller_ = asio_base::await_transform(asio::this_coro::cancellation_state).await_resume();
            if (!caller_.slot().is_connected() && scope_->can_run_inline()) {
                scope_->tells_caller_ = true;
                scope_->begin_inline(executor);
                return whose == setup_of::user ? go_on(step::setup) : run(step::is_set_up);
            }
            if (whose == setup_of::library) {
                scope_->begin_at_once(executor);
                return end_setup();
            }
            cancelled_before_ = caller_.cancelled();
            return begin_setup(*scope_, executor, caller_) ? go_on(step::end_of_setup)
                                                           : wait_for(wait::setup, step::end_of_setup);
        } catch (...) { return fail(std::current_exception()); }
    }

    void leave(task_type& task, std::exception_ptr& error) noexcept {
        task_ = &task;
        error_of_task_ = &error;
        go_on(step::next);
    }

    /// Goes on as far as it can without waiting. We are on top of the thread's stack. False if the task's coroutine is then.
    bool go_on(step at) noexcept {
        for (;;) {
            switch (at) {
                case step::setup:
                    if (!is_here()) {
                        return wait_for(wait::executor, step::setup);
                    }
                    return run(step::end_of_setup);
                case step::end_of_setup:
                    if (scope_->is_inline() && !is_here()) {
                        return wait_for(wait::executor, step::end_of_setup);
                    }
                    [[fallthrough]];
                case step::is_set_up: return end_setup();
                case step::next:
                    if (stack_.empty()) {
                        return end();
                    }
                    scope_ = stack_.scopes_.pop();  // first: the cleanup may put another on the stack
                    if (scope_->is_inline()) {
                        at = step::cleanup;
                    } else if (end_use_here(*scope_, why_)) {
                        at = step::end_of_cleanup;
                    } else {
                        return wait_for(wait::cleanup, step::end_of_cleanup);
                    }
                    break;
                case step::cleanup:
                    if (!is_here()) {
                        return wait_for(wait::executor, step::cleanup);
                    }
                    if (!scope_->claim_cleanup_inline(why_)) {
                        return wait_for(wait::holds, step::end_of_cleanup);
                    }
                    return run(step::end_of_cleanup);
                case step::end_of_cleanup:
                    if (scope_->is_inline() && !is_here()) {
                        return wait_for(wait::executor, step::end_of_cleanup);
                    }
                    end_cleanup();
                    at = step::next;
                    break;
            }
        }
    }

    /// The keeper is on top: the thread resumes it, and it waits.
    bool wait_for(wait what, step next) noexcept {
        waits_for_ = what;
        next_ = next;
        return true;
    }

    bool run(step next) noexcept {
        next_ = next;
        throws_if_cancelled_ = this->throws_if_cancelled();
        scope_->frame().push_frame(this);
        return true;
    }
    void scope_returned() noexcept {
        this->throw_if_cancelled(throws_if_cancelled_);
        go_on(next_);
    }

    bool end_setup() noexcept {
        if (scope_->is_inline() && scope_->state() != scope_state::open) {
            scope_->inline_ended();
        }
        if (!scope_->error_) [[likely]] {
            resource_ = scope_->resource_;
            stack_.scopes_.push(std::move(scope_));
        } else {
            error_ = std::exchange(scope_->error_, nullptr);
            scope_.reset();
        }
        pop();
        return false;
    }

    void end_cleanup() noexcept {
        const scope_type scope = std::move(scope_);
        if (scope->is_inline()) {
            scope->inline_ended();
        }
        if (scope->error_) [[unlikely]] {
            note(std::exchange(scope->error_, nullptr));
        }
    }

    /// The others are told, as if nested: an error of theirs is reported, and does not hide this one.
    void note(std::exception_ptr error) noexcept {
        if (!why_.error()) {
            *error_of_task_ = error;
            why_ = exit_status{exit_reason::failed, std::move(error)};
        }
    }

    bool end() noexcept {
        pop();
        task_->pop_frame();
        return true;
    }

    void pop() noexcept {
        has_suspended(*this) |= had_suspended_;
        had_suspended_ = false;
        this->pop_frame();
    }

    /// There is no memory to begin, or to go back to the executor.
    bool fail(std::exception_ptr error) noexcept {
        abandon();
        if (task_ != nullptr) {
            note(std::move(error));
            return go_on(step::next);
        }
        error_ = std::move(error);
        pop();
        return false;
    }

    /// The scope that is being set up or cleaned goes on without us.
    void abandon() noexcept {
        if (const scope_type scope = std::move(scope_)) {
            if (scope->is_inline()) {
                scope->abandon_inline();
            } else {
                scope->end_use({}, false);
            }
        }
    }

    /// False if the thread has gone to another executor, and can go back.
    bool is_here() noexcept {
        if (has_suspended(*this) && !scope_->is_where_it_belongs()) {
            return false;
        }
        arrived();
        return true;
    }
    /// From here on it is asked whether the thread has suspended since.
    void arrived() noexcept { had_suspended_ |= std::exchange(has_suspended(*this), false); }

    Stack stack_;
    scope_type scope_;  // that is being set up or cleaned
    step next_ = step::setup;
    wait waits_for_ = wait::executor;
    bool throws_if_cancelled_ = false;
    bool had_suspended_ = false;
    asio::cancellation_state caller_;
    asio::cancellation_type_t cancelled_before_ = asio::cancellation_type::none;
    void* resource_ = nullptr;  // that was set up last,
    std::exception_ptr error_;  // or what its setup threw
    exit_status why_{exit_reason::completed};
    task_type* task_ = nullptr;  // that has ended
    std::exception_ptr* error_of_task_ = nullptr;
};

template <class Stack>
typename task_scopes<Stack>::made task_scopes<Stack>::keep(keeper_tag) {
    using wait = typename promise_type::wait;
    using step = typename promise_type::step;
    promise_type& keeper = co_await this_keeper{};
    for (;;) {
        std::exception_ptr error;
        try {
            scope_core<executor_type>& scope = *keeper.scope_;
            if (keeper.waits_for_ == wait::executor) {
                co_await go_back(scope, true);
                keeper.arrived();  // there are executors that we cannot ask
            } else {
                const executor_type executor = co_await asio::this_coro::executor;
                co_await suspend_until{[] { return false; },
                                       [&](auto handler) {
                                           switch (keeper.waits_for_) {
                                               case wait::setup:
                                                   return wait_until_set_up(scope, executor, keeper.caller_,
                                                                            keeper.cancelled_before_,
                                                                            std::move(handler));
                                               case wait::holds: return scope.wait_until_unheld(std::move(handler));
                                               default: return wait_until_closed(scope, std::move(handler));
                                           }
                                       }};
            }
        } catch (...) { error = std::current_exception(); }
        if (error) {
            keeper.fail(std::move(error));
        } else if (keeper.waits_for_ == wait::holds) {
            keeper.run(step::end_of_cleanup);
        } else {
            keeper.go_on(keeper.next_);
        }
        co_await pause_keeper{};
    }
}

}  // namespace coraii::detail

#endif
