// SPDX-License-Identifier: BSL-1.0
// Nothing that a session does reaches the next one, however it is done.
#include "coraii/postgres.hpp"
#include "support/postgres.hpp"
#include "support/sql.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace test;

namespace {

using coraii::postgres::connection;
using pool_type = coraii::pool<connection>;

/// Something that a session leaves, and how the next one would see it.
struct residue {
    const char* name;
    std::vector<std::string> statements;
    std::string look;  // gives one text
    std::string expected;
};

constexpr const char* schema = R"(
    drop schema if exists other cascade; create schema other;
    drop role if exists reader; create role reader; grant usage on schema public to reader;
    create sequence numbers;
    create function set_it() returns void language plpgsql as $$ begin
        perform set_config('work_mem', '7MB', false); perform pg_advisory_lock(2);
        execute 'create temp table hidden(i int)'; execute 'listen hidden'; end $$;
    create procedure call_it() language plpgsql as $$ begin perform set_it(); commit; perform set_it2(); end $$;
    create function set_it2() returns void language sql as $$ select set_config('search_path', 'other', false) $$;
)";

const std::string work_mem = "select current_setting('work_mem')";
const std::string path = "select current_setting('search_path')";
const std::string locks = "select count(*)::text from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
const std::string temps =
    "select count(*)::text from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r'";
const std::string channels = "select count(*)::text from pg_listening_channels()";
const std::string cursors = "select count(*)::text from pg_cursors where name <> ''";
const std::string user = "select current_user || ',' || session_user";
const std::string by_name = "select count(*)::text from pg_prepared_statements where from_sql";

const std::vector<residue>& residues() {
    static const std::vector<residue> all{
        {"SET", {"set work_mem = '7MB'"}, work_mem, "4MB"},
        {"set_config", {"select set_config('work_mem', '7MB', false)"}, work_mem, "4MB"},
        {"SET_CONFIG in capitals", {"SELECT SET_CONFIG('work_mem', '7MB', FALSE)"}, work_mem, "4MB"},
        {"set_config, prepared by us",
         {"select set_config('work_mem', $1, false)", "select set_config('work_mem', $1, false)",
          "select set_config('work_mem', $1, false)"},
         work_mem,
         "4MB"},
        {"update pg_settings", {"update pg_settings set setting = '7168' where name = 'work_mem'"}, work_mem, "4MB"},
        {"a setting of one's own",
         {"select set_config('my.tenant', '7', false)"},
         "select coalesce(current_setting('my.tenant', true), '')",
         ""},
        {"search_path", {"set search_path = other"}, path, "\"$user\", public"},
        {"search_path in a DO block", {"do $$ begin set search_path = other; end $$"}, path, "\"$user\", public"},
        {"in a function: setting", {"select set_it()"}, work_mem, "4MB"},
        {"in a function: lock", {"select set_it()"}, locks, "0"},
        {"in a function: table", {"select set_it()"}, temps, "0"},
        {"in a function: LISTEN", {"select set_it()"}, channels, "0"},
        {"in a procedure", {"call call_it()"}, path, "\"$user\", public"},
        {"characteristics",
         {"set session characteristics as transaction read only"},
         "select current_setting('default_transaction_read_only')",
         "off"},
        {"statement_timeout of one's own",
         {"set statement_timeout = '1h'"},
         "select current_setting('statement_timeout')",
         "0"},
        {"pg_advisory_lock", {"select pg_advisory_lock(1)"}, locks, "0"},
        {"PG_ADVISORY_LOCK in a WITH", {"WITH l AS (SELECT PG_ADVISORY_LOCK(1)) SELECT 1 FROM l"}, locks, "0"},
        {"lock in a DO block", {"do $$ begin perform pg_try_advisory_lock(3); end $$"}, locks, "0"},
        {"create temp table as", {"create temp table left_over as select 1 as i"}, temps, "0"},
        {"select into temp", {"select 1 as i into temp left_over"}, temps, "0"},
        {"a temporary table in pg_temp", {"create table pg_temp.left_over(i int)"}, temps, "0"},
        {"a temporary view",
         {"create temp view left_over as select 1"},
         "select count(*)::text from pg_class where relname = 'left_over'",
         "0"},
        {"SET ROLE", {"set role reader"}, user, "postgres,postgres"},
        {"SET SESSION AUTHORIZATION", {"set session authorization reader"}, user, "postgres,postgres"},
        {"SET ROLE, by a setting", {"select set_config('role', 'reader', false)"}, user, "postgres,postgres"},
        {"LISTEN", {"listen something"}, channels, "0"},
        {"a cursor WITH HOLD", {"declare c cursor with hold for select generate_series(1, 10)"}, cursors, "0"},
        {"lastval", {"select nextval('numbers')"}, "do $$ begin perform lastval(); end $$", "55000"},
        {"PREPARE", {"prepare mine as select 7"}, by_name, "0"},
        {"PREPARE, in a DO block", {"do $$ begin execute 'prepare \"Mine; too\" as select 7'; end $$"}, by_name, "0"},
        {"DEALLOCATE ALL", {"deallocate all"}, by_name, "0"},
        {"DISCARD ALL", {"discard all"}, work_mem, "4MB"},
        {"BEGIN", {"begin", "set work_mem = '7MB'", "create temp table left_over(i int)"}, temps, "0"},
        {"BEGIN, and an error", {"begin"}, "select 1::text", "1"},
        {"client_encoding", {"set client_encoding = 'latin1'"}, "select current_setting('client_encoding')", "UTF8"},
        {"DateStyle", {"set datestyle = 'German'"}, "select date '2026-11-26'::text", "2026-11-26"},
    };
    return all;
}

