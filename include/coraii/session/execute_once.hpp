// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_EXECUTE_ONCE_HPP
#define CORAII_SESSION_EXECUTE_ONCE_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// A single statement, in a session of its own.

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/pool.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/open_session.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/with.hpp"

#include <boost/asio/awaitable.hpp>

#include <string_view>
#include <utility>

namespace coraii {
namespace detail {

template <class Connection>
asio::awaitable<sql_rows> execute_once(own_frame, pool<Connection>& from, sql_query query) {
    co_return co_await with(open_session(from),
                            [&query](session<Connection>& s) { return s.execute(std::move(query)); });
}

}  // namespace detail

/// Opens a session and executes one statement in it. `pool.execute(...)` is the same.
///
///     auto rows = co_await coraii::execute(db, "select total from orders where id = $1", 7);
///
/// It is committed when it is done. What belongs together, and what has to see the state that another one left, is for a
/// session or a transaction.
///
/// Cancellation, Errors: those of `open_session`, and of the session's `execute`.
/// Executor: to be used on the pool's executor.
/// Lifetime: the pool must outlive it; the statement and the values are copied.
template <sql_connection Connection, class... Values>
[[nodiscard]] asio::awaitable<sql_rows> execute(pool<Connection>& from, std::string_view statement,
                                                Values&&... values) {
    return detail::execute_once(detail::own_frame{}, from,
                                detail::make_query(statement, std::forward<Values>(values)...));
}

/// How `pool::execute` finds it.
template <sql_connection Connection, class... Values>
[[nodiscard]] asio::awaitable<sql_rows> execute_in_pool(pool<Connection>& from, std::string_view statement,
                                                        Values&&... values) {
    return execute(from, statement, std::forward<Values>(values)...);
}

}  // namespace coraii

#endif
