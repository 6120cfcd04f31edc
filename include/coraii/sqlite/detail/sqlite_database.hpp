// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_DATABASE_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_DATABASE_HPP

#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/session/detail/statement_cache.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/sqlite/detail/sqlite_error.hpp"
#include "coraii/sqlite/detail/sqlite_statement.hpp"
#include "coraii/sqlite/options.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <sqlite3.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// An SQLite connection, and what may be asked of it from two threads: the event loop begins and ends uses, and may
/// interrupt them; a worker makes the calls of a use, one after another. Whoever knows it last closes it.
class sqlite_database {
public:
    using clock = std::chrono::steady_clock;

    sqlite_database(worker_executor workers, const sqlite::options& options)
        : workers_{std::move(workers)}, options_{options}, statements_{options.statement_cache} {}
    sqlite_database(const sqlite_database&) = delete;
    sqlite_database& operator=(const sqlite_database&) = delete;
    ~sqlite_database() { close({}); }

    // ---- on the event loop

    const worker_executor& workers() const noexcept { return workers_; }

    /// While one lives, nobody else uses the database. It may die before the worker is done.
    class use {
    public:
        explicit use(sqlite_database& db) : db_{&db} {
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
        sqlite_database* db_;
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

    transaction_status status() const noexcept {
        const std::lock_guard lock{mutex_};
        if (killed_ || db_ == nullptr) {
            return transaction_status::unknown;
        }
        if (used_ || working_) {
            return transaction_status::active;
        }
        return sqlite3_get_autocommit(db_) != 0 ? transaction_status::idle : transaction_status::in_transaction;
    }
    bool usable() const noexcept {
        const std::lock_guard lock{mutex_};
        return !killed_;
    }

    /// Of the session; and of the next transaction, until it ends.
    void set_access(access_mode mode) noexcept { access_ = mode; }
    void set_transaction_access(access_mode mode) noexcept { transaction_access_ = mode; }
    void set_statement_timeout(std::chrono::milliseconds timeout) noexcept { statement_timeout_ = timeout; }

    // ---- on a worker, or where there is none any more

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

    void open(const std::string& path) {
        const int mode = options_.read_only    ? SQLITE_OPEN_READONLY
                         : options_.must_exist ? SQLITE_OPEN_READWRITE
                                               : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
        sqlite3* db = nullptr;
        const int result = sqlite3_open_v2(path.c_str(), &db, mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, nullptr);
        {
            const std::lock_guard lock{mutex_};
            db_ = db;  // to be closed even if it could not be opened
        }
        if (result != SQLITE_OK) {
            sql_diagnosis why{.message = path + ": " + (db != nullptr ? sqlite3_errmsg(db) : "out of memory")};
            why.native_code = result;
            throw sql_error{sql_errc::connection_failed, std::move(why)};
        }
        sqlite3_extended_result_codes(db_, 1);
        sqlite3_busy_handler(
            db_, [](void* self, int) { return static_cast<sqlite_database*>(self)->wait_for_lock(); }, this);
        constexpr int steps = 1000;  // of SQLite's machine, between two looks
        sqlite3_progress_handler(
            db_, steps, [](void* self) { return static_cast<sqlite_database*>(self)->must_stop(); }, this);
        run_script(options_.foreign_keys ? "PRAGMA foreign_keys = on" : "PRAGMA foreign_keys = off");
        run_script("SELECT 1 FROM sqlite_schema LIMIT 1");  // is it a database at all?
        if (options_.wal && !options_.read_only) {
            // Where others are about to do the same, SQLite asks no busy handler.
            lock_deadline_ = clock::now() + options_.busy_timeout;
            while (!try_wal() && wait_for_lock() != 0) {}
        }
    }

    sql_rows execute(const sql_query& query) {
        sqlite_statement& statement = prepared(query);
        const reset_at_end reset{statement};
        statement.bind(query.parameters);
        const std::int64_t before = sqlite3_total_changes64(db_);
        bool more = statement && statement.step();
        sql_rows rows = statement.no_rows_yet();  // not before: the step may find that the table was changed
        for (; more; more = statement.step()) {
            statement.add_row(rows);
        }
        rows.set_affected(static_cast<std::uint64_t>(sqlite3_total_changes64(db_) - before));
        return rows;
    }

    /// A statement whose rows come bit by bit. The query lives as long as that lasts.
    sqlite_statement& begin_rows(const sql_query& query) {
        sqlite_statement& statement = prepared(query);
        statement.bind(query.parameters);
        return statement;
    }
    /// The next rows, up to `most`. False at the end.
    static bool next_rows(sqlite_statement& statement, sql_rows& to, std::size_t most) {
        bool more = statement && statement.step();
        to = statement.no_rows_yet();
        while (more) {
            statement.add_row(to);
            if (to.size() >= most) {
                return true;
            }
            more = statement.step();
        }
        return false;
    }

    void end_rows(sqlite_statement& statement) noexcept {
        {
            const std::lock_guard lock{mutex_};
            working_ = true;  // whatever has become of the use
        }
        statement.reset();
        const std::lock_guard lock{mutex_};
        working_ = false;
    }

    void run_script(std::string_view text) {
        while (!text.empty()) {
            sqlite_statement statement{db_, text, &text};
            check_access(statement);
            begin_waiting();
            while (statement && statement.step()) {}
        }
    }

    /// As the cleanup of a scope. No effect the second time, nor while it is used: then it is closed by its last owner.
    void close(const exit_status&) {
        const std::lock_guard lock{mutex_};
        killed_ = true;
        if (!working_ && !used_) {
            statements_.clear();
            sqlite3_close_v2(std::exchange(db_, nullptr));
        }
    }

private:
    enum class stop : unsigned char { no, cancelled, killed };

    struct reset_at_end {
        sqlite_statement& statement;
        ~reset_at_end() { statement.reset(); }
    };

    struct working {
        working(sqlite_database& database, std::uint64_t number) : db{database} {
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
        sqlite_database& db;
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

    sqlite_statement& prepared(const sql_query& query) {
        sqlite_statement* found = statements_.find(query.statement);
        if (found == nullptr) {
            sqlite_statement made{db_, query.statement};
            if (statements_.full()) {
                statements_.drop_oldest();
            }
            found = &statements_.add(query.statement, std::move(made));
        }
        check_access(*found);
        begin_waiting();
        return *found;
    }

    void check_access(const sqlite_statement& statement) const {
        const bool read_only = access_ == access_mode::read_only ||
                               (transaction_access_ == access_mode::read_only && sqlite3_get_autocommit(db_) == 0);
        if (read_only && statement && !statement.reads_only()) {
            sql_diagnosis why{.message = "the session or transaction is read-only"};
            why.native_code = SQLITE_READONLY;
            throw sql_error{sql_errc::statement_failed, std::move(why)};
        }
    }

    bool try_wal() {
        try {
            run_script("PRAGMA journal_mode = wal");
            return true;
        } catch (const sql_error& e) {
            if (e.code() != sql_errc::busy || clock::now() >= lock_deadline_) {
                throw;
            }
            return false;
        }
    }

    void begin_waiting() { lock_deadline_ = clock::now() + options_.busy_timeout; }

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

    const worker_executor workers_;
    const sqlite::options options_;

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    sqlite3* db_ = nullptr;
    bool used_ = false;
    bool working_ = false;  // a worker is in it
    bool killed_ = false;
    stop stop_ = stop::no;
    std::uint64_t uses_ = 0;

    // Written between uses, or by the worker.
    clock::time_point deadline_ = (clock::time_point::max)();
    clock::time_point lock_deadline_{};
    std::chrono::milliseconds statement_timeout_{0};
    access_mode access_ = access_mode::read_write;
    access_mode transaction_access_ = access_mode::read_write;
    statement_cache<sqlite_statement> statements_;  // before db_ is closed
};

}  // namespace detail
}  // namespace coraii

#endif
