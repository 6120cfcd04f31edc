// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_HPP
#define CORAII_SQLITE_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// SQLite connections as scopes. Needs SQLite 3.37 or later; link it, or CMake's `coraii::sqlite`.

#include "coraii/async_scope.hpp"
#include "coraii/guard.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/hooks.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/sqlite/options.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <source_location>
#include <string>

namespace coraii::detail {

class sqlite_database;
struct sqlite_connections;

}  // namespace coraii::detail

namespace coraii::sqlite {

/// A connection to an SQLite database. Models `sql_connection`.
///
/// Every call of SQLite's is made on a worker thread of the context's, one at a time. One that waits for a lock, or takes
/// long, holds up no other connection; 64 may do so at a time in a context.
///
/// Parameters may be written `$1` or `?1`, which mean the first value wherever they stand, or `?`; one way in a statement.
/// A statement is interrupted by a cancel, by `cancel()`, and by its `statement_timeout`. SQLite then rolls a
/// transaction back if the statement was to write in it; so it does when the disk is full, and for INSERT OR ROLLBACK.
/// Until that transaction ends, its statements and its COMMIT fail with `sql_errc::rolled_back`.
///
/// `reset()` drops what is temporary, detaches what was attached, and takes every PRAGMA back to its value after
/// `options::on_open`. Where that cannot be done it throws, and the pool replaces the connection. `user_version`,
/// `application_id` and a write-ahead log are the file's, and stay. One in memory is never replaced, since its data would
/// be lost; there, what `on_open` has made that is temporary keeps what sessions write to it.
///
/// Executor: that of the scope.
/// Fork: it is the process's that opened it. A child must not use it, and leaves it as it is when it ends.
/// Lifetime: ends with its scope. If the context dies during a statement, that is interrupted, and nobody waits for it.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
class connection : public sql_connection_base, public sql_statements<connection> {
public:
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    using sql_statements<connection>::execute;
    using sql_statements<connection>::execute_many;
    using sql_statements<connection>::stream;

    CORAII_DECL asio::awaitable<sql_rows> execute(sql_query query);  ///< One statement.
    /// One trip to the worker. Outside of a transaction it is one of its own.
    CORAII_DECL asio::awaitable<std::uint64_t> execute_many(sql_batch batch);
    /// One statement, whose rows go to `sink`.
    CORAII_DECL asio::awaitable<void> stream(sql_query query, sql_row_sink sink);
    /// Any number of statements, without parameters.
    CORAII_DECL asio::awaitable<void> execute_script(std::string text);

    /// A transaction that may write takes its lock at once (BEGIN IMMEDIATE): it then never fails half way because
    /// somebody else has written.
    CORAII_DECL asio::awaitable<void> begin(const transaction_options& options);
    CORAII_DECL asio::awaitable<void> commit();  ///< as `sql_connection` says
    CORAII_DECL asio::awaitable<void> roll_back(std::string text);  ///< as `sql_connection` says

    CORAII_DECL asio::awaitable<void> apply(session_options options);  ///< before a session
    CORAII_DECL asio::awaitable<void> reset();  ///< after a session; see above
    CORAII_DECL asio::awaitable<void> ping();  ///< reads from the database

    /// Only what may pass is repeated: a lock, not an error in the path or in `on_open`.
    CORAII_DECL static bool retry_opening(const std::exception_ptr& error) noexcept;

    /// `failed` where SQLite has rolled back by itself.
    CORAII_DECL transaction_status status() const noexcept;
    CORAII_DECL bool usable() const noexcept;  ///< false if killed
    /// False: what SQLite itself has rolled back is not idle before the transaction ends.
    static bool rolled_back() noexcept { return false; }
    /// The path as it was given.
    const std::string& database() const noexcept { return path_; }
    CORAII_DECL void cancel() noexcept;  ///< interrupts what is under way
    CORAII_DECL void kill() noexcept;  ///< and interrupts what is under way

private:
    friend struct coraii::detail::sqlite_connections;

    CORAII_DECL connection(scope_handle scope, std::shared_ptr<coraii::detail::sqlite_database> database,
                           std::string path);

    std::shared_ptr<coraii::detail::sqlite_database> database_;
    std::string path_;
    std::size_t fetch_size_ = session_options{}.fetch_size;
};

/// Opens a database: a path, `:memory:`, or a `file:` URI.
///
/// Each connection to `:memory:` has a database of its own, which ends with it. A pool of such should have a `max_size` of
/// 1, and no `idle_timeout` and `max_lifetime`. Connections to `file:name?mode=memory&cache=shared` have one database
/// together, which ends with the last of them: give the pool a `min_size` of 1, and no `idle_timeout` and `max_lifetime`.
/// One that meets another's lock there fails with `sql_errc::busy` at once.
///
/// Cancellation: of setup, at once; a database that was opened nevertheless is closed.
/// Errors: `sql_errc::busy` if it stays locked, else `sql_errc::connection_failed`: there is no such file, it may not be
///   opened, or is no database; `on_open` has failed, or left a transaction open; the path has a NUL character, or is empty
///   in spite of `must_exist`.
/// Effects of the cleanup: closes it on a worker; an open transaction is rolled back. In a dying context, on the spot.
[[nodiscard]] CORAII_DECL async_scope<connection> connect(std::string path, options options = {},
                                                          std::source_location where = std::source_location::current());

}  // namespace coraii::sqlite

#if defined(CORAII_HEADER_ONLY)
#include "coraii/impl/sqlite.ipp"
#endif

#endif
