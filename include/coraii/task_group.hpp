// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TASK_GROUP_HPP
#define CORAII_TASK_GROUP_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/region/listed_wait.hpp"
#include "coraii/detail/scope/scope_deadline.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/task_group/detail/group_state.hpp"
#include "coraii/unlimited.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/this_coro.hpp>

#include <cstddef>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coraii {

/// How a `task_group` works.
struct task_group_options {
    /// How many children `spawn_when_free` lets run at a time. `spawn` ignores it.
    std::size_t max_running = unlimited;
};

template <class Executor>
class basic_task_group;

namespace detail {

template <class F, class Executor>
inline constexpr bool child_fits = [] {
    if constexpr (awaitable_in<started_t<F>, Executor>) {
        return std::is_void_v<awaited_t<started_t<F>, Executor>>;
    } else {
        return false;
    }
}();

template <class Executor>
asio::awaitable<void, Executor> join_group(own_frame, group_ptr<Executor> group) {
    auto joined = wait_until<Executor>(own_frame{}, group->mutex_, group->joining_, [&] { return group->is_empty(); });
    co_await std::move(joined);
    if (std::exception_ptr error = group->take_error()) {
        std::rethrow_exception(std::move(error));
    }
}

template <class Executor, class F>
asio::awaitable<void, Executor> spawn_when_room(own_frame, group_ptr<Executor> group, F child) {
    while (!spawn_child<Executor, F>(group, child, true)) {
        auto room =
            wait_until<Executor>(own_frame{}, group->mutex_, group->for_room_, [&] { return group->has_room(); });
        co_await std::move(room);
    }
}

/// `co_await leave_group(group, why)`: waits for the children. Takes no memory: it is part of a cleanup.
template <class Executor>
auto leave_group(group_state<Executor>& group, const exit_status& why) {
    return suspend_until{
        [&group, completed = why.ok()] { return group.leave(completed) || group.none_left_.is_set(); },
        [&group](auto handler) { resume_when_set(group.none_left_, group.scopes(), std::move(handler)); }};
}

template <class Executor>
async_scope<basic_task_group<Executor>, Executor> task_group_scope(task_group_options options) {
    const Executor executor = co_await asio::this_coro::executor;
    const scope_handle self = co_await this_scope;
    const group_ptr<Executor> state{
        new group_state<Executor>{executor, guard_access::entry_of(self), options.max_running}};
    basic_task_group<Executor> group{state};
    const exit_status why = co_yield group;
    if (!why.can_await()) {
        co_return;  // the children are destroyed with their context
    }
    const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
    asio::cancellation_slot timeout =
        call_on_timeout(now.slot(), [group = state.get()](asio::cancellation_type_t) { group->stop(); });
    co_await leave_group(*state, why);
    timeout.clear();
    if (std::exception_ptr error = state->take_error()) {
        std::rethrow_exception(std::move(error));
    }
}

}  // namespace detail

/// Runs coroutines, its children, and does not outlive them: a scope's resource, which `open_task_group` makes.
///
///     co_await coraii::with(coraii::open_task_group({.max_running = 100}), [&](coraii::task_group& group) -> awaitable<void> {
///         for (;;) {
///             tcp::socket peer = co_await acceptor.async_accept(asio::use_awaitable);
///             co_await group.spawn_when_free([peer = std::move(peer)]() mutable { return session(peer); });
///         }
///     });
///
/// When the scope is clean no child runs. Left as completed, it waits for its children; left in another way, it cancels them
/// and waits. Children may spawn others meanwhile, until the last of them has ended.
///
/// A child that throws has failed, unless it ends with `operation_aborted` after the group has cancelled it. It cancels
/// its siblings, and nobody is spawned any more. It does not cancel the body of the scope.
///
/// Errors: the first error of a child is thrown by `join()`, or by the leaving of the scope, once: there it is the cleanup's
///   error, so it is reported to `on_cleanup_error` if the body throws too, or the guard is dropped. Later ones are
///   reported. A child whose coroutine is destroyed, while the execution context lives, has failed with
///   `errc::child_destroyed`.
/// Cancellation: leaving is a cleanup, which a cancel does not reach. So a server's body ends with `co_await group.join()`: a
///   cancel ends that, and leaving then cancels the children. When the scope's `cleanup_timeout` fires they are cancelled,
///   none can be spawned any more, and they are awaited. Any type of a cancel reaches a child.
/// Executor: children run on the scope's executor. They are posted there: none begins inside `spawn`.
/// Lifetime: what a child's callable captures lives as long as the child runs. If the context dies, the children are destroyed
///   with it.
/// Thread safety: safe, if the executor is a strand or is run by one thread; else all but cancelling is.
template <class Executor = asio::any_io_executor>
class basic_task_group {
public:
    using executor_type = Executor;  ///< that its children run on by default

