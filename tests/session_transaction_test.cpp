// SPDX-License-Identifier: BSL-1.0
// Transactions on both databases: what is committed, and in which order things are cleaned.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <stdexcept>
#include <string>

using namespace test;

namespace {

template <class Session>
awaitable<void> create(Session& session) {
    co_await session.execute_script("create table t(i integer primary key)");
}

template <class Client>
awaitable<int> count(Client& client) {
    return number(client, "select count(*) from t");
}

}  // namespace

TEMPLATE_TEST_CASE("A transaction is committed when its body returns", "[session][transaction]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        co_await coraii::with(coraii::begin_transaction(session),
                              [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into t values ($1)", 1); });
        CHECK(session.connection().status() == transaction_status::idle);
        const int rows = co_await count(session);
        CHECK(rows == 1);
    });
}

TEMPLATE_TEST_CASE("Promise 3: a body that throws: ROLLBACK, and its own exception", "[session][transaction]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        std::string what;
        try {
            co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
                throw std::runtime_error("the body's");
            });
        } catch (const std::runtime_error& e) { what = e.what(); }
        CHECK(what == "the body's");
        CHECK(session.connection().status() == transaction_status::idle);
        const int rows = co_await count(session);
        CHECK(rows == 0);
    });
}

TEMPLATE_TEST_CASE("Promise 3: a body that is cancelled, between statements or in one: ROLLBACK",
                   "[session][transaction][cancel]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    const bool in_statement = GENERATE(false, true);
    CAPTURE(in_statement);
    s.run([](auto& setting, bool in_a_statement) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(setting.pool),
                              [](auto& session) -> awaitable<void> { co_await create(session); });
        gate begun{setting.context};
        auto work = coraii::with(coraii::open_session(setting.pool), [&](auto& session) {
            return coraii::with(coraii::begin_transaction(session), [&](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
                begun.open();
                if (in_a_statement) {
                    co_await tx.execute(TestType::endless);
                } else {
                    co_await forever();
                }
            });
        });
        task user{setting.context, std::move(work), slot::connected};
        co_await begun.wait();
        co_await pause(std::chrono::milliseconds{30});
        user.cancel();
        co_await coraii::with(coraii::open_session(setting.pool), [](auto& session) -> awaitable<void> {
            const int rows = co_await count(session);
            CHECK(rows == 0);
        });
        CHECK(code(user.error()) == asio::error::operation_aborted);
        CHECK(setting.pool.stats().opened == 1);
    }(s, in_statement));
}

TEMPLATE_TEST_CASE("Promise 3: a guard that is dropped: ROLLBACK", "[session][transaction]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        {
            auto tx = co_await coraii::begin_transaction(session);
            co_await tx->execute("insert into t values (1)");
        }
        co_await coraii::async_drain(asio::query(co_await asio::this_coro::executor, asio::execution::context));
        const int rows = co_await count(session);
        CHECK(rows == 0);
    });
}

TEMPLATE_TEST_CASE("Promise 3: a COMMIT that the database has turned into a ROLLBACK is an error",
                   "[session][transaction]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
                // An error that is swallowed; and where that does not spoil the transaction, what does.
                (void)co_await error_of([&] {
                    return tx.execute(std::same_as<TestType, sqlite_database> ? "insert or rollback into t values (1)"
                                                                              : "insert into t values (1)");
                });
            });
        });
        CHECK(code == sql_errc::rolled_back);
        const int rows = co_await count(session);
        CHECK(rows == 0);
    });
}

TEMPLATE_TEST_CASE("Promise 3: a COMMIT that fails leaves nothing open", "[session][transaction]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        co_await session.execute_script("create table u(i integer references t(i) deferrable initially deferred)");
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::begin_transaction(session),
                                [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into u values (99)"); });
        });
        CHECK(code == sql_errc::constraint_violated);
        CHECK(session.connection().status() == transaction_status::idle);
        const int rows = co_await number(session, "select count(*) from u");
        CHECK(rows == 0);
    });
}

TEMPLATE_TEST_CASE("Promise 2: a cancel at any moment of BEGIN leaves nothing open", "[session][transaction][cancel]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    s.run([](auto& setting) -> awaitable<void> {
        for (int turns = 0; turns < 40; ++turns) {
            auto work = coraii::with(coraii::open_session(setting.pool), [](auto& session) {
                return coraii::with(coraii::begin_transaction(session), [](auto&) { return forever(); });
            });
            task user{setting.context, std::move(work), slot::connected};
            for (int i = 0; i < turns; ++i) {
                co_await turn();
            }
            user.cancel();
            co_await coraii::with(coraii::open_session(setting.pool), [](auto& session) -> awaitable<void> {
                CHECK(session.connection().status() == transaction_status::idle);
                const int one = co_await number(session, "select 1");
                CHECK(one == 1);
            });
            CHECK(user.finished());
            TestType::check_nothing_open();
        }
        CHECK(setting.pool.stats().opened <= 41);
    }(s));
}

