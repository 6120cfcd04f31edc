// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_LINK_HPP
#define CORAII_POSTGRES_DETAIL_PG_LINK_HPP

#include "coraii/detail/context/own_process.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/postgres/detail/pg_listener.hpp"
#include "coraii/postgres/options.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/options.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <libpq-fe.h>

#include <chrono>
#include <cstddef>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace coraii::detail {

/// A libpq connection, its socket, and the time it has. What waits here can be stopped: by a deadline, by `cancel`,
/// by `kill`.
class pg_link : public std::enable_shared_from_this<pg_link> {
public:
    using clock = std::chrono::steady_clock;

    pg_link(const asio::any_io_executor& executor, worker_executor workers, postgres::options options)
        : options_{std::move(options)}, workers_{std::move(workers)}, socket_{executor}, watchdog_{executor} {}
    pg_link(const pg_link&) = delete;
    pg_link& operator=(const pg_link&) = delete;
    ~pg_link() { close(); }

    /// Also tells the server, if it reads. Does not wait for anything.
    void close() noexcept {
        killed_ = true;
        answer_due_ = false;
        stop_for(stop::killed);
        finish();
        watchdog_.cancel();
    }

    PGconn* handle() const noexcept { return handle_; }
    const postgres::options& options() const noexcept { return options_; }
    const worker_executor& workers() const noexcept { return workers_; }

    // ---- who uses it

    /// While one lives, nobody else uses the connection. What is not answered at its end never will be.
    class use {
    public:
        explicit use(pg_link& link) : link_{&link} {
            if (link.killed_) {
                link.throw_lost();
            }
            if (link.used_) {
                throw sql_error{sql_errc::connection_in_use};
            }
            link.used_ = true;
            link.sent_ = false;
            link.stop_ = stop::no;
            link.late_answer_ = nullptr;
        }
        use(const use&) = delete;
        use& operator=(const use&) = delete;
        ~use() {
            if (link_->answer_due_) {
                link_->kill();
            }
            link_->used_ = link_->recovering_ = false;
            link_->deadline_ = (clock::time_point::max)();
        }

    private:
        pg_link* link_;
    };

    /// From now on, the deadline kills.
    void begin_recovery() {
        recovering_ = true;
        stop_ = killed_ ? stop::killed : stop::no;
        set_deadline(clock::now() + options_.recovery_timeout);
    }

    /// The server's.
    void set_statement_timeout(std::chrono::milliseconds timeout) noexcept { timeout_ = timeout; }
    bool has_statement_timeout() const noexcept { return timeout_.count() > 0; }

    /// So many statements have their time from now on, if there is a grace.
    void limit_statements(std::size_t count) {
        if (!recovering_ && has_statement_timeout() && options_.grace.count() > 0) {
            set_deadline(count == 0 ? (clock::time_point::max)()
                                    : clock::now() + timeout_ * static_cast<long>(count) + options_.grace);
        }
    }

    void set_deadline(clock::time_point at) {
        deadline_ = at;
        if (watched_until_ > at || watched_until_ <= clock::now()) {
            watch();
        }
    }

    /// What is under way ends with `operation_aborted`.
    void cancel() noexcept {
        if (used_ && !recovering_) {
            stop_for(stop::cancelled);
        }
    }

    void kill() noexcept {
        if (!std::exchange(killed_, true) && handle_ != nullptr && PQsocket(handle_) >= 0) {
            leave_to_parent();
            ::shutdown(PQsocket(handle_), SHUT_RDWR);
        }
        answer_due_ = false;
        stop_for(stop::killed);
    }

    // ---- a transaction is begun by its first statement

    /// `begin` goes to the server together with what is sent next. Until then nothing has to be undone.
    void begin_with_next(std::string begin) {
        (void)usable();  // if the server has gone, that is to be known now
        const use checked{*this};
        begin_ = std::move(begin);
    }
    bool begins_with_next() const noexcept { return !begin_.empty(); }
    /// Empty if there is none.
    std::string take_begin() noexcept { return std::exchange(begin_, {}); }

    // ---- what is known of it

