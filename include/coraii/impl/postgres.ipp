// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_IMPL_POSTGRES_IPP
#define CORAII_IMPL_POSTGRES_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/guard.hpp"
#include "coraii/postgres.hpp"
#include "coraii/postgres/detail/pg_conninfo.hpp"
#include "coraii/postgres/detail/pg_error.hpp"
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
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace coraii::detail {

// What has lambdas is inline: their types are then the same everywhere.
struct pg_connections {
    using connection = postgres::connection;

    static async_scope<postgres::connection> open(std::string conninfo, postgres::options options) {
        scope_handle self = co_await this_scope;
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        const auto link = std::make_shared<pg_link>(executor, workers_of(executor), std::move(options));
        const auto statements = std::make_shared<pg_statements>(link);
        {
            const pg_link::use use{*link};
            co_await open_pg(own_frame{}, *link, std::move(conninfo));
            co_await statements->open(own_frame{});
        }
        postgres::connection opened{std::move(self), link, statements};
        co_yield opened;
        link->close();
    }

    static asio::awaitable<sql_rows> execute(connection& c, sql_query query) {
        return with(pg_exchange(c.link_), [&c, q = std::move(query)] {
            return c.statements_->run(own_frame{}, q.statement, {&q.parameters, 1}, nullptr, 0);
        });
    }

    static asio::awaitable<std::uint64_t> execute_many(own_frame, connection& c, sql_batch batch) {
        if (batch.rows.empty()) {
            co_return 0;
        }
        const sql_rows done = co_await with(pg_exchange(c.link_), [&] {
            return c.statements_->run(own_frame{}, batch.statement, batch.rows, nullptr, 0);
        });
        co_return done.affected();
    }

    static asio::awaitable<void> stream(connection& c, sql_query query, sql_row_sink sink) {
        return with(pg_exchange(c.link_), [&c, q = std::move(query), to = std::move(sink)]() -> asio::awaitable<void> {
            co_await c.statements_->run(own_frame{}, q.statement, {&q.parameters, 1}, &to, c.fetch_size_);
        });
    }

    static asio::awaitable<void> run_script(connection& c, std::string text) {
        return with(pg_exchange(c.link_), [&c, t = std::move(text)]() -> asio::awaitable<void> {
            co_await c.statements_->run_script(own_frame{}, t);
        });
    }

    static asio::awaitable<void> begin(own_frame, connection& c, std::string text) {
        c.link_->begin_with_next(std::move(text));
        co_return;
    }

    static asio::awaitable<void> roll_back(own_frame, connection& c, std::string text) {
        if (c.link_->take_begin().empty()) {  // else nothing was begun
            co_await run_in_time(c, std::move(text));
        }
    }

    /// Bounded by the recovery timeout.
    static asio::awaitable<void> run_in_time(connection& c, std::string text) {
        return with(pg_exchange(c.link_), [&c, t = std::move(text)]() -> asio::awaitable<void> {
            c.link_->begin_recovery();
            co_await c.statements_->run_script(own_frame{}, t);
        });
    }

    static asio::awaitable<void> reset(connection& c) {
        return with(pg_exchange(c.link_), [&c] {
            c.link_->begin_recovery();
            return c.statements_->reset(own_frame{});
        });
    }

    static asio::awaitable<void> commit(own_frame, connection& c) {
        if (!c.link_->take_begin().empty()) {
            co_return;  // nothing was done in it
        }
        pg_outcome answer;
        std::exception_ptr error;
        try {
            co_await with(pg_exchange(c.link_),
                          [&] { return c.statements_->run_script(own_frame{}, "COMMIT", &answer); });
        } catch (...) { error = std::current_exception(); }
        if (error && !answer.last) {
            answer.last = answer_to_commit(*c.link_, error);
        }
        if (PQresultStatus(answer.last.get()) != PGRES_COMMAND_OK) {
            throw sql_error{pg_errc(answer.last.get(), c.link_->has_statement_timeout()),
                            pg_diagnosis(answer.last.get(), "COMMIT")};
        }
        if (std::string_view{PQcmdStatus(answer.last.get())} == "ROLLBACK") {
            throw sql_error{sql_errc::rolled_back, {.message = "a statement had failed"}};
        }
    }

private:
    /// What the server has answered in spite of the error. Only that is known.
    static pg_result answer_to_commit(pg_link& link, const std::exception_ptr& error) {
        std::string message = "cancelled";
        try {
            std::rethrow_exception(error);
        } catch (const sql_error& e) {
            const bool ours = e.code() == sql_errc::timeout && e.sqlstate().empty();
            if (!link.sent() || (e.code() != sql_errc::connection_lost && !ours)) {
                throw;
            }
            message = e.what();
        } catch (const boost::system::system_error&) {
            if (!link.sent()) {
                throw;
            }
        }
        pg_result late = link.late_answer();
        const std::string_view sqlstate = pg_field(late.get(), PG_DIAG_SQLSTATE);
        const bool refused = !sqlstate.empty() && !sqlstate.starts_with("57P");  // that is: the server goes away
        if (PQresultStatus(late.get()) != PGRES_COMMAND_OK && !refused) {
            throw sql_error{sql_errc::commit_unknown, {.message = std::move(message)}};
        }
        return late;
    }
};

}  // namespace coraii::detail

