// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_OPEN_SESSION_HPP
#define CORAII_SESSION_OPEN_SESSION_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/pool.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/hooks.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/transaction.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include <source_location>
#include <string>
#include <utility>

namespace coraii {

namespace detail {
template <class Connection>
struct session_opener;
}

/// The use of a connection of a pool's, as `open_session` gives it. Lifetime: ends with its scope.
template <sql_connection Connection>
class session : public sql_client<Connection> {
    friend struct detail::session_opener<Connection>;
    using sql_client<Connection>::sql_client;
};

namespace detail {

template <class Connection>
struct session_opener {
    static async_scope<session<Connection>> in(pool<Connection>& from, session_options options, std::string database) {
        scope_handle self = co_await this_scope;
        guard<Connection> lease;
        for (bool ready = false; !ready;) {
            lease = from.try_acquire();  // where nobody waits, without going round the event loop
            if (!lease) {
                lease = co_await from.acquire();
            }
            ready = lease->usable();
            if (ready && session_use::pending(*lease)) {  // the pool has a hook of the user's own
                ready = co_await reset_connection(own_frame{}, *lease);
            }
            ready = ready && lease->status() == transaction_status::idle;
            if (!ready) {
                from.discard(lease);
                co_await lease.close();
            }
        }
        Connection& c = *lease;
        if (!database.empty() && database != c.database()) {
            throw sql_error{sql_errc::wrong_database,
                            {.message = "to " + std::string{c.database()} + ", not " + database}};
        }
        try {
            co_await c.apply(options);
        } catch (...) {
            from.discard(c);
            throw;
        }
        session_use::reset(c) = options.reset;
        session_use::pending(c) = options.reset == session_reset::always;
        session<Connection> opened{c, std::move(self), 0};
        const exit_status why = co_yield opened;
        if (!why.can_await()) {
            c.kill();  // the pool may be gone
            co_return;
        }
        // What the pool does with it is no concern of ours: not waited for.
        lease.close(asio::bind_executor(co_await asio::this_coro::executor, asio::detached));
    }
};

}  // namespace detail

/// A session: the use of a connection from a pool.
///
///     co_await coraii::with(coraii::open_session(db), [](auto& session) -> asio::awaitable<void> {
///         auto rows = co_await session.execute("select id, total from orders");
///     });
///
/// Effects: setup leases a connection that is not known to be lost and not in a transaction, and applies `options`. The
///   cleanup gives it back, and waits for nothing. Before the pool lends it again, whatever the session has done: what is
///   open is rolled back, and the connection is reset (see its `reset`; and `default_pool_hooks`). If that fails, the
///   connection is closed.
/// Cancellation: of setup, as `pool::acquire`.
/// Errors: those of `pool::acquire`; `sql_errc::wrong_database`. The cleanup has none.
/// Executor: to be used on the pool's executor: the connection is there.
/// Lifetime: the pool must outlive it. Transactions hold it.
template <sql_connection Connection>
[[nodiscard]] async_scope<session<Connection>> open_session(
    pool<Connection>& from, session_options options = {},
    std::source_location where = std::source_location::current()) {
    auto scope = detail::session_opener<Connection>::in(from, options, std::string{options.database});
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
