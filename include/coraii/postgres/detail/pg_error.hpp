// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_ERROR_HPP
#define CORAII_POSTGRES_DETAIL_PG_ERROR_HPP

#include "coraii/session/error.hpp"
#include "coraii/session/value.hpp"

#include <libpq-fe.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace coraii::detail {

struct pg_clear {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using pg_result = std::unique_ptr<PGresult, pg_clear>;

inline std::string pg_field(const PGresult* result, int field) {
    const char* text = PQresultErrorField(result, field);
    return text != nullptr ? text : std::string{};
}

inline std::string without_newline(std::string text) {
    while (text.ends_with('\n')) {
        text.pop_back();
    }
    return text;
}

inline sql_errc pg_errc(std::string_view sqlstate) noexcept {
    if (sqlstate == "40001") {
        return sql_errc::serialization_failure;
    }
    if (sqlstate == "40P01") {
        return sql_errc::deadlock;
    }
    if (sqlstate == "40003") {
        return sql_errc::commit_unknown;
    }
    if (sqlstate == "55P03") {
        return sql_errc::busy;
    }
    if (sqlstate == "57014") {
        return sql_errc::timeout;
    }
    if (sqlstate.starts_with("23")) {
        return sql_errc::constraint_violated;
    }
    return sql_errc::statement_failed;
}

/// What a result that is no success says.
inline sql_error pg_result_error(const PGresult* result, std::string statement) {
    sql_diagnosis d{.message = pg_field(result, PG_DIAG_MESSAGE_PRIMARY)};
    if (d.message.empty()) {
        d.message = without_newline(PQresultErrorMessage(result));
    }
    if (const std::string detail = pg_field(result, PG_DIAG_MESSAGE_DETAIL); !detail.empty()) {
        d.message += ": " + detail;
    }
    d.sqlstate = pg_field(result, PG_DIAG_SQLSTATE);
    d.position = parsed<std::size_t>(pg_field(result, PG_DIAG_STATEMENT_POSITION)).value_or(0);
    d.statement = std::move(statement);
    return sql_error{pg_errc(d.sqlstate), std::move(d)};
}

}  // namespace coraii::detail

#endif
