// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_DETAIL_SQLITE_ERROR_HPP
#define CORAII_SQLITE_DETAIL_SQLITE_ERROR_HPP

#include "coraii/session/error.hpp"

#include <sqlite3.h>

#include <cstddef>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace coraii::detail {

inline sql_errc sqlite_errc(int code) noexcept {
    if (code == SQLITE_BUSY_SNAPSHOT) {
        return sql_errc::serialization_failure;
    }
    switch (code & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return sql_errc::busy;
        case SQLITE_CONSTRAINT: return sql_errc::constraint_violated;
        case SQLITE_CANTOPEN:
        case SQLITE_NOTADB: return sql_errc::connection_failed;
        default: return sql_errc::statement_failed;
    }
}

/// Characters before byte `offset`, and one.
inline std::size_t character_at(std::string_view text, std::size_t offset) noexcept {
    std::size_t count = 1;
    for (const char c : text.substr(0, offset)) {
        count += (static_cast<unsigned char>(c) & 0xc0U) != 0x80U ? 1 : 0;
    }
    return count;
}

[[noreturn]] inline void throw_sqlite(int code, sqlite3* db, std::string statement) {
    if (code == SQLITE_NOMEM) {
        throw std::bad_alloc{};
    }
    sql_diagnosis d{.message = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code)};
    d.native_code = db != nullptr ? sqlite3_extended_errcode(db) : code;
#if SQLITE_VERSION_NUMBER >= 3038000
    if (const int offset = db != nullptr ? sqlite3_error_offset(db) : -1; offset >= 0) {
        d.position = character_at(statement, static_cast<std::size_t>(offset));
    }
#endif
    d.statement = std::move(statement);
    throw sql_error{sqlite_errc(d.native_code), std::move(d)};
}

}  // namespace coraii::detail

#endif
