// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_HPP
#define CORAII_POSTGRES_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// PostgreSQL connections as scopes. Needs libpq 14 or later; link it, or CMake's `coraii::postgres`.

#include "coraii/async_scope.hpp"
#include "coraii/guard.hpp"
#include "coraii/postgres/options.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/hooks.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>

namespace coraii::detail {

class pg_link;
class pg_statements;
struct pg_access;
struct pg_connections;

}  // namespace coraii::detail

namespace coraii::postgres {

/// A connection to a PostgreSQL server. Models `sql_connection`.
///
/// Nothing blocks the event loop. Parameters go as text, which the server takes for whatever type it needs, or bytes.
/// Results come as numbers, text and bytes (`bytea`); other types are text. COPY: see
/// postgres/copy.hpp; as a statement it is refused. Notifications are thrown away, except in a `listen` scope
/// (postgres/listen.hpp). A statement is prepared when it is used for the second time. One that turns out to be outdated is run once
/// more, unprepared, if it has done nothing, and no transaction is open; else `sql_errc::statement_outdated`.
///
/// A silent peer is found by TCP: keepalives and `tcp_user_timeout` are set, unless the connection string does that. A
/// process that is stopped, or a peer behind a UNIX socket, is not: cancel, or see `options::grace`.
///
/// Cancellation: the server is sent a cancel request, and the rest of its answer is read, before the operation ends. If
///   that takes longer than `options::recovery_timeout`, the connection is killed.
/// Errors: `sql_error`, with SQLSTATE, position and statement. `sql_errc::connection_lost` if the server has ended the
///   connection, whatever it said. `sql_errc::timeout` is the server's `statement_timeout`, which counts also while a
///   slow visitor of `stream` keeps the server waiting; `sql_errc::canceled` is `pg_cancel_backend`. (From a server that
///   does not speak English, the two are told apart by whether the session has a `statement_timeout`.)
/// Executor: that of the scope.
/// Fork: it is the process's that opened it. A child must not use it, and says nothing on it when it ends.
/// Lifetime: ends with its scope, which says goodbye without waiting.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
class connection : public sql_connection_base, public sql_statements<connection> {
public:
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    using sql_statements<connection>::execute;
    using sql_statements<connection>::execute_many;
    using sql_statements<connection>::stream;

    CORAII_DECL asio::awaitable<sql_rows> execute(sql_query query);  ///< One statement.
    /// One round trip.
    CORAII_DECL asio::awaitable<std::uint64_t> execute_many(sql_batch batch);
    /// One statement, whose rows go to `sink`.
    CORAII_DECL asio::awaitable<void> stream(sql_query query, sql_row_sink sink);
    /// Any number of statements, without parameters.
    CORAII_DECL asio::awaitable<void> execute_script(std::string text);

    /// Sends nothing: BEGIN goes to the server together with the first statement, in one round trip. A transaction of no
    /// statements costs none.
    CORAII_DECL asio::awaitable<void> begin(const transaction_options& options);
    CORAII_DECL asio::awaitable<void> commit();  ///< as `sql_connection` says
    /// Bounded by `options::recovery_timeout`.
    CORAII_DECL asio::awaitable<void> roll_back(std::string text);

    CORAII_DECL asio::awaitable<void> apply(session_options options);  ///< before a session
    /// Takes back what SET and the like have set, the role, LISTEN, cursors, temporary tables, advisory locks, `lastval`, and
    /// what PREPARE has prepared; then runs `options::on_open`. One round trip, or none if nothing was sent since the last
    /// reset, and two more after a PREPARE. It cannot take back: a library that was loaded, temporary replication
    /// slots, `setseed`, and what extensions and procedural languages keep in the server's process.
    CORAII_DECL asio::awaitable<void> reset();
    CORAII_DECL asio::awaitable<void> ping();  ///< asks the server for nothing

    /// False for a wrong password or user (class 28), a database that does not exist (3D000), and a connection string that
    /// cannot be used.
    static CORAII_DECL bool retry_opening(const std::exception_ptr& error);
    bool rolled_back() const noexcept { return false; }  ///< never by itself

    CORAII_DECL transaction_status status() const noexcept;  ///< the server's word
    CORAII_DECL bool usable() noexcept;  ///< looks, without waiting
    CORAII_DECL std::string database() const;  ///< its name
    CORAII_DECL void cancel() noexcept;  ///< stops what is under way
    CORAII_DECL void kill() noexcept;  ///< without waiting

    /// The server process, as in `pg_stat_activity`.
    CORAII_DECL int process_id() const noexcept;

private:
    friend struct coraii::detail::pg_access;
    friend struct coraii::detail::pg_connections;

    CORAII_DECL connection(scope_handle scope, std::shared_ptr<coraii::detail::pg_link> link,
                           std::shared_ptr<coraii::detail::pg_statements> statements);

    std::shared_ptr<coraii::detail::pg_link> link_;
    std::shared_ptr<coraii::detail::pg_statements> statements_;
    std::size_t fetch_size_ = session_options{}.fetch_size;
    bool applied_ = false;  // by `apply`, since the last reset
};

/// Connects to a server. `conninfo` is as libpq's: `host=... dbname=...`, or a URI; the service file, the environment
/// (`PGHOST` ...) and the password file count, in this order.
///
/// Host names are resolved on a worker thread. Hosts, and the addresses of each, are tried in turn, as libpq does: a
/// `connect_timeout` in `conninfo` is for each.
/// Cancellation: of setup, at once.
/// Errors: `sql_errc::connection_failed` with libpq's or the server's words, and the server's SQLSTATE; `sql_errc::timeout`
///   if the last host did not answer in time. The error of `options::on_open`.
/// Effects of the cleanup: says goodbye and closes the socket, without waiting; the server rolls back what is open.
[[nodiscard]] CORAII_DECL async_scope<connection> connect(std::string conninfo, options options = {},
                                                          std::source_location where = std::source_location::current());

}  // namespace coraii::postgres

#if defined(CORAII_HEADER_ONLY)
#include "coraii/impl/postgres.ipp"
#endif

#endif
