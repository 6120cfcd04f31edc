// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_HPP
#define CORAII_POSTGRES_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// PostgreSQL connections as scopes. Needs libpq 14 or later; link it, or CMake's `coraii::postgres`.

#include "coraii/async_scope.hpp"
#include "coraii/guard.hpp"
#include "coraii/postgres/options.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <source_location>
#include <string>

namespace coraii::detail {

class pg_link;
class pg_statements;
struct pg_connections;

}  // namespace coraii::detail

namespace coraii::postgres {

/// A connection to a PostgreSQL server. Models `sql_connection`.
///
/// Nothing blocks the event loop. Parameters go as text, which the server takes for whatever type it needs, or bytes.
/// Results come as numbers, text and bytes (`bytea`); other types are text. COPY is not supported.
///
/// Cancellation: the server is sent a cancel request, and the rest of its answer is read, before the operation ends. If
///   that takes longer than `options::recovery_timeout`, the connection is killed.
/// Errors: `sql_error`, with SQLSTATE, position and statement. `sql_errc::connection_lost` if the server has ended the
///   connection, whatever it said.
/// Executor: that of the scope.
/// Lifetime: ends with its scope, which says goodbye without waiting.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
class connection : public sql_connection_base, public sql_statements<connection> {
public:
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    using sql_statements<connection>::execute;
    using sql_statements<connection>::stream;

    CORAII_DECL asio::awaitable<sql_rows> execute(sql_query query);
    CORAII_DECL asio::awaitable<void> stream(sql_query query, sql_row_sink sink);
    CORAII_DECL asio::awaitable<void> execute_script(std::string text);

    CORAII_DECL asio::awaitable<void> begin(const transaction_options& options);
    CORAII_DECL asio::awaitable<void> commit();
    /// Bounded by `options::recovery_timeout`.
    CORAII_DECL asio::awaitable<void> roll_back(std::string text);

    CORAII_DECL asio::awaitable<void> apply(session_options options);
    /// Costs a round trip if something was left behind: settings, LISTEN, cursors, advisory locks, temporary tables.
    CORAII_DECL asio::awaitable<void> reset();
    CORAII_DECL asio::awaitable<void> ping();

    CORAII_DECL transaction_status status() const noexcept;
    CORAII_DECL bool usable() noexcept;
    CORAII_DECL std::string database() const;
    CORAII_DECL void cancel() noexcept;
    CORAII_DECL void kill() noexcept;

    /// The server process, as in `pg_stat_activity`.
    CORAII_DECL int process_id() const noexcept;

private:
    friend struct coraii::detail::pg_connections;

    CORAII_DECL connection(scope_handle scope, std::shared_ptr<coraii::detail::pg_link> link);

    std::shared_ptr<coraii::detail::pg_link> link_;
    std::shared_ptr<coraii::detail::pg_statements> statements_;
    std::size_t fetch_size_ = session_options{}.fetch_size;
};

/// Connects to a server. `conninfo` is as libpq's: `host=... dbname=...`, or a URI; the environment (`PGHOST` ...) and
/// the password file count.
///
/// Host names are resolved on a worker thread; of a service file, libpq does that itself, and blocks.
/// Cancellation: of setup, at once.
/// Errors: `sql_errc::connection_failed` with libpq's or the server's words; `sql_errc::timeout` after
///   `options::connect_timeout`.
/// Effects of the cleanup: says goodbye and closes the socket, without waiting; the server rolls back what is open.
[[nodiscard]] CORAII_DECL async_scope<connection> connect(std::string conninfo, options options = {},
                                                          std::source_location where = std::source_location::current());

}  // namespace coraii::postgres

#if defined(CORAII_HEADER_ONLY)
#include "coraii/impl/postgres.ipp"
#endif

#endif
