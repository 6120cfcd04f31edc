// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_CONNECTION_HPP
#define CORAII_SESSION_CONNECTION_HPP

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/guard.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coraii {

/// Is given rows as they come, up to `fetch_size` at a time, and awaited before the next come.
using sql_row_sink = std::function<asio::awaitable<void>(const sql_rows&)>;

namespace detail {

struct session_use;
struct sql_access;

template <class Statements, class Visitor>
asio::awaitable<void> visit_rows(Statements& statements, sql_query query, Visitor visit) {
    using result = std::invoke_result_t<Visitor&, sql_row>;
    static_assert(std::is_void_v<result> || awaitable_traits<result>::is_awaitable,
                  "coraii: the visitor of stream must return void or asio::awaitable<void>");
    sql_row_sink each = [&visit](const sql_rows& batch) -> asio::awaitable<void> {
        for (const sql_row& row : batch) {
            if constexpr (std::is_void_v<result>) {
                visit(row);
            } else {
                co_await visit(row);
            }
        }
    };
    co_await statements.stream(std::move(query), std::move(each));
}

template <class... Values>
sql_query make_query(std::string_view statement, Values&&... values) {
    sql_query query{std::string{statement}};
    query.parameters.reserve(sizeof...(values));
    (query.parameters.push_back(to_sql_value(std::forward<Values>(values))), ...);
    return query;
}

/// The values of a row: of a tuple, or values already.
template <class Row>
std::vector<sql_value> row_values(const Row& row) {
    if constexpr (std::convertible_to<const Row&, std::vector<sql_value>>) {
        return row;
    } else {
        return std::apply([](const auto&... values) { return make_query({}, values...).parameters; }, row);
    }
}

}  // namespace detail

/// What one can do with a connection, a session and a transaction alike; each derives from this.
///
/// Parameters are written `$1`, `$2`, ...; values are numbers, bools, strings, bytes, nullptr, and `std::optional`s of
/// these. Statements are prepared once a connection, and found again by their text. A statement or script with a NUL
/// character is not sent: `sql_errc::bad_statement`.
///
/// Cancellation: every type stops what is under way with `operation_aborted`, and the database is told. When the
///   operation has ended, the connection can be used again, or is lost.
/// Errors: `sql_error`. `sql_errc::connection_in_use` if something else is under way, `stream` included.
template <class Derived>
class sql_statements {
public:
    /// One statement.
    template <class... Values>
    [[nodiscard]] asio::awaitable<sql_rows> execute(std::string_view statement, Values&&... values) {
        return self().execute(detail::make_query(statement, std::forward<Values>(values)...));
    }

    /// One statement, executed for each of `rows`: a range of tuples of values. Gives how many rows were affected.
    ///
    ///     co_await tx.execute_many("insert into orders(id, total) values ($1, $2)", std::vector<std::tuple<int, double>>{...});
    ///
    /// Effects: all of it is done or, if a row fails, nothing. All rows go to the database at once, in the time of one
    ///   statement. Results are thrown away.
    /// Errors: as of `execute`; `sql_error::row()` says which row failed. In a transaction, that has then failed, where the
    ///   database has it so.
    template <std::ranges::input_range Rows>
    [[nodiscard]] asio::awaitable<std::uint64_t> execute_many(std::string_view statement, Rows&& rows) {
        sql_batch batch{std::string{statement}, {}};
        for (const auto& row : rows) {
            batch.rows.push_back(detail::row_values(row));
        }
        return self().execute_many(std::move(batch));
    }

    /// One statement; calls `visit(sql_row)` for each row, and awaits what that returns unless it is void. There are never more
    /// than `fetch_size` rows in memory.
    ///
    /// Errors: what `visit` throws ends the statement, and is thrown here.
    /// Lifetime: the row is good until `visit`'s awaitable has completed.
    template <class Visitor, class... Values>
        requires std::invocable<Visitor&, sql_row>
    [[nodiscard]] asio::awaitable<void> stream(std::string_view statement, Visitor visit, Values&&... values) {
        return detail::visit_rows(self(), detail::make_query(statement, std::forward<Values>(values)...),
                                  std::move(visit));
    }

private:
    Derived& self() noexcept { return static_cast<Derived&>(*this); }
};

/// Base of connections: what sessions and transactions keep there.
class sql_connection_base {
protected:
    /// Of the connection's own scope.
    explicit sql_connection_base(scope_handle scope) noexcept : scope_{std::move(scope)} {}
    ~sql_connection_base() = default;

private:
    friend struct detail::sql_access;
    friend struct detail::session_use;

    scope_handle scope_;
    session_reset reset_ = session_reset::always;  // of the session that has it, or had it last
    bool reset_pending_ = false;  // a session has had it since it was reset
    unsigned depth_ = 0;  // of open transactions, from before the first one's BEGIN is sent
};

namespace detail {

struct session_use {
    static session_reset& reset(sql_connection_base& c) noexcept { return c.reset_; }
    static bool& pending(sql_connection_base& c) noexcept { return c.reset_pending_; }
};

}  // namespace detail

/// A connection to a database, as sessions and transactions need it. `sqlite::connection` and `postgres::connection`
/// are such.
///
/// - `execute(query)`, `stream(query, sink)`: one statement. `execute_script(text)`: any number, without parameters.
/// - `begin(options)`, `commit()`: as the names say. `begin` may leave the sending to the first statement, which then also
///   has BEGIN's errors; `status()` is `in_transaction` meanwhile. `commit` throws `sql_errc::rolled_back` where the database rolled
///   back instead, and `sql_errc::commit_unknown` where its answer was lost.
/// - `roll_back(text)`: `execute_script` for cleanups, with a deadline of its own, after which the connection is killed.
/// - `apply(options)`: before a session. `reset()`: after a session or a lease, as if there had been none; not in a
///   transaction. What was prepared for later may stay.
/// - `status()`: the database's word, not what we remember. `usable()`: false if known to be lost, without asking.
/// - `ping()`: asks. `cancel()`: what is under way ends as if its coroutine had been cancelled.
/// - `kill()`: lost from now on; what is under way ends with `sql_errc::connection_lost`, and the database rolls back.
///   At once, without waiting for anything.
/// - It may have `execute_many(batch)`: all of it, or nothing. Sessions execute the rows one by one otherwise.
/// - It may have `static bool retry_opening(std::exception_ptr)`: see `pool_hooks`; and `bool rolled_back() const`, for
///   when a transaction is over before its COMMIT: whether the database has rolled back by itself, without being told.
///
/// The header of such a type includes session/hooks.hpp.
///
/// Cancellation: of each operation, at any time. It ends within a bounded time, and leaves a connection that can be used,
///   or is lost.
/// Thread safety: none is needed.
template <class C>
concept sql_connection = std::derived_from<C, sql_connection_base> &&
                         requires(C& c, sql_query query, std::string text, sql_row_sink sink,
                                  const session_options& session, const transaction_options& transaction) {
                             { c.execute(std::move(query)) } -> std::same_as<asio::awaitable<sql_rows>>;
                             { c.stream(std::move(query), std::move(sink)) } -> std::same_as<asio::awaitable<void>>;
                             { c.execute_script(std::move(text)) } -> std::same_as<asio::awaitable<void>>;
                             { c.begin(transaction) } -> std::same_as<asio::awaitable<void>>;
                             { c.commit() } -> std::same_as<asio::awaitable<void>>;
                             { c.roll_back(std::move(text)) } -> std::same_as<asio::awaitable<void>>;
                             { c.apply(session) } -> std::same_as<asio::awaitable<void>>;
                             { c.reset() } -> std::same_as<asio::awaitable<void>>;
                             { c.ping() } -> std::same_as<asio::awaitable<void>>;
                             { c.status() } noexcept -> std::same_as<transaction_status>;
                             { c.usable() } noexcept -> std::same_as<bool>;
                             { c.database() } -> std::convertible_to<std::string>;
                             { c.cancel() } noexcept;
                             { c.kill() } noexcept;
                         };

}  // namespace coraii

#endif
