// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_TRANSACTION_HPP
#define CORAII_SESSION_TRANSACTION_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/detail/undo.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/with.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <cstdint>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace coraii {

/// What a session and a transaction have in common: the use of a connection, as long as no transaction is open that was
/// begun in them. While one is, each operation throws `sql_errc::inner_transaction_open`: it would be a part of that.
template <sql_connection Connection>
class sql_client : public sql_statements<sql_client<Connection>> {
public:
    using connection_type = Connection;  ///< the type of the connection

    sql_client(const sql_client&) = delete;
    sql_client& operator=(const sql_client&) = delete;

    using sql_statements<sql_client>::execute;
    using sql_statements<sql_client>::execute_many;
    using sql_statements<sql_client>::stream;

    /// One statement.
    [[nodiscard]] asio::awaitable<sql_rows> execute(sql_query query) { return checked().execute(std::move(query)); }
    /// One statement for many rows.
    [[nodiscard]] asio::awaitable<std::uint64_t> execute_many(sql_batch batch) {
        return execute_batch(checked(), std::move(batch));
    }
    /// One statement, whose rows go to `sink`.
    [[nodiscard]] asio::awaitable<void> stream(sql_query query, sql_row_sink sink) {
        return checked().stream(std::move(query), std::move(sink));
    }
    /// Any number of statements, without parameters.
    [[nodiscard]] asio::awaitable<void> execute_script(std::string text) {
        return checked().execute_script(std::move(text));
    }

    /// For what the databases do not have in common. Nothing is checked.
    Connection& connection() const noexcept { return *connection_; }

protected:
    /// At a depth of so many transactions.
    sql_client(Connection& connection, scope_handle scope, unsigned depth) noexcept
        : connection_{&connection}, scope_{std::move(scope)}, depth_{depth} {}
    ~sql_client() = default;

private:
    friend struct detail::sql_access;

    Connection& checked() const;

    static asio::awaitable<std::uint64_t> execute_batch(Connection& connection, sql_batch batch) {
        if constexpr (requires { connection.execute_many(std::move(batch)); }) {
            return connection.execute_many(std::move(batch));
        } else {
            return execute_one_by_one(detail::own_frame{}, connection, std::move(batch));
        }
    }
    static asio::awaitable<std::uint64_t> execute_one_by_one(detail::own_frame, Connection& connection,
                                                             sql_batch batch) {
        std::uint64_t affected = 0;
        for (std::vector<sql_value>& row : batch.rows) {
            const sql_rows done = co_await connection.execute(sql_query{batch.statement, std::move(row)});
            affected += done.affected();
        }
        co_return affected;
    }

    Connection* connection_;
    scope_handle scope_;
    unsigned depth_;  // how many transactions are open when none is open in this one
};

namespace detail {

struct sql_access {
    static const scope_handle& scope(const sql_connection_base& c) noexcept { return c.scope_; }
    static unsigned& depth(sql_connection_base& c) noexcept { return c.depth_; }

    template <class Connection>
    static const scope_handle& scope(const sql_client<Connection>& c) noexcept {
        return c.scope_;
    }
    template <class Connection>
    static unsigned depth(const sql_client<Connection>& c) noexcept {
        return c.depth_;
    }

    static void check_depth(sql_connection_base& c, unsigned depth) {
        if (c.depth_ != depth) {
            throw sql_error{sql_errc::inner_transaction_open};
        }
    }
};

}  // namespace detail

template <sql_connection Connection>
Connection& sql_client<Connection>::checked() const {
    detail::sql_access::check_depth(*connection_, depth_);
    return *connection_;
}

namespace detail {
template <class Connection>
struct open_transaction;
}

/// A transaction, as `begin_transaction` gives it. Lifetime: ends with its scope.
template <sql_connection Connection>
class transaction : public sql_client<Connection> {
    friend struct detail::open_transaction<Connection>;
    using sql_client<Connection>::sql_client;
};

