// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SQLITE_OPTIONS_HPP
#define CORAII_SQLITE_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <string_view>

namespace coraii::sqlite {

/// How `connect` opens a database.
struct options {
    /// Neither creates the file nor writes to it.
    bool read_only = false;
    /// Fail instead of creating a file.
    bool must_exist = false;
    /// Write-ahead log: readers and a writer do not wait for one another. The file remembers it. Not if `read_only`.
    bool wal = true;
    bool foreign_keys = true;  ///< whether foreign keys are enforced
    /// How long a statement waits for a lock that somebody else has, before `sql_errc::busy`.
    std::chrono::milliseconds busy_timeout{5000};
    /// Prepared statements kept. 0: none.
    std::size_t statement_cache = 64;
    /// Statements to be run in a new connection, PRAGMAs for example. Copied by `connect`. What a session sets, and what it
    /// makes that is temporary, is put back to what there was after this.
    std::string_view on_open{};
};

}  // namespace coraii::sqlite

#endif
