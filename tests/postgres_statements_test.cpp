// SPDX-License-Identifier: BSL-1.0
// What is prepared, here and at the server: a random mix of uses, and what may go wrong.
#include "coraii/postgres.hpp"
#include "coraii/postgres/detail/pg_statements.hpp"
#include "support/postgres.hpp"
#include "support/sql.hpp"

#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace test;
using Catch::Matchers::ContainsSubstring;
using coraii::postgres::connection;

namespace {

// The known set is nobody's business but ours: access by explicit instantiation, which is not checked.
template <class Tag, auto Member>
struct reveal {
    friend auto member_of(Tag) { return Member; }
};
struct statements_tag {
    friend auto member_of(statements_tag);
};
struct prepared_tag {
    friend auto member_of(prepared_tag);
};
template struct reveal<statements_tag, &connection::statements_>;
template struct reveal<prepared_tag, &coraii::detail::pg_statements::prepared_>;

using names = std::set<std::string>;

names known_by(connection& c) {
    names all;
    auto& statements = *(c.*member_of(statements_tag{}));
    (statements.*member_of(prepared_tag{})).drop_if([&all](const std::string& name) {
        all.insert(name);
        return false;
    });
    return all;
}

awaitable<names> at_server(connection& c) {
    static int looks = 0;  // so that this is not prepared itself
    names all;
    const auto rows = co_await c.execute(coraii::sql_query{
        "select name from pg_prepared_statements where not from_sql and " + std::to_string(++looks) + " > 0"});
    for (const coraii::sql_row row : rows) {
        all.insert(row[0].as<std::string>());
    }
    co_return all;
}

void create(const char* schema) {
    postgres().start_over(schema);
}

template <class Body>
void with_connection(Body body, coraii::postgres::options options = {}) {
    test::run(coraii::with(coraii::postgres::connect(postgres().conninfo(), std::move(options)), std::move(body)));
}

awaitable<std::string> state_of(auto work) {
    try {
        co_await work();
    } catch (const sql_error& e) { co_return e.sqlstate(); }
    co_return "";
}

awaitable<int> rows_of(std::string table) {
    co_return std::stoi(postgres().ask("select count(*) from " + table));
}

/// One connection, used at random; what each statement must give is known.
class chaos {
public:
    chaos(connection& c, unsigned seed) : c_{c}, random_{seed} {}

    awaitable<void> run(int steps) {
        for (int i = 0; i < steps; ++i) {
            const int what = pick(20);
            CAPTURE(i, what);
            if (what < 8) {
                co_await select(c_);
            } else if (what == 8) {
                co_await in_transaction();
            } else if (what == 9) {
                postgres().ask(wide_ ? "alter table t drop column b" : "alter table t add column b text default 'x'");
                wide_ = !wide_;
            } else if (what == 10) {
                co_await c_.execute_script(pick(2) == 0 ? "deallocate all" : "discard plans; deallocate all");
            } else if (what == 11) {
                co_await c_.execute_script("do $$ begin execute 'deallocate all'; end $$");
            } else if (what == 12) {
                co_await c_.execute("select drop_all()");
            } else if (what == 13) {
                const std::string state = co_await state_of([&] { return c_.execute("select 1/$1::int", 0); });
                CHECK(state == "22012");
            } else if (what == 14) {
                const std::string state = co_await state_of([&] { return c_.execute("select $1::int", "seven"); });
                CHECK(state == "22P02");
            } else if (what < 18) {
                co_await cancelled();
            } else if (what == 18) {
                co_await failed_transaction();
            } else {
                co_await c_.reset();
            }
            CHECK(c_.status() == transaction_status::idle);
        }
        // All is asked once more, and found.
        for (int n = 0; n < texts; ++n) {
            co_await select_number(c_, n);
        }
        co_await c_.reset();
        const names there = co_await at_server(c_);
        const names known = known_by(c_);
        CHECK(there == known);
    }

private:
    static constexpr int texts = 7;

    int pick(int n) { return std::uniform_int_distribution{0, n - 1}(random_); }

