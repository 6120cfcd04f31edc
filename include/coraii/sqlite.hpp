// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_HPP
#define CORAII_SQLITE_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// SQLite connections as scopes. Needs SQLite 3.37 or later; link it, or CMake's `coraii::sqlite`.

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/offload.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/sqlite/detail/sqlite_call.hpp"
#include "coraii/sqlite/detail/sqlite_database.hpp"
#include "coraii/sqlite/options.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace coraii::sqlite {

class connection;

}  // namespace coraii::sqlite

namespace coraii::detail {

inline async_scope<sqlite::connection> connect_sqlite(std::string path, sqlite::options options);

}  // namespace coraii::detail

namespace coraii::sqlite {

/// A connection to an SQLite database. Models `sql_connection`.
///
/// Every call of SQLite's is made on a worker thread of the context's, one at a time. One that waits for a lock, or takes
/// long, holds up no other connection; 64 may do so at a time in a context.
///
/// Parameters may be written `$1` or `?1`, which mean the first value wherever they stand, or `?`; one way in a statement.
/// A statement is interrupted by a cancel, by `cancel()`, and by its `statement_timeout`. SQLite then rolls a
/// transaction back if the statement was to write in it, and committing that fails with `sql_errc::rolled_back`.
///
/// Executor: that of the scope.
/// Lifetime: ends with its scope. If the context dies during a statement, that is interrupted, and nobody waits for it.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
class connection : public sql_connection_base, public sql_statements<connection> {
public:
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    using sql_statements<connection>::execute;
    using sql_statements<connection>::stream;

    asio::awaitable<sql_rows> execute(sql_query query) {
        return detail::execute_sqlite(detail::own_frame{}, workers_, database_, std::move(query));
    }
    asio::awaitable<void> stream(sql_query query, sql_row_sink sink) {
        return detail::stream_sqlite(detail::own_frame{}, workers_, database_, fetch_size_, std::move(query),
                                     std::move(sink));
    }
    asio::awaitable<void> execute_script(std::string text) {
        return call([db = database_.get(), text = std::move(text)] { db->run_script(text); });
    }

    /// A transaction that may write takes its lock at once (BEGIN IMMEDIATE): it then never fails half way because
    /// somebody else has written.
    asio::awaitable<void> begin(const transaction_options& options) {
        return call([db = database_.get(), access = options.access] {
            db->run_script(access == access_mode::read_only ? "BEGIN" : "BEGIN IMMEDIATE");
            db->set_transaction_access(access);
        });
    }
    asio::awaitable<void> commit() { return execute_script("COMMIT"); }
    asio::awaitable<void> roll_back(std::string text) { return execute_script(std::move(text)); }

    asio::awaitable<void> apply(session_options options) {
        set(options);
        co_return;
    }
    asio::awaitable<void> reset() { return apply({}); }
    asio::awaitable<void> ping() { return execute_script("SELECT 1"); }

    transaction_status status() const noexcept { return database_->status(); }
    bool usable() const noexcept { return database_->usable(); }
    /// The path as it was given.
    const std::string& database() const noexcept { return path_; }
    void cancel() noexcept { database_->interrupt(); }
    void kill() noexcept { database_->kill(); }

private:
    friend async_scope<connection> coraii::detail::connect_sqlite(std::string path, sqlite::options options);

    connection(scope_handle scope, coraii::detail::worker_executor workers, coraii::detail::sqlite_ptr database,
               std::string path)
        : sql_connection_base{std::move(scope)},
          workers_{std::move(workers)},
          database_{std::move(database)},
          path_{std::move(path)} {}

    template <class F>
    asio::awaitable<void> call(F f) {
        return coraii::detail::use_sqlite(coraii::detail::own_frame{}, workers_, database_, std::move(f));
    }

    void set(const session_options& options) noexcept {
        fetch_size_ = std::max<std::size_t>(options.fetch_size, 1);
        database_->set_access(options.access);
        database_->set_statement_timeout(options.statement_timeout);
    }

    coraii::detail::worker_executor workers_;
    coraii::detail::sqlite_ptr database_;
    std::string path_;
    std::size_t fetch_size_ = session_options{}.fetch_size;
};

static_assert(sql_connection<connection>);

/// Opens a database: a path, `:memory:`, or a `file:` URI.
///
/// Cancellation: of setup, at once; a database that was opened nevertheless is closed.
/// Errors: `sql_errc::connection_failed` if there is no such file, it may not be opened, or is no database;
///   `sql_errc::busy` if it stays locked.
/// Effects of the cleanup: closes it on a worker; an open transaction is rolled back. In a dying context, on the spot.
[[nodiscard]] inline async_scope<connection> connect(std::string path, options options = {},
                                                     std::source_location where = std::source_location::current()) {
    auto scope = coraii::detail::connect_sqlite(std::move(path), options);
    coraii::detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii::sqlite

namespace coraii::detail {

inline async_scope<sqlite::connection> connect_sqlite(std::string path, sqlite::options options) {
    scope_handle self = co_await this_scope;
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const worker_executor workers = workers_of(executor);
    const auto database = std::make_shared<sqlite_database>(options);
    auto open = [db = database.get(), path] { db->open(path); };
    co_await use_sqlite(own_frame{}, workers, database, std::move(open));
    sqlite::connection opened{std::move(self), workers, database, std::move(path)};
    const exit_status why = co_yield opened;
    co_await close_offloaded<asio::any_io_executor>(own_frame{}, workers, database, why, on_cancel::leave);
}

}  // namespace coraii::detail

#endif
