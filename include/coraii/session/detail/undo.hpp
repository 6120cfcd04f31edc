// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_DETAIL_UNDO_HPP
#define CORAII_SESSION_DETAIL_UNDO_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/options.hpp"

#include <boost/asio/awaitable.hpp>

#include <string>
#include <utility>

namespace coraii::detail {

inline std::string savepoint_name(unsigned depth) {
    return "coraii_" + std::to_string(depth);
}

/// Rolls back the transactions beyond `depth`, or kills the connection. `begun` is false if there may be no savepoint.
template <class Connection>
asio::awaitable<void> undo_transaction(own_frame, Connection& c, unsigned depth, bool begun = true) {
    const bool usable = c.usable();
    const transaction_status status = c.status();
    if (!usable || status == transaction_status::idle) {
        co_return;
    }
    bool undone = false;
    if (status != transaction_status::active) {
        const std::string name = savepoint_name(depth);
        std::string text = depth == 0 ? "ROLLBACK" : "ROLLBACK TO SAVEPOINT " + name + "; RELEASE SAVEPOINT " + name;
        try {
            co_await c.roll_back(std::move(text));
            undone = depth != 0 || c.status() == transaction_status::idle;
        } catch (...) { undone = depth != 0 && !begun; }
    }
    if (!undone) {
        c.kill();
    }
}

}  // namespace coraii::detail

#endif