    bool killed() const noexcept { return killed_; }
    bool answer_due() const noexcept { return answer_due_; }
    /// Something was sent in this use.
    bool sent() const noexcept { return sent_; }
    /// Some answer was thrown away: who knows what was done.
    bool interrupted() const noexcept { return interrupted_; }
    void set_interrupted(bool yes) noexcept { interrupted_ = yes; }

    /// What the server said in this use after it was interrupted, if anything.
    void keep_late_answer(pg_result result) noexcept {
        if (!late_answer_ && PQntuples(result.get()) == 0) {
            late_answer_ = std::move(result);
        }
    }
    pg_result late_answer() noexcept { return std::move(late_answer_); }

    /// Looks, without waiting, whether the server is gone.
    bool usable() noexcept {
        if (!killed_ && !used_) {
            char byte = 0;
            const auto gone = [&] { return ::recv(PQsocket(handle_), &byte, 1, MSG_PEEK | MSG_DONTWAIT); };
            ssize_t n = gone();
            if (n > 0) {  // a notice, or its last words
                n = consume() ? gone() : 0;
            }
            if (n == 0 || PQstatus(handle_) != CONNECTION_OK) {
                kill();
            }
        }
        return !killed_;
    }

    transaction_status status() const noexcept {
        if (killed_) {
            return transaction_status::unknown;
        }
        if (used_) {
            return transaction_status::active;
        }
        if (begins_with_next()) {
            return transaction_status::in_transaction;
        }
        switch (PQtransactionStatus(handle_)) {
            case PQTRANS_IDLE: return transaction_status::idle;
            case PQTRANS_ACTIVE: return transaction_status::active;
            case PQTRANS_INTRANS: return transaction_status::in_transaction;
            case PQTRANS_INERROR: return transaction_status::failed;
            default: return transaction_status::unknown;
        }
    }

    // ---- the socket

    /// Begins to open a connection, in place of one that could not be opened; from then on, `poll` after each wait.
    void start(const char* const* keywords, const char* const* values) {
        throw_if_stopped();
        finish();
        handle_ = PQconnectStartParams(keywords, values, 0);
        if (handle_ == nullptr) {
            throw std::bad_alloc{};
        }
        PQsetErrorVerbosity(handle_, PQERRORS_VERBOSE);  // the only way to a SQLSTATE
        PQsetNoticeReceiver(handle_, tell_pg_notice, const_cast<postgres::options*>(&options_));
        assign();
    }

    /// This attempt to open one took too long; there may be others.
    void forget_timeout() noexcept { stop_ = stop_ == stop::timed_out ? stop::no : stop_; }

    PostgresPollingStatusType poll() {
        socket_.release();  // it may be closed in there, and another one have its number
        const PostgresPollingStatusType next = PQconnectPoll(handle_);
        assign();
        return next;
    }

    asio::awaitable<void> wait(own_frame, asio::posix::stream_descriptor::wait_type what) {
        throw_if_stopped();
        boost::system::error_code error;
        auto ready = socket_.async_wait(what, asio::redirect_error(asio::deferred, error));
        co_await std::move(ready);
        check_waited(error);
    }
    void check_waited(const boost::system::error_code& error) const {
        throw_if_stopped();
        if (error) {
            throw boost::system::system_error(error);
        }
    }
    asio::posix::stream_descriptor& socket() noexcept { return socket_; }

    /// What is sent from now on up to `end_pipe` is answered together, and what follows an error is skipped.
    void begin_pipe() { piped_ = PQenterPipelineMode(handle_) != 0; }
    void end_pipe() { check_sent(piped_ && PQpipelineSync(handle_) != 0 ? 1 : 0); }

    /// What `PQsend...` returned.
    void check_sent(int ok) {
        sent_ = answer_due_ = true;
        if (ok == 0) {
            throw_lost();
        }
    }

    /// True if the next result is there, or the news that there is none.
    bool has_result() const noexcept { return PQflush(handle_) != 1 && PQisBusy(handle_) == 0; }
    /// Null at the end of a statement. Unless `answer_due`, that was the last one.
    pg_result take_result() noexcept {
        pg_result result{PQgetResult(handle_)};
        if (piped_) {
            const bool over = PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC;
            if (!over && (result || PQstatus(handle_) == CONNECTION_OK)) {
                return result;
            }
            piped_ = over && PQexitPipelineMode(handle_) == 0;
            result = nullptr;
        }
        answer_due_ = answer_due_ && result;
        if (!result) {
            listeners_.take_notifications(handle_);
        }
        return result;
    }