    template <class Client>
    awaitable<void> select(Client& client) {
        co_await select_number(client, pick(texts));
    }
    template <class Client>
    awaitable<void> select_number(Client& client, int n) {
        const std::string text = "select *, " + std::to_string(n) + " as n from t where a = $1";
        const auto rows = co_await client.execute(text, 1);
        REQUIRE(rows.size() == 1);
        CHECK(rows[0]["n"].template as<int>() == n);
        CHECK(rows.columns().size() == (wide_ ? 3U : 2U));
    }

    awaitable<void> in_transaction() {
        const auto body = [this](auto& tx) -> awaitable<void> {
            const int dropped = pick(3);
            if (dropped == 0) {
                co_await tx.execute_script("deallocate all");
            } else if (dropped == 1) {
                co_await tx.execute_script("do $$ begin execute 'deallocate all'; end $$");
            }
            for (int i = pick(5); i >= 0; --i) {
                co_await select(tx);
            }
        };
        co_await coraii::run_transaction(c_, body);  // a table may have changed
    }

    awaitable<void> failed_transaction() {
        co_await c_.execute("begin");
        (void)co_await state_of([&] { return c_.execute("select nobody"); });
        const std::string state = co_await state_of([&]() -> awaitable<void> { co_await select(c_); });
        CHECK(state == "25P02");
        co_await c_.execute("rollback");
    }

    awaitable<void> cancelled() {
        asio::cancellation_signal stop;
        bool done = false;
        std::exception_ptr error;
        const auto executor = co_await asio::this_coro::executor;
        const auto work = [this]() -> awaitable<void> {
            for (int i = 0; i < 4; ++i) {
                co_await select(c_);
            }
        };
        gate ended{static_cast<asio::io_context&>(asio::query(executor, asio::execution::context))};
        asio::co_spawn(executor, work, asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e) {
                           error = std::move(e);
                           done = true;
                           ended.open();
                       }));
        for (int turns = pick(12); turns > 0 && !done; --turns) {
            co_await turn();
        }
        stop.emit(asio::cancellation_type::terminal);
        if (!done) {
            co_await ended.wait();
        }
        CHECK((!error || code(error) == asio::error::operation_aborted));
    }

    connection& c_;
    std::minstd_rand random_;
    bool wide_ = false;
};

}  // namespace

TEST_CASE("Statements, model: whatever happens, none fails, and the server has exactly what we know",
          "[postgres][statements][chaos]") {
    const std::size_t cache = GENERATE(0U, 1U, 2U, 256U);
    const unsigned seed = GENERATE(1U, 2U, 3U);
    CAPTURE(cache, seed, Catch::getSeed());
    create(
        "create table t(a int); insert into t values (1);"
        "create function drop_all() returns void language plpgsql as $$ begin execute 'deallocate all'; end $$");
    coraii::postgres::options options;
    options.statement_cache = cache;
    with_connection(
        [seed, cache](connection& c) -> awaitable<void> {
            chaos random{c, seed + Catch::getSeed()};
            co_await random.run(sanitized ? 100 : 300);
            CHECK(known_by(c).size() <= cache);
            CHECK(c.usable());
        },
        options);
}

TEST_CASE("A statement is prepared when it is used for the second time", "[postgres][statements]") {
    create("create table t(a int)");
    with_connection([](connection& c) -> awaitable<void> {
        co_await c.execute("select 1");
        const auto once = co_await at_server(c);
        CHECK(once.empty());
        co_await c.execute("select 1");
        const auto twice = co_await at_server(c);
        CHECK(twice.size() == 1);
        for (int i = 0; i < 3; ++i) {
            const auto rows = co_await c.execute("select 1");
            CHECK(rows[0][0].as<int>() == 1);
        }
    });
}

TEST_CASE("statement_cache = 0: nothing is prepared", "[postgres][statements]") {
    create("create table t(a int)");
    coraii::postgres::options options;
    options.statement_cache = 0;
    with_connection(
        [](connection& c) -> awaitable<void> {
            for (int i = 0; i < 5; ++i) {
                co_await c.execute("select $1::int", i);
            }
            const int count = co_await number(c, "select count(*)::int from pg_prepared_statements");
            CHECK(count == 0);
        },
        options);
}

