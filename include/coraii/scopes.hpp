// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SCOPES_HPP
#define CORAII_SCOPES_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/scope_info.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/system_executor.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace coraii {

namespace detail {

template <class Where>
concept context_or_executor = std::derived_from<Where, asio::execution_context> || asio::execution::is_executor<Where>::value;

template <class Where>
registry& registry_of(Where& where) {
    if constexpr (std::derived_from<Where, asio::execution_context>) {
        return registry::of(where);
    } else {
        return registry::of(asio::query(where, asio::execution::context));
    }
}

/// The executor of operations on a context.
template <class Where>
auto executor_of(Where& where) {
    if constexpr (!std::derived_from<Where, asio::execution_context>) {
        return where;
    } else if constexpr (requires { where.get_executor(); }) {
        return where.get_executor();
    } else {
        return asio::system_executor{};
    }
}

}  // namespace detail

// Each takes an execution context, or an executor of one.

/// Sets the handler for cleanup errors that have no caller to throw to. The default handler writes one line to stderr.
///
/// Effects: replaces the handler of this context; an empty function brings the default back. The handler is called exactly
///   once for each error. If it throws, that is caught, and the failure is printed.
/// Executor: the handler is called on the executor of the scope that failed. For a scope that was dropped in a `joined`, it is
///   called on the executor of the coroutine that joins. When the context is destroyed, it is called in the thread that does so.
/// Thread safety: safe.
template <class Where>
    requires detail::context_or_executor<std::remove_cvref_t<Where>>
void on_cleanup_error(Where&& where, std::function<void(const cleanup_failure&)> handler) {
    detail::registry_of(where).reports.set_handler(std::move(handler));
}

/// The counts of a context, since it was made. Thread safety: safe; a snapshot while others run.
template <class Where>
    requires detail::context_or_executor<std::remove_cvref_t<Where>>
scope_stats stats(Where&& where) {
    return detail::registry_of(where).stats();
}

/// Turns leak hunting on or off, for scopes whose setup begins from now on.
///
/// Off, which is the default, `for_each_scope` sees scopes behind guards and on exit stacks, from when they are open, and
/// any scope whose cleanup waits for its executor or for a hold; without their age. On, it sees all, at the price of a mutex
/// and a clock reading a scope.
/// Thread safety: safe.
template <class Where>
    requires detail::context_or_executor<std::remove_cvref_t<Where>>
void track_scopes(Where&& where, bool on) {
    detail::registry_of(where).track(on);
}

/// Calls `visit(const scope_info&)` for each scope that `track_scopes` says is seen, oldest first.
///
/// Preconditions: `visit` neither makes nor ends scopes of this context; a mutex is held.
/// Thread safety: safe.
template <class Where, class F>
    requires detail::context_or_executor<std::remove_cvref_t<Where>>
void for_each_scope(Where&& where, F visit) {
    detail::registry_of(where).for_each(visit);
}

/// Completes when no cleanup is running that nobody waits for: the last step of a graceful shutdown.
///
/// Handler signature: `void(std::exception_ptr)`, always null.
/// Cancellation: none; bound each cleanup with `cleanup_timeout` instead.
/// Executor: completes on the handler's associated executor, or the context's if it has none; never inside the initiating
///   function.
/// Lifetime: awaited inside such a cleanup it would wait for itself.
/// Thread safety: safe.
template <class Where, asio::completion_token_for<void(std::exception_ptr)> Token = asio::deferred_t>
    requires detail::context_or_executor<std::remove_cvref_t<Where>>
auto async_drain(Where&& where, Token&& token = Token()) {
    auto wait = []<class Handler, class Executor>(Handler&& handler, const Executor& executor, detail::registry* scopes) {
        detail::completion<std::decay_t<Handler>, Executor> done{std::forward<Handler>(handler), executor};
        scopes->wait_for_background([done = std::move(done)]() mutable { std::move(done).post(nullptr); });
    };
    return asio::async_initiate<Token, void(std::exception_ptr)>(
        detail::initiation{detail::executor_of(where), wait}, token, &detail::registry_of(where));
}

}  // namespace coraii

#endif