    basic_task_group(const basic_task_group&) = delete;
    basic_task_group& operator=(const basic_task_group&) = delete;
    ~basic_task_group() = default;

    /// Runs `child`: a callable that returns an `awaitable<void>` and is called when it begins, or an `awaitable<void>`. It does
    /// not ask how many are running.
    ///
    /// Errors: `errc::scope_closed` once a child has failed, or the scope has been left otherwise than as completed.
    /// Exception safety: what throws here has spawned nothing.
    template <class F>
    void spawn(F child) {
        check<F>();
        if constexpr (detail::child_fits<F, Executor>) {
            detail::spawn_child<Executor, F>(state_, child, false);
        }
    }

    /// The same, when fewer than `max_running` children are running: waits until then.
    ///
    /// Cancellation: while it waits, of any type; then nothing is spawned.
    template <class F>
    [[nodiscard]] asio::awaitable<void, Executor> spawn_when_free(F child) {
        check<F>();
        if constexpr (detail::child_fits<F, Executor>) {
            return detail::spawn_when_room<Executor, F>(detail::own_frame{}, state_, std::move(child));
        }
    }

    /// Waits until no child runs. More can be spawned afterwards.
    ///
    /// Preconditions: not awaited by a child, which would wait for itself.
    /// Cancellation: of the waiting only, of any type.
    /// Errors: the first of a child, when all have ended.
    [[nodiscard]] asio::awaitable<void, Executor> join() {
        return detail::join_group<Executor>(detail::own_frame{}, state_);
    }

    /// Cancels the children that run now, those that have not begun yet among them. It is not remembered: others can be spawned.
    void cancel(asio::cancellation_type_t type = asio::cancellation_type::terminal) { state_->cancel(type); }

    /// How many are running.
    [[nodiscard]] std::size_t size() const noexcept { return state_->size(); }

    /// That its children run on by default.
    [[nodiscard]] executor_type get_executor() const { return state_->executor(); }

private:
    template <class E>
    friend async_scope<basic_task_group<E>, E> detail::task_group_scope(task_group_options);

    explicit basic_task_group(detail::group_ptr<Executor> state) noexcept : state_{std::move(state)} {}

    template <class F>
    static constexpr void check() {
        static_assert(
            detail::child_fits<F, Executor>,
            "coraii::task_group: a child must be callable without arguments and return asio::awaitable<void>, or be an "
            "asio::awaitable<void>, of the group's Executor");
    }

    const detail::group_ptr<Executor> state_;
};

using task_group = basic_task_group<>;  ///< the usual one

/// A scope whose resource is a task group without children.
/// Errors: `std::invalid_argument` if `max_running` is zero.
template <class Executor = asio::any_io_executor>
[[nodiscard]] async_scope<basic_task_group<Executor>, Executor> open_task_group(
    task_group_options options = {}, std::source_location where = std::source_location::current()) {
    if (options.max_running == 0) {
        throw std::invalid_argument("coraii::open_task_group: max_running must be at least 1");
    }
    auto scope = detail::task_group_scope<Executor>(options);
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
