// SPDX-License-Identifier: BSL-1.0
// run_transaction on both databases.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace test;

namespace {

constexpr const char* schema = "create table account(id integer primary key, cents integer)";

}  // namespace

TEMPLATE_TEST_CASE("run_transaction gives what its body returned, committed", "[session][retry]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.run([](auto& pool) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            co_await session.execute_script(schema);
            const auto insert = [](auto& tx) -> awaitable<int> {
                co_await tx.execute("insert into account values (1, 100)");
                co_return co_await number(tx, "select cents from account");
            };
            const int cents = co_await coraii::run_transaction(session, insert);
            CHECK(cents == 100);
        });
        const auto read = [](auto& tx) { return number(tx, "select cents from account"); };
        const int cents = co_await coraii::run_transaction(pool, read);
        CHECK(cents == 100);
    }(s.pool));
}

TEMPLATE_TEST_CASE("run_transaction tries again what can pass, and nothing else", "[session][retry]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.run([](auto& pool) -> awaitable<void> {
        const auto attempts = [&pool](sql_errc thrown, int fails) -> awaitable<int> {
            int made = 0;
            const auto body = [&](auto&) -> awaitable<void> {
                if (++made <= fails) {
                    throw sql_error{thrown};
                }
                co_return;
            };
            try {
                co_await coraii::run_transaction(pool, body, {.backoff = std::chrono::milliseconds{1}});
            } catch (const sql_error& e) {
                CHECK(e.code() == thrown);
                co_return -made;
            }
            co_return made;
        };
        const int serialization = co_await attempts(sql_errc::serialization_failure, 3);
        CHECK(serialization == 4);
        const int deadlock = co_await attempts(sql_errc::deadlock, 1);
        CHECK(deadlock == 2);
        const int busy = co_await attempts(sql_errc::busy, 1);
        CHECK(busy == 2);
        const int lost = co_await attempts(sql_errc::connection_lost, 1);
        CHECK(lost == 2);
        const int unknown = co_await attempts(sql_errc::commit_unknown, 1);
        CHECK(unknown == -1);
        const int constraint = co_await attempts(sql_errc::constraint_violated, 1);
        CHECK(constraint == -1);
    }(s.pool));
}

TEMPLATE_TEST_CASE("run_transaction gives up at its deadline, with the last error", "[session][retry]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.run([](auto& pool) -> awaitable<void> {
        int made = 0;
        const auto body = [&](auto&) -> awaitable<void> {
            ++made;
            throw sql_error{sql_errc::busy};
            co_return;
        };
        const auto code = co_await error_of([&] {
            return coraii::run_transaction(pool, body,
                                           {.deadline = std::chrono::milliseconds{50},
                                            .backoff = std::chrono::milliseconds{1},
                                            .backoff_max = std::chrono::milliseconds{4}});
        });
        CHECK(code == sql_errc::busy);
        CHECK(made > 3);
    }(s.pool));
}

TEMPLATE_TEST_CASE("Transactions that read, and then write what they have read, lose nothing", "[session][retry]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 4}};
    constexpr int tasks = 20;
    s.run([](auto& setting) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(setting.pool), [](auto& session) -> awaitable<void> {
            co_await session.execute_script(std::string{schema} + "; insert into account values (1, 0)");
        });
        int done = 0;
        gate all{setting.context};
        const auto increment = [](auto& tx) -> awaitable<void> {
            const int cents = co_await number(tx, "select cents from account where id = 1");
            co_await turn();
            co_await tx.execute("update account set cents = $1 where id = 1", cents + 1);
        };
        for (int i = 0; i < tasks; ++i) {
            asio::co_spawn(setting.context,
                           coraii::run_transaction(setting.pool, increment,
                                                   {.transaction = {.isolation = coraii::isolation::serializable}}),
                           [&](std::exception_ptr e) {
                               CHECK(what(e) == "no error");
                               if (++done == tasks) {
                                   all.open();
                               }
                           });
        }
        co_await all.wait();
        const auto read = [](auto& tx) { return number(tx, "select cents from account"); };
        const int cents = co_await coraii::run_transaction(setting.pool, read);
        CHECK(cents == tasks);
    }(s));
}
