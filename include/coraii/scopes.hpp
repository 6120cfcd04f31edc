// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SCOPES_HPP
#define CORAII_SCOPES_HPP

#include "coraii/detail/registry.hpp"
#include "coraii/scope_info.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/execution_context.hpp>

#include <exception>
#include <functional>
#include <utility>

namespace coraii {

/// Sets what is told of cleanup errors that nobody could be given. The default writes one line to stderr.
///
/// Effects: replaces the handler of this context; an empty function brings the default back. The handler is called on
///   the executor of the scope that failed, exactly once an error. What it throws is caught, and the failure printed.
/// Thread safety: safe.
inline void on_cleanup_error(asio::execution_context& context, std::function<void(const cleanup_failure&)> handler) {
    detail::registry::of(context).on_cleanup_error(std::move(handler));
}

/// The counts of a context, since it was made. Thread safety: safe; a snapshot while others run.
inline scope_stats stats(asio::execution_context& context) {
    return detail::registry::of(context).counts.stats();
}

/// Turns leak hunting on or off, for scopes whose setup begins from now on.
///
/// Off, which is the default, `for_each_scope` sees the scopes that have a coroutine of their own (those behind guards,
/// and under `with` where the caller can be cancelled), without their age. On, it sees all, at the price of a mutex and
/// a clock reading a scope.
/// Thread safety: safe.
inline void track_scopes(asio::execution_context& context, bool on) {
    detail::registry::of(context).track(on);
}

/// Calls `visit(const scope_info&)` for each scope that is being set up, open or being cleaned, oldest first.
///
/// Preconditions: `visit` neither makes nor ends scopes of this context; a mutex is held.
/// Thread safety: safe.
template <class F>
void for_each_scope(asio::execution_context& context, F visit) {
    detail::registry::of(context).for_each(visit);
}

/// Completes when no cleanup is running that nobody waits for: the last step of a graceful shutdown.
///
/// Handler signature: `void(std::exception_ptr)`, always null.
/// Cancellation: none; bound each cleanup with `cleanup_timeout` instead.
/// Executor: completes on the handler's associated executor, never inside the initiating function.
/// Lifetime: awaited inside such a cleanup it would wait for itself.
/// Thread safety: safe.
template <asio::completion_token_for<void(std::exception_ptr)> Token = asio::deferred_t>
auto async_drain(asio::execution_context& context, Token&& token = Token()) {
    return asio::async_initiate<Token, void(std::exception_ptr)>(
        [](auto handler, detail::registry* scopes) { scopes->wait_for_background(std::move(handler)); }, token,
        &detail::registry::of(context));
}

}  // namespace coraii

#endif
