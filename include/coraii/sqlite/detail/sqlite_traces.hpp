// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_TRACES_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_TRACES_HPP

#include "coraii/session/error.hpp"
#include "coraii/sqlite/detail/sqlite_statement.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coraii::detail {

/// What statements do to the connection itself, beyond its transaction, and how that is undone. SQLite's authorizer tells
/// of each statement when it is compiled, whoever compiles it; the text is not looked at.
class sqlite_traces {
public:
    using busy_handler = int (*)(void*, int);

    explicit sqlite_traces(int lock_wait) : lock_wait_{lock_wait} {}
    sqlite_traces(const sqlite_traces&) = delete;
    sqlite_traces& operator=(const sqlite_traces&) = delete;

    void watch(sqlite3* db, busy_handler busy, void* waiter) noexcept {
        db_ = db;
        busy_ = busy;
        waiter_ = waiter;
        sqlite3_busy_handler(db, busy, waiter);
        sqlite3_set_authorizer(db, &sqlite_traces::see, this);
    }

    /// All statements are compiled here.
    sqlite_statement compile(std::string_view text, std::string_view* rest = nullptr) {
        for (;;) {
            effects_ = 0;
            unsaved_.clear();
            const compiling on{*this};
            try {
                sqlite_statement made{db_, text, rest};
                made.set_effects(effects_);
                if (std::exchange(shows_lock_wait_, false)) {
                    lock_wait_ = parsed<int>(value_of("PRAGMA busy_timeout").value_or("0")).value_or(0);
                    sqlite3_busy_handler(db_, busy_, waiter_);  // SQLite has put its own there
                }
                return made;
            } catch (const sql_error&) {
                if (unsaved_.empty()) {
                    throw;
                }
            }
            save();
        }
    }

    /// Before a compiled statement is run once more.
    void repeat(const sqlite_statement& s) noexcept { left_ |= s.effects() & sqlite_statement::stays; }

    /// In milliseconds.
    int lock_wait() const noexcept { return lock_wait_; }

    /// What there is now is what `put_right` returns to.
    void begin() {
        forget();
        own_wait_ = lock_wait_;
        attached_ = attached();
        has_temp_ = value_of("SELECT count(*) FROM sqlite_temp_schema") != "0";
    }

    bool any() const noexcept { return left_ != 0 || !saved_.empty() || lasting_ || lock_wait_ != own_wait_; }

    /// False if something remains.
    bool put_right() {
        bool right = !lasting_ && (left_ == 0 || (attached_.empty() && !has_temp_));
        for (const std::string& name : attached()) {
            if (std::find(attached_.begin(), attached_.end(), name) == attached_.end()) {
                value_of("DETACH " + quoted(name));
            }
        }
        if ((left_ & sqlite_statement::writes_temp) != 0 &&
            !has_temp_) {  // a change of this drops all that is temporary
            value_of(value_of("PRAGMA temp_store") == "2" ? "PRAGMA temp_store = 1" : "PRAGMA temp_store = 2");
        }
        const std::vector<std::string> names = attached();
        for (std::size_t i = 0; i < saved_.size(); ++i) {
            right = restore(setting{saved_[i]}, names) && right;
        }
        lock_wait_ = own_wait_;
        forget();
        return right;
    }

private:
    struct setting {
        std::string schema;  // as it was given, or empty
        std::string name;
        std::optional<std::string> value{};

        std::string text() const { return "PRAGMA " + (schema.empty() ? schema : quoted(schema) + '.') + quoted(name); }
        // That one cannot be asked for.
        std::string question() const { return name == "case_sensitive_like" ? "SELECT 'a' NOT LIKE 'A'" : text(); }
    };

    struct compiling {
        explicit compiling(sqlite_traces& t) noexcept : traces{t} { ++traces.depth_; }
        compiling(const compiling&) = delete;
        compiling& operator=(const compiling&) = delete;
        ~compiling() { --traces.depth_; }
        sqlite_traces& traces;
    };

    static std::string quoted(const std::string& name) {
        std::string text = "\"";
        for (const char c : name) {
            text.append(c == '"' ? 2 : 1, c);
        }
        return text + '"';
    }

    static bool one_of(const auto& names, std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    }

    static int see(void* self, int action, const char* first, const char* second, const char* schema,
                   const char*) noexcept {
        auto& t = *static_cast<sqlite_traces*>(self);
        try {
            return t.see(action, first == nullptr ? "" : first, second, schema == nullptr ? "" : schema);
        } catch (...) {  // no memory
            t.lasting_ = true;
            return SQLITE_DENY;
        }
    }

