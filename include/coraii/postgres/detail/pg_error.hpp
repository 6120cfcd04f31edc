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

inline std::string_view pg_field(const PGresult* result, int field) {
    const char* text = PQresultErrorField(result, field);
    return text != nullptr ? text : std::string_view{};
}

inline std::string without_newline(std::string text) {
    while (text.ends_with('\n')) {
        text.pop_back();
    }
    return text;
}

/// Of an error of the server's. Its words are in the server's language, so they decide only where nothing else does: what
/// has cancelled a statement. `timed` is for words that we do not know: the session has a time limit.
inline sql_errc pg_errc(const PGresult* error, bool timed) noexcept {
    const std::string_view sqlstate = pg_field(error, PG_DIAG_SQLSTATE);
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
        const std::string_view message = pg_field(error, PG_DIAG_MESSAGE_PRIMARY);
        const bool by_user = message.find("user request") != message.npos;
        const bool by_time = message.find("statement timeout") != message.npos;
        return by_time || (timed && !by_user) ? sql_errc::timeout : sql_errc::canceled;
    }
    if (sqlstate == "08P01" && pg_field(error, PG_DIAG_SOURCE_FUNCTION) == "exec_bind_message") {
        return sql_errc::wrong_parameter_count;
    }
    if (sqlstate.starts_with("23")) {
        return sql_errc::constraint_violated;
    }
    return sql_errc::statement_failed;
}

/// What the server says.
inline sql_diagnosis pg_diagnosis(const PGresult* error, std::string statement) {
    sql_diagnosis d{.message = std::string{pg_field(error, PG_DIAG_MESSAGE_PRIMARY)}};
    if (d.message.empty()) {
        d.message = without_newline(PQresultErrorMessage(error));
    }
    if (const std::string_view detail = pg_field(error, PG_DIAG_MESSAGE_DETAIL); !detail.empty()) {
        d.message.append(": ").append(detail);
    }
    d.sqlstate = pg_field(error, PG_DIAG_SQLSTATE);
    d.position = parsed<std::size_t>(pg_field(error, PG_DIAG_STATEMENT_POSITION)).value_or(0);
    d.statement = std::move(statement);
    return d;
}

/// True if it is that of a parameter, "unnamed portal parameter $1 = ...", in any language. The contexts of functions have
/// names and signatures there.
inline bool is_parameter_context(std::string_view context) noexcept {
    const std::size_t mark = context.find(" $");
    const std::size_t end = context.find_first_not_of("0123456789", mark == context.npos ? mark : mark + 2);
    const std::string_view before = context.substr(0, mark);
    return mark != context.npos && end != mark + 2 && (end == context.npos || context[end] == ' ') &&
           before.find_first_of("(\"\n") == before.npos;
}

/// Whether a statement that was prepared as `name` has failed where it would not if it was prepared now.
enum class pg_outdated : unsigned char {
    no,
    perhaps,  ///< a value, or what is done with it, does not fit a type that was found out when it was prepared
    surely,  ///< the server says so
};

/// In either case nothing of it was done: what comes from inside of a function or procedure has a context.
inline pg_outdated pg_outdated_by(const PGresult* error, std::string_view name) noexcept {
    const std::string_view sqlstate = pg_field(error, PG_DIAG_SQLSTATE);
    const std::string_view context = pg_field(error, PG_DIAG_CONTEXT);
    if (sqlstate == "22003" || sqlstate == "22P02") {
        return is_parameter_context(context) ? pg_outdated::perhaps : pg_outdated::no;
    }
    if (!context.empty()) {
        return pg_outdated::no;
    }
    const bool changed = sqlstate == "0A000" && pg_field(error, PG_DIAG_SOURCE_FUNCTION) == "RevalidateCachedQuery";
    // The server's words have the name in quotes.
    const bool gone = sqlstate == "26000" && pg_field(error, PG_DIAG_MESSAGE_PRIMARY).find(name) != name.npos;
    // It was analysed anew: that alone knows where in the statement it is.
    const bool wrong = sqlstate.starts_with("42") && !pg_field(error, PG_DIAG_STATEMENT_POSITION).empty();
    return changed || gone ? pg_outdated::surely : wrong ? pg_outdated::perhaps : pg_outdated::no;
}

}  // namespace coraii::detail

#endif
