// SPDX-License-Identifier: BSL-1.0
// What users of other SQLite drivers and pools have reported, tried here.
#include "coraii/session.hpp"
#include "coraii/sqlite.hpp"
#include "support/files.hpp"
#include "support/sql.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

using namespace test;
using coraii::sqlite::connection;
using session = coraii::session<connection>;
using transaction = coraii::transaction<connection>;

namespace {

constexpr const char* endless_insert =
    "insert into t with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";

/// Runs `work(pool)`, then closes the pool.
template <class Work>
void with_pool(std::string path, coraii::pool_options options, Work work) {
    asio::io_context context;
    coraii::pool pool{context, [&] { return coraii::sqlite::connect(path, {.busy_timeout = 50ms}); }, options};
    const auto all = [&]() -> awaitable<void> {
        std::exception_ptr error;
        try {
            co_await work(pool);
        } catch (...) { error = std::current_exception(); }
        co_await pool.close();
        if (error) {
            std::rethrow_exception(error);
        }
    };
    test::run(all(), context);
}

}  // namespace

// mattn/go-sqlite3 601 and 1036, transact-rs/sqlx 1647, yesodweb/persistent 492
TEST_CASE("Reports: a database in memory outlives cancels, timeouts, failures and idle times", "[sqlite][reports]") {
    const std::string path = GENERATE(":memory:", "file:reports?mode=memory&cache=shared");
    const coraii::pool_options kept{.min_size = 1, .max_size = 1, .idle_timeout = 0s, .max_lifetime = 0s};
    with_pool(path, kept, [](coraii::pool<connection>& pool) -> awaitable<void> {
        co_await pool.warm_up();
        co_await pool.execute("create table t(i integer)");
        co_await pool.execute("insert into t values (7)");
        for (int i = 0; i < 3; ++i) {
            // A cancel in the middle of a transaction that writes.
            std::exception_ptr error;
            bool ended = false;
            asio::cancellation_signal cancel;
            const auto writing = [&pool]() -> awaitable<void> {
                co_await coraii::with(coraii::open_session(pool), [](session& s) -> awaitable<void> {
                    co_await coraii::with(coraii::begin_transaction(s), [](transaction& tx) -> awaitable<void> {
                        co_await tx.execute(endless_insert);
                    });
                });
            };
            const asio::any_io_executor executor = co_await asio::this_coro::executor;
            asio::co_spawn(executor, writing(), asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e) {
                               error = std::move(e);
                               ended = true;
                           }));
            co_await pause(20ms);
            cancel.emit(asio::cancellation_type::terminal);
            while (!ended) {
                co_await turn();
            }
            CHECK(code(error) == asio::error::operation_aborted);
            const auto late = co_await error_of([&] {
                return coraii::with(coraii::open_session(pool, {.statement_timeout = 20ms}),
                                    [](session& s) -> awaitable<void> { co_await s.execute(endless_insert); });
            });
            CHECK(late == sql_errc::timeout);
            // A session that is dropped without a word, with a transaction and a setting left open.
            {
                auto dropped = co_await coraii::open_session(pool);
                co_await dropped->execute_script("begin; insert into t values (8); pragma query_only = on");
            }
        }
        const auto rows = co_await pool.execute("select i from t");
        CHECK(rows.as<int>() == std::vector<int>(1, 7));
        CHECK(pool.stats().opened == 1);
    });
}

// mattn/go-sqlite3 1447, rusqlite/rusqlite 1371, oven-sh/bun 921, transact-rs/sqlx 2517
TEST_CASE("Reports: a cached statement has the columns that the table has now, whoever changed it",
          "[sqlite][reports]") {
    const scratch dir;
    with_pool(dir / "test.db", {.max_size = 2}, [](coraii::pool<connection>& pool) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool), [&](session& s) -> awaitable<void> {
            const auto columns = [&]() -> awaitable<std::string> {
                const auto rows = co_await s.execute("select * from t");
                std::string text;
                for (const std::string& name : rows.columns()) {
                    text += name + ' ';
                }
                std::size_t width = 0;
                co_await s.stream("select * from t", [&](coraii::sql_row row) { width = row.size(); });
                CHECK(width == rows.columns().size());
                co_return text;
            };
            co_await s.execute_script("create table t(a); insert into t values (1)");
            std::string names = co_await columns();
            CHECK(names == "a ");
            co_await s.execute("alter table t add column b");
            names = co_await columns();
            CHECK(names == "a b ");
            co_await coraii::with(coraii::open_session(pool), [](session& other) {
                return other.execute_script("alter table t rename column b to c; alter table t add column d");
            });
            names = co_await columns();
            CHECK(names == "a c d ");
            co_await s.execute("create temp table t as select 1 as hidden");
            names = co_await columns();
            CHECK(names == "hidden ");
        });
    });
}

