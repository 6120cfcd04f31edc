// SPDX-License-Identifier: BSL-1.0
// Statements and transactions that only SQLite treats so.
#include "coraii/sqlite.hpp"
#include "support/files.hpp"
#include "support/sql.hpp"

#include <functional>
#include <string>

using namespace test;
using coraii::access_mode;
using coraii::sqlite::connection;
using transaction = coraii::transaction<connection>;

namespace {

constexpr const char* endless_insert =
    "insert into t with recursive n(i) as (select 1 union all select i + 1 from n) select i + 1 from n";

/// With a connection to a new database in memory.
template <class Work>
void with_memory(Work work) {
    test::run(coraii::with(coraii::sqlite::connect(":memory:"), std::move(work)));
}

/// Makes SQLite roll a transaction back by itself.
struct fault {
    const char* name;
    std::function<awaitable<void>(connection&, transaction&)> happen;
};

const fault faults[] = {
    {"INSERT OR ROLLBACK",
     [](connection&, transaction& tx) -> awaitable<void> {
         (void)co_await error_of([&] { return tx.execute("insert or rollback into t values (1)"); });
     }},
    {"RAISE(ROLLBACK)",
     [](connection&, transaction& tx) -> awaitable<void> {
         co_await tx.execute(
             "create trigger no before insert on t when new.i < 0 begin select raise(rollback, 'x'); end");
         (void)co_await error_of(
             [&] { return tx.execute_script("insert into t values (2); insert into t values (-1)"); });
     }},
    {"SQLITE_FULL",
     [](connection&, transaction& tx) -> awaitable<void> {
         co_await tx.execute("create table big(b)");
         co_await tx.execute("pragma max_page_count = 50");
         (void)co_await error_of([&] { return tx.execute("insert into big values (zeroblob(10000000))"); });
     }},
    {"SQLITE_INTERRUPT",
     [](connection& c, transaction& tx) -> awaitable<void> {
         asio::steady_timer soon{co_await asio::this_coro::executor, 20ms};
         soon.async_wait([&c](boost::system::error_code e) { e ? void() : c.cancel(); });
         (void)co_await error_of([&] { return tx.execute(endless_insert); });
     }},
};

}  // namespace

TEST_CASE("What SQLite rolled back by itself: no statement after it is committed by itself", "[sqlite][transaction]") {
    for (const fault& f : faults) {
        CAPTURE(f.name);
        with_memory([&](connection& c) -> awaitable<void> {
            co_await c.execute_script("create table t(i integer primary key)");
            const auto code = co_await error_of([&] {
                return coraii::with(coraii::begin_transaction(c), [&](transaction& tx) -> awaitable<void> {
                    co_await tx.execute("insert into t values (1)");
                    co_await f.happen(c, tx);
                    if (c.status() == transaction_status::in_transaction) {
                        // Of what ended the statement alone, SQLite keeps the transaction.
                        co_await tx.execute("insert or rollback into t values (1)");
                    }
                    const auto one = co_await error_of([&] { return tx.execute("insert into t values (3)"); });
                    CHECK(one == sql_errc::rolled_back);
                    const auto script =
                        co_await error_of([&] { return tx.execute_script("insert into t values (4)"); });
                    CHECK(script == sql_errc::rolled_back);
                    const auto read = co_await error_of([&] {
                        return tx.stream("select i from t", [](coraii::sql_row) -> awaitable<void> { co_return; });
                    });
                    CHECK(read == sql_errc::rolled_back);
                    const auto inner = co_await error_of([&] {
                        return coraii::with(coraii::begin_transaction(tx), [](transaction& in) -> awaitable<void> {
                            co_await in.execute("insert into t values (5)");
                        });
                    });
                    CHECK(inner == sql_errc::rolled_back);
                });
            });
            CHECK((code == sql_errc::rolled_back || code == sql_errc::constraint_violated));
            CHECK(c.usable());
            CHECK(c.status() == transaction_status::idle);
            const int rows = co_await number(c, "select count(*) from t");
            CHECK(rows == 0);
            co_await c.execute("insert into t values (6)");
        });
    }
}

