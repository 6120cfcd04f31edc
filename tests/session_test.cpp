// SPDX-License-Identifier: BSL-1.0
// Sessions on both databases: statements, parameters, rows, and what a session leaves behind.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

using namespace test;

TEMPLATE_TEST_CASE("A session executes statements with parameters and gives rows", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute("create table orders(id integer primary key, total double precision, note text)");
        const auto added = co_await session.execute("insert into orders values ($2, $1, $3), (8, null, 'x')", 12.5, 7,
                                                    std::optional<std::string>{});
        CHECK(added.affected() == 2);
        CHECK(added.empty());
        const auto rows = co_await session.execute("select id, total, note from orders order by id");
        REQUIRE(rows.size() == 2);
        CHECK(rows.columns() == std::vector<std::string>{"id", "total", "note"});
        CHECK(rows.affected() == 0);
        CHECK(rows[0][0].template as<std::int64_t>() == 7);
        CHECK(rows[0]["total"].template as<double>() == 12.5);
        CHECK(rows[0]["note"].is_null());
        CHECK(rows[1]["total"].template as<std::optional<double>>() == std::nullopt);
        CHECK(rows[1][2].template as<std::string_view>() == "x");
        std::vector<int> ids;
        for (const coraii::sql_row row : rows) {
            ids.push_back(row["id"].as<int>());
        }
        CHECK(ids == std::vector{7, 8});
    });
}

TEMPLATE_TEST_CASE("Values come back as they went", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    constexpr bool sqlite = std::same_as<TestType, sqlite_database>;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script(std::string{"create table t(i bigint, d double precision, s text, b "} +
                                        (sqlite ? "blob" : "bytea") + ", y " + (sqlite ? "integer" : "boolean") + ")");
        const std::int64_t smallest = std::numeric_limits<std::int64_t>::min();
        const coraii::sql_bytes bytes{std::byte{0}, std::byte{255}, std::byte{'\\'}};
        co_await session.execute("insert into t values ($1, $2, $3, $4, $5)", smallest, 0.1, "Gr\u00fc\u00dfe '; --",
                                 bytes, true);
        co_await session.execute("insert into t values ($1, $2, $3, $4, $5)", nullptr, -1e300, "", coraii::sql_bytes{},
                                 false);
        const auto rows = co_await session.execute("select * from t order by i is null");
        CHECK(rows[0]["i"].template as<std::int64_t>() == smallest);
        CHECK(rows[0]["d"].template as<double>() == 0.1);
        CHECK(rows[0]["s"].template as<std::string>() == "Gr\u00fc\u00dfe '; --");
        CHECK(rows[0]["b"].template as<coraii::sql_bytes>() == bytes);
        CHECK(rows[0]["y"].template as<bool>());
        CHECK(rows[1]["i"].is_null());
        CHECK(rows[1]["d"].template as<double>() == -1e300);
        CHECK(rows[1]["s"].template as<std::string>().empty());
        CHECK_FALSE(rows[1]["b"].is_null());
        CHECK(rows[1]["b"].template as<coraii::sql_bytes>().empty());
        CHECK_FALSE(rows[1]["y"].template as<bool>());
    });
}

TEMPLATE_TEST_CASE("A value is not converted with a loss", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        const auto rows = co_await session.execute("select 300 as n, 'ten' as t, null as z, '12' as w");
        const auto code = [](auto f) {
            try {
                f();
            } catch (const sql_error& e) { return e.code(); }
            return boost::system::error_code{};
        };
        CHECK(code([&] { (void)rows[0]["n"].template as<std::int8_t>(); }) == sql_errc::bad_conversion);
        CHECK(code([&] { (void)rows[0]["t"].template as<int>(); }) == sql_errc::bad_conversion);
        CHECK(code([&] { (void)rows[0]["z"].template as<int>(); }) == sql_errc::null_value);
        CHECK(code([&] { (void)rows[0]["nobody"]; }) == sql_errc::out_of_range);
        CHECK(code([&] { (void)rows[0][4]; }) == sql_errc::out_of_range);
        CHECK(code([&] { (void)rows[1]; }) == sql_errc::out_of_range);
        CHECK(rows[0]["w"].template as<int>() == 12);
        CHECK(rows[0]["n"].template as<std::string>() == "300");
    });
}