namespace coraii::postgres {

static_assert(sql_connection<connection>);

connection::connection(scope_handle scope, std::shared_ptr<detail::pg_link> link,
                       std::shared_ptr<detail::pg_statements> statements)
    : sql_connection_base{std::move(scope)}, link_{std::move(link)}, statements_{std::move(statements)} {}

asio::awaitable<sql_rows> connection::execute(sql_query query) {
    return detail::pg_connections::execute(*this, std::move(query));
}

asio::awaitable<std::uint64_t> connection::execute_many(sql_batch batch) {
    return detail::pg_connections::execute_many(detail::own_frame{}, *this, std::move(batch));
}

asio::awaitable<void> connection::stream(sql_query query, sql_row_sink sink) {
    return detail::pg_connections::stream(*this, std::move(query), std::move(sink));
}

asio::awaitable<void> connection::execute_script(std::string text) {
    return detail::pg_connections::run_script(*this, std::move(text));
}

asio::awaitable<void> connection::begin(const transaction_options& options) {
    std::string text = "BEGIN";
    switch (options.isolation) {
        case isolation::database_default: break;
        case isolation::read_committed: text += " ISOLATION LEVEL READ COMMITTED"; break;
        case isolation::repeatable_read: text += " ISOLATION LEVEL REPEATABLE READ"; break;
        case isolation::serializable: text += " ISOLATION LEVEL SERIALIZABLE"; break;
    }
    text += options.access == access_mode::read_only ? " READ ONLY" : "";
    return detail::pg_connections::begin(detail::own_frame{}, *this, std::move(text));
}

asio::awaitable<void> connection::commit() {
    return detail::pg_connections::commit(detail::own_frame{}, *this);
}

asio::awaitable<void> connection::roll_back(std::string text) {
    return detail::pg_connections::roll_back(detail::own_frame{}, *this, std::move(text));
}

asio::awaitable<void> connection::apply(session_options options) {
    fetch_size_ = std::max<std::size_t>(options.fetch_size, 1);
    std::string text;
    if (applied_) {  // there was no reset
        text = "SET statement_timeout TO DEFAULT; SET default_transaction_read_only TO DEFAULT;";
    }
    if (options.statement_timeout.count() > 0) {
        text += "SET statement_timeout = " + std::to_string(options.statement_timeout.count()) + ';';
    }
    if (options.access == access_mode::read_only) {
        text += "SET default_transaction_read_only = on";
    }
    link_->set_statement_timeout(options.statement_timeout);  // for this, too
    if (!text.empty()) {
        applied_ = options.statement_timeout.count() > 0 || options.access == access_mode::read_only;
        co_await execute_script(std::move(text));
    }
}

asio::awaitable<void> connection::reset() {
    fetch_size_ = session_options{}.fetch_size;
    applied_ = false;
    link_->set_statement_timeout({});
    return detail::pg_connections::reset(*this);
}

asio::awaitable<void> connection::ping() {
    return detail::pg_connections::run_in_time(*this, "");
}

bool connection::retry_opening(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const detail::pg_bad_conninfo&) { return false; } catch (const sql_error& e) {
        return !e.sqlstate().starts_with("28") && e.sqlstate() != "3D000";
    } catch (...) { return true; }
}

transaction_status connection::status() const noexcept {
    return link_->status();
}

bool connection::usable() noexcept {
    return link_->usable();
}

std::string connection::database() const {
    return PQdb(link_->handle());
}

void connection::cancel() noexcept {
    link_->cancel();
}

void connection::kill() noexcept {
    link_->kill();
}

int connection::process_id() const noexcept {
    return PQbackendPID(link_->handle());
}

async_scope<connection> connect(std::string conninfo, options options, std::source_location where) {
    auto scope = detail::pg_connections::open(std::move(conninfo), std::move(options));
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii::postgres

#endif