TEST_CASE("What SQLite rolled back by itself in a savepoint ends the transactions around it", "[sqlite][transaction]") {
    with_memory([](connection& c) -> awaitable<void> {
        co_await c.execute_script("create table t(i integer primary key)");
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::begin_transaction(c), [&](transaction& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
                const auto inner = co_await error_of([&] {
                    return coraii::with(coraii::begin_transaction(tx), [](transaction& in) -> awaitable<void> {
                        co_await in.execute("insert or rollback into t values (1)");
                    });
                });
                CHECK(inner == sql_errc::constraint_violated);
                const auto after = co_await error_of([&] { return tx.execute("insert into t values (2)"); });
                CHECK(after == sql_errc::rolled_back);
            });
        });
        CHECK(code == sql_errc::rolled_back);
        CHECK(c.status() == transaction_status::idle);
        const int rows = co_await number(c, "select count(*) from t");
        CHECK(rows == 0);
    });
}

TEST_CASE("A transaction that the user typed, and SQLite rolled back: over when ROLLBACK or COMMIT is typed",
          "[sqlite][transaction]") {
    with_memory([](connection& c) -> awaitable<void> {
        co_await c.execute_script("create table t(i integer primary key)");
        for (const char* end : {"rollback", "commit", "end"}) {
            CAPTURE(end);
            co_await c.execute("begin");
            co_await c.execute("insert into t values (1)");
            const auto fails = co_await error_of([&] { return c.execute("insert or rollback into t values (1)"); });
            CHECK(fails == sql_errc::constraint_violated);
            const auto after = co_await error_of([&] { return c.execute("insert into t values (2)"); });
            CHECK(after == sql_errc::rolled_back);
            const auto ended = co_await error_of([&] { return c.execute_script(end); });
            CHECK(ended == (std::string{end} == "rollback" ? boost::system::error_code{} : sql_errc::rolled_back));
            const int rows = co_await number(c, "select count(*) from t");
            CHECK(rows == 0);
        }
    });
}

TEST_CASE("A typed COMMIT or ROLLBACK is not taken for SQLite's own", "[sqlite][transaction]") {
    with_memory([](connection& c) -> awaitable<void> {
        co_await c.execute_script("create table t(i integer primary key)");
        co_await c.execute_script("begin; insert into t values (1); commit; insert into t values (2)");
        co_await c.execute_script("begin; insert into t values (3); rollback; insert into t values (4)");
        const auto failed =
            co_await error_of([&] { return c.execute_script("begin; commit; insert into t values (4)"); });
        CHECK(failed == sql_errc::constraint_violated);
        co_await c.execute("insert into t values (5)");
        co_await c.execute_script("savepoint a; insert into t values (6); release a");
        const int rows = co_await number(c, "select count(*) from t");
        CHECK(rows == 5);
    });
}

TEST_CASE("affected() counts the statement's own rows", "[sqlite]") {
    with_memory([](connection& c) -> awaitable<void> {
        const auto affected = [&](const char* sql) -> awaitable<std::uint64_t> {
            const auto rows = co_await c.execute(sql);
            co_return rows.affected();
        };
        std::vector<std::pair<const char*, std::uint64_t>> cases{
            {"create table t(i integer primary key, u unique)", 0},
            {"create table log(i)", 0},
            {"create table child(t references t(i) on delete cascade)", 0},
            {"insert into t values (1, 1), (2, 2), (3, 3)", 3},
            {"create table copy as select * from t", 0},
            {"create trigger g after update on t begin insert into log values (1); insert into log values (2); end", 0},
            {"update t set u = u + 10 where i < 3", 2},
            {"update t set u = 1 where i = 77", 0},
            {"select * from t", 0},
            {"insert into child values (1), (1), (2)", 3},
            {"delete from t where i = 1", 1},
            {"insert or replace into t values (4, 12)", 1},
            {"insert or ignore into t values (4, 4)", 0},
            {"insert into t values (5, 5) on conflict do nothing returning i", 1},
            {"create view v as select i from t", 0},
            {"create trigger instead_of instead of delete on v begin delete from log; end", 0},
            {"delete from v", 0},
            {"create index x on log(i)", 0},
            {"create virtual table f using fts5(a)", 0},
            {"insert into f values ('x')", 1},
            {"drop table f", 0},
            {"delete from t", 3},
            {"delete from t", 0},
            {"alter table t add column a", 0},
            {"pragma user_version = 3", 0},
            {"drop table copy", 0},
            {"begin", 0},
            {"commit", 0},
        };
        for (const auto& [sql, rows] : cases) {
            CAPTURE(sql);
            const std::uint64_t count = co_await affected(sql);
            CHECK(count == rows);
        }
    });
}