// tursodatabase/libsql-client-ts 352, crystal-lang/crystal-sqlite3 115, canonical/dqlite 94, Grinnz/Mojo-SQLite 1
TEST_CASE("Reports: a statement that failed or was left half-read is over: COMMIT works, and reads are of today",
          "[sqlite][reports]") {
    const scratch dir;
    with_pool(dir / "test.db", {.max_size = 2}, [](coraii::pool<connection>& pool) -> awaitable<void> {
        auto one = co_await coraii::open_session(pool);
        auto other = co_await coraii::open_session(pool);
        co_await one->execute_script("create table t(i integer); insert into t values (1), (2), (3)");
        {
            auto lock = co_await coraii::begin_transaction(*other);
            co_await lock->execute("insert into t values (4)");
            const auto busy = co_await error_of([&] { return one->execute("insert into t values (0)"); });
            CHECK(busy == sql_errc::busy);
            const auto begin = co_await error_of([&] {
                return coraii::with(coraii::begin_transaction(*one),
                                    [](transaction&) -> awaitable<void> { co_return; });
            });
            CHECK(begin == sql_errc::busy);
            co_await lock.close();
        }
        const auto left = co_await error_of([&] {
            return one->stream("select i from t",
                               [](coraii::sql_row) { throw boost::system::system_error(asio::error::eof); });
        });
        CHECK(left == asio::error::eof);
        const int now = co_await number(*one, "select count(*) from t");
        CHECK(now == 4);
        co_await coraii::with(coraii::begin_transaction(*one), [](transaction& tx) -> awaitable<void> {
            const auto half = co_await error_of([&] {
                return tx.stream("select i from t",
                                 [](coraii::sql_row) { throw boost::system::system_error(asio::error::eof); });
            });
            CHECK(half == asio::error::eof);
            co_await tx.execute("insert into t values (5)");
        });
        const int seen = co_await number(*other, "select count(*) from t");
        CHECK(seen == 5);
        co_await other.close();
        co_await one.close();
    });
}

// dotnet/efcore 36561, praeclarum/sqlite-net 782, superfly/corrosion 307
TEST_CASE("Reports: a full disk in a transaction is the error that is thrown, not the ROLLBACK after it",
          "[sqlite][reports]") {
    const scratch dir;
    with_pool(dir / "test.db", {.max_size = 1}, [](coraii::pool<connection>& pool) -> awaitable<void> {
        co_await pool.execute("create table t(b)");
        co_await coraii::with(coraii::open_session(pool), [](session& s) -> awaitable<void> {
            co_await s.execute("pragma max_page_count = 20");
            int native = 0;
            try {
                co_await coraii::with(coraii::begin_transaction(s), [](transaction& tx) -> awaitable<void> {
                    for (;;) {
                        co_await tx.execute("insert into t values (zeroblob(4000))");
                    }
                });
            } catch (const sql_error& e) { native = e.native_code(); }
            CHECK(native == 13);  // SQLITE_FULL
            CHECK(s.connection().status() == transaction_status::idle);
            const int rows = co_await number(s, "select count(*) from t");
            CHECK(rows == 0);
            co_await coraii::with(coraii::begin_transaction(s), [](transaction& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
            });
        });
        // The limit was the session's.
        co_await pool.execute("insert into t values (zeroblob(400000))");
        const auto rows = co_await pool.execute("select count(*) from t");
        CHECK(rows.one<int>() == 2);
    });
}

// Rapptz/asqlite 16
TEST_CASE("Reports: when the pool is closed, nothing of the write-ahead log is left beside the file",
          "[sqlite][reports]") {
    const scratch dir;
    with_pool(dir / "test.db", {.max_size = 3}, [](coraii::pool<connection>& pool) -> awaitable<void> {
        co_await pool.execute("create table t(i integer)");
        co_await coraii::with(coraii::open_session(pool), [&](session& a) -> awaitable<void> {
            co_await coraii::with(coraii::open_session(pool), [&](session& b) -> awaitable<void> {
                co_await a.execute("insert into t values (1)");
                (void)co_await error_of([&] {
                    return b.stream("select i from t",
                                    [](coraii::sql_row) { throw boost::system::system_error(asio::error::eof); });
                });
            });
        });
    });
    std::vector<std::string> left;
    for (const auto& file : std::filesystem::directory_iterator{std::string{dir.path()}}) {
        left.push_back(file.path().filename().string());
    }
    CHECK(left == std::vector<std::string>{"test.db"});
}

// dotnet/efcore 13837, crawshaw/sqlite 101, matrix-org/seshat 186
TEST_CASE("Reports: every connection of a pool has the settings of on_open", "[sqlite][reports]") {
    const scratch dir;
    asio::io_context context;
    const std::string path = dir / "test.db";
    const coraii::sqlite::options options{.on_open = "pragma synchronous = normal; pragma recursive_triggers = on"};
    coraii::pool pool{context, [&] { return coraii::sqlite::connect(path, options); }, {.max_size = 3}};
    const auto all = [&]() -> awaitable<void> {
        std::vector<coraii::guard<session>> sessions;
        for (int round = 0; round < 2; ++round) {
            for (int i = 0; i < 3; ++i) {
                sessions.push_back(co_await coraii::open_session(pool));
                const int safe = co_await number(*sessions.back(), "pragma synchronous");
                CHECK(safe == 1);
                const int triggers = co_await number(*sessions.back(), "pragma recursive_triggers");
                CHECK(triggers == 1);
                co_await sessions.back()->execute_script("pragma synchronous = off; pragma recursive_triggers = off");
            }
            sessions.clear();
        }
        co_await pool.close();
    };
    test::run(all(), context);
    CHECK(pool.stats().opened == 3);
}

TEST_CASE("Reports: an insert of nothing is no last insert of another session's", "[sqlite][reports]") {
    with_pool(":memory:", {.max_size = 1}, [](coraii::pool<connection>& pool) -> awaitable<void> {
        co_await pool.execute("create table t(i integer primary key)");
        co_await pool.execute("insert into t values (41)");
        const auto last = co_await pool.execute("select last_insert_rowid()");
        CHECK(last.one<int>() == 0);
    });
}
