// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_LISTEN_HPP
#define CORAII_POSTGRES_LISTEN_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// LISTEN as a scope.
///
///     co_await coraii::with(coraii::postgres::listen(session, "orders"),
///                           [](coraii::postgres::notifications& heard) -> asio::awaitable<void> {
///         for (;;) {
///             const coraii::postgres::notification n = co_await heard.next();
///             std::cout << n.payload << '\n';
///         }
///     });

#include "coraii/async_scope.hpp"
#include "coraii/postgres.hpp"
#include "coraii/session/transaction.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

namespace coraii::detail {

class pg_notifications;
struct pg_listens;

}  // namespace coraii::detail

namespace coraii::postgres {

/// A notification.
struct notification {
    std::string channel;  ///< the name that was notified
    std::string payload;  ///< may be empty
    /// Of the server process that has sent it, as in `connection::process_id`.
    int process_id = 0;
};

/// How `listen` keeps notifications.
struct listen_options {
    /// So many that nobody has read are kept; of more, the oldest are dropped. At least 1.
    std::size_t most_kept = 10'000;
};

/// The notifications of a channel. Lifetime: ends with its scope.
class notifications {
public:
    notifications(const notifications&) = delete;
    notifications& operator=(const notifications&) = delete;

    /// The next one, in the order of coming.
    ///
    /// While it waits, the connection is in use. Those that come while something else is executed there are kept.
    /// Cancellation: every type ends the waiting. No notification is lost by it.
    /// Errors: `sql_errc::connection_lost`; `sql_errc::connection_in_use`.
    [[nodiscard]] CORAII_DECL asio::awaitable<notification> next();

    /// How many were dropped.
    CORAII_DECL std::uint64_t dropped() const noexcept;

private:
    friend struct coraii::detail::pg_listens;
    explicit notifications(detail::pg_notifications& all) noexcept : all_{&all} {}

    detail::pg_notifications* all_;
};

/// Listens to a channel. The name is taken as it is, and need not be quoted.
///
/// Between two transactions: inside of one, a notification does not come before that ends, and the LISTEN neither. The
/// session may be used for other statements meanwhile; several such scopes may be open in it.
///
/// Effects of the cleanup: UNLISTEN, unless another such scope of the connection's has the same channel.
/// Cancellation: of setup.
/// Errors: of setup, those of `execute`. The cleanup has none.
/// Executor: to be used on the connection's executor.
/// Lifetime: holds the session or connection, which is not cleaned before.
[[nodiscard]] CORAII_DECL async_scope<notifications> listen(
    sql_client<connection>& parent, std::string channel, listen_options options = {},
    std::source_location where = std::source_location::current());
[[nodiscard]] CORAII_DECL async_scope<notifications> listen(
    connection& parent, std::string channel, listen_options options = {},
    std::source_location where = std::source_location::current());

}  // namespace coraii::postgres

#if defined(CORAII_HEADER_ONLY)
#include "coraii/postgres/impl/listen.ipp"
#endif

#endif
