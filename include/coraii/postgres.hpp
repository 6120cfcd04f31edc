// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_HPP
#define CORAII_POSTGRES_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// PostgreSQL connections as scopes. Needs libpq 14 or later; link it, or CMake's `coraii::postgres`.

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/postgres/detail/pg_exchange.hpp"
#include "coraii/postgres/detail/pg_link.hpp"
#include "coraii/postgres/detail/pg_statements.hpp"
#include "coraii/postgres/options.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/with.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace coraii::postgres {

class connection;

}  // namespace coraii::postgres

namespace coraii::detail {

inline async_scope<postgres::connection> connect_pg(std::string conninfo, postgres::options options);

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

    asio::awaitable<sql_rows> execute(sql_query query) {
        return with(exchange(), [this, q = std::move(query)] { return run(q, nullptr); });
    }
    asio::awaitable<void> stream(sql_query query, sql_row_sink sink) {
        return with(exchange(), [this, q = std::move(query), to = std::move(sink)]() -> asio::awaitable<void> {
            co_await run(q, &to);
        });
    }
    asio::awaitable<void> execute_script(std::string text) {
        return with(exchange(), [this, t = std::move(text)]() -> asio::awaitable<void> { co_await script(t); });
    }

    asio::awaitable<void> begin(const transaction_options& options) {
        std::string text = "BEGIN";
        switch (options.isolation) {
            case isolation::database_default: break;
            case isolation::read_committed: text += " ISOLATION LEVEL READ COMMITTED"; break;
            case isolation::repeatable_read: text += " ISOLATION LEVEL REPEATABLE READ"; break;
            case isolation::serializable: text += " ISOLATION LEVEL SERIALIZABLE"; break;
        }
        text += options.access == access_mode::read_only ? " READ ONLY" : "";
        return execute_script(std::move(text));
    }

    asio::awaitable<void> commit() {
        std::string tag;
        std::exception_ptr error;
        try {
            tag = co_await with(exchange(), [this] { return script("COMMIT"); });
        } catch (...) { error = std::current_exception(); }
        if (error) {
            throw_commit_error(error);
        }
        if (tag == "ROLLBACK") {
            throw sql_error{sql_errc::rolled_back, {.message = "a statement had failed"}};
        }
    }

    /// Bounded by `options::recovery_timeout`.
    asio::awaitable<void> roll_back(std::string text) {
        return with(exchange(), [this, t = std::move(text)]() -> asio::awaitable<void> {
            link_->begin_recovery();
            co_await script(t);
        });
    }

    asio::awaitable<void> apply(session_options options) {
        fetch_size_ = std::max<std::size_t>(options.fetch_size, 1);
        std::string text;
        if (options.statement_timeout.count() > 0) {
            text += "SET statement_timeout = " + std::to_string(options.statement_timeout.count()) + ';';
        }
        if (options.access == access_mode::read_only) {
            text += "SET default_transaction_read_only = on";
        }
        link_->set_statement_timeout(options.statement_timeout);  // for this, too
        if (!text.empty()) {
            co_await execute_script(std::move(text));
        }
    }

    /// Costs a round trip if something was left behind: settings, LISTEN, cursors, advisory locks, temporary tables.
    asio::awaitable<void> reset() {
        fetch_size_ = session_options{}.fetch_size;
        link_->set_statement_timeout({});
        if (statements_.touched()) {
            co_await roll_back(
                "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; "
                "SELECT pg_advisory_unlock_all(); DISCARD TEMP");
            statements_.set_untouched();
        }
    }
    asio::awaitable<void> ping() { return roll_back(""); }

    transaction_status status() const noexcept { return link_->status(); }
    bool usable() noexcept { return link_->usable(); }
    std::string database() const { return PQdb(link_->handle()); }
    void cancel() noexcept { link_->cancel(); }
    void kill() noexcept { link_->kill(); }

    /// The server process, as in `pg_stat_activity`.
    int process_id() const noexcept { return PQbackendPID(link_->handle()); }

private:
    friend async_scope<connection> coraii::detail::connect_pg(std::string conninfo, postgres::options options);

    connection(scope_handle scope, coraii::detail::pg_ptr link)
        : sql_connection_base{std::move(scope)}, link_{std::move(link)}, statements_{link_} {}

    async_scope<void> exchange() { return coraii::detail::pg_exchange(link_); }
    asio::awaitable<std::string> script(std::string text) {
        return statements_.run_script(coraii::detail::own_frame{}, std::move(text));
    }
    asio::awaitable<sql_rows> run(const sql_query& query, const sql_row_sink* sink) {
        return statements_.run(coraii::detail::own_frame{}, query, sink, fetch_size_);
    }

    // Only what the server has answered is known.
    [[noreturn]] void throw_commit_error(const std::exception_ptr& error) const {
        std::string message = "cancelled";
        try {
            std::rethrow_exception(error);
        } catch (const sql_error& e) {
            if (!link_->sent() || (e.code() != sql_errc::connection_lost && e.code() != sql_errc::timeout)) {
                throw;
            }
            message = e.what();
        } catch (const boost::system::system_error&) {
            if (!link_->sent()) {
                throw;
            }
        }
        throw sql_error{sql_errc::commit_unknown, {.message = std::move(message)}};
    }

    coraii::detail::pg_ptr link_;
    coraii::detail::pg_statements statements_;
    std::size_t fetch_size_ = session_options{}.fetch_size;
};

static_assert(sql_connection<connection>);

/// Connects to a server. `conninfo` is as libpq's: `host=... dbname=...`, or a URI; the environment (`PGHOST` ...) and
/// the password file count.
///
/// Host names are resolved on a worker thread; of a service file, libpq does that itself, and blocks.
/// Cancellation: of setup, at once.
/// Errors: `sql_errc::connection_failed` with libpq's or the server's words; `sql_errc::timeout` after
///   `options::connect_timeout`.
/// Effects of the cleanup: says goodbye and closes the socket, without waiting; the server rolls back what is open.
[[nodiscard]] inline async_scope<connection> connect(std::string conninfo, options options = {},
                                                     std::source_location where = std::source_location::current()) {
    auto scope = coraii::detail::connect_pg(std::move(conninfo), std::move(options));
    coraii::detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii::postgres

namespace coraii::detail {

inline async_scope<postgres::connection> connect_pg(std::string conninfo, postgres::options options) {
    scope_handle self = co_await this_scope;
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const auto link = std::make_shared<pg_link>(executor, workers_of(executor), std::move(options));
    {
        const pg_link::use use{*link};
        co_await open_pg(own_frame{}, *link, std::move(conninfo));
    }
    postgres::connection opened{std::move(self), link};
    co_yield opened;
    link->close();
}

}  // namespace coraii::detail

#endif