TEMPLATE_TEST_CASE("A statement is streamed a few rows at a time", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.run(coraii::with(coraii::open_session(s.pool, {.fetch_size = 10}), [](auto& session) -> awaitable<void> {
        constexpr const char* numbers =
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1005) select i from n";
        std::vector<std::size_t> sizes;
        int sum = 0;
        coraii::sql_row_sink sink = [&](const coraii::sql_rows& rows) -> awaitable<void> {
            sizes.push_back(rows.size());
            co_return;
        };
        co_await session.stream(coraii::sql_query{numbers}, sink);
        CHECK(sizes.size() == 101);
        CHECK(sizes.front() == 10);
        CHECK(sizes.back() == 5);
        co_await session.stream(
            std::string{numbers} + " where i > $1",
            [&](auto row) -> awaitable<void> {
                sum += row[0].template as<int>();
                co_return;
            },
            1000);
        CHECK(sum == 1001 + 1002 + 1003 + 1004 + 1005);
    }));
}

TEMPLATE_TEST_CASE("What a visitor throws ends the stream, and the session can be used on", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        constexpr const char* numbers =
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) select i from n";
        int seen = 0;
        std::string what;
        try {
            co_await session.stream(numbers, [&](auto) -> awaitable<void> {
                if (++seen == 3) {
                    throw std::runtime_error("enough");
                }
                co_return;
            });
        } catch (const std::runtime_error& e) { what = e.what(); }
        CHECK(what == "enough");
        CHECK(seen == 3);
        const int one = co_await number(session, "select 1");
        CHECK(one == 1);
    });
}

TEMPLATE_TEST_CASE("While a stream is under way, another statement is refused", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        boost::system::error_code code;
        co_await session.stream("select 1", [&](auto) -> awaitable<void> {
            code = co_await error_of([&] { return session.execute("select 2"); });
        });
        CHECK(code == sql_errc::connection_in_use);
    });
}

TEMPLATE_TEST_CASE("Promise 1: a session leaves no transaction behind that was begun by hand", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    s.run([](auto& pool) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            co_await session.execute_script("create table t(i integer); begin; insert into t values (1)");
        });
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            CHECK(session.connection().status() == transaction_status::idle);
            co_return;
        });
        CHECK(pool.stats().opened == 1);
    }(s.pool));
}

TEMPLATE_TEST_CASE("A session's options end with it", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    s.run([](auto& pool) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            co_await session.execute_script("create table t(i integer)");
        });
        const coraii::session_options options{.access = coraii::access_mode::read_only,
                                              .statement_timeout = std::chrono::milliseconds{50}};
        co_await coraii::with(coraii::open_session(pool, options), [](auto& session) -> awaitable<void> {
            const auto write = co_await error_of([&] { return session.execute("insert into t values (1)"); });
            CHECK(write == sql_errc::statement_failed);
            const auto slow = co_await error_of([&] { return session.execute(TestType::endless); });
            CHECK(slow == sql_errc::timeout);
            const int count = co_await number(session, "select count(*) from t");
            CHECK(count == 0);
        });
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            co_await session.execute("insert into t values (1)");
        });
        CHECK(pool.stats().opened == 1);
    }(s.pool));
}

TEMPLATE_TEST_CASE("A session for another database is refused", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.run([](auto& pool) -> awaitable<void> {
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::open_session(pool, {.database = "nobody's"}),
                                [](auto&) -> awaitable<void> { co_return; });
        });
        CHECK(code == sql_errc::wrong_database);
    }(s.pool));
}

TEMPLATE_TEST_CASE("A session finds a connection that was killed while idle, and takes another", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    s.run([](auto& pool) -> awaitable<void> {
        co_await coraii::with(pool.acquire(), [](auto& connection) -> awaitable<void> {
            connection.kill();
            co_return;
        });
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            const int one = co_await number(session, "select 1");
            CHECK(one == 1);
        });
        CHECK(pool.stats().opened == 2);
    }(s.pool));
}

// clang-format off: as in the README

TEST_CASE("README: a pool, a session, a transaction", "[session][readme]") {
    asio::io_context context;
    const scratch directory;
    const std::string path = directory / "app.db";
    const asio::any_io_executor executor = context.get_executor();
    run([&]() -> awaitable<void> {
        // [session]
        using connection = coraii::sqlite::connection;  // or coraii::postgres::connection
        coraii::pool<connection> db{executor, [&] { return coraii::sqlite::connect(path); }};

        co_await coraii::with(coraii::open_session(db), [](coraii::session<connection>& session) -> awaitable<void> {
            co_await session.execute("create table orders(id bigint primary key, total double precision)");
            co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into orders(id, total) values ($1, $2)", 7, 12.5);
            });  // the body returned: COMMIT. Anything else: ROLLBACK

            auto rows = co_await session.execute("select id, total from orders");
            std::printf("%d: %f\n", rows[0][0].as<int>(), rows[0]["total"].as<double>());
            co_await session.stream("select id from orders", [](coraii::sql_row row) -> awaitable<void> {
                std::printf("%d\n", row["id"].as<int>());
                co_return;
            });  // never more than `fetch_size` rows in memory
        });
        co_await db.close();
        // [end]
    }(), context);
}
