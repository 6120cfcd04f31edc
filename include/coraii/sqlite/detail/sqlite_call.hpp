// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_CALL_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_CALL_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/sqlite/detail/sqlite_database.hpp"
#include "coraii/with.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace coraii::detail {

using sqlite_ptr = std::shared_ptr<sqlite_database>;

/// Lets the calling worker block for any time, unless too many do so already: then it takes the place of others.
class blocking_call {
public:
    blocking_call() {
        try {
            apart_.emplace();
        } catch (const boost::system::system_error& e) {
            if (e.code() != asio::error::try_again) {
                throw;
            }
        }
    }

private:
    std::optional<worker_pool::unbounded_call> apart_;
};

/// Awaits `f()` on a worker, in a use of the database that the caller has. A cancel interrupts it.
template <class F>
asio::awaitable<void> on_sqlite(own_frame, sqlite_ptr db, std::uint64_t use, F f) {
    worker_executor workers = db->workers();
    auto job = [db, use, f = std::move(f)]() mutable {
        const blocking_call any_time;
        db->work(use, f);
    };
    const auto start = [use]<class Handler, class Job>(Handler&& handler, worker_executor on,
                                                       const sqlite_ptr& database, Job work) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected()) {
            const auto interrupt = [weak = std::weak_ptr<sqlite_database>{database},
                                    use](asio::cancellation_type_t type) {
                const sqlite_ptr alive = weak.lock();
                if (alive && type != asio::cancellation_type::none) {
                    alive->interrupt(use);
                }
            };
            slot.assign(interrupt);
        }
        offload_call(std::move(on), std::move(work), std::forward<Handler>(handler));
    };
    auto call = asio::async_initiate<const asio::deferred_t, void(std::exception_ptr)>(
        start, asio::deferred, std::move(workers), std::move(db), std::move(job));
    co_await std::move(call);
}

/// The same, in a use of its own.
template <class F>
asio::awaitable<void> use_sqlite(own_frame, sqlite_ptr db, F f) {
    const sqlite_database::use use{*db};
    co_await on_sqlite(own_frame{}, db, use.number(), std::move(f));
}

/// What a statement works on, and what it gives. The worker may need it longer than we do.
struct sqlite_exchange {
    sql_query query;
    sql_rows rows{};
    sqlite_statement* statement = nullptr;
    bool more = false;
};

inline asio::awaitable<sql_rows> execute_sqlite(own_frame, sqlite_ptr db, sql_query query) {
    const auto exchange = std::make_shared<sqlite_exchange>(std::move(query));
    auto job = [database = db.get(), exchange] { exchange->rows = database->execute(exchange->query); };
    co_await use_sqlite(own_frame{}, db, std::move(job));
    co_return std::move(exchange->rows);
}

inline asio::awaitable<std::uint64_t> execute_many_sqlite(own_frame, sqlite_ptr db, sql_batch batch) {
    const auto affected = std::make_shared<std::uint64_t>(0);
    auto job = [database = db.get(), affected, batch = std::move(batch)] { *affected = database->execute_many(batch); };
    co_await use_sqlite(own_frame{}, db, std::move(job));
    co_return *affected;
}

/// A statement whose rows come bit by bit.
struct sqlite_cursor {
    std::shared_ptr<sqlite_exchange> exchange;
    std::uint64_t use;
};

inline async_scope<sqlite_cursor> open_sqlite_cursor(sqlite_ptr db, sql_query query) {
    const sqlite_database::use use{*db};
    const auto exchange = std::make_shared<sqlite_exchange>(std::move(query));
    auto begin = [database = db.get(), exchange] { exchange->statement = &database->begin_rows(exchange->query); };
    co_await on_sqlite(own_frame{}, db, use.number(), std::move(begin));
    sqlite_cursor cursor{exchange, use.number()};
    const exit_status why = co_yield cursor;
    if (why.can_await()) {
        auto end = [db, exchange] { db->end_rows(*exchange->statement); };
        auto ending = offload_call(db->workers(), std::move(end), asio::deferred);
        co_await std::move(ending);
    }
}

inline asio::awaitable<void> stream_sqlite(own_frame, sqlite_ptr db, std::size_t fetch_size, sql_query query,
                                           sql_row_sink sink) {
    co_await with(open_sqlite_cursor(db, std::move(query)), [&](sqlite_cursor& c) -> asio::awaitable<void> {
        do {
            auto next = [database = db.get(), exchange = c.exchange, fetch_size] {
                exchange->more = database->next_rows(*exchange->statement, exchange->rows, fetch_size);
            };
            co_await on_sqlite(own_frame{}, db, c.use, std::move(next));
            if (!c.exchange->rows.empty()) {
                co_await sink(c.exchange->rows);
            }
        } while (c.exchange->more);
    });
}

}  // namespace coraii::detail

#endif