    /// Reads what has come. False if the connection is broken.
    bool consume() noexcept {
        const bool good = PQconsumeInput(handle_) != 0;
        listeners_.take_notifications(handle_);
        return good;
    }

    pg_listeners& listeners() noexcept { return listeners_; }

    /// For `offload_call`: what is waited for beside the socket.
    std::weak_ptr<external_wait>* outside() noexcept { return &outside_; }

    void throw_if_stopped() const {
        switch (stop_) {
            case stop::no: return;
            case stop::cancelled:
                throw boost::system::system_error(boost::system::error_code{asio::error::operation_aborted});
            case stop::timed_out: throw sql_error{sql_errc::timeout, {.message = "no answer from the server"}};
            case stop::killed: throw sql_error{sql_errc::connection_lost, {.message = "the connection was killed"}};
        }
    }

    /// The connection is broken.
    [[noreturn]] void throw_lost() {
        sql_diagnosis why{.message = handle_ != nullptr ? without_newline(PQerrorMessage(handle_)) : std::string{}};
        if (why.message.empty()) {
            why.message = "the connection was killed";
        }
        kill();
        throw sql_error{sql_errc::connection_lost, std::move(why)};
    }

private:
    enum class stop : unsigned char { no, cancelled, timed_out, killed };

    /// In a child of the process the connection is still the parent's: nobody is to hear from us.
    void leave_to_parent() noexcept {
        const int fd = PQsocket(handle_);
        if (!process_.is_this() && fd >= 0) {
            const int nobody = ::open("/dev/null", O_RDWR | O_CLOEXEC);
            ::dup2(nobody, fd);
            ::close(nobody);
        }
    }

    void finish() noexcept {
        leave_to_parent();
        if (socket_.is_open()) {
            socket_.release();
        }
        PQfinish(std::exchange(handle_, nullptr));
    }

    void assign() {
        const int fd = PQsocket(handle_);
        if (fd >= 0) {
            socket_.assign(fd);
        }
    }

    void stop_for(stop why) noexcept {
        if (stop_ < why) {
            stop_ = why;
        }
        stop_waiting();
    }

    void stop_waiting() noexcept {
        boost::system::error_code ignored;
        (void)socket_.cancel(ignored);
        if (const std::shared_ptr<external_wait> call = outside_.lock()) {
            call->cancel();
        }
    }

    // One wait for many statements: most end long before.
    void watch() {
        watched_until_ = deadline_;
        watchdog_.expires_at(deadline_);
        watchdog_.async_wait([weak = weak_from_this()](const boost::system::error_code& cancelled) {
            const std::shared_ptr<pg_link> link = weak.lock();
            if (!cancelled && link && !link->killed_) {
                link->look();
            }
        });
    }

    void look() {
        if (deadline_ > clock::now()) {
            if (deadline_ != (clock::time_point::max)()) {
                watch();
            }
        } else if (recovering_) {
            kill();
        } else {
            stop_for(stop::timed_out);
        }
    }

    const own_process process_;
    const postgres::options options_;
    worker_executor workers_;
    PGconn* handle_ = nullptr;
    asio::posix::stream_descriptor socket_;
    asio::steady_timer watchdog_;
    std::weak_ptr<external_wait> outside_;
    pg_result late_answer_;
    pg_listeners listeners_;
    std::string begin_;
    clock::time_point deadline_ = (clock::time_point::max)();
    clock::time_point watched_until_{};
    std::chrono::milliseconds timeout_{0};
    stop stop_ = stop::no;
    bool used_ = false;
    bool answer_due_ = false;
    bool piped_ = false;
    bool sent_ = false;
    bool recovering_ = false;
    bool interrupted_ = false;
    bool killed_ = false;
};

using pg_ptr = std::shared_ptr<pg_link>;

}  // namespace coraii::detail

#endif