TEST_CASE("A cursor's and an EXECUTE's columns change from one run to the next", "[postgres][statements]") {
    create("create table t(a int)");
    with_connection([](connection& c) -> awaitable<void> {
        for (const char* column : {"7", "12.50::numeric", "'text'", "null::int", "3::bigint"}) {
            co_await c.execute("begin");
            co_await c.execute(coraii::sql_query{std::string{"declare c cursor for select "} + column});
            co_await c.execute_script(std::string{"prepare p as select "} + column);
            const auto fetched = co_await c.execute("fetch c");
            const auto executed = co_await c.execute("execute p");
            if (fetched[0][0].is_null()) {
                CHECK(std::string{column} == "null::int");
            } else {
                const std::string expected = std::string{column}.substr(0, std::string{column}.find(':'));
                CHECK_THAT(expected, ContainsSubstring(fetched[0][0].as<std::string>()));
                CHECK(executed[0][0].as<std::string>() == fetched[0][0].as<std::string>());
            }
            co_await c.execute_script("deallocate p");
            co_await c.execute("rollback");
        }
    });
}

TEST_CASE("Many parameters: 7,500 and 65,535 go, more are refused before anything is sent", "[postgres][statements]") {
    create("create table t(a int)");
    with_connection([](connection& c) -> awaitable<void> {
        for (const int count : {7'500, 65'535}) {
            std::string text = "select 1 where 0 in (";
            std::vector<coraii::sql_value> values;
            for (int i = 1; i <= count; ++i) {
                text += (i == 1 ? "$" : ",$") + std::to_string(i) + "::int";
                values.emplace_back(std::int64_t{i});
            }
            text += ')';
            for (int round = 0; round < 3; ++round) {
                const auto rows = co_await c.execute(coraii::sql_query{text, values});
                CHECK(rows.empty());
            }
        }
        const auto code = co_await error_of(
            [&] { return c.execute(coraii::sql_query{"select 1", std::vector<coraii::sql_value>(65'536)}); });
        CHECK(code == sql_errc::wrong_parameter_count);
        const int one = co_await number(c, "select 1");
        CHECK(one == 1);
    });
}

TEST_CASE("The wrong number of parameters, prepared or not: the connection goes on", "[postgres][statements]") {
    create("create table t(a int)");
    with_connection([](connection& c) -> awaitable<void> {
        for (int i = 0; i < 4; ++i) {
            const auto few = co_await error_of([&] { return c.execute("select $1::int, $2::int", 1); });
            CHECK(few == sql_errc::wrong_parameter_count);
            co_await c.execute("select $1::int, $2::int", 1, 2);
        }
    });
}

TEST_CASE("An outdated plan is run again where nothing was done, and only there", "[postgres][statements]") {
    create("create table t(a int); insert into t values (1)");
    with_connection([](connection& c) -> awaitable<void> {
        const auto prepare = [&c]() -> awaitable<void> {
            for (int i = 0; i < 3; ++i) {
                co_await c.execute("select * from t");
            }
        };
        co_await prepare();
        postgres().ask("alter table t add column b int");
        const auto rows = co_await c.execute("select * from t");
        CHECK(rows.columns().size() == 2);
        co_await prepare();
        postgres().ask("alter table t add column c int");
        boost::system::error_code failed;
        int attempts = 0;
        const auto body = [&](auto& tx) -> awaitable<void> {
            ++attempts;
            failed = co_await error_of([&] { return tx.execute("select * from t"); });
            if (failed) {
                throw sql_error{static_cast<sql_errc>(failed.value())};
            }
        };
        co_await coraii::run_transaction(c, body);
        CHECK(attempts == 2);
        const names there = co_await at_server(c);
        co_await prepare();
        CHECK(there.size() <= 1);
        // With rows that were delivered before.
        co_await c.stream("select * from t", [](auto) -> awaitable<void> { co_return; });
    });
}

TEST_CASE("What a procedure has committed is not done twice", "[postgres][statements]") {
    create(R"(create table done(i int); create table t(a int);
        create procedure work() language plpgsql as $$ begin
            insert into done values (1); commit; raise exception sqlstate '0A000'; end $$;
        create procedure inner_plan() language plpgsql as $$ begin
            insert into done values (1); commit;
            execute 'execute mine'; end $$;
        create procedure inner_name() language plpgsql as $$ begin
            insert into done values (1); commit; execute 'execute nobodys'; end $$;
        create procedure bad_number() language plpgsql as $$ begin
            insert into done values (1); commit; perform 'seven'::int; end $$;)");
    with_connection([](connection& c) -> awaitable<void> {
        co_await c.execute_script("prepare mine as select * from t");
        postgres().ask("alter table t add column b int");
        int done = 0;
        for (const char* call : {"call work()", "call inner_plan()", "call inner_name()", "call bad_number()"}) {
            CAPTURE(call);
            for (int i = 0; i < 4; ++i) {  // prepared from the second one on
                const std::string state = co_await state_of([&] { return c.execute(call); });
                CHECK(!state.empty());
                ++done;
                const int rows = co_await rows_of("done");
                CHECK(rows == done);
            }
        }
    });
}

TEST_CASE("A parameter whose column has become larger is taken at once", "[postgres][statements]") {
    create("create table t(a int)");
    with_connection([](connection& c) -> awaitable<void> {
        const std::int64_t large = std::int64_t{1} << 40;
        const auto insert = [&c](auto value) { return c.execute("insert into t values ($1)", value); };
        for (int i = 0; i < 3; ++i) {
            co_await insert(i);
        }
        const std::string small = co_await state_of([&] { return insert(large); });
        CHECK(small == "22003");  // rightly
        postgres().ask("alter table t alter a type bigint");
        co_await insert(large);
        for (int i = 0; i < 3; ++i) {
            co_await insert(i);
        }
        postgres().ask("alter table t alter a type text");
        co_await insert("text");
        for (int i = 0; i < 3; ++i) {
            co_await insert("text");
        }
        // In a transaction it is forgotten.
        postgres().ask("truncate t; alter table t alter a type int using a::int");
        for (int i = 0; i < 3; ++i) {
            co_await insert(i);
        }
        postgres().ask("alter table t alter a type bigint");
        co_await c.execute_script("begin");
        const std::string in_transaction = co_await state_of([&] { return insert(large); });
        CHECK(in_transaction == "22003");
        co_await c.execute_script("rollback; begin");
        co_await insert(large);
        co_await c.execute_script("commit");
    });
}

TEST_CASE("A NUL in a statement or script: nothing is sent", "[postgres][statements]") {
    create("create table t(a int); insert into t values (1)");
    with_connection([](connection& c) -> awaitable<void> {
        const std::string text{"delete from t \0 where a = 2", 27};
        const auto execute = co_await error_of([&] { return c.execute(coraii::sql_query{text}); });
        CHECK(execute == sql_errc::bad_statement);
        const auto script = co_await error_of([&] { return c.execute_script(text); });
        CHECK(script == sql_errc::bad_statement);
        const auto stream = co_await error_of([&] {
            return c.stream(coraii::sql_query{text}, [](const coraii::sql_rows&) -> awaitable<void> { co_return; });
        });
        CHECK(stream == sql_errc::bad_statement);
        const int rows = co_await number(c, "select count(*)::int from t");
        CHECK(rows == 1);
    });
}

TEST_CASE("A name that somebody has prepared by PREPARE does no harm to the session after", "[postgres][statements]") {
    create("create table t(a int)");
    with_connection([](connection& c) -> awaitable<void> {
        co_await c.execute_script("prepare \"coraii_1\" as select 1; prepare other as select 2");
        co_await c.reset();
        for (int i = 0; i < 3; ++i) {
            const int seven = co_await number(c, "select 7");
            CHECK(seven == 7);
        }
        const int by_name = co_await number(c, "select count(*)::int from pg_prepared_statements where from_sql");
        CHECK(by_name == 0);
    });
}
