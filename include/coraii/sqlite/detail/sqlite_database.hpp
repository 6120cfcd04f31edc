// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_DATABASE_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_DATABASE_HPP

#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/session/detail/statement_cache.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/sqlite/detail/sqlite_error.hpp"
#include "coraii/sqlite/detail/sqlite_handle.hpp"
#include "coraii/sqlite/detail/sqlite_statement.hpp"
#include "coraii/sqlite/detail/sqlite_traces.hpp"
#include "coraii/sqlite/options.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coraii::detail {

/// An SQLite connection, and what is done in it. Whoever knows it last closes it.
class sqlite_database : public sqlite_handle {
public:
    sqlite_database(worker_executor workers, const sqlite::options& options)
        : sqlite_handle{std::move(workers)},
          options_{options},
          traces_{static_cast<int>((std::min<std::int64_t>)(options.busy_timeout.count(), INT_MAX))},
          statements_{options.statement_cache} {}
    ~sqlite_database() { close({}); }

    // ---- on the event loop

    transaction_status status() const noexcept {
        const std::lock_guard lock{mutex_};
        if (killed_ || db_ == nullptr) {
            return transaction_status::unknown;
        }
        if (used_ || working_) {
            return transaction_status::active;
        }
        return rolled_back_                       ? transaction_status::failed
               : sqlite3_get_autocommit(db_) != 0 ? transaction_status::idle
                                                  : transaction_status::in_transaction;
    }
    void set_access(access_mode mode) noexcept { access_ = mode; }

    // ---- on a worker, or where there is none any more

    void open(const std::string& path, std::string_view on_open) {
        try {
            open_file(path);
            run_script(options_.foreign_keys ? "PRAGMA foreign_keys = on" : "PRAGMA foreign_keys = off");
            run_script(on_open);
            if (sqlite3_get_autocommit(db_) == 0) {
                throw sql_error{sql_errc::connection_failed, {.message = "on_open has left a transaction open"}};
            }
            run_script("SELECT 1 FROM sqlite_schema LIMIT 1");  // is it a database at all?
            if (options_.wal && !options_.read_only) {
                use_wal();
            }
            traces_.begin();
        } catch (const sql_error& e) {
            if (e.code() == sql_errc::busy || e.code() == sql_errc::connection_failed) {
                throw;
            }
            sql_diagnosis why{.message = path + ": " + e.message()};
            why.native_code = e.native_code();
            why.statement = e.statement();
            throw sql_error{sql_errc::connection_failed, std::move(why)};
        }
    }

    void begin(access_mode access) {
        const bool reads = access == access_mode::read_only || access_ == access_mode::read_only ||
                           sqlite3_db_readonly(db_, nullptr) != 0;
        run_script(reads ? "BEGIN" : "BEGIN IMMEDIATE");
        transaction_access_ = access;
    }

    /// `text` is ROLLBACK, or one to a savepoint.
    void roll_back(std::string_view text) {
        if (!rolled_back_ || text == "ROLLBACK") {
            run_script(text);
        }
    }

    /// True if statements have left nothing in the connection.
    bool untouched() {
        const std::lock_guard lock{mutex_};
        if (db_ == nullptr || used_ || working_) {
            return false;
        }
        sqlite3_set_last_insert_rowid(db_, 0);
        return !traces_.any();
    }

    /// As it was when it was opened, or throws. One whose data end with it stays, whatever happens.
    void put_right() {
        const char* file = sqlite3_db_filename(db_, nullptr);
        const char* vfs = file != nullptr ? sqlite3_uri_parameter(file, "vfs") : nullptr;
        const bool lasts = file != nullptr && *file != '\0' && (vfs == nullptr || std::string_view{vfs} != "memdb");
        begin_waiting();
        try {
            const bool right = traces_.put_right();
            if (!right) {
                throw sql_error{sql_errc::statement_failed, {.message = "a setting cannot be taken back"}};
            }
        } catch (const sql_error&) {
            if (lasts) {
                throw;
            }
        }
    }

