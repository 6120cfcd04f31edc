// SPDX-License-Identifier: BSL-1.0
// Promises 5 and 8 on both databases: what is interrupted, and what is wrong.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <optional>
#include <string>
#include <string_view>

using namespace test;

namespace {

template <class Work>
awaitable<std::optional<sql_error>> sql_error_of(Work work) {
    try {
        co_await work();
    } catch (const sql_error& e) { co_return e; }
    co_return std::nullopt;
}

template <class Client>
awaitable<void> still_works(Client& client) {
    const int one = co_await number(client, "select 1");
    CHECK(one == 1);
}

}  // namespace

TEMPLATE_TEST_CASE("Promise 5: a cancelled statement leaves a usable connection", "[session][cancel]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    s.run([](auto& setting, asio::cancellation_type cancel) -> awaitable<void> {
        for (int round = 0; round < 5; ++round) {
            auto work = [](auto& pool) -> awaitable<void> {
                co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
                co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
                    const auto code =
                        co_await error_of([&]() -> awaitable<void> { co_await session.execute(TestType::endless); });
                    CHECK(code == asio::error::operation_aborted);
                    // The statement has ended before we are told, and the connection is there at once.
                    CHECK(session.connection().status() == transaction_status::idle);
                });
            };
            task user{setting.context, work(setting.pool), slot::connected};
            co_await pause(std::chrono::milliseconds{10 * round});
            user.cancel(cancel);
            co_await coraii::with(coraii::open_session(setting.pool),
                                  [](auto& session) -> awaitable<void> { co_await still_works(session); });
        }
        CHECK(setting.pool.stats().opened == 1);
    }(s, type));
}

TEMPLATE_TEST_CASE("Promise 5: a cancel at any moment of a short statement", "[session][cancel]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 1}};
    s.run([](auto& setting) -> awaitable<void> {
        for (int turns = 0; turns < 30; ++turns) {
            task user{setting.context,
                      coraii::with(coraii::open_session(setting.pool),
                                   [](auto& session) -> awaitable<void> {
                                       for (int i = 0; i < 3; ++i) {
                                           co_await session.execute("select $1", "some text");
                                       }
                                   }),
                      slot::connected};
            for (int i = 0; i < turns; ++i) {
                co_await turn();
            }
            user.cancel();
            co_await coraii::with(coraii::open_session(setting.pool),
                                  [](auto& session) -> awaitable<void> { co_await still_works(session); });
        }
    }(s));
}

TEMPLATE_TEST_CASE("Promise 5: cancel() ends what is under way as a cancel of its coroutine", "[session][cancel]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        asio::steady_timer soon{co_await asio::this_coro::executor, std::chrono::milliseconds{30}};
        soon.async_wait([&session](boost::system::error_code) { session.connection().cancel(); });
        const auto code = co_await error_of([&]() -> awaitable<void> { co_await session.execute(TestType::endless); });
        CHECK(code == asio::error::operation_aborted);
        co_await still_works(session);
    });
}

TEMPLATE_TEST_CASE("A connection that is killed ends what is under way, and is of no more use", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        asio::steady_timer soon{co_await asio::this_coro::executor, std::chrono::milliseconds{30}};
        soon.async_wait([&session](boost::system::error_code) { session.connection().kill(); });
        const auto first = co_await error_of([&]() -> awaitable<void> { co_await session.execute(TestType::endless); });
        CHECK(first == sql_errc::connection_lost);
        const auto second = co_await error_of([&]() -> awaitable<void> { co_await session.execute("select 1"); });
        CHECK(second == sql_errc::connection_lost);
        CHECK(session.connection().status() == transaction_status::unknown);
    });
    CHECK(s.pool.stats().discarded == 1);
}

TEMPLATE_TEST_CASE("Promise 8: an SQL error says what, where and in which statement", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        const auto error = co_await sql_error_of([&] { return session.execute("select nobody from nowhere"); });
        REQUIRE(error);
        CHECK(error->code() == sql_errc::statement_failed);
        CHECK(error->statement() == "select nobody from nowhere");
        CHECK_THAT(error->what(), Catch::Matchers::ContainsSubstring("nowhere"));
        if (std::same_as<TestType, sqlite_database>) {
            CHECK(error->native_code() != 0);
        } else {
            CHECK(error->sqlstate() == "42P01");
            CHECK(error->position() == 20);
        }
        co_await still_works(session);
    });
}

TEMPLATE_TEST_CASE("Promise 8: the wrong number of parameters", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        const auto few = co_await error_of([&] { return session.execute("select $1, $2", 1); });
        CHECK(few == sql_errc::wrong_parameter_count);
        const auto many = co_await error_of([&] { return session.execute("select 1", 1); });
        CHECK(many == sql_errc::wrong_parameter_count);
        co_await still_works(session);
    });
}

TEMPLATE_TEST_CASE("Promise 8: a violated constraint, NULL where there must be none", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute("create table t(i integer primary key, s text not null)");
        co_await session.execute("insert into t values (1, 'x')");
        const auto twice = co_await error_of([&] { return session.execute("insert into t values (1, 'x')"); });
        CHECK(twice == sql_errc::constraint_violated);
        const auto null = co_await error_of([&] { return session.execute("insert into t values (2, $1)", nullptr); });
        CHECK(null == sql_errc::constraint_violated);
        co_await still_works(session);
    });
}

TEMPLATE_TEST_CASE("Promise 8: two statements where there must be one; none at all", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        const auto two = co_await error_of([&] { return session.execute("select 1; select 2"); });
        CHECK(two == sql_errc::statement_failed);
        const auto none = co_await session.execute("");
        CHECK(none.empty());
        co_await session.execute_script("-- only a remark");
        co_await still_works(session);
    });
}

TEMPLATE_TEST_CASE("Promise 8: a value of 100 MB goes and comes", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        std::string text(100'000'000, 'a');
        text.back() = 'z';
        const auto rows = co_await session.execute("select $1, length($1)", text);
        CHECK(rows[0][0].template as<std::string_view>() == text);
        CHECK(rows[0][1].template as<std::size_t>() == text.size());
        co_await still_works(session);
    });
}

TEMPLATE_TEST_CASE("A statement is prepared again when the table has changed", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script("create table t(a integer); insert into t values (1)");
        const auto before = co_await session.execute("select * from t");
        CHECK(before.columns().size() == 1);
        co_await session.execute_script("alter table t add column b integer");
        const auto after = co_await session.execute("select * from t");
        CHECK(after.columns().size() == 2);
        CHECK(after[0]["b"].is_null());
    });
}