    int see(int action, std::string_view first, const char* second, std::string_view schema) {
        unsigned seen = 0;
        switch (action) {
            case SQLITE_PRAGMA: return see_pragma(first, second, schema);
            case SQLITE_TRANSACTION:
                seen = first == "ROLLBACK" ? sqlite_statement::rolls_back
                       : first == "COMMIT" ? sqlite_statement::commits
                                           : sqlite_statement::begins;
                break;
            case SQLITE_ATTACH:
            case SQLITE_DETACH: seen = sqlite_statement::attaches; break;
            case SQLITE_FUNCTION: lasting_ = lasting_ || std::string_view{second} == "load_extension"; break;
            case SQLITE_READ: break;
            case SQLITE_CREATE_VTABLE:
            case SQLITE_DROP_VTABLE: seen = sqlite_statement::defines; [[fallthrough]];
            default: seen |= schema == "temp" ? sqlite_statement::writes_temp : 0U;
        }
        effects_ |= seen;
        left_ |= seen & sqlite_statement::stays;
        return SQLITE_OK;
    }

    int see_pragma(std::string_view as_written, const char* value, std::string_view schema) {
        effects_ |= sqlite_statement::is_pragma;
        std::string name{as_written};
        std::transform(name.begin(), name.end(), name.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
        const bool lock_wait = name == "busy_timeout";
        const auto same = [&](const setting& s) { return s.name == name && s.schema == schema; };
        const bool known = lock_wait ? shows_lock_wait_
                                     : value == nullptr || one_of(of_the_file, name) ||
                                           std::any_of(saved_.begin(), saved_.end(), same);
        if (known || depth_ != 1) {  // those that other statements run set nothing
            return SQLITE_OK;
        }
        unsaved_ = {setting{std::string{schema}, std::move(name)}};
        return SQLITE_DENY;  // until it is known what it sets: it may do so as soon as it is compiled
    }

    void save() {
        setting s = std::move(unsaved_.front());
        if (s.name == "busy_timeout") {
            sqlite3_busy_timeout(db_, lock_wait_);  // what a PRAGMA says that asks
            shows_lock_wait_ = true;
            return;
        }
        s.value = value_of(s.question());
        lasting_ = lasting_ || !s.value || one_of(until_vacuum, s.name);
        saved_.push_back(std::move(s));
    }

    bool restore(const setting& s, const std::vector<std::string>& attached) {
        const bool there = s.schema.empty() || s.schema == "main" || s.schema == "temp" || one_of(attached, s.schema);
        std::optional<std::string> now;
        if (there && s.value && (now = value_of(s.question())) != s.value &&
            (s.name != "journal_mode" || now != "wal")) {  // that one is the file's
            value_of(s.text() + " = '" + *s.value + '\'');
            value_of("SELECT count(*) FROM sqlite_schema");  // gives up a lock for which there is no more reason
            now = value_of(s.question());
            return now == s.value;
        }
        return true;
    }

    void forget() noexcept {
        left_ = 0;
        lasting_ = false;
        saved_.clear();
    }

    std::vector<std::string> attached() {
        std::vector<std::string> names;
        sqlite_statement list = compile("PRAGMA database_list");
        while (list.row()) {
            std::string name = list.text_of(1);
            if (name != "main" && name != "temp") {
                names.push_back(std::move(name));
            }
        }
        return names;
    }

    /// Runs one statement. The first column of its first row, if there is one.
    std::optional<std::string> value_of(const std::string& text) {
        sqlite_statement s = compile(text);
        std::optional<std::string> value;
        while (s.row()) {
            value = value ? value : s.text_of(0);
        }
        return value;
    }

    // They ask, or they set what is in the file, for everybody.
    static constexpr auto of_the_file = std::to_array<std::string_view>(
        {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list",
         "foreign_key_check", "integrity_check", "quick_check", "optimize", "wal_checkpoint", "incremental_vacuum",
         "user_version", "application_id", "schema_version"});
    // What was asked for is not what they say before a VACUUM.
    static constexpr auto until_vacuum = std::to_array<std::string_view>({"page_size", "auto_vacuum"});

    sqlite3* db_ = nullptr;
    busy_handler busy_ = nullptr;
    void* waiter_ = nullptr;
    int depth_ = 0;  // of what is being compiled
    bool shows_lock_wait_ = false;
    unsigned effects_ = 0;  // of the statement being compiled
    std::vector<setting> unsaved_;  // what that one would set: at most one

    int lock_wait_;
    int own_wait_ = lock_wait_;
    std::vector<std::string> attached_;
    bool has_temp_ = false;

    unsigned left_ = 0;  // since `begin`
    bool lasting_ = false;  // something that cannot be undone
    std::vector<setting> saved_;
};

}  // namespace coraii::detail

#endif