    void open_file(const std::string& path) {
        if (path.find('\0') != path.npos || (path.empty() && options_.must_exist)) {
            throw sql_error{sql_errc::connection_failed,
                            {.message = path.empty() ? "no path" : "the path has a NUL character"}};
        }
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
        constexpr int steps = 1000;  // of SQLite's machine, between two looks
        sqlite3_progress_handler(
            db_, steps, [](void* self) { return static_cast<sqlite_database*>(self)->must_stop(); }, this);
        traces_.watch(db_, [](void* self, int) { return static_cast<sqlite_database*>(self)->wait_for_lock(); }, this);
    }

    sql_rows execute(const sql_query& query) {
        sqlite_statement& statement = prepared(query.statement);
        const reset_at_end reset{statement};
        statement.bind(query.parameters);
        const std::int64_t before = sqlite3_total_changes64(db_);
        bool more = step(statement);
        sql_rows rows = statement.no_rows_yet();  // not before: the step may find that the table was changed
        for (; more; more = step(statement)) {
            statement.add_row(rows);
        }
        rows.set_affected(affected_by(statement, before));
        return rows;
    }

    /// All of it, or nothing. The rows affected.
    std::uint64_t execute_many(const sql_batch& batch) {
        if (batch.rows.empty()) {
            return 0;
        }
        const bool alone = sqlite3_get_autocommit(db_) != 0 && !rolled_back_;
        if (alone) {
            begin(access_mode::read_write);
        } else {
            run_script("SAVEPOINT coraii_many");
        }
        std::uint64_t affected = 0;
        std::size_t row = 0;
        try {
            sqlite_statement& statement = prepared(batch.statement);
            for (const auto& values : batch.rows) {
                ++row;
                affected += execute_row(statement, values);
            }
            row = 0;
            run_script(alone ? "COMMIT" : "RELEASE coraii_many");
        } catch (const sql_error& e) {
            undo_many(alone);
            sql_diagnosis why{.message = e.message(), .native_code = e.native_code(), .statement = e.statement()};
            why.row = row;
            throw sql_error{static_cast<sql_errc>(e.code().value()), std::move(why)};
        } catch (...) {
            undo_many(alone);
            throw;
        }
        return affected;
    }