namespace detail {

template <class Connection>
async_scope<void> undone_unless_begun(Connection& c, unsigned depth) {
    const exit_status why = co_yield entered;
    if (!why.ok() && why.can_await()) {
        co_await undo_transaction(own_frame{}, c, depth, false);
    }
}

/// The transaction is over before its COMMIT: by a statement of the user's own, whatever that did. Unless it is a database
/// that may have rolled back by itself.
template <class Connection>
sql_error over_already(const Connection& c) {
    bool rolled_back = true;
    if constexpr (requires { c.rolled_back(); }) {
        rolled_back = c.rolled_back();
    }
    return rolled_back ? sql_error{sql_errc::rolled_back, {.message = "the transaction is over already"}}
                       : sql_error{sql_errc::statement_failed,
                                   {.message = "COMMIT: the transaction is over already, by a statement of its own"}};
}

/// A transaction that the user has begun with a statement of his own: ours would be a part of it.
template <class Connection>
void check_idle(const Connection& c) {
    const transaction_status status = c.status();
    if (status == transaction_status::in_transaction || status == transaction_status::failed) {
        throw sql_error{sql_errc::inner_transaction_open, {.message = "begun by a statement"}};
    }
}

template <class Connection>
asio::awaitable<void> commit_transaction(own_frame, Connection& c, unsigned depth) {
    const bool usable = c.usable();
    if (!usable) {
        throw sql_error{sql_errc::connection_lost, {.message = "before COMMIT was sent"}};
    }
    const transaction_status status = c.status();
    if (status == transaction_status::active) {
        c.kill();
        throw sql_error{sql_errc::connection_in_use, {.message = "at COMMIT"}};
    }
    if (status == transaction_status::idle) {
        throw over_already(c);
    }
    std::exception_ptr error;
    try {
        if (depth == 0) {
            co_await c.commit();
        } else if (status == transaction_status::failed) {
            throw sql_error{sql_errc::rolled_back, {.message = "a statement had failed"}};
        } else {
            std::string text = "RELEASE SAVEPOINT " + savepoint_name(depth);
            co_await c.execute_script(std::move(text));
        }
    } catch (...) { error = std::current_exception(); }
    if (error) {
        co_await asio::this_coro::throw_if_cancelled(false);  // what COMMIT gave counts, not that its time was over
        co_await undo_transaction(own_frame{}, c, depth);
        std::rethrow_exception(error);
    }
}

template <class Connection>
struct open_transaction {
    static async_scope<transaction<Connection>> in(Connection& c, scope_handle parent, unsigned depth,
                                                   transaction_options options) {
        const scope_hold session = parent.hold();
        sql_access::check_depth(c, depth);
        if (depth == 0) {
            check_idle(c);
        }
        scope_handle self = co_await this_scope;
        const one_deeper mark{sql_access::depth(c)};  // before anything is sent
        const auto begin = [&]() -> asio::awaitable<void> {
            return depth == 0 ? c.begin(options) : c.execute_script("SAVEPOINT " + savepoint_name(depth));
        };
        co_await with(undone_unless_begun(c, depth), begin);
        transaction<Connection> opened{c, std::move(self), depth + 1};
        const exit_status why = co_yield opened;
        if (!why.can_await()) {
            c.kill();
        } else if (why.ok()) {
            co_await commit_transaction(own_frame{}, c, depth);
        } else {
            co_await undo_transaction(own_frame{}, c, depth);
        }
    }

private:
    struct one_deeper {
        explicit one_deeper(unsigned& d) noexcept : depth{d} { ++depth; }
        one_deeper(const one_deeper&) = delete;
        one_deeper& operator=(const one_deeper&) = delete;
        ~one_deeper() { --depth; }
        unsigned& depth;
    };
};

template <class Connection>
async_scope<transaction<Connection>> begin_in(Connection& c, const scope_handle& parent, unsigned depth,
                                              const transaction_options& options, std::source_location where) {
    if (depth != 0 && options != transaction_options{}) {
        throw std::invalid_argument("coraii::begin_transaction: a savepoint has no options");
    }
    auto scope = open_transaction<Connection>::in(c, parent, depth, options);
    scope_access::made_at(scope, where);
    return scope;
}

}  // namespace detail

/// A transaction: committed if its use ends well, else rolled back. In a session or a connection.
///
///     co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> asio::awaitable<void> {
///         co_await tx.execute("insert into orders(id, total) values ($1, $2)", 7, 12.5);
///     });
///
/// Effects: the cleanup sends COMMIT for `exit_reason::completed` alone. A failed body, a cancel, a dropped guard: ROLLBACK.
///   Where neither is possible, the connection is killed, and the database rolls back; so in a dying context.
/// Cancellation: of setup: a transaction that was begun nevertheless is rolled back. The cleanup is shielded.
///   `cleanup_timeout` bounds it: a COMMIT that is then under way is cancelled, and what the database answers counts:
///   committed (`errc::cleanup_timeout`), or not (`sql_errc::canceled`). `sql_errc::commit_unknown` if there is no answer.
/// Errors: of setup, the database's (PostgreSQL's refusal of BEGIN itself comes with the first statement);
///   `sql_errc::inner_transaction_open`, before anything is sent, if a transaction is open
///   that was begun with a statement. Of the cleanup: what COMMIT gave, `sql_errc::rolled_back` if the database has rolled
///   back instead, `sql_errc::commit_unknown` if its answer was lost, `sql_errc::connection_lost` if COMMIT was not sent,
///   `sql_errc::statement_failed` if a statement of the body has ended the transaction.
///   A ROLLBACK has no errors: it is done, or the connection is lost, which comes to the same.
/// Lifetime: holds its parent, which is not cleaned before.
template <sql_connection Connection>
[[nodiscard]] async_scope<transaction<Connection>> begin_transaction(
    sql_client<Connection>& parent, transaction_options options = {},
    std::source_location where = std::source_location::current()) {
    return detail::begin_in(parent.connection(), detail::sql_access::scope(parent), detail::sql_access::depth(parent),
                            options, where);
}
/// On a connection that is leased from a pool, open a session first: the transaction holds the connection's scope, which
/// is the pool's, and not the lease.
template <sql_connection Connection>
[[nodiscard]] async_scope<transaction<Connection>> begin_transaction(
    Connection& connection, transaction_options options = {},
    std::source_location where = std::source_location::current()) {
    return detail::begin_in(connection, detail::sql_access::scope(connection), 0, options, where);
}

}  // namespace coraii

#endif
