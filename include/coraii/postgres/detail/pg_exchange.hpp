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
#include "coraii/session/error.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
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

/// Why a connection could not be opened.
struct pg_refusal {
    sql_diagnosis diagnosis{};
    bool timed_out = false;
    bool final = false;  // other hosts would say the same

    /// libpq tells it as text: "...:  28P01: the server's words", and where that is in the server.
    void add(PGconn* failed) {
        std::string text = without_newline(PQerrorMessage(failed));
        diagnosis.sqlstate.clear();
        for (std::size_t mark = text.find(":  "); mark != text.npos; mark = text.find(":  ", mark + 1)) {
            const std::string state = text.substr(mark + 3, 5);
            if (text.compare(mark + 8, 2, ": ") == 0 &&
                state.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == state.npos) {
                text.erase(mark + 3, 7);
                text.erase((std::min)(text.find('\n', mark), text.size()));
                diagnosis.sqlstate = state;
                final = state != "57P03";  // that is: not now
            }
        }
        add(text);
    }
    void add(const std::string& text) {
        diagnosis.message += (diagnosis.message.empty() || text.empty() ? "" : "; ") + text;
    }
};

/// True if the connection to one host is open.
inline asio::awaitable<bool> try_pg_host(own_frame, pg_link& link, const pg_conninfo& info, pg_refusal& why) {
    try {
        const pg_conninfo::settings all = info.all();
        link.start(all.keywords.data(), all.values.data());
        auto next = PQstatus(link.handle()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
        while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
            using wait_for = asio::posix::stream_descriptor;
            co_await link.wait(own_frame{}, next == PGRES_POLLING_READING ? wait_for::wait_read : wait_for::wait_write);
            next = link.poll();
        }
        if (next == PGRES_POLLING_OK && PQsetnonblocking(link.handle(), 1) == 0) {
            PQsetErrorVerbosity(link.handle(), PQERRORS_DEFAULT);
            co_return true;
        }
    } catch (const sql_error& e) {
        if (e.code() != sql_errc::timeout) {
            throw;
        }
        link.forget_timeout();
        why.timed_out = true;
        why.diagnosis.sqlstate.clear();
        why.add("no answer from the server at \"" + info.chosen() + '"');
        co_return false;
    }
    if (PQconnectionNeedsPassword(link.handle()) != 0) {
        throw pg_bad_conninfo{PQerrorMessage(link.handle())};
    }
    why.timed_out = false;
    why.add(link.handle());
    co_return false;
}

/// Opens the connection, to the first host that answers.
inline asio::awaitable<void> open_pg(own_frame, pg_link& link, std::string text) {
    const auto end = pg_link::clock::now() + link.options().connect_timeout;
    link.set_deadline(end);
    const auto info = std::make_shared<std::optional<pg_conninfo>>();
    auto read = [info, text] { info->emplace(text); };
    co_await beside_pg(own_frame{}, link, std::move(read));
    pg_refusal why;
    why.add((*info)->not_found());
    bool open = false;
    for (std::size_t left = (*info)->targets(), i = 0; left > 0 && !open && !why.final; --left, ++i) {
        const auto now = pg_link::clock::now();
        const auto given = (*info)->host_timeout();
        const auto share = (end - now) / static_cast<int>(left);
        link.set_deadline(given.count() > 0 ? (std::min)(now + given, end) : now + share);
        (*info)->choose(i);
        open = co_await try_pg_host(own_frame{}, link, **info, why);
    }
    if (!open) {
        throw sql_error{why.timed_out ? sql_errc::timeout : sql_errc::connection_failed, std::move(why.diagnosis)};
    }
    link.set_deadline(end);
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
        if (!link.consume()) {
            link.throw_lost();
        }
    }
}

/// Until there is a result to take. Not called where there is one: that saves a coroutine.
inline asio::awaitable<void> wait_for_pg_result(own_frame, pg_link& link) {
    if (PQflush(link.handle()) == 1) {
        co_await flush_pg(own_frame{}, link);
    }
    while (PQisBusy(link.handle()) != 0) {
        link.throw_if_stopped();
        boost::system::error_code error;  // here, not by `link.wait`: a coroutine less for each statement
        auto ready = link.socket().async_wait(asio::posix::stream_descriptor::wait_read,
                                              asio::redirect_error(asio::deferred, error));
        co_await std::move(ready);
        link.check_waited(error);
        if (!link.consume()) {
            link.throw_lost();
        }
    }
}

inline bool is_copy(const PGresult* result) noexcept {
    const ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/// Gives a COPY up: the server is told, or its rest is thrown away.
inline asio::awaitable<void> leave_copy_pg(own_frame, pg_link& link, const PGresult* copy) {
    if (PQresultStatus(copy) == PGRES_COPY_IN) {
        if (PQputCopyEnd(link.handle(), "given up") == -1) {
            link.throw_lost();
        }
        co_await flush_pg(own_frame{}, link);
    } else if (PQresultStatus(copy) == PGRES_COPY_OUT) {
        for (int size = 0; size >= 0;) {
            char* data = nullptr;
            size = PQgetCopyData(link.handle(), &data, 1);
            PQfreemem(data);
            if (size == 0) {
                co_await link.wait(own_frame{}, asio::posix::stream_descriptor::wait_read);
                if (!link.consume()) {
                    link.throw_lost();
                }
            }
        }
    } else {
        link.throw_lost();
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
        for (pg_result result;;) {
            if (!link.has_result()) {
                co_await wait_for_pg_result(own_frame{}, link);
            }
            result = link.take_result();
            if (!link.answer_due()) {
                break;
            }
            if (is_copy(result.get())) {
                co_await leave_copy_pg(own_frame{}, link, result.get());
            }
            link.keep_late_answer(std::move(result));
        }
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

    /// False if it is an error: of the `row` of a batch.
    bool good(pg_result& result, std::size_t row = 0) {
        switch (PQresultStatus(result.get())) {
            case PGRES_COMMAND_OK:
            case PGRES_TUPLES_OK:
            case PGRES_SINGLE_TUPLE:
            case PGRES_EMPTY_QUERY: return true;
            case PGRES_PIPELINE_ABORTED: return false;  // by an error that came before
            default: break;
        }
        if (is_copy(result.get())) {
            link_.kill();
            throw sql_error{sql_errc::statement_failed,
                            {.message = "COPY is for copy_in and copy_out", .statement = statement_}};
        }
        if (!error_) {
            error_ = std::move(result);
            row_ = row;
        }
        return false;
    }

    /// Null if all was good.
    const PGresult* error() const noexcept { return error_.get(); }

    void end(bool outdated = false) {
        if (PQstatus(link_.handle()) != CONNECTION_OK) {
            link_.kill();
        }
        if (!error_ && link_.killed()) {
            link_.throw_lost();
        }
        if (error_) {
            const sql_errc code = link_.killed() ? sql_errc::connection_lost
                                  : outdated     ? sql_errc::statement_outdated
                                                 : pg_errc(error_.get(), link_.has_statement_timeout());
            sql_diagnosis why = pg_diagnosis(error_.get(), statement_);
            why.row = row_;
            throw sql_error{code, std::move(why)};
        }
    }

private:
    pg_link& link_;
    const std::string& statement_;
    pg_result error_;
    std::size_t row_ = 0;
};

}  // namespace coraii::detail

#endif