/// The first value as a text, or the SQLSTATE.
awaitable<std::string> text_of(auto& client, std::string sql) {
    try {
        const auto rows = co_await client.execute(coraii::sql_query{std::move(sql)});
        co_return rows.empty() ? std::string{} : rows[0][0].template as<std::string>();
    } catch (const sql_error& e) { co_return e.sqlstate(); }
}

awaitable<void> leave(pool_type& pool, const residue& r, coraii::session_options options = {}) {
    co_await coraii::with(coraii::open_session(pool, options), [&r](auto& session) -> awaitable<void> {
        for (const std::string& sql : r.statements) {
            coraii::sql_query query{sql};
            if (sql.find("$1") != sql.npos) {
                query.parameters.emplace_back(std::string{"7MB"});
            }
            co_await session.execute(std::move(query));
        }
    });
}

struct setting {
    asio::io_context context;
    pool_type pool;

    explicit setting(coraii::postgres::options options = {}, coraii::pool_hooks<connection> hooks = {})
        : pool{context.get_executor(),
               [options] { return coraii::postgres::connect(postgres().conninfo(), options); },
               {.max_size = 1},
               std::move(hooks)} {
        postgres().start_over(schema);
    }
    template <class Work>
    void run(Work work) {
        test::run(closed_after(work), context);
    }

private:
    template <class Work>
    awaitable<void> closed_after(Work& work) {
        co_await work(pool);
        co_await pool.close();
    }
};

awaitable<void> check_gone(pool_type& pool, const residue& r) {
    std::string seen;
    const auto look = [&](auto& session) -> awaitable<void> { seen = co_await text_of(session, r.look); };
    co_await coraii::with(coraii::open_session(pool), look);
    CHECK(seen == r.expected);
}

}  // namespace

TEST_CASE("A session leaves nothing to the next one, however it was done", "[postgres][isolation]") {
    setting s;
    s.run([](pool_type& pool) -> awaitable<void> {
        for (const residue& r : residues()) {
            CAPTURE(r.name);
            co_await leave(pool, r);
            co_await check_gone(pool, r);
        }
        CHECK(pool.stats().opened == 1);  // put right, not replaced
    });
}

TEST_CASE("A lease without a session leaves nothing, either", "[postgres][isolation]") {
    setting s;
    s.run([](pool_type& pool) -> awaitable<void> {
        for (const residue& r : residues()) {
            CAPTURE(r.name);
            const auto use = [&r](connection& c) -> awaitable<void> {
                for (const std::string& sql : r.statements) {
                    if (sql.find("$1") == sql.npos) {
                        co_await c.execute_script(sql);
                    }
                }
            };
            co_await coraii::with(pool.acquire(), use);
            co_await check_gone(pool, r);
        }
        CHECK(pool.stats().opened == 1);
    });
}

TEST_CASE("A session is reset also where the pool has a hook of the user's own", "[postgres][isolation]") {
    coraii::pool_hooks<connection> hooks;
    hooks.reset = [](connection&, coraii::exit_status) -> awaitable<bool> { co_return true; };
    setting s{{}, hooks};
    s.run([](pool_type& pool) -> awaitable<void> {
        for (const residue& r : residues()) {
            CAPTURE(r.name);
            co_await leave(pool, r);
            co_await check_gone(pool, r);
        }
        CHECK(pool.stats().opened == 1);
    });
}

