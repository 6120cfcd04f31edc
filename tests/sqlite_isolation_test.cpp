// SPDX-License-Identifier: BSL-1.0
// What a session leaves in an SQLite connection, and what SQLite does to a transaction by itself.
#include "coraii/sqlite.hpp"
#include "support/files.hpp"
#include "support/sql.hpp"

#include <functional>
#include <string>
#include <vector>

using namespace test;
using coraii::sqlite::connection;
using session = coraii::session<connection>;

namespace {

using body = std::function<awaitable<void>(session&)>;

/// Runs sessions one after another, with a pool of one connection.
coraii::pool_stats in_turn(std::string path, coraii::sqlite::options options, std::vector<body> bodies,
                           coraii::session_options as = {}) {
    asio::io_context context;
    coraii::pool<connection> pool{
        context.get_executor(), [&] { return coraii::sqlite::connect(path, options); }, {.max_size = 1}};
    coraii::pool_stats stats;
    const auto all = [&]() -> awaitable<void> {
        std::exception_ptr error;
        try {
            for (const body& b : bodies) {
                co_await coraii::with(coraii::open_session(pool, as), std::cref(b));
            }
        } catch (...) { error = std::current_exception(); }
        stats = pool.stats();
        co_await pool.close();
        if (error) {
            std::rethrow_exception(error);
        }
    };
    test::run(all(), context);
    return stats;
}

/// What there is of a session's in the connection.
awaitable<std::string> state(session& s) {
    std::string text;
    for (const std::string name : {"foreign_keys",       "query_only",         "busy_timeout",
                                   "max_page_count",     "cache_size",         "synchronous",
                                   "temp_store",         "recursive_triggers", "locking_mode",
                                   "journal_mode",       "wal_autocheckpoint", "journal_size_limit",
                                   "mmap_size",          "read_uncommitted",   "ignore_check_constraints",
                                   "secure_delete",      "trusted_schema",     "reverse_unordered_selects",
                                   "legacy_alter_table", "cell_size_check",    "writable_schema",
                                   "automatic_index",    "analysis_limit",     "threads"}) {
        const auto rows = co_await s.execute("pragma " + name);
        text += name + '=' + (rows.empty() ? "" : rows[0][0].as<std::string>()) + ' ';
    }
    const auto like = co_await s.execute("select 'a' like 'A'");
    text += "like=" + like[0][0].as<std::string>();
    for (auto row : co_await s.execute("select name from pragma_database_list where seq > 1")) {
        text += ' ' + row[0].as<std::string>();
    }
    for (auto row : co_await s.execute("select name from sqlite_temp_schema")) {
        text += ' ' + row[0].as<std::string>();
    }
    const auto last = co_await s.execute("select last_insert_rowid()");
    co_return text + " last=" + last[0][0].as<std::string>();
}

/// Statements that leave something, each in a session of its own.
const std::vector<std::string> traces{
    "pragma foreign_keys = off",
    "PRAGMA Main.Foreign_Keys(0)",
    "pragma query_only = on",
    "pragma busy_timeout = 1",
    "pragma max_page_count = 100",
    "pragma cache_size = 17; pragma synchronous = off; pragma temp_store = memory",
    "pragma recursive_triggers = on; pragma locking_mode = exclusive; select count(*) from sqlite_schema",
    "pragma wal_autocheckpoint = 3; pragma journal_size_limit = 5; pragma mmap_size = 65536",
    "pragma read_uncommitted = 1; pragma ignore_check_constraints = 1; pragma secure_delete = fast",
    "pragma trusted_schema = off; pragma reverse_unordered_selects = 1; pragma legacy_alter_table = 1",
    "pragma cell_size_check = 1; pragma writable_schema = 1; pragma automatic_index = 0; pragma analysis_limit = 9",
    "pragma case_sensitive_like = 1",
    "explain pragma query_only = on",
    "create temp table t2(i integer primary key); insert into t2 values (7)",
    "create temp table t(i); create temp view v as select * from t; create temp trigger g after insert on v begin "
    "select 1; end",
    "create temp table p(i primary key); create temp table c(i references p); insert into p values (1); "
    "insert into c values (1)",
    "create temp trigger g after insert on main.t begin select 1; end",
    "create table temp.x as select 1",
    "create virtual table temp.f using fts5(a); insert into f values ('x')",
    "attach ':memory:' as other; create table other.t(i)",
    "attach ':memory:' as \"o\"\"dd\"; pragma other.cache_size = 3",
    "insert into t values (99); delete from t where i = 99",
    "begin; create temp table t3(i)",
    "begin; pragma query_only = on; attach ':memory:' as z",
};

}  // namespace

