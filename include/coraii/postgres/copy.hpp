// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_COPY_HPP
#define CORAII_POSTGRES_COPY_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// COPY into a table and out of one, as scopes.
///
///     co_await coraii::with(coraii::postgres::copy_in(session, "copy orders from stdin"),
///                           [](coraii::postgres::copy_writer& out) -> asio::awaitable<void> {
///         co_await out.row(7, "Ada", 12.5, nullptr);
///     });
///
/// The use of a session, a connection or a transaction for it begins with the scope, and ends with it.

#include "coraii/async_scope.hpp"
#include "coraii/postgres.hpp"
#include "coraii/session/transaction.hpp"
#include "coraii/session/value.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace coraii::detail {

class pg_copy;
struct pg_copies;

/// Adds a value to a line of COPY's text format.
CORAII_DECL void add_copy_value(std::string& line, const sql_value& value);

}  // namespace coraii::detail

namespace coraii::postgres {

/// Where rows are written. Lifetime: ends with its scope.
class copy_writer {
public:
    copy_writer(const copy_writer&) = delete;
    copy_writer& operator=(const copy_writer&) = delete;

    /// A piece of the input, in the format that the statement asks for. Its ends need not be those of rows.
    ///
    /// Completes when at most some 64 KiB are left to be sent, so that the server's speed is the writer's.
    /// Cancellation: of the sending. The piece is then not whole; the scope should end otherwise than completed.
    /// Errors: `sql_errc::connection_lost`. What the server does not like it says at the end.
    [[nodiscard]] CORAII_DECL asio::awaitable<void> write(std::string data);

    /// A row, in the text format, which is the default. The values are those that may be parameters.
    template <class... Values>
    [[nodiscard]] asio::awaitable<void> row(const Values&... values) {
        std::string line;
        ((detail::add_copy_value(line, detail::to_sql_value(values)), line += '\t'), ...);
        line.back() = '\n';
        return write(std::move(line));
    }

    /// Ends the input before the scope does. How many rows were stored.
    ///
    /// Errors: those of the scope's cleanup.
    [[nodiscard]] CORAII_DECL asio::awaitable<std::uint64_t> finish();

private:
    friend struct coraii::detail::pg_copies;
    explicit copy_writer(detail::pg_copy& copy) noexcept : copy_{&copy} {}

    detail::pg_copy* copy_;
};

/// What rows are read from. Lifetime: ends with its scope.
class copy_reader {
public:
    copy_reader(const copy_reader&) = delete;
    copy_reader& operator=(const copy_reader&) = delete;

    /// The next row, in the format that the statement asks for, with its line end; nothing at the end. (Of the binary
    /// format, a piece.)
    ///
    /// Errors: the server's; `sql_errc::connection_lost`.
    [[nodiscard]] CORAII_DECL asio::awaitable<std::optional<std::string>> read();

private:
    friend struct coraii::detail::pg_copies;
    explicit copy_reader(detail::pg_copy& copy) noexcept : copy_{&copy} {}

    detail::pg_copy* copy_;
};

/// Begins a `COPY ... FROM STDIN`.
///
/// Effects of the cleanup: for `exit_reason::completed` it ends the input, and waits until all is stored. Otherwise it
///   fails it: nothing is stored, and a transaction around it has failed.
/// Cancellation: of setup.
/// Errors: of setup: the server's, `sql_errc::bad_statement` for a NUL, `sql_errc::statement_failed` for another kind of
///   statement, which was then executed. Of the cleanup: the server's, for the first row that it does not like.
/// Executor: to be used on the connection's executor.
/// Lifetime: holds the connection, session or transaction, which is not cleaned before. Until the scope ends, whatever
///   else is tried there fails with `sql_errc::connection_in_use`.
[[nodiscard]] CORAII_DECL async_scope<copy_writer> copy_in(
    sql_client<connection>& parent, std::string statement,
    std::source_location where = std::source_location::current());
[[nodiscard]] CORAII_DECL async_scope<copy_writer> copy_in(
    connection& parent, std::string statement, std::source_location where = std::source_location::current());

/// Begins a `COPY ... TO STDOUT`.
///
/// Effects of the cleanup: if not all was read, the server is told to stop, and the rest is thrown away.
/// Cancellation, Errors of setup, Executor, Lifetime: as `copy_in`.
[[nodiscard]] CORAII_DECL async_scope<copy_reader> copy_out(
    sql_client<connection>& parent, std::string statement,
    std::source_location where = std::source_location::current());
[[nodiscard]] CORAII_DECL async_scope<copy_reader> copy_out(
    connection& parent, std::string statement, std::source_location where = std::source_location::current());

}  // namespace coraii::postgres

#if defined(CORAII_HEADER_ONLY)
#include "coraii/postgres/impl/copy.ipp"
#endif

#endif
