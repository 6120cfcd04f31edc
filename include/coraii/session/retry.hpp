// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_RETRY_HPP
#define CORAII_SESSION_RETRY_HPP

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/pool.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/open_session.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/transaction.hpp"
#include "coraii/with.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <exception>
#include <random>
#include <string>
#include <type_traits>
#include <utility>

namespace coraii {
namespace detail {

template <class Database>
struct transactions_of {
    using type = transaction<Database>;
};
template <class Connection>
struct transactions_of<session<Connection>> {
    using type = transaction<Connection>;
};
template <class Connection>
struct transactions_of<pool<Connection>> {
    using type = transaction<Connection>;
};

template <class Database>
inline constexpr bool is_pool = false;
template <class Connection>
inline constexpr bool is_pool<pool<Connection>> = true;

template <class Database, class Body>
auto transaction_once(Database& database, Body& body, const retry_options& options) {
    return with(begin_transaction(database, options.transaction), [&body](auto& tx) { return body(tx); });
}
template <class Connection, class Body>
auto transaction_once(pool<Connection>& database, Body& body, const retry_options& options) {
    return with(open_session(database, options.session),
                [&](session<Connection>& s) { return transaction_once(s, body, options); });
}

inline std::chrono::steady_clock::duration random_pause(std::chrono::steady_clock::duration longest) {
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::chrono::steady_clock::duration{
        std::uniform_int_distribution<std::chrono::steady_clock::rep>{0, longest.count()}(random)};
}

template <class R, class Database, class Body>
asio::awaitable<R> retried_transaction(own_frame, Database& database, Body body, retry_options options,
                                       std::string session_database) {
    options.session.database = session_database;
    using std::chrono::steady_clock;
    const steady_clock::time_point end = steady_clock::now() + options.deadline;
    for (steady_clock::duration longest = options.backoff;; longest = (std::min)(2 * longest, options.backoff_max)) {
        steady_clock::duration pause{};
        try {
            co_return co_await transaction_once(database, body, options);
        } catch (const sql_error& e) {
            pause = random_pause(longest);
            // A session that has lost its connection is of no more use.
            const bool possible = is_pool<Database> || e.code() != sql_errc::connection_lost;
            if (!possible || !can_be_retried(e) || steady_clock::now() + pause >= end) {
                throw;
            }
        }
        asio::steady_timer timer{co_await asio::this_coro::executor, pause};
        co_await timer.async_wait(asio::deferred);
    }
}

}  // namespace detail

/// Runs `body(transaction&)` in a transaction, and once more in a new one if that failed for a reason that may pass: a
/// serialization failure, a deadlock, a lock (SQLITE_BUSY), a prepared statement that is outdated, or, with a pool, a
/// connection that was lost before COMMIT was sent. Gives what `body` returned.
///
/// `database` is a pool, a session or a connection. `body` is called for each attempt anew, and must not have changed
/// anything outside the transaction before it fails.
///
/// Cancellation: of the attempt that is under way, or the pause.
/// Errors: those of the last attempt. `sql_errc::commit_unknown` is never tried again: it may have been done.
template <class Database, class Body>
[[nodiscard]] auto run_transaction(Database& database, Body body, retry_options options = {}) {
    using transaction_type = typename detail::transactions_of<Database>::type;
    static_assert(std::invocable<Body&, transaction_type&>,
                  "coraii::run_transaction: the body must be callable as body(transaction<Connection>&)");
    using traits = detail::awaitable_traits<std::invoke_result_t<Body&, transaction_type&>>;
    static_assert(traits::is_awaitable, "coraii::run_transaction: the body must return asio::awaitable<R>");
    return detail::retried_transaction<typename traits::value_type>(detail::own_frame{}, database, std::move(body),
                                                                    options, std::string{options.session.database});
}

}  // namespace coraii

#endif