TEST_CASE("A session leaves no temporary table, attached file or setting to the next", "[sqlite][isolation]") {
    const scratch dir;
    const bool in_memory = GENERATE(false, true);
    const std::string path = in_memory ? ":memory:" : std::string{dir / "test.db"};
    for (const std::string& trace : traces) {
        for (const bool script : {true, false}) {
            CAPTURE(path, trace, script);
            std::string before;
            std::string after;
            const auto leave = [&](session& s) -> awaitable<void> {
                if (script || trace.find(';') != trace.npos) {
                    (void)co_await error_of([&] { return s.execute_script(trace); });
                } else {
                    (void)co_await error_of([&] { return s.execute(trace); });
                }
            };
            const auto stats =
                in_turn(path, {},
                        {
                            [&](session& s) -> awaitable<void> {
                                co_await s.execute_script("create table if not exists t(i integer primary key)");
                            },
                            [&](session& s) -> awaitable<void> { before = co_await state(s); },
                            leave,
                            leave,
                            [&](session& s) -> awaitable<void> {
                                after = co_await state(s);
                                co_await s.execute("insert into t values (1) on conflict do nothing");
                            },
                            leave,
                            [&](session& s) -> awaitable<void> {
                                const int rows = co_await number(s, "select count(*) from main.t");
                                CHECK(rows == 1);
                            },
                        });
            CHECK(after == before);
            CHECK(stats.opened == 1);  // put right, all of these
        }
    }
}

TEST_CASE("A setting that cannot be taken back: the connection is replaced, but not one in memory",
          "[sqlite][isolation]") {
    const scratch dir;
    const bool in_memory = GENERATE(false, true);
    const std::string path = in_memory ? ":memory:" : std::string{dir / "test.db"};
    const auto stats =
        in_turn(path, {},
                {
                    [](session& s) -> awaitable<void> { co_await s.execute_script("create table t(i)"); },
                    [](session& s) -> awaitable<void> { co_await s.execute_script("pragma auto_vacuum = full"); },
                    [](session& s) -> awaitable<void> {
                        const int rows = co_await number(s, "select count(*) from t");
                        CHECK(rows == 0);
                    },
                });
    CHECK(stats.opened == (in_memory ? 1U : 2U));
}

TEST_CASE("What is the file's stays: user_version and its like are no settings of a session", "[sqlite][isolation]") {
    const scratch dir;
    const auto stats = in_turn(dir / "test.db", {},
                               {
                                   [](session& s) -> awaitable<void> {
                                       co_await s.execute("pragma user_version = 5");
                                       co_await s.execute_script("pragma application_id = 6; pragma optimize; vacuum");
                                       const auto columns = co_await s.execute("pragma table_info('sqlite_schema')");
                                       CHECK(columns.size() == 5);
                                       const auto names =
                                           co_await s.execute("select name from pragma_table_info('sqlite_schema')");
                                       CHECK(names.size() == 5);
                                   },
                                   [](session& s) -> awaitable<void> {
                                       const int version = co_await number(s, "pragma user_version");
                                       CHECK(version == 5);
                                       const int id = co_await number(s, "pragma application_id");
                                       CHECK(id == 6);
                                   },
                               });
    CHECK(stats.opened == 1);
}

