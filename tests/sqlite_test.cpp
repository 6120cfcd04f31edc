// SPDX-License-Identifier: BSL-1.0
// What is SQLite's alone.
#include "coraii/sqlite.hpp"

#include "support/files.hpp"
#include "support/sql.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

using namespace test;
using coraii::sqlite::connection;

namespace {

constexpr const char* endless =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

awaitable<boost::system::error_code> connecting(std::string path, coraii::sqlite::options options = {}) {
    co_return co_await error_of([&] {
        return coraii::with(coraii::sqlite::connect(path, options), [](connection&) -> awaitable<void> { co_return; });
    });
}

}  // namespace

TEST_CASE("Promise 8: a database that cannot be opened, or is none", "[sqlite]") {
    const scratch dir;
    spit(dir / "text.db", std::string(5000, 'x'));
    const std::string path = dir.path();
    test::run([](std::string in) -> awaitable<void> {
        const auto nowhere = co_await connecting(in + "/nowhere/x.db");
        CHECK(nowhere == sql_errc::connection_failed);
        const auto directory = co_await connecting(in);
        CHECK(directory == sql_errc::connection_failed);
        const auto missing = co_await connecting(in + "/new.db", {.must_exist = true});
        CHECK(missing == sql_errc::connection_failed);
        const auto text = co_await connecting(in + "/text.db");
        CHECK(text == sql_errc::connection_failed);
        const auto made = co_await connecting(in + "/new.db");
        CHECK(!made);
        const auto read_only = co_await connecting(in + "/new.db", {.read_only = true});
        CHECK(!read_only);
    }(path));
}

TEST_CASE("$2 is the second value, wherever it stands", "[sqlite]") {
    test::run(coraii::with(coraii::sqlite::connect(":memory:"), [](connection& c) -> awaitable<void> {
        const auto rows = co_await c.execute("select $2, $1, $2", "one", "two");
        CHECK(rows[0][0].as<std::string>() == "two");
        CHECK(rows[0][1].as<std::string>() == "one");
        CHECK(rows[0][2].as<std::string>() == "two");
        const auto marks = co_await c.execute("select ?, ?", 1, 2);
        CHECK(marks[0][1].as<int>() == 2);
        const auto named = co_await error_of([&] { return c.execute("select :name", 1); });
        CHECK(named == sql_errc::wrong_parameter_count);
    }));
}

TEST_CASE("A lock that somebody else has: waited for, until busy_timeout or a cancel", "[sqlite][cancel]") {
    const scratch dir;
    const std::string path = dir / "test.db";
    asio::io_context context;
    test::run(
        [](asio::io_context& io, std::string file) -> awaitable<void> {
            const coraii::sqlite::options patient{.busy_timeout = 60s};
            const coraii::sqlite::options hasty{.busy_timeout = 20ms};
            auto holder = co_await coraii::sqlite::connect(file);
            co_await holder->execute_script("create table t(i integer); begin immediate");

            const auto busy = co_await error_of([&] {
                return coraii::with(coraii::sqlite::connect(file, hasty),
                                    [](connection& c) { return c.execute_script("insert into t values (1)"); });
            });
            CHECK(busy == sql_errc::busy);

        // More of them than a context has workers: none holds up the one who has the lock.
            const auto write = [&](int i) {
                return coraii::with(coraii::sqlite::connect(file, patient), [i](connection& c) -> awaitable<void> {
                    co_await c.execute("insert into t values ($1)", i);
                });
            };
            std::vector<std::unique_ptr<task>> writers;
            for (int i = 0; i < 8; ++i) {
                writers.push_back(std::make_unique<task>(io, write(i), slot::connected));
            }
            co_await pause(30ms);
            writers[0]->cancel();
            while (!writers[0]->finished()) {
                co_await turn();
            }
            CHECK(code(writers[0]->error()) == asio::error::operation_aborted);
            co_await holder->execute_script("commit");
            for (const auto& w : writers) {
                while (!w->finished()) {
                    co_await turn();
                }
            }
            const int rows = co_await number(*holder, "select count(*) from t");
            CHECK(rows == 7);
            co_await holder.close();
        }(context, path),
        context);
}

TEST_CASE("A statement that is interrupted in a transaction: nothing of that is committed", "[sqlite][transaction]") {
    test::run(coraii::with(coraii::sqlite::connect(":memory:"), [](connection& c) -> awaitable<void> {
        co_await c.execute_script("create table t(i integer)");
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::begin_transaction(c), [&](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
                asio::steady_timer soon{co_await asio::this_coro::executor, 20ms};
                soon.async_wait([&c](boost::system::error_code) { c.cancel(); });
                (void)co_await error_of([&] {
                    return tx.execute(
                        "insert into t with recursive n(i) as (select 1 union all select i + 1 from n) "
                        "select i from n");
                });
            });
        });
        CHECK(code == sql_errc::rolled_back);
        const int rows = co_await number(c, "select count(*) from t");
        CHECK(rows == 0);
    }));
}

TEST_CASE("The connection's guard is dropped while a statement is under way", "[sqlite]") {
    asio::io_context context;
    test::run(
        [](asio::io_context& io) -> awaitable<void> {
            auto c = co_await coraii::sqlite::connect(":memory:");
            std::exception_ptr error;
            bool done = false;
            asio::co_spawn(io, c->execute(endless), [&](std::exception_ptr e, coraii::sql_rows) {
                error = std::move(e);
                done = true;
            });
            co_await pause(20ms);
            c->kill();
            c.reset();
            while (!done) {
                co_await turn();
            }
            CHECK(code(error) == sql_errc::connection_lost);
        }(context),
        context);
}

TEST_CASE("The context dies while statements are under way: they are interrupted, and not waited for", "[sqlite]") {
    asio::io_context context;
    for (int i = 0; i < 3; ++i) {
        asio::co_spawn(context,
                       coraii::with(coraii::sqlite::connect(":memory:"),
                                    [](connection& c) -> awaitable<void> { co_await c.execute(endless); }),
                       [](std::exception_ptr) {});
    }
    context.run_for(50ms);
    CHECK_FALSE(context.stopped());
}

TEST_CASE("Foreign keys are enforced, and the file has a write-ahead log", "[sqlite]") {
    const scratch dir;
    test::run(coraii::with(coraii::sqlite::connect(dir / "test.db"), [](connection& c) -> awaitable<void> {
        const auto mode = co_await c.execute("pragma journal_mode");
        CHECK(mode[0][0].as<std::string>() == "wal");
        co_await c.execute_script("create table a(i integer primary key); create table b(i integer references a(i))");
        const auto orphan = co_await error_of([&] { return c.execute("insert into b values (1)"); });
        CHECK(orphan == sql_errc::constraint_violated);
    }));
}
