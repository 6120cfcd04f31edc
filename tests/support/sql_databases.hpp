// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_SQL_DATABASES_HPP
#define CORAII_TESTS_SUPPORT_SQL_DATABASES_HPP

// The databases for tests that apply to both: SQLite in a temporary directory, and PostgreSQL where its library is.

#include "coraii/sqlite.hpp"
#include "support/files.hpp"
#include "support/sql.hpp"

#if __has_include(<libpq-fe.h>)
#include "coraii/postgres.hpp"
#include "support/postgres.hpp"
#define CORAII_TEST_DATABASES test::sqlite_database, test::postgres_database
#else
#define CORAII_TEST_DATABASES test::sqlite_database
#endif

namespace test {

class sqlite_database {
public:
    using connection = coraii::sqlite::connection;

    coraii::async_scope<connection> connect() const { return coraii::sqlite::connect(path()); }
    std::string path() const { return directory_ / "test.db"; }

    /// A statement that takes for ever.
    static constexpr const char* endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    static void check_nothing_open() {}

private:
    scratch directory_;
};

#if __has_include(<libpq-fe.h>)
class postgres_database {
public:
    using connection = coraii::postgres::connection;

    postgres_database() { server().start_over(); }
    static postgres_server& server() { return postgres(); }
    coraii::async_scope<connection> connect() const { return coraii::postgres::connect(server().conninfo()); }

    static constexpr const char* endless = "select pg_sleep(1000)";
    /// Promise 1: no transaction is left open, whatever happened.
    static void check_nothing_open() { CHECK(server().backends("state like 'idle in transaction%'") == 0); }
};
#endif

/// A context, a database and a pool of its connections.
template <class Database>
struct sql_setting {
    asio::io_context context;
    Database database;
    coraii::pool<typename Database::connection> pool;

    explicit sql_setting(coraii::pool_options options = {})
        : pool{context.get_executor(), [this] { return database.connect(); }, options} {}

    /// Runs `work`, then closes the pool.
    void run(awaitable<void> work) {
        test::run(closed_after(std::move(work)), context);
        Database::check_nothing_open();
    }
    /// Runs `work(session)`.
    template <class Work>
    void with_session(Work work) {
        run(coraii::with(coraii::open_session(pool), std::move(work)));
    }

private:
    awaitable<void> closed_after(awaitable<void> work) {
        std::exception_ptr error;
        try {
            co_await std::move(work);
        } catch (...) { error = std::current_exception(); }
        Database::check_nothing_open();
        co_await pool.close();
        if (error) {
            std::rethrow_exception(error);
        }
    }
};

}  // namespace test

#endif