TEST_CASE("No session is opened in a transaction that a lease without a session has left", "[postgres][isolation]") {
    coraii::pool_hooks<connection> hooks;
    const bool own_hook = GENERATE(true, false);
    if (own_hook) {
        hooks.reset = [](connection&, coraii::exit_status) -> awaitable<bool> { co_return true; };
    }
    setting s{{}, hooks};
    s.run([own_hook](pool_type& pool) -> awaitable<void> {
        const auto begin = [](connection& c) { return c.execute_script("begin"); };
        co_await coraii::with(pool.acquire(), begin);
        const auto check_idle = [](auto& session) -> awaitable<void> {
            CHECK(session.connection().status() == transaction_status::idle);
            co_return;
        };
        co_await coraii::with(coraii::open_session(pool), check_idle);
        CHECK(pool.stats().opened == (own_hook ? 2 : 1));
    });
}

TEST_CASE("Leaving a session does not wait for its reset, and the next one does", "[postgres][isolation]") {
    setting s;
    s.run([](pool_type& pool) -> awaitable<void> {
        const auto begin = [](auto& session) -> awaitable<void> { co_await session.execute_script("begin"); };
        co_await coraii::with(coraii::open_session(pool), begin);
        CHECK(pool.stats().in_use == 1);  // being reset
        const auto check_idle = [](auto& session) -> awaitable<void> {
            CHECK(session.connection().status() == transaction_status::idle);
            co_return;
        };
        co_await coraii::with(coraii::open_session(pool), check_idle);
        CHECK(pool.stats().opened == 1);
    });
}

TEST_CASE("session_reset::none leaves what a session has left, but no transaction", "[postgres][isolation]") {
    setting s;
    s.run([](pool_type& pool) -> awaitable<void> {
        const coraii::session_options none{.statement_timeout = 1h, .reset = coraii::session_reset::none};
        const residue left{"", {"set work_mem = '7MB'", "begin", "create temp table left_over(i int)"}, {}, {}};
        co_await leave(pool, left, none);
        const std::vector<std::string> looks{work_mem, temps, "select current_setting('statement_timeout')"};
        std::vector<std::string> seen;
        const auto look = [&](auto& session) -> awaitable<void> {
            for (const std::string& sql : looks) {
                seen.push_back(co_await text_of(session, sql));
            }
        };
        const std::vector<std::string> kept{"7MB", "0", "0"};
        const std::vector<std::string> gone{"4MB", "0", "0"};
        co_await coraii::with(coraii::open_session(pool), look);
        CHECK(seen == kept);
        seen.clear();
        co_await coraii::with(coraii::open_session(pool), look);  // the one before was to be reset
        CHECK(seen == gone);
    });
}

TEST_CASE("on_open is run for a new connection, and again after each reset", "[postgres][isolation]") {
    coraii::postgres::options options;
    options.on_open = "set work_mem = '9MB'; listen mine; create temp table ours(i int); insert into ours values (7)";
    setting s{options};
    s.run([](pool_type& pool) -> awaitable<void> {
        for (int round = 0; round < 3; ++round) {
            const auto look = [](auto& session) -> awaitable<void> {
                const std::string memory = co_await text_of(session, work_mem);
                CHECK(memory == "9MB");
                const std::string heard = co_await text_of(session, channels);
                CHECK(heard == "1");
                const int rows = co_await number(session, "select sum(i)::int from ours");
                CHECK(rows == 7);
                co_await session.execute("insert into ours values (1)");
                co_await session.execute("set work_mem = '7MB'");
                co_await session.execute("unlisten *");
            };
            co_await coraii::with(coraii::open_session(pool), look);
        }
        CHECK(pool.stats().opened == 1);
    });
}

TEST_CASE("An on_open that fails is the error of the opening", "[postgres][isolation]") {
    coraii::postgres::options options;
    options.on_open = "set nonsense.x = 1; select nobody";
    test::run([](coraii::postgres::options o) -> awaitable<void> {
        std::string state;
        try {
            co_await coraii::with(coraii::postgres::connect(postgres().conninfo(), o),
                                  [](connection&) -> awaitable<void> { co_return; });
        } catch (const sql_error& e) { state = e.sqlstate(); }
        CHECK(state == "42703");
    }(options));
}

TEST_CASE("A role that the connection string sets is put back", "[postgres][isolation]") {
    postgres().start_over(schema);
    asio::io_context context;
    const std::string conninfo = postgres().conninfo("options='-c role=reader -c work_mem=6MB'");
    pool_type pool{context.get_executor(), [&] { return coraii::postgres::connect(conninfo); }, {.max_size = 1}};
    test::run(
        [](pool_type& p) -> awaitable<void> {
            const residue role{"", {"reset role", "set work_mem = '7MB'"}, user, "reader,postgres"};
            const residue memory{"", {}, work_mem, "6MB"};
            co_await leave(p, role);
            co_await check_gone(p, role);
            co_await check_gone(p, memory);
            co_await p.close();
        }(pool),
        context);
}
