// SPDX-License-Identifier: BSL-1.0
// SQLite's C API with a deleter, and nobody who opens it.
#ifndef CORAII_TESTS_CONVERT_SCOPE_DATABASE_HPP
#define CORAII_TESTS_CONVERT_SCOPE_DATABASE_HPP

#include <sqlite3.h>

#include <memory>

struct closes_database {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
};
using database = std::unique_ptr<sqlite3, closes_database>;

#endif
