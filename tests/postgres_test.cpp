// SPDX-License-Identifier: BSL-1.0
// What is PostgreSQL's alone.
#include "coraii/postgres.hpp"

#include "support/postgres.hpp"
#include "support/proxy.hpp"
#include "support/sql.hpp"

#include <catch2/matchers/catch_matchers_string.hpp>

#include <cmath>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace test;
using Catch::Matchers::ContainsSubstring;

namespace {

using coraii::postgres::connection;

/// Runs `body(connection&)`.
template <class Body>
void with_connection(Body body, coraii::postgres::options options = {}) {
    postgres().start_over();
    test::run(coraii::with(coraii::postgres::connect(postgres().conninfo(), std::move(options)), std::move(body)));
}

awaitable<void> fails_to_connect(std::string conninfo, sql_errc expected, std::string says) {
    std::string text;
    boost::system::error_code code;
    try {
        co_await coraii::with(coraii::postgres::connect(conninfo), [](connection&) -> awaitable<void> { co_return; });
    } catch (const sql_error& e) {
        text = e.what();
        code = e.code();
    }
    CHECK(code == expected);
    CHECK_THAT(text, ContainsSubstring(says));
}

}  // namespace

TEST_CASE("Promise 8: wrong conninfo, host, database, user, password", "[postgres]") {
    const std::string& dir = postgres().directory().native();
    const auto failed = sql_errc::connection_failed;
    test::run(fails_to_connect("hosst=x", failed, "hosst"));
    test::run(fails_to_connect("host=/nowhere", failed, "/nowhere"));
    test::run(fails_to_connect("host=no-such-host.invalid", failed, "no-such-host.invalid"));
    test::run(fails_to_connect(postgres().conninfo("dbname=nobodys"), failed, "nobodys"));
    test::run(fails_to_connect("host=" + dir + " dbname=postgres user=nobody_at_all", failed, "nobody_at_all"));
    test::run(fails_to_connect("host=127.0.0.1 port=1 user=x", failed, "refused"));
}

TEST_CASE("Promise 8: a password is asked for, with SCRAM", "[postgres]") {
    const std::string hba = postgres().directory() / "data" / "pg_hba.conf";
    postgres().ask("set password_encryption = 'scram-sha-256'; create role guest login password 'right'");
    {
        std::ifstream in{hba};
        std::string rest{std::istreambuf_iterator<char>{in}, {}};
        std::ofstream{hba} << "local all guest scram-sha-256\n" << rest;
    }
    postgres().ask("select pg_reload_conf()");
    const std::string guest = "host=" + postgres().directory().native() + " dbname=postgres user=guest ";
    // The server reads its configuration when it gets round to it.
    for (bool reloaded = false; !reloaded;) {
        test::run([](std::string conninfo, bool& refused) -> awaitable<void> {
            const auto code = co_await error_of([&] {
                return coraii::with(coraii::postgres::connect(conninfo),
                                    [](connection&) -> awaitable<void> { co_return; });
            });
            refused = code == sql_errc::connection_failed;
        }(guest + "password=wrong", reloaded));
    }
    test::run(fails_to_connect(guest + "password=wrong", sql_errc::connection_failed, "password"));
    test::run(fails_to_connect(guest, sql_errc::connection_failed, "password"));
    test::run(coraii::with(coraii::postgres::connect(guest + "password=right"), [](connection& c) -> awaitable<void> {
        const auto rows = co_await c.execute("select current_user::text");
        CHECK(rows[0][0].as<std::string>() == "guest");
    }));
}

TEST_CASE("A host name is resolved, and each of its addresses is tried", "[postgres]") {
    proxy between{postgres().directory(), true};
    test::run(coraii::with(coraii::postgres::connect(between.conninfo()), [](connection& c) -> awaitable<void> {
        const int one = co_await number(c, "select 1");
        CHECK(one == 1);
        CHECK(c.database() == "postgres");
    }));
    // Two hosts, the first of which does not answer.
    std::string two = between.conninfo();
    two.replace(two.find("localhost"), 9, "no-such-host.invalid,localhost");
    test::run(coraii::with(coraii::postgres::connect(two), [](connection& c) -> awaitable<void> {
        const int one = co_await number(c, "select 1");
        CHECK(one == 1);
    }));
}

TEST_CASE("Opening can be cancelled, and takes no longer than connect_timeout", "[postgres][cancel]") {
    proxy between{postgres().directory()};
    between.fail(fault::stall, "");
    const auto connect_only = [&](coraii::postgres::options options) {
        return coraii::with(coraii::postgres::connect(between.conninfo(), std::move(options)),
                            [](connection&) -> awaitable<void> { co_return; });
    };
    asio::io_context context;
    task late{context, connect_only({.connect_timeout = 50ms}), slot::none};
    task stopped{context, connect_only({}), slot::connected};
    asio::steady_timer soon{context, 20ms};
    soon.async_wait([&](boost::system::error_code) { stopped.cancel(); });
    finish(context);
    CHECK(code(late.error()) == sql_errc::timeout);
    CHECK(code(stopped.error()) == asio::error::operation_aborted);
}