TEST_CASE("A NUL in a statement, a script or a path is refused before anything is done", "[sqlite]") {
    using namespace std::string_literals;
    with_memory([](connection& c) -> awaitable<void> {
        co_await c.execute_script("create table t(i); insert into t values (1)");
        for (const std::string& text : {"delete from t \0 where i = 2"s, "delete from t\0"s, "\0"s,
                                        "delete from t;\0select 1"s, "delete from t where 'a\0b' <> ''"s}) {
            const auto one = co_await error_of([&] { return c.execute(text); });
            CHECK(one == sql_errc::bad_statement);
            const auto script = co_await error_of([&] { return c.execute_script(text); });
            CHECK(script == sql_errc::bad_statement);
            const auto stream = co_await error_of(
                [&] { return c.stream(text, [](coraii::sql_row) -> awaitable<void> { co_return; }); });
            CHECK(stream == sql_errc::bad_statement);
        }
        const int rows = co_await number(c, "select count(*) from t");
        CHECK(rows == 1);
        const auto value = co_await c.execute("select $1", "a\0b"s);
        CHECK(value[0][0].as<std::string>() == "a\0b"s);
    });
    const scratch dir;
    const std::string nul = std::string{dir / "x"} + "\0.db"s;
    test::run([](std::string path) -> awaitable<void> {
        const auto connecting = [](std::string p, coraii::sqlite::options o) {
            return error_of([p, o] {
                return coraii::with(coraii::sqlite::connect(p, o), [](connection&) -> awaitable<void> { co_return; });
            });
        };
        const auto bad = co_await connecting(path, {});
        CHECK(bad == sql_errc::connection_failed);
        const auto none = co_await connecting("", {.must_exist = true});
        CHECK(none == sql_errc::connection_failed);
        const auto temporary = co_await connecting("", {});
        CHECK(!temporary);
    }(nul));
}

TEST_CASE("access = read_only ends with its transaction, and a read-only session may begin one",
          "[sqlite][transaction]") {
    const scratch dir;
    asio::io_context context;
    coraii::pool<connection> pool{
        context.get_executor(), [&] { return coraii::sqlite::connect(dir / "test.db"); }, {.max_size = 1}};
    const auto all = [&]() -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool), [](auto& s) -> awaitable<void> {
            co_await s.execute_script("create table t(i integer)");
            const coraii::transaction_options reads{.access = access_mode::read_only};
            co_await coraii::with(coraii::begin_transaction(s, reads), [](transaction& tx) -> awaitable<void> {
                co_await tx.execute("select * from t");
                const auto write = co_await error_of([&] { return tx.execute("insert into t values (1)"); });
                CHECK(write == sql_errc::statement_failed);
            });
            co_await s.execute_script("begin; insert into t values (2); commit");
        });
        const coraii::session_options reads{.access = access_mode::read_only};
        co_await coraii::with(coraii::open_session(pool, reads), [](auto& s) -> awaitable<void> {
            const auto code = co_await error_of([&] {
                return coraii::with(coraii::begin_transaction(s), [](transaction& tx) -> awaitable<void> {
                    const int rows = co_await number(tx, "select count(*) from t");
                    CHECK(rows == 1);
                    const auto write = co_await error_of([&] { return tx.execute("insert into t values (1)"); });
                    CHECK(write == sql_errc::statement_failed);
                });
            });
            CHECK(!code);
            co_await s.execute_script("begin immediate; select * from t; commit");
        });
        co_await coraii::with(coraii::open_session(pool),
                              [](auto& s) { return s.execute_script("insert into t values (3)"); });
        co_await pool.close();
    };
    test::run(all(), context);
    test::run(coraii::with(coraii::sqlite::connect(dir / "test.db", {.read_only = true}), [](connection& c) {
        return coraii::with(coraii::begin_transaction(c), [](transaction& tx) -> awaitable<void> {
            const int rows = co_await number(tx, "select count(*) from t");
            CHECK(rows == 2);
        });
    }));
}
