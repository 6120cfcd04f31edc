// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_STATEMENT_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_STATEMENT_HPP

#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"
#include "coraii/sqlite/detail/sqlite_error.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace coraii::detail {

/// A prepared statement. Nothing in here may be called while something else is called on the connection.
class sqlite_statement {
public:
    /// What it does beside reading and writing; see `sqlite_traces`.
    enum effect : unsigned {
        writes_temp = 1U,
        attaches = 2U,
        stays = writes_temp | attaches,
        is_pragma = 4U,
        defines = 8U,
        commits = 16U,
        rolls_back = 32U,
        begins = 64U,
    };

    /// `rest`, where given, is what follows the statement in `text`; where not, there must not be another one.
    sqlite_statement(sqlite3* db, std::string_view text, std::string_view* rest = nullptr) {
        sqlite3_stmt* made = nullptr;
        const char* tail = nullptr;
        const int result = sqlite3_prepare_v3(db, text.data(), static_cast<int>(text.size()),
                                              rest == nullptr ? SQLITE_PREPARE_PERSISTENT : 0, &made, &tail);
        handle_.reset(made);
        if (result != SQLITE_OK) {
            throw_sqlite(result, db, std::string{text});
        }
        std::string_view after = text.substr(static_cast<std::size_t>(tail - text.data()));
        if (rest != nullptr) {
            *rest = after;
        } else {
            while (!after.empty()) {
                if (const sqlite_statement next{db, after, &after}) {
                    throw sql_error{sql_errc::statement_failed,
                                    {.message = "more than one statement", .statement = std::string{text}}};
                }
            }
        }
        number_parameters();
    }

    /// False for a comment or nothing at all.
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    bool reads_only() const noexcept { return sqlite3_stmt_readonly(handle_.get()) != 0; }
    bool does(unsigned effects) const noexcept { return (effects_ & effects) != 0; }
    unsigned effects() const noexcept { return effects_; }
    void set_effects(unsigned effects) noexcept { effects_ = effects; }

    void bind(const std::vector<sql_value>& values) {
        if (values.size() != parameters_) {
            throw wrong_parameter_count(values.size(), parameters_, text());
        }
        for (std::size_t i = 0; i < numbers_.size(); ++i) {
            const auto to = static_cast<int>(i + 1);
            check(std::visit([&](const auto& value) { return bind_one(to, value); }, values[numbers_[i] - 1]));
        }
    }

    /// SQLITE_ROW, SQLITE_DONE or an error.
    int step() noexcept { return handle_ ? sqlite3_step(handle_.get()) : SQLITE_DONE; }
    /// True for SQLITE_ROW.
    bool is_row(int result) const {
        check(result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result);
        return result == SQLITE_ROW;
    }
    bool row() { return is_row(step()); }
    std::string text_of(int column) const {
        const auto* text =
            static_cast<const char*>(static_cast<const void*>(sqlite3_column_text(handle_.get(), column)));
        return text != nullptr ? text : std::string{};
    }

    /// Before it is used again. Its values are not kept in memory meanwhile.
    void reset() noexcept {
        if (handle_) {
            sqlite3_reset(handle_.get());
            sqlite3_clear_bindings(handle_.get());
        }
    }

    sql_rows no_rows_yet() const {
        const int count = sqlite3_column_count(handle_.get());
        std::vector<std::string> columns;
        columns.reserve(static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i) {
            columns.emplace_back(sqlite3_column_name(handle_.get(), i));
        }
        return sql_rows{std::move(columns)};
    }

    void add_row(sql_rows& to) const {
        for (int i = 0, count = sqlite3_column_count(handle_.get()); i < count; ++i) {
            to.add(column(i));
        }
    }

    std::string text() const {
        const char* sql = sqlite3_sql(handle_.get());
        return sql != nullptr ? sql : std::string{};
    }

private:
    struct finalize {
        void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
    };

    // SQLite numbers `$2` by where it stands, not by its name.
    void number_parameters() {
        const int count = sqlite3_bind_parameter_count(handle_.get());
        numbers_.resize(static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i) {
            const char* name = sqlite3_bind_parameter_name(handle_.get(), i + 1);
            std::size_t number = static_cast<std::size_t>(i) + 1;
            if (name != nullptr) {
                number = parsed<std::size_t>(name + 1).value_or(0);
                if (number == 0 || number > most_parameters) {
                    throw sql_error{
                        sql_errc::wrong_parameter_count,
                        {.message = std::string{"parameter "} + name + " has no number", .statement = text()}};
                }
            }
            numbers_[static_cast<std::size_t>(i)] = number;
            parameters_ = (std::max)(parameters_, number);
        }
    }

    int bind_one(int to, std::monostate) { return sqlite3_bind_null(handle_.get(), to); }
    int bind_one(int to, std::int64_t value) { return sqlite3_bind_int64(handle_.get(), to, value); }
    int bind_one(int to, double value) { return sqlite3_bind_double(handle_.get(), to, value); }
    // The values live as long as the binding.
    int bind_one(int to, const std::string& value) {
        return sqlite3_bind_text64(handle_.get(), to, value.data(), value.size(), SQLITE_STATIC, SQLITE_UTF8);
    }
    int bind_one(int to, const sql_bytes& value) {
        return value.empty() ? sqlite3_bind_zeroblob(handle_.get(), to, 0)
                             : sqlite3_bind_blob64(handle_.get(), to, value.data(), value.size(), SQLITE_STATIC);
    }

    sql_value column(int i) const {
        sqlite3_stmt* s = handle_.get();
        switch (sqlite3_column_type(s, i)) {
            case SQLITE_INTEGER: return std::int64_t{sqlite3_column_int64(s, i)};
            case SQLITE_FLOAT: return sqlite3_column_double(s, i);
            case SQLITE_TEXT: {
                const auto* text = static_cast<const char*>(static_cast<const void*>(sqlite3_column_text(s, i)));
                return std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(s, i)));
            }
            case SQLITE_BLOB: {
                const auto* bytes = static_cast<const std::byte*>(sqlite3_column_blob(s, i));
                return sql_bytes(bytes, bytes + sqlite3_column_bytes(s, i));
            }
            default: return {};
        }
    }

    void check(int result) const {
        if (result != SQLITE_OK) {
            throw_sqlite(result, sqlite3_db_handle(handle_.get()), text());
        }
    }

    static constexpr std::size_t most_parameters = 32766;

    std::unique_ptr<sqlite3_stmt, finalize> handle_;
    std::vector<std::size_t> numbers_;  // of each parameter that SQLite knows: which value
    std::size_t parameters_ = 0;
    unsigned effects_ = 0;
};

}  // namespace coraii::detail

#endif