TEST_CASE("Notices go to their handler", "[postgres]") {
    std::vector<std::string> heard;
    const coraii::postgres::options options{.on_notice = [&heard](const coraii::postgres::notice& n) {
        heard.push_back(n.severity + ": " + n.message);
        throw 1;  // is ignored
    }};
    with_connection(
        [](connection& c) -> awaitable<void> {
            co_await c.execute_script("do $$ begin raise notice 'one'; raise warning 'two'; end $$");
        },
        options);
    CHECK(heard == std::vector<std::string>{"NOTICE: one", "WARNING: two"});
}

TEST_CASE("Statements are prepared once, and the oldest makes room", "[postgres]") {
    with_connection(
        [](connection& c) -> awaitable<void> {
            for (int round = 0; round < 2; ++round) {
                for (const char* sql : {"select 1", "select 2", "select 3", "select 4"}) {
                    co_await c.execute(sql);
                    co_await c.execute(sql);
                }
            }
            const auto left = co_await c.execute("select count(*) from pg_prepared_statements");
            CHECK(left[0][0].as<int>() == 3);
            co_await c.execute("deallocate all");
            const int four = co_await number(c, "select 4");
            CHECK(four == 4);
        },
        {.statement_cache = 3});
}

TEST_CASE("Types that have no number or bytes of their own come as text", "[postgres]") {
    with_connection([](connection& c) -> awaitable<void> {
        const auto rows = co_await c.execute(
            "select 12.50::numeric as n, date '2026-02-01' as d, '{1,2}'::int[] as a, 7::int2 as i, true as b, "
            "'\\x00ff'::bytea as y, 1.5::float4 as f, 'NaN'::float8 as nan");
        CHECK(rows[0]["n"].as<std::string>() == "12.50");
        CHECK(rows[0]["n"].as<double>() == 12.5);
        CHECK(rows[0]["d"].as<std::string>() == "2026-02-01");
        CHECK(rows[0]["a"].as<std::string>() == "{1,2}");
        CHECK(rows[0]["i"].as<int>() == 7);
        CHECK(rows[0]["b"].as<bool>());
        CHECK(rows[0]["y"].as<coraii::sql_bytes>() == coraii::sql_bytes{std::byte{0}, std::byte{255}});
        CHECK(rows[0]["f"].as<float>() == 1.5F);
        CHECK(std::isnan(rows[0]["nan"].as<double>()));
    });
}

TEST_CASE("Promise 8: a value of the wrong type, and a text with a NUL", "[postgres]") {
    with_connection([](connection& c) -> awaitable<void> {
        const auto type = co_await error_of([&] { return c.execute("select $1::int", "seven"); });
        CHECK(type == sql_errc::statement_failed);
        const auto nul = co_await error_of([&] { return c.execute("select $1::text", std::string("a\0b", 3)); });
        CHECK(nul == sql_errc::statement_failed);
        const int one = co_await number(c, "select 1");
        CHECK(one == 1);
    });
}

TEST_CASE("COPY is refused, and takes the connection with it", "[postgres]") {
    with_connection([](connection& c) -> awaitable<void> {
        const auto copy = co_await error_of([&] { return c.execute("copy (select 1) to stdout"); });
        CHECK(copy == sql_errc::statement_failed);
        CHECK_FALSE(c.usable());
    });
}

TEST_CASE("A session leaves no setting, LISTEN, temporary table or advisory lock behind", "[postgres]") {
    asio::io_context context;
    coraii::pool<connection> pool{
        context.get_executor(), [] { return coraii::postgres::connect(postgres().conninfo()); }, {.max_size = 1}};
    test::run(
        [](coraii::pool<connection>& p) -> awaitable<void> {
            co_await coraii::with(coraii::open_session(p), [](auto& session) -> awaitable<void> {
                co_await session.execute("set work_mem = '7MB'");
                co_await session.execute("listen something");
                co_await session.execute("create temporary table left_over(i integer)");
                co_await session.execute("select pg_advisory_lock(1)");
            });
            co_await coraii::with(coraii::open_session(p), [](auto& session) -> awaitable<void> {
                const auto rows = co_await session.execute(
                    "select current_setting('work_mem'), (select count(*) from pg_listening_channels()), "
                    "(select count(*) from pg_class where relname = 'left_over'), "
                    "(select count(*) from pg_locks where locktype = 'advisory')");
                CHECK(rows[0][0].template as<std::string>() == "4MB");
                CHECK(rows[0][1].template as<int>() == 0);
                CHECK(rows[0][2].template as<int>() == 0);
                CHECK(rows[0][3].template as<int>() == 0);
            });
            CHECK(p.stats().opened == 1);
            co_await p.close();
        }(pool),
        context);
}

TEST_CASE("A lease without a session is cleaned by connection_hooks", "[postgres][transaction]") {
    asio::io_context context;
    coraii::pool<connection> pool{context.get_executor(),
                                  [] { return coraii::postgres::connect(postgres().conninfo()); },
                                  {.max_size = 1},
                                  coraii::connection_hooks<connection>()};
    test::run(
        [](coraii::pool<connection>& p) -> awaitable<void> {
            co_await coraii::with(p.acquire(),
                                  [](connection& c) -> awaitable<void> { co_await c.execute_script("begin"); });
            co_await coraii::with(p.acquire(), [](connection& c) -> awaitable<void> {
                CHECK(c.status() == transaction_status::idle);
                co_return;
            });
            CHECK(p.stats().opened == 1);
            co_await p.close();
        }(pool),
        context);
}
