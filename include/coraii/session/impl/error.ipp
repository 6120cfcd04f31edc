// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_IMPL_ERROR_IPP
#define CORAII_SESSION_IMPL_ERROR_IPP

#include "coraii/session/error.hpp"

#include <boost/system/error_category.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace coraii {

const boost::system::error_category& sql_category() noexcept {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"  // Boost's class is made to have none
#endif
    class category final : public boost::system::error_category {
    public:
        constexpr category() : boost::system::error_category(0x636f'7261'6969'0002ULL) {}

        const char* name() const noexcept override { return "coraii.sql"; }

        std::string message(int value) const override {
            switch (static_cast<sql_errc>(value)) {
                case sql_errc::statement_failed: return "the database refused the statement";
                case sql_errc::constraint_violated: return "a constraint was violated";
                case sql_errc::serialization_failure:
                    return "the transaction conflicts with a concurrent one, and can be tried again";
                case sql_errc::deadlock: return "the transaction was in a deadlock, and can be tried again";
                case sql_errc::busy: return "the database is locked by somebody else";
                case sql_errc::timeout: return "it took longer than its time limit";
                case sql_errc::connection_failed: return "the connection could not be opened";
                case sql_errc::connection_lost: return "the connection to the database is lost";
                case sql_errc::connection_in_use: return "something else is under way on the connection";
                case sql_errc::commit_unknown:
                    return "the answer to COMMIT was lost: the transaction may be committed or not";
                case sql_errc::rolled_back:
                    return "the transaction was to be committed, but the database has rolled it back";
                case sql_errc::inner_transaction_open:
                    return "a transaction that was begun inside is still open; use that one, or close it first";
                case sql_errc::wrong_parameter_count:
                    return "the number of values is not the number of the statement's parameters";
                case sql_errc::out_of_range: return "there is no such row or column";
                case sql_errc::null_value: return "the value is NULL; ask for a std::optional";
                case sql_errc::bad_conversion: return "the value cannot be had as that type without a loss";
                case sql_errc::wrong_database: return "the connection is to another database";
                case sql_errc::canceled: return "the statement was cancelled by somebody else";
                case sql_errc::statement_outdated:
                    return "what was prepared for the statement is outdated; the transaction can be tried again";
                case sql_errc::bad_statement: return "the statement has a NUL character, and was not sent";
            }
            return "unknown coraii.sql error";
        }
    };
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
    static const category instance;
    return instance;
}

sql_error::sql_error(sql_errc e, sql_diagnosis diagnosis)
    : system_error{make_error_code(e), text_of(diagnosis)},
      diagnosis_{std::make_shared<const sql_diagnosis>(std::move(diagnosis))} {}

std::string sql_error::text_of(const sql_diagnosis& d) {
    std::string text = d.message;
    if (!d.sqlstate.empty()) {
        text += " (SQLSTATE " + d.sqlstate + ')';
    }
    if (d.native_code != 0) {
        text += " (SQLite " + std::to_string(d.native_code) + ')';
    }
    if (d.position != 0) {
        text += " at character " + std::to_string(d.position);
    }
    if (d.row != 0) {
        text += " in row " + std::to_string(d.row);
    }
    if (!d.statement.empty()) {
        constexpr std::size_t most = 300;  // characters shown
        text += (text.empty() ? "in: " : " in: ") + d.statement.substr(0, most);
        text += d.statement.size() > most ? "..." : "";
    }
    return text;
}

bool can_be_retried(const sql_error& e) noexcept {
    return e.code() == sql_errc::serialization_failure || e.code() == sql_errc::deadlock ||
           e.code() == sql_errc::busy || e.code() == sql_errc::connection_lost ||
           e.code() == sql_errc::statement_outdated;
}

}  // namespace coraii

#endif
