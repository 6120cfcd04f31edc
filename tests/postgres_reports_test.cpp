// SPDX-License-Identifier: BSL-1.0
// What users of other drivers and pools have reported, tried here.
#include "coraii/postgres.hpp"
#include "support/postgres.hpp"
#include "support/sql.hpp"

#include <string>
#include <utility>

using namespace test;
using coraii::postgres::connection;
using pool_type = coraii::pool<connection>;

namespace {

template <class Work>
void with_pool(Work work, coraii::postgres::options options = {}, std::string conninfo = postgres().conninfo()) {
    asio::io_context context;
    pool_type pool{
        context.get_executor(), [=] { return coraii::postgres::connect(conninfo, options); }, {.max_size = 1}};
    test::run(
        [](pool_type& p, Work& w) -> awaitable<void> {
            co_await w(p);
            CHECK(p.stats().opened == 1);
            co_await p.close();
        }(pool, work),
        context);
}

awaitable<std::string> text_of(auto& client, std::string sql) {
    const auto rows = co_await client.execute(coraii::sql_query{std::move(sql)});
    co_return rows[0][0].template as<std::string>();
}

void create(const std::string& schema) {
    postgres().start_over(schema);
}

}  // namespace

TEST_CASE("npgsql 5997: a role that ALTER ROLE has made the default is there after a reset", "[postgres][reports]") {
    create(
        "drop role if exists tenant_user; drop role if exists tenant; create role tenant; create role tenant_user login;"
        "grant tenant to tenant_user; alter role tenant_user set role = tenant");
    const std::string conninfo = "host=" + postgres().directory().native() + " dbname=postgres user=tenant_user";
    with_pool(
        [](pool_type& pool) -> awaitable<void> {
            for (int i = 0; i < 3; ++i) {
                const auto use = [](auto& session) -> awaitable<void> {
                    const std::string user = co_await text_of(session, "select current_user::text");
                    CHECK(user == "tenant");
                    co_await session.execute("set role none");
                };
                co_await coraii::with(coraii::open_session(pool), use);
            }
        },
        {}, conninfo);
    postgres().ask("drop role tenant_user; drop role tenant");
}

TEST_CASE("npgsql 3902: a function in pg_temp is gone with its session", "[postgres][reports]") {
    create("select 1");
    with_pool([](pool_type& pool) -> awaitable<void> {
        for (int i = 0; i < 3; ++i) {
            const auto use = [](auto& session) -> awaitable<void> {
                co_await session.execute("create function pg_temp.foo() returns integer language sql as 'select 1'");
                const int one = co_await number(session, "select pg_temp.foo()");
                CHECK(one == 1);
            };
            co_await coraii::with(coraii::open_session(pool), use);
        }
    });
}

TEST_CASE("pgjdbc 4259, 496: what is prepared follows search_path, and \"$user\" in it", "[postgres][reports]") {
    create(
        "drop schema if exists first_tenant cascade; drop schema if exists second_tenant cascade;"
        "drop role if exists first_tenant; drop role if exists second_tenant;"
        "create role first_tenant; create role second_tenant;"
        "create schema first_tenant authorization first_tenant; create schema second_tenant authorization second_tenant;"
        "create table first_tenant.t(a int); create table second_tenant.t(a text, b int);"
        "grant select on first_tenant.t to first_tenant; grant select on second_tenant.t to second_tenant");
    with_pool([](pool_type& pool) -> awaitable<void> {
        for (int i = 0; i < 8; ++i) {
            const bool first = i % 2 == 0;
            const bool by_role = i >= 4;
            const auto use = [first, by_role](auto& session) -> awaitable<void> {
                const std::string tenant = first ? "first_tenant" : "second_tenant";
                co_await session.execute_script((by_role ? "set role " : "set search_path = ") + tenant);
                for (int again = 0; again < 3; ++again) {
                    const auto rows = co_await session.execute("select * from t");
                    CHECK(rows.columns().size() == (first ? 1U : 2U));
                }
            };
            co_await coraii::with(coraii::open_session(pool), use);
        }
        // In a transaction, too.
        for (int i = 0; i < 4; ++i) {
            const bool first = i % 2 == 0;
            const auto body = [first](auto& tx) -> awaitable<void> {
                co_await tx.execute_script(first ? "set local role first_tenant" : "set local role second_tenant");
                const auto rows = co_await tx.execute("select * from t");
                CHECK(rows.columns().size() == (first ? 1U : 2U));
            };
            co_await coraii::run_transaction(pool, body);
        }
    });
    postgres().ask(
        "drop schema first_tenant cascade; drop schema second_tenant cascade; drop role first_tenant; drop role "
        "second_tenant");
}

