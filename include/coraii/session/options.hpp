// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_OPTIONS_HPP
#define CORAII_SESSION_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <string_view>

namespace coraii {

/// What the database says of a connection. Only `idle` may be used by somebody else.
enum class transaction_status {
    idle,
    /// A statement is under way.
    active,
    in_transaction,
    /// In a transaction in which a statement has failed; nothing but a ROLLBACK is possible.
    failed,
    /// The connection is lost.
    unknown,
};

/// Whether statements may write.
enum class access_mode { read_write, read_only };

/// SQLite knows `serializable` alone, and takes all for that.
enum class isolation { database_default, read_committed, repeatable_read, serializable };

/// What becomes of a connection after a session.
enum class session_reset : bool {
    always,  ///< it is as new
    none,  ///< what a session has left reaches the next one: for who owns both ends. What is open is rolled back
};

/// How a session works.
struct session_options {
    /// Copied. If not empty, setup fails with `sql_errc::wrong_database` unless the connection is to that one: PostgreSQL's name
    /// of it, SQLite's path.
    std::string_view database{};
    /// How many rows `stream` has in memory. At least 1.
    std::size_t fetch_size = 1000;
    access_mode access = access_mode::read_write;  ///< of all its transactions and statements
    /// For each statement; 0: none. A statement that takes longer fails with `sql_errc::timeout`.
    std::chrono::milliseconds statement_timeout{0};
    /// After the session.
    session_reset reset = session_reset::always;
};

/// How a transaction works.
struct transaction_options {
    coraii::isolation isolation = coraii::isolation::database_default;  ///< from others that run at the same time
    access_mode access = access_mode::read_write;  ///< of its statements

    /// All members are equal.
    friend bool operator==(const transaction_options&, const transaction_options&) = default;
};

/// How `run_transaction` repeats.
struct retry_options {
    transaction_options transaction{};  ///< of each attempt
    /// Only where a pool is given: of each attempt's session.
    session_options session{};
    /// After this long, no further attempt is begun.
    std::chrono::steady_clock::duration deadline = std::chrono::seconds{30};
    /// The longest pause before the second attempt. It doubles from one to the next; the pause itself is random.
    std::chrono::steady_clock::duration backoff = std::chrono::milliseconds{10};
    std::chrono::steady_clock::duration backoff_max = std::chrono::seconds{1};  ///< the pause is doubled up to this
};

}  // namespace coraii

#endif
