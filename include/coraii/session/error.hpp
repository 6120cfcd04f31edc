// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_ERROR_HPP
#define CORAII_SESSION_ERROR_HPP

#include "coraii/detail/coroutine/platform.hpp"

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace coraii {
enum class sql_errc;
}

template <>
struct boost::system::is_error_code_enum<coraii::sql_errc> : std::true_type {};

namespace coraii {

/// What can go wrong with a database, the same for all of them.
enum class sql_errc {
    /// The database refused the statement; `sql_error` has its own code and words.
    statement_failed = 1,
    /// A constraint was violated (SQLSTATE class 23, SQLITE_CONSTRAINT).
    constraint_violated,
    /// Concurrent transactions could not be put in an order (40001, SQLITE_BUSY_SNAPSHOT). Try the transaction again.
    serialization_failure,
    /// Transactions waited for one another (40P01). Try the transaction again.
    deadlock,
    /// Somebody else has the lock (SQLITE_BUSY, SQLITE_LOCKED, 55P03). Try the transaction again.
    busy,
    /// The statement took longer than a time limit (`statement_timeout`), or opening longer than `connect_timeout`.
    timeout,
    /// The connection could not be opened.
    connection_failed,
    /// The connection broke, or was killed. It cannot be used any more.
    connection_lost,
    /// Something else is under way on the connection.
    connection_in_use,
    /// The answer to COMMIT was lost: the transaction may be committed or not.
    commit_unknown,
    /// The transaction was to be committed, but the database has rolled it back.
    rolled_back,
    /// A transaction that was begun inside this one is still open.
    inner_transaction_open,
    /// The number of values is not the number of the statement's parameters.
    wrong_parameter_count,
    /// There is no such row or column.
    out_of_range,
    /// The value is NULL, and was asked for as something that has no NULL.
    null_value,
    /// The value cannot be had as that type without a loss.
    bad_conversion,
    /// The connection is to another database than the session asks for.
    wrong_database,
    /// The statement cannot be sent as it is: it has a NUL character.
    bad_statement,
    /// Somebody else has told the database to end the statement: `pg_cancel_backend`.
    canceled,
    /// A table has changed since the statement was prepared, or somebody has deallocated it, and a transaction is open: in a
    /// new one it is prepared anew. Try the transaction again.
    statement_outdated,
};

/// The category of `sql_errc`, named "coraii.sql".
CORAII_DECL const boost::system::error_category& sql_category() noexcept;

/// Finds `sql_errc` as an error code.
inline boost::system::error_code make_error_code(sql_errc e) noexcept {
    return {static_cast<int>(e), sql_category()};
}

/// What a database says of an error.
struct sql_diagnosis {
    std::string message;  ///< in the database's words
    /// PostgreSQL: five characters. Else empty.
    std::string sqlstate{};
    /// SQLite: the extended result code. Else 0.
    int native_code = 0;
    std::string statement{};  ///< its text, if one failed
    /// Where in the statement, in characters, from 1 on; 0: not known.
    std::size_t position = 0;
    /// Of `execute_many`: the row that failed, from 1 on; else 0.
    std::size_t row = 0;
};

/// An error of a database, or of the use of one: a `system_error` whose `code()` is an `sql_errc`, and which has the
/// database's own words, and the statement, in `what()`.
///
/// A cancel is none of these: it is `operation_aborted`, as everywhere in Asio.
/// Exception safety: copying does not throw.
class sql_error : public boost::system::system_error {
public:
    /// Of that kind, with the database's words.
    explicit CORAII_DECL sql_error(sql_errc e, sql_diagnosis diagnosis = {});

    const std::string& message() const noexcept { return diagnosis_->message; }  ///< as in `sql_diagnosis`
    const std::string& sqlstate() const noexcept { return diagnosis_->sqlstate; }  ///< as in `sql_diagnosis`
    int native_code() const noexcept { return diagnosis_->native_code; }  ///< as in `sql_diagnosis`
    const std::string& statement() const noexcept { return diagnosis_->statement; }  ///< as in `sql_diagnosis`
    std::size_t position() const noexcept { return diagnosis_->position; }  ///< as in `sql_diagnosis`
    std::size_t row() const noexcept { return diagnosis_->row; }  ///< as in `sql_diagnosis`

private:
    static CORAII_DECL std::string text_of(const sql_diagnosis& d);

    std::shared_ptr<const sql_diagnosis> diagnosis_;
};

/// True if a transaction that ended with `e` has changed nothing, and may succeed when it is run once more from its
/// beginning: the one place where `run_transaction` looks. (`commit_unknown` is not among these.)
[[nodiscard]] CORAII_DECL bool can_be_retried(const sql_error& e) noexcept;

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/session/impl/error.ipp"
#endif

#endif
