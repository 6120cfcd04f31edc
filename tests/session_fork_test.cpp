// SPDX-License-Identifier: BSL-1.0
// A child of the process ends: what the parent has open is the parent's.
#include "support/sql_databases.hpp"

#include <boost/asio/detached.hpp>

#include <catch2/catch_template_test_macros.hpp>

#include <cstdlib>
#include <memory>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

using namespace test;

namespace {

template <class Connection>
struct program {
    asio::io_context context;
    coraii::pool<Connection> pool;
    gate in_transaction{context}, go_on{context};

    template <class Factory>
    explicit program(Factory factory) : pool{context.get_executor(), std::move(factory), {.max_size = 2}} {}

    awaitable<void> use() {
        co_await coraii::with(coraii::open_session(pool), [this](auto& session) -> awaitable<void> {
            co_await session.execute_script("create table t(i integer primary key)");
            co_await coraii::with(coraii::begin_transaction(session), [this](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values ($1)", 1);
                in_transaction.open();
                co_await go_on.wait();
                co_await tx.execute("insert into t values ($1)", 2);
            });
            const int rows = co_await number(session, "select count(*) from t");
            CHECK(rows == 2);
        });
        co_await pool.close();
    }
};

}  // namespace

TEMPLATE_TEST_CASE("fork: a child that ends says nothing on the parent's connections", "[session][fork]",
                   CORAII_TEST_DATABASES) {
    if (!can_fork) {
        SKIP("a child could start no threads");
    }
    const bool told = GENERATE(false, true);
    CAPTURE(told);
    TestType database;
    using connection = typename TestType::connection;
    auto parent = std::make_unique<program<connection>>([&] { return database.connect(); });
    std::exception_ptr error;
    bool in_transaction = false;
    asio::co_spawn(parent->context, parent->use(), [&](std::exception_ptr e) { error = std::move(e); });
    const auto watch = [&]() -> awaitable<void> {
        auto idle = co_await parent->pool.acquire();  // one that is given back before the fork
        co_await idle.close();
        co_await parent->in_transaction.wait();
        in_transaction = true;
    };
    asio::co_spawn(parent->context, watch(), asio::detached);
    while (!in_transaction) {
        parent->context.run_one();
    }
    parent->context.run_for(std::chrono::milliseconds{20});
    if (told) {
        parent->context.notify_fork(asio::execution_context::fork_prepare);
    }
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::alarm(60);
        if (told) {
            parent->context.notify_fork(asio::execution_context::fork_child);
        }
        parent.reset();
        std::_Exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    if (told) {
        parent->context.notify_fork(asio::execution_context::fork_parent);
    }
    parent->go_on.open();
    finish(parent->context);
    CHECK(what(error) == "no error");
}
