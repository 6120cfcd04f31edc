// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_IMPL_SQLITE_IPP
#define CORAII_IMPL_SQLITE_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/offload.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/sqlite.hpp"
#include "coraii/sqlite/detail/sqlite_call.hpp"
#include "coraii/sqlite/detail/sqlite_database.hpp"
#include "coraii/sqlite/options.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace coraii::detail {

// What has lambdas is inline: their types are then the same everywhere.
struct sqlite_connections {
    static async_scope<sqlite::connection> open(std::string path, sqlite::options options, std::string on_open) {
        scope_handle self = co_await this_scope;
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        const auto database = std::make_shared<sqlite_database>(workers_of(executor), options);
        auto job = [db = database.get(), path, on_open = std::move(on_open)] { db->open(path, on_open); };
        co_await use_sqlite(own_frame{}, database, std::move(job));
        sqlite::connection opened{std::move(self), database, std::move(path)};
        const exit_status why = co_yield opened;
        co_await close_offloaded<asio::any_io_executor>(own_frame{}, database->workers(), database, why,
                                                        on_cancel::leave);
    }

    static asio::awaitable<void> run_script(const sqlite_ptr& database, std::string text) {
        auto job = [db = database.get(), text = std::move(text)] { db->run_script(text); };
        return use_sqlite(own_frame{}, database, std::move(job));
    }

    static asio::awaitable<void> begin(const sqlite_ptr& database, access_mode access) {
        auto job = [db = database.get(), access] { db->begin(access); };
        return use_sqlite(own_frame{}, database, std::move(job));
    }

    static asio::awaitable<void> roll_back(const sqlite_ptr& database, std::string text) {
        auto job = [db = database.get(), text = std::move(text)] { db->roll_back(text); };
        return use_sqlite(own_frame{}, database, std::move(job));
    }

    static asio::awaitable<void> put_right(const sqlite_ptr& database) {
        auto job = [db = database.get()] { db->put_right(); };
        return use_sqlite(own_frame{}, database, std::move(job));
    }
};

}  // namespace coraii::detail

namespace coraii::sqlite {

static_assert(sql_connection<connection>);

connection::connection(scope_handle scope, std::shared_ptr<detail::sqlite_database> database, std::string path)
    : sql_connection_base{std::move(scope)}, database_{std::move(database)}, path_{std::move(path)} {}

asio::awaitable<sql_rows> connection::execute(sql_query query) {
    return detail::execute_sqlite(detail::own_frame{}, database_, std::move(query));
}

asio::awaitable<std::uint64_t> connection::execute_many(sql_batch batch) {
    return detail::execute_many_sqlite(detail::own_frame{}, database_, std::move(batch));
}

asio::awaitable<void> connection::stream(sql_query query, sql_row_sink sink) {
    return detail::stream_sqlite(detail::own_frame{}, database_, fetch_size_, std::move(query), std::move(sink));
}

asio::awaitable<void> connection::execute_script(std::string text) {
    return detail::sqlite_connections::run_script(database_, std::move(text));
}

asio::awaitable<void> connection::begin(const transaction_options& options) {
    return detail::sqlite_connections::begin(database_, options.access);
}

asio::awaitable<void> connection::commit() {
    return execute_script("COMMIT");
}

asio::awaitable<void> connection::roll_back(std::string text) {
    return detail::sqlite_connections::roll_back(database_, std::move(text));
}

asio::awaitable<void> connection::apply(session_options options) {
    fetch_size_ = std::max<std::size_t>(options.fetch_size, 1);
    database_->set_access(options.access);
    database_->set_statement_timeout(options.statement_timeout);
    co_return;
}

asio::awaitable<void> connection::reset() {
    co_await apply({});
    const bool untouched = database_->untouched();
    if (!untouched) {
        co_await detail::sqlite_connections::put_right(database_);
    }
}

asio::awaitable<void> connection::ping() {
    return execute_script("SELECT 1");
}

bool connection::retry_opening(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const sql_error& e) { return e.code() != sql_errc::connection_failed; } catch (...) {
        return true;
    }
}

transaction_status connection::status() const noexcept {
    return database_->status();
}

bool connection::usable() const noexcept {
    return database_->usable();
}

void connection::cancel() noexcept {
    database_->interrupt();
}

void connection::kill() noexcept {
    database_->kill();
}

async_scope<connection> connect(std::string path, options options, std::source_location where) {
    auto scope = detail::sqlite_connections::open(std::move(path), options, std::string{options.on_open});
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii::sqlite

#endif
