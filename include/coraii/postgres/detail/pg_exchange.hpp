// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_EXCHANGE_HPP
#define CORAII_POSTGRES_DETAIL_PG_EXCHANGE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/postgres/detail/pg_conninfo.hpp"
#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/postgres/detail/pg_link.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <libpq-fe.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace coraii::detail {

/// Awaits `f()` on a worker, who is left alone with it when the link is stopped.
template <class F>
asio::awaitable<void> beside_pg(own_frame, pg_link& link, F f) {
    link.throw_if_stopped();
    auto job = [f = std::move(f)]() mutable {
        const worker_pool::unbounded_call may_block;
        f();
    };
    auto call = offload_call(link.workers(), std::move(job), asio::deferred, on_cancel::leave, link.outside());
    std::exception_ptr error;
    try {
        co_await std::move(call);
    } catch (...) { error = std::current_exception(); }
    link.throw_if_stopped();
    if (error) {
        std::rethrow_exception(error);
    }
}

/// Opens the connection.
inline asio::awaitable<void> open_pg(own_frame, pg_link& link, std::string text) {
    link.set_deadline(pg_link::clock::now() + link.options().connect_timeout);
    const auto info = std::make_shared<pg_conninfo>(text);
    auto resolve = [info] { info->resolve(); };
    co_await beside_pg(own_frame{}, link, std::move(resolve));
    link.start(info->keywords().data(), info->values().data());
    auto next = PQstatus(link.handle()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
        using wait_for = asio::posix::stream_descriptor;
        co_await link.wait(own_frame{}, next == PGRES_POLLING_READING ? wait_for::wait_read : wait_for::wait_write);
        next = link.poll();
    }
    if (next != PGRES_POLLING_OK || PQsetnonblocking(link.handle(), 1) != 0) {
        throw sql_error{sql_errc::connection_failed, {.message = without_newline(PQerrorMessage(link.handle()))}};
    }
}

/// Sends what libpq could not send at once. The server may have something to say before it reads on.
inline asio::awaitable<void> flush_pg(own_frame, pg_link& link) {
    // On an error there may be something left to read, which says more.
    while (PQflush(link.handle()) == 1) {
        link.throw_if_stopped();
        using wait_for = asio::posix::stream_descriptor;
        auto either =
            asio::experimental::make_parallel_group(link.socket().async_wait(wait_for::wait_read, asio::deferred),
                                                    link.socket().async_wait(wait_for::wait_write, asio::deferred));
        const auto [order, read_error, write_error] =
            co_await either.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
        link.check_waited(order[0] == 0 ? read_error : write_error);
        if (PQconsumeInput(link.handle()) == 0) {
            link.throw_lost();
        }
    }
}

/// Until there is a result to take. Not called where there is one: that saves a coroutine.
inline asio::awaitable<void> wait_for_pg_result(own_frame, pg_link& link) {
    co_await flush_pg(own_frame{}, link);
    while (PQisBusy(link.handle()) != 0) {
        co_await link.wait(own_frame{}, asio::posix::stream_descriptor::wait_read);
        if (PQconsumeInput(link.handle()) == 0) {
            link.throw_lost();
        }
    }
}

/// After an interruption: the server is told to stop, and what it still sends is thrown away. Or else the connection is.
inline asio::awaitable<void> recover_pg(own_frame, pg_link& link) {
    try {
        link.begin_recovery();
        link.set_interrupted(true);
        const std::shared_ptr<PGcancel> request{PQgetCancel(link.handle()), PQfreeCancel};
        auto ask = [request] {
            char why[256];
            (void)PQcancel(request.get(), why, sizeof why);  // if it fails, the statement ends as it will
        };
        co_await beside_pg(own_frame{}, link, std::move(ask));
        do {
            if (!link.has_result()) {
                co_await wait_for_pg_result(own_frame{}, link);
            }
        } while (link.take_result());
    } catch (...) { link.kill(); }
}

/// The time from sending something until all of its answer is there.
inline async_scope<void> pg_exchange(pg_ptr link) {
    const pg_link::use use{*link};
    const exit_status why = co_yield entered;
    if (link->answer_due() && why.can_await()) {
        co_await recover_pg(own_frame{}, *link);
    }
}

/// The first of the server's errors is thrown when all of its answer is there.
class pg_answer {
public:
    pg_answer(pg_link& link, const std::string& statement) : link_{link}, statement_{statement} {}

    /// False if it is an error, or nothing.
    bool good(const pg_result& result) {
        switch (PQresultStatus(result.get())) {
            case PGRES_COMMAND_OK:
            case PGRES_TUPLES_OK:
            case PGRES_SINGLE_TUPLE:
            case PGRES_EMPTY_QUERY: return true;
            case PGRES_COPY_IN:
            case PGRES_COPY_OUT:
            case PGRES_COPY_BOTH:
                link_.kill();
                throw sql_error{sql_errc::statement_failed,
                                {.message = "COPY is not supported", .statement = statement_}};
            default: break;
        }
        if (!error_) {
            error_ = std::make_exception_ptr(pg_result_error(result.get(), statement_));
        }
        return false;
    }

    void end() {
        if (PQstatus(link_.handle()) != CONNECTION_OK) {
            link_.kill();
        }
        if (!error_ && link_.killed()) {
            link_.throw_lost();
        }
        if (!error_) {
            return;
        }
        if (!link_.killed()) {
            std::rethrow_exception(error_);
        }
        try {
            std::rethrow_exception(error_);
        } catch (const sql_error& e) {
            throw sql_error{sql_errc::connection_lost,
                            {.message = e.message(), .sqlstate = e.sqlstate(), .statement = statement_}};
        }
    }

private:
    pg_link& link_;
    const std::string& statement_;
    std::exception_ptr error_;
};

}  // namespace coraii::detail

#endif
