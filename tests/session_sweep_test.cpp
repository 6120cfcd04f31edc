// SPDX-License-Identifier: BSL-1.0
// Sessions and transactions under the fault-injection kit, on real databases: after each run, the database has all of
// what was to be committed, or nothing.
#include "coraii/testing.hpp"
#include "support/sql_databases.hpp"
#include "support/sweep.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <stdexcept>

using namespace test;
using coraii::testing::fault_kind;
using coraii::testing::point;

TEMPLATE_TEST_CASE("sweep: a transaction is all or nothing, and nothing is left open", "[session][sweep]",
                   CORAII_TEST_DATABASES) {
    TestType database;
    int all = 0;
    int none = 0;
    const auto with_connection = [&](auto body) { return coraii::with(database.connect(), body); };
    test::run(with_connection([](auto& c) { return c.execute_script("create table t(i integer)"); }));
    coraii::testing::sweep_options options{.pairs = 5};
    // What is not ours (the standard library's threads, libpq, SQLite) is not tried without memory.
    std::erase(options.kinds, fault_kind::no_memory);
    const auto report = coraii::testing::sweep(
        [&]() -> awaitable<void> {
            // What the run before has left.
            co_await with_connection([&](auto& c) -> awaitable<void> {
                const int rows = co_await number(c, "select count(*) from t");
                if (rows != 0 && rows != 2) {
                    throw std::logic_error("half a transaction");
                }
                ++(rows == 0 ? none : all);
                co_await c.execute("delete from t");
            });
            co_await with_connection([](auto& c) {
                return coraii::with(coraii::begin_transaction(c), [](auto& tx) -> awaitable<void> {
                    co_await tx.execute("insert into t values (1)");
                    co_await point("between");
                    co_await coraii::with(coraii::begin_transaction(tx), [](auto& inner) -> awaitable<void> {
                        co_await inner.execute("insert into t values (2)");
                        co_await point("inside");
                    });
                });
            });
        },
        options);
    test::check_sweep(report);
    CHECK(none > 5);
    CHECK(all > 5);
    TestType::check_nothing_open();
}