    /// A statement whose rows come bit by bit. The query lives as long as that lasts.
    sqlite_statement& begin_rows(const sql_query& query) {
        sqlite_statement& statement = prepared(query.statement);
        statement.bind(query.parameters);
        return statement;
    }
    /// The next rows, up to `most`. False at the end.
    bool next_rows(sqlite_statement& statement, sql_rows& to, std::size_t most) {
        bool more = step(statement);
        to = statement.no_rows_yet();
        while (more) {
            statement.add_row(to);
            if (to.size() >= most) {
                return true;
            }
            more = step(statement);
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
        check_text(text);
        while (!text.empty()) {
            begin_waiting();
            sqlite_statement statement = traces_.compile(text, &text);
            check_access(statement);
            while (step(statement)) {}
        }
    }

    /// As the cleanup of a scope. No effect the second time, nor while it is used: then it is closed by its last owner.
    void close(const exit_status&) {
        if (!process_.is_this()) {
            return forget();
        }
        const std::lock_guard lock{mutex_};
        killed_ = true;
        if (!working_ && !used_) {
            once_.reset();
            statements_.clear();
            sqlite3_close_v2(std::exchange(db_, nullptr));
        }
    }

private:
    /// In a child of the process: what SQLite would do to close it, a rollback for one, would be done to the parent's.
    void forget() {
        killed_ = true;
        if (std::exchange(db_, nullptr) != nullptr) {
            (void)new std::optional{std::move(once_)};
            (void)new statement_cache{std::move(statements_)};
        }
    }

    struct reset_at_end {
        sqlite_statement& statement;
        ~reset_at_end() { statement.reset(); }
    };

    static void check_text(std::string_view text) {
        if (text.find('\0') != text.npos) {
            throw sql_error{sql_errc::bad_statement, {.message = {}, .statement = std::string{text}}};
        }
    }

    std::uint64_t execute_row(sqlite_statement& statement, const std::vector<sql_value>& values) {
        const reset_at_end reset{statement};
        statement.bind(values);
        const std::int64_t before = sqlite3_total_changes64(db_);
        while (step(statement)) {}
        return affected_by(statement, before);
    }

    // The rows that triggers and foreign keys changed are part of the total alone; other statements change neither.
    std::uint64_t affected_by(const sqlite_statement& statement, std::int64_t total_before) const noexcept {
        return !statement.does(sqlite_statement::defines) && sqlite3_total_changes64(db_) != total_before
                   ? static_cast<std::uint64_t>(sqlite3_changes64(db_))
                   : 0;
    }

    /// If it cannot be undone, the connection is not to be used any more: then SQLite rolls back when it is closed.
    void undo_many(bool alone) noexcept {
        try {
            if (alone) {
                roll_back("ROLLBACK");
            } else {
                roll_back("ROLLBACK TO coraii_many; RELEASE coraii_many");
            }
        } catch (...) {
            const std::lock_guard lock{mutex_};
            killed_ = killed_ || !rolled_back_;
        }
    }

    sqlite_statement& prepared(const std::string& text) {
        check_text(text);
        begin_waiting();
        sqlite_statement* found = statements_.find(text);
        if (found == nullptr) {
            once_ = traces_.compile(text);
            found = &*once_;
            // What a PRAGMA does it may do when it is compiled, and only then.
            if (options_.statement_cache != 0 &&
                !once_->does(sqlite_statement::is_pragma | sqlite_statement::attaches)) {
                if (statements_.full()) {
                    statements_.drop_oldest();
                }
                found = &statements_.add(text, *std::move(once_));
            }
        }
        traces_.repeat(*found);
        check_access(*found);
        return *found;
    }

    /// False at the end.
    bool step(sqlite_statement& s) {
        const bool ends = s.does(sqlite_statement::commits | sqlite_statement::rolls_back);
        if (rolled_back_ && s) {
            rolled_back_ = !ends;
            if (s.does(sqlite_statement::rolls_back)) {
                return false;
            }
            throw sql_error{sql_errc::rolled_back, {.message = "after a statement that failed", .statement = s.text()}};
        }
        const bool in_transaction = sqlite3_get_autocommit(db_) == 0;
        const int result = s.step();
        if (sqlite3_get_autocommit(db_) != 0) {
            transaction_access_ = access_mode::read_write;
            // If it is not because it was told to.
            rolled_back_ = in_transaction && result != SQLITE_ROW && result != SQLITE_DONE && !ends;
        }
        return s.is_row(result);
    }

    void check_access(const sqlite_statement& statement) const {
        const bool read_only = access_ == access_mode::read_only ||
                               (transaction_access_ == access_mode::read_only && sqlite3_get_autocommit(db_) == 0);
        if (read_only && statement && !statement.reads_only() && !statement.does(sqlite_statement::begins)) {
            sql_diagnosis why{.message = "the session or transaction is read-only"};
            why.native_code = SQLITE_READONLY;
            throw sql_error{sql_errc::statement_failed, std::move(why)};
        }
    }

    // Where others are about to do the same, SQLite asks no busy handler.
    void use_wal() {
        for (const auto end = clock::now() + std::chrono::milliseconds{traces_.lock_wait()};;) {
            try {
                return run_script("PRAGMA journal_mode = wal");
            } catch (const sql_error& e) {
                if (e.code() != sql_errc::busy || clock::now() >= end || wait_for_lock() == 0) {
                    throw;
                }
            }
        }
    }

    void begin_waiting() { lock_deadline_ = clock::now() + std::chrono::milliseconds{traces_.lock_wait()}; }

    const sqlite::options options_;  // without `on_open`
    // Written between uses, or by the worker.
    access_mode access_ = access_mode::read_write;
    access_mode transaction_access_ = access_mode::read_write;
    bool rolled_back_ = false;  // by SQLite, in a transaction whose end nobody has asked for yet
    sqlite_traces traces_;
    statement_cache<sqlite_statement> statements_;  // before db_ is closed
    std::optional<sqlite_statement> once_;  // one that is not kept
};

}  // namespace coraii::detail

#endif
