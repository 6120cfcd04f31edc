// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_HOOKS_HPP
#define CORAII_SESSION_HOOKS_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/pool/options.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/detail/undo.hpp"
#include "coraii/session/options.hpp"

#include <boost/asio/awaitable.hpp>

#include <exception>
#include <utility>

namespace coraii {

namespace detail {

/// True if the connection is as if nobody had used it; or, after a session with `session_reset::none`, if it is idle.
template <class Connection>
asio::awaitable<bool> reset_connection(own_frame, Connection& c) {
    const session_reset wanted = std::exchange(session_use::reset(c), session_reset::always);
    if (c.status() != transaction_status::idle) {
        co_await undo_transaction(own_frame{}, c, 0);
    }
    try {
        if (wanted == session_reset::always) {
            co_await c.reset();
        }
    } catch (...) { co_return false; }
    session_use::pending(c) = false;
    co_return c.status() == transaction_status::idle;
}

}  // namespace detail

/// What a pool of connections does by itself. A connection is pinged after it was idle for `check_after_idle`. It is reset
/// after each lease, with a session or without, before it is lent again; nobody waits for that but the next one.
/// An opening is repeated unless the connection's type says that it is of no use: `Connection::retry_opening(error)`.
///
/// The header of a type that models `sql_connection` includes this one, so that all its pools have these hooks.
template <sql_connection Connection>
struct default_pool_hooks<Connection> {
    /// A `check`, a `reset`, and a `retry_opening` if the connection has one.
    static pool_hooks<Connection> get() {
        pool_hooks<Connection> hooks;
        hooks.check = [](Connection& c) -> asio::awaitable<bool> {
            co_await c.ping();
            co_return true;
        };
        hooks.reset = [](Connection& c, exit_status) { return detail::reset_connection(detail::own_frame{}, c); };
        if constexpr (requires(std::exception_ptr e) { Connection::retry_opening(e); }) {
            hooks.retry_opening = [](std::exception_ptr e) { return Connection::retry_opening(e); };
        }
        return hooks;
    }
};

/// The same, for who calls them from hooks of his own.
template <sql_connection Connection>
[[nodiscard]] pool_hooks<Connection> connection_hooks() {
    return default_pool_hooks<Connection>::get();
}

}  // namespace coraii

#endif
