// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_OPTIONS_HPP
#define CORAII_POSTGRES_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>

namespace coraii::postgres {

/// What the server says beside results: RAISE NOTICE, warnings.
struct notice {
    std::string severity;  ///< WARNING, NOTICE, ...
    std::string sqlstate;  ///< five characters
    std::string message;  ///< its first line
};

/// How `connect` opens a connection, and how that behaves.
struct options {
    /// For opening, name resolution, all hosts and `on_open` included. Of several hosts, each has its share of the time that
    /// is left, or the `connect_timeout` of the connection string.
    std::chrono::steady_clock::duration connect_timeout = std::chrono::seconds{10};
    /// For what comes after an interruption: the cancel request and the rest of the answer; a rollback; the reset after
    /// a session. A connection that takes longer is killed.
    std::chrono::steady_clock::duration recovery_timeout = std::chrono::seconds{5};
    /// Zero: the server alone ends a statement that takes longer than `session_options::statement_timeout`, or than a limit
    /// that the session has set itself. Else a statement is cancelled from here so long after `statement_timeout`, also if
    /// the session has set itself another limit: for servers that may fall silent while their system keeps the connection.
    std::chrono::steady_clock::duration grace = std::chrono::steady_clock::duration::zero();
    /// Prepared statements kept: those that were used twice. 0: none is prepared.
    std::size_t statement_cache = 256;
    /// Called on the connection's executor. What it throws is ignored. Empty: notices are.
    std::function<void(const notice&)> on_notice{};
    /// A script for a new connection, run again after each reset: SET, LISTEN, temporary tables; not PREPARE.
    /// (Optional, since g++ 12 copies a temporary in a co_await expression bit by bit, which an empty std::string does not
    /// stand. Nor does it stand options with a script or a function there: give them a name first.)
    std::optional<std::string> on_open{};
};

}  // namespace coraii::postgres

#endif
