// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_HANDLE_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_HANDLE_HPP

#include "coraii/detail/context/own_process.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/session/error.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <sqlite3.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// An SQLite connection and who uses it, which may be asked from two threads: the event loop begins and ends uses, and may
/// interrupt them; a worker makes the calls of a use, one after another.
class sqlite_handle {
    enum class stop : unsigned char { no, cancelled, killed };

public:
    using clock = std::chrono::steady_clock;

    sqlite_handle(const sqlite_handle&) = delete;
    sqlite_handle& operator=(const sqlite_handle&) = delete;

    // ---- on the event loop

    const worker_executor& workers() const noexcept { return workers_; }

    /// While one lives, nobody else uses the database. It may die before the worker is done.
    class use {
    public:
        explicit use(sqlite_handle& db) : db_{&db} {
            const std::lock_guard lock{db.mutex_};
            if (db.killed_) {
                throw sql_error{sql_errc::connection_lost};
            }
            if (db.used_ || db.working_) {
                throw sql_error{sql_errc::connection_in_use};
            }
            db.used_ = true;
            db.stop_ = stop::no;
            ++db.uses_;
            if (db.statement_timeout_.count() > 0) {
                db.deadline_ = clock::now() + db.statement_timeout_;
            }
        }
        use(const use&) = delete;
        use& operator=(const use&) = delete;
        ~use() {
            db_->interrupt(number());
            const std::lock_guard lock{db_->mutex_};
            db_->used_ = false;
            db_->deadline_ = (clock::time_point::max)();
        }
        std::uint64_t number() const noexcept { return db_->uses_; }

    private:
        sqlite_handle* db_;
    };

    /// What is under way in that use ends, with `operation_aborted`.
    void interrupt(std::uint64_t number) noexcept {
        const std::lock_guard lock{mutex_};
        if (used_ && number == uses_) {
            interrupt_locked(stop::cancelled);
        }
    }
    void interrupt() noexcept { interrupt(uses_); }

    void kill() noexcept {
        const std::lock_guard lock{mutex_};
        killed_ = true;
        interrupt_locked(stop::killed);
    }

    bool usable() const noexcept {
        const std::lock_guard lock{mutex_};
        return !killed_;
    }
    /// Of each use that begins after this; 0: none.
    void set_statement_timeout(std::chrono::milliseconds timeout) noexcept { statement_timeout_ = timeout; }

    // ---- on a worker

    /// Calls `f()`, in which SQLite may be called, unless that use is over.
    template <class F>
    void work(std::uint64_t number, F&& f) {
        const working here{*this, number};
        try {
            f();
        } catch (const sql_error& e) {
            const std::unique_lock lock{mutex_};
            // SQLite interrupts where it can; what it could not stop is a success.
            if ((e.native_code() & 0xff) == SQLITE_INTERRUPT || e.code() == sql_errc::busy) {
                throw_stopped(e.statement());
            }
            throw;
        }
    }

protected:
    explicit sqlite_handle(worker_executor workers) : workers_{std::move(workers)} {}
    ~sqlite_handle() = default;

    // SQLite's own busy handler sleeps on, whoever interrupts it.
    int wait_for_lock() noexcept {
        constexpr auto pause = std::chrono::milliseconds{2};
        std::unique_lock lock{mutex_};
        wake_.wait_for(lock, pause, [this] { return stop_ != stop::no; });
        const auto now = clock::now();
        return stop_ == stop::no && now < deadline_ && now < lock_deadline_ ? 1 : 0;
    }

    int must_stop() const noexcept {
        const std::lock_guard lock{mutex_};
        return stop_ != stop::no || clock::now() >= deadline_ ? 1 : 0;
    }

private:
    struct working {
        working(sqlite_handle& database, std::uint64_t number) : db{database} {
            const std::lock_guard lock{db.mutex_};
            if (!db.used_ || number != db.uses_) {
                throw boost::system::system_error(boost::system::error_code{asio::error::operation_aborted});
            }
            db.throw_stopped({});
            db.working_ = true;
        }
        working(const working&) = delete;
        working& operator=(const working&) = delete;
        ~working() {
            const std::lock_guard lock{db.mutex_};
            db.working_ = false;
        }
        sqlite_handle& db;
    };

    void interrupt_locked(stop why) noexcept {
        if (used_) {
            stop_ = why;
            wake_.notify_all();
        }
        if (db_ != nullptr && working_) {
            sqlite3_interrupt(db_);
        }
    }

    void throw_stopped(const std::string& statement) const {
        if (stop_ == stop::cancelled) {
            throw boost::system::system_error(boost::system::error_code{asio::error::operation_aborted});
        }
        if (stop_ == stop::killed) {
            throw sql_error{sql_errc::connection_lost,
                            {.message = "the connection was killed", .statement = statement}};
        }
        if (clock::now() >= deadline_) {
            throw sql_error{sql_errc::timeout, {.message = "statement_timeout", .statement = statement}};
        }
    }

    const worker_executor workers_;
    std::condition_variable wake_;
    stop stop_ = stop::no;
    std::uint64_t uses_ = 0;
    // Written between uses.
    clock::time_point deadline_ = (clock::time_point::max)();
    std::chrono::milliseconds statement_timeout_{0};

protected:
    mutable std::mutex mutex_;
    const own_process process_;
    sqlite3* db_ = nullptr;
    bool used_ = false;
    bool working_ = false;  // a worker is in it
    bool killed_ = false;
    clock::time_point lock_deadline_{};  // written by the worker
};

}  // namespace detail
}  // namespace coraii

#endif