TEST_CASE("php-src 21869, pgx 1797: making room for a statement does not end a transaction", "[postgres][reports]") {
    create(
        "create table t(i int);"
        "create function drop_all() returns void language plpgsql as $$ begin execute 'deallocate all'; end $$");
    coraii::postgres::options options;
    options.statement_cache = 1;
    with_pool(
        [](pool_type& pool) -> awaitable<void> {
            const auto twice = [](auto& client, std::string sql) -> awaitable<void> {
                co_await client.execute(coraii::sql_query{sql});
                co_await client.execute(coraii::sql_query{sql});
            };
            const auto use = [&](auto& session) -> awaitable<void> {
                co_await twice(session, "select 1");
                const auto body = [&](auto& tx) -> awaitable<void> {
                    co_await tx.execute("insert into t values (1)");
                    co_await tx.execute("select drop_all()");
                    co_await twice(tx, "select 2");  // in place of one that is gone
                    co_await twice(tx, "select 3");
                };
                co_await coraii::with(coraii::begin_transaction(session), body);
                // And in one that has failed.
                for (int i = 0; i < 3; ++i) {
                    co_await session.execute("begin");
                    (void)co_await error_of([&] { return session.execute("select nobody"); });
                    co_await session.execute("rollback");
                }
                const int rows = co_await number(session, "select count(*)::int from t");
                CHECK(rows == 1);
            };
            co_await coraii::with(coraii::open_session(pool), use);
        },
        options);
}

TEST_CASE("pgdog 1302: a name that each session prepares is free each time", "[postgres][reports]") {
    create("select 1");
    with_pool([](pool_type& pool) -> awaitable<void> {
        for (int i = 0; i < 3; ++i) {
            const auto dump = [](auto& session) -> awaitable<void> {
                co_await session.execute("prepare dumpFunc(oid) as select $1::text");
                const std::string seven = co_await text_of(session, "execute dumpFunc(7)");
                CHECK(seven == "7");
            };
            co_await coraii::with(coraii::open_session(pool), dump);
        }
    });
}

TEST_CASE("asyncpg 416, npgsql 745: a user's own DISCARD ALL leaves nothing out of step, and leaks nothing",
          "[postgres][reports]") {
    create("create table t(i int)");
    with_pool([](pool_type& pool) -> awaitable<void> {
        for (int i = 0; i < 20; ++i) {
            const auto use = [i](auto& session) -> awaitable<void> {
                for (int n = 0; n < 4; ++n) {
                    co_await session.execute("insert into t values ($1)", n);
                    co_await session.execute("select count(*) from t");
                }
                if (i % 2 == 0) {
                    co_await session.execute("discard all");
                }
                const auto body = [](auto& tx) -> awaitable<void> {
                    co_await tx.execute("insert into t values ($1)", 7);
                };
                co_await coraii::with(coraii::begin_transaction(session), body);
            };
            co_await coraii::with(coraii::open_session(pool), use);
        }
        const auto look = [](auto& session) -> awaitable<void> {
            const int left = co_await number(session, "select count(*)::int from pg_prepared_statements");
            CHECK(left <= 2);
        };
        co_await coraii::with(coraii::open_session(pool), look);
    });
}