TEST_CASE("A cached statement that writes to a temporary table of on_open's counts each time", "[sqlite][isolation]") {
    const scratch dir;
    const body write = [](session& s) -> awaitable<void> {
        co_await s.execute("insert into mine values (1)");
        const int rows = co_await number(s, "select count(*) from mine");
        CHECK(rows == 1);
    };
    const auto stats = in_turn(dir / "test.db", {.on_open = "create temp table mine(i)"}, {write, write, write});
    CHECK(stats.opened == 3);
}

TEST_CASE("on_open: what it set is what a session begins with, and what a reset returns to", "[sqlite][isolation]") {
    const scratch dir;
    const bool in_memory = GENERATE(false, true);
    const std::string path = in_memory ? ":memory:" : std::string{dir / "test.db"};
    const body check = [](session& s) -> awaitable<void> {
        const int cache = co_await number(s, "pragma cache_size");
        CHECK(cache == -77);
        const int keys = co_await number(s, "pragma foreign_keys");
        CHECK(keys == 0);
        const int wait = co_await number(s, "pragma busy_timeout");
        CHECK(wait == 1234);
        const int attached = co_await number(s, "select count(*) from pragma_database_list where name = 'extra'");
        CHECK(attached == 1);
    };
    const std::string script =
        "pragma cache_size = -77; pragma foreign_keys = off; pragma busy_timeout = 1234; attach ':memory:' as extra;";
    const auto stats = in_turn(
        path, {.on_open = script},
        {
            check,
            [](session& s) -> awaitable<void> {
                co_await s.execute_script("pragma cache_size = 5; pragma foreign_keys = on; pragma busy_timeout = 5");
                const int wait = co_await number(s, "pragma busy_timeout");
                CHECK(wait == 5);
                co_await s.execute("pragma busy_timeout = 6");
                co_await s.execute("pragma busy_timeout = 5");
                const int again = co_await number(s, "pragma busy_timeout");
                CHECK(again == 5);
            },
            check,
            [](session& s) -> awaitable<void> { co_await s.execute_script("attach ':memory:' as more"); },
            check,
        });
    CHECK(stats.opened == (in_memory ? 1U : 2U));
}

TEST_CASE("on_open that fails, or leaves a transaction open: the connection cannot be opened", "[sqlite][isolation]") {
    test::run([]() -> awaitable<void> {
        for (const char* script : {"select * from nowhere", "begin", "pragma cache_size = 1; nonsense"}) {
            CAPTURE(script);
            const coraii::sqlite::options options{.on_open = script};
            const auto code = co_await error_of([&] {
                return coraii::with(coraii::sqlite::connect(":memory:", options),
                                    [](connection&) -> awaitable<void> { co_return; });
            });
            CHECK(code == sql_errc::connection_failed);
        }
    }());
}

TEST_CASE("An exclusive lock that a session has set is given up", "[sqlite][isolation]") {
    const scratch dir;
    const std::string path = dir / "test.db";
    in_turn(
        path, {},
        {[](session& s) -> awaitable<void> {
             co_await s.execute_script("create table t(i); pragma locking_mode = exclusive; insert into t values (1)");
         },
         [path](session&) -> awaitable<void> {
             const auto other = co_await error_of([&] {
                 return coraii::with(coraii::sqlite::connect(path, {.busy_timeout = 20ms}),
                                     [](connection& c) { return c.execute_script("insert into t values (2)"); });
             });
             CHECK(!other);
         }});
}

TEST_CASE("A pool whose connections cannot be opened says so at once", "[sqlite]") {
    const scratch dir;
    const std::string path = dir / "nowhere.db";
    asio::io_context context;
    coraii::pool pool{context, [&] { return coraii::sqlite::connect(path, {.must_exist = true}); }};
    const auto all = [&]() -> awaitable<void> {
        const auto code = co_await error_of(
            [&] { return coraii::with(coraii::open_session(pool), [](session&) -> awaitable<void> { co_return; }); });
        CHECK(code == sql_errc::connection_failed);
        CHECK(pool.stats().open_failures == 1);
        co_await pool.close();
    };
    test::run(all(), context);
}
