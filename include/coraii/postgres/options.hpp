// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_OPTIONS_HPP
#define CORAII_POSTGRES_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

namespace coraii::postgres {

/// What the server says beside results: RAISE NOTICE, warnings.
struct notice {
    std::string severity, sqlstate, message;
};

struct options {
    /// For opening, name resolution and all addresses included.
    std::chrono::steady_clock::duration connect_timeout = std::chrono::seconds{10};
    /// For what comes after an interruption: the cancel request and the rest of the answer; a rollback; the reset after
    /// a session. A connection that takes longer is killed.
    std::chrono::steady_clock::duration recovery_timeout = std::chrono::seconds{5};
    /// How long after the server should have ended a statement (`session_options::statement_timeout`) it is cancelled
    /// from here.
    std::chrono::steady_clock::duration grace = std::chrono::seconds{1};
    /// Prepared statements kept. At least 1.
    std::size_t statement_cache = 256;
    /// Called on the connection's executor. What it throws is ignored. Empty: notices are.
    std::function<void(const notice&)> on_notice{};
};

}  // namespace coraii::postgres

#endif