TEMPLATE_TEST_CASE("Promise 4: a savepoint that fails keeps the outer work", "[session][transaction]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        co_await coraii::with(coraii::begin_transaction(session), [](auto& outer) -> awaitable<void> {
            co_await outer.execute("insert into t values (1)");
            co_await coraii::with(coraii::begin_transaction(outer), [](auto& inner) -> awaitable<void> {
                co_await inner.execute("insert into t values (2)");
            });
            const auto duplicate = co_await error_of([&] {
                return coraii::with(coraii::begin_transaction(outer), [](auto& inner) -> awaitable<void> {
                    co_await inner.execute("insert into t values (3)");
                    co_await coraii::with(coraii::begin_transaction(inner), [](auto& innermost) -> awaitable<void> {
                        co_await innermost.execute("insert into t values (1)");
                    });
                });
            });
            CHECK(duplicate == sql_errc::constraint_violated);
            co_await outer.execute("insert into t values (4)");
        });
        const auto rows = co_await session.execute("select i from t order by i");
        REQUIRE(rows.size() == 3);
        CHECK(rows[0][0].template as<int>() == 1);
        CHECK(rows[1][0].template as<int>() == 2);
        CHECK(rows[2][0].template as<int>() == 4);
    });
}

TEMPLATE_TEST_CASE("Promise 4: the use of a session or transaction while an inner one is open is an error",
                   "[session][transaction]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        co_await coraii::with(coraii::begin_transaction(session), [&](auto& outer) -> awaitable<void> {
            const auto of_session = co_await error_of([&]() -> awaitable<void> { co_await count(session); });
            CHECK(of_session == sql_errc::inner_transaction_open);
            co_await coraii::with(coraii::begin_transaction(outer), [&](auto&) -> awaitable<void> {
                const auto of_outer =
                    co_await error_of([&]() -> awaitable<void> { co_await outer.execute("select 1"); });
                CHECK(of_outer == sql_errc::inner_transaction_open);
                const auto another = co_await error_of([&] {
                    return coraii::with(coraii::begin_transaction(outer), [](auto&) -> awaitable<void> { co_return; });
                });
                CHECK(another == sql_errc::inner_transaction_open);
            });
            const int rows = co_await count(outer);
            CHECK(rows == 0);
        });
    });
}

TEMPLATE_TEST_CASE("Promise 4: session and transaction dropped in one unwinding: ROLLBACK, then given back",
                   "[session][transaction]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    s.run([](auto& pool) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool),
                              [](auto& session) -> awaitable<void> { co_await create(session); });
        for (int round = 0; round < 10; ++round) {
            {
                auto session = co_await coraii::open_session(pool);
                auto tx = co_await coraii::begin_transaction(*session);
                auto inner = co_await coraii::begin_transaction(*tx);
                co_await inner->execute("insert into t values (1)");
                if (round % 2 == 1) {
                    session.reset();  // the other way round
                    tx.reset();
                }
            }
            co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
                CHECK(session.connection().status() == transaction_status::idle);
                const int rows = co_await count(session);
                CHECK(rows == 0);
            });
        }
        CHECK(pool.stats().opened == 1);
    }(s.pool));
}

TEMPLATE_TEST_CASE("A transaction on a bare connection", "[session][transaction]", CORAII_TEST_DATABASES) {
    asio::io_context context;
    TestType database;
    test::run(
        coraii::with(database.connect(),
                     [](auto& connection) -> awaitable<void> {
                         co_await create(connection);
                         co_await coraii::with(
                             coraii::begin_transaction(connection, {.isolation = coraii::isolation::serializable}),
                             [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into t values (1)"); });
                         const int rows = co_await count(connection);
                         CHECK(rows == 1);
                     }),
        context);
}

TEMPLATE_TEST_CASE("A read-only transaction writes nothing", "[session][transaction]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await create(session);
        const coraii::transaction_options read_only{.access = coraii::access_mode::read_only};
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::begin_transaction(session, read_only),
                                [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into t values (1)"); });
        });
        CHECK(code == sql_errc::statement_failed);
        co_await session.execute("insert into t values (2)");
    });
}

TEMPLATE_TEST_CASE("The context dies in a transaction: nothing is committed, nothing is left", "[session][transaction]",
                   CORAII_TEST_DATABASES) {
    TestType database;
    test::run(coraii::with(database.connect(), [](auto& c) -> awaitable<void> { co_await create(c); }));
    {
        asio::io_context context;
        coraii::pool<typename TestType::connection> pool{context.get_executor(), [&] { return database.connect(); }};
        bool in_body = false;
        asio::co_spawn(context,
                       coraii::with(coraii::open_session(pool),
                                    [&](auto& session) {
                                        return coraii::with(coraii::begin_transaction(session),
                                                            [&](auto& tx) -> awaitable<void> {
                                                                co_await tx.execute("insert into t values (1)");
                                                                in_body = true;
                                                                co_await tx.execute(TestType::endless);
                                                            });
                                    }),
                       [](std::exception_ptr) {});
        while (!in_body) {
            context.run_one();
        }
        context.run_for(std::chrono::milliseconds{20});
    }
    test::run(coraii::with(database.connect(), [](auto& c) -> awaitable<void> {
        const int rows = co_await count(c);
        CHECK(rows == 0);
    }));
}
