// SPDX-License-Identifier: BSL-1.0
// Promise 7: a thousand tasks move money over a few connections, a third of them are cancelled, and nothing is lost.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <list>
#include <random>
#include <string>

using namespace test;

namespace {

constexpr int accounts = 50;
constexpr int tasks = sanitized ? 200 : 1000;

/// One who moves money, and how that ended.
struct mover {
    asio::cancellation_signal stop;
    std::exception_ptr error;
    bool done = false;
    bool moved = false;  // the body was left well
};

template <class Pool>
awaitable<void> move_money(Pool& pool, unsigned seed, bool& moved) {
    std::minstd_rand random{seed};
    const int from = std::uniform_int_distribution{1, accounts}(random);
    const int to = std::uniform_int_distribution{1, accounts}(random);
    const int cents = std::uniform_int_distribution{1, 500}(random);
    const auto body = [&](auto& tx) -> awaitable<void> {
        moved = false;
        co_await tx.execute("update account set cents = cents - $1 where id = $2", cents, from);
        co_await turn();
        co_await tx.execute("update account set cents = cents + $1 where id = $2", cents, to);
        co_await tx.execute("insert into moves values ($1)", static_cast<int>(seed));
        moved = true;
    };
    co_await coraii::run_transaction(pool, body, {.deadline = 50s});
}

}  // namespace

TEMPLATE_TEST_CASE("Promise 7: 1000 tasks on 8 connections, a third cancelled: the money adds up to the cent",
                   "[session][chaos]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s{{.max_size = 8, .acquire_timeout = 60s}};
    std::minstd_rand random{Catch::getSeed()};
    std::size_t most_connections = 0;
    std::list<mover> movers;
    s.run([](auto& setting, std::minstd_rand& dice, std::size_t& most, std::list<mover>& all) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(setting.pool), [](auto& session) -> awaitable<void> {
            co_await session.execute_script(
                "create table account(id integer primary key, cents integer); create table moves(task integer)");
            for (int id = 1; id <= accounts; ++id) {
                co_await session.execute("insert into account values ($1, 100000)", id);
            }
        });
        int left = tasks;
        gate ended{setting.context};
        std::vector<mover*> victims;
        for (unsigned i = 0; i < tasks; ++i) {
            mover& m = all.emplace_back();
            if (i % 3 == 0) {
                victims.push_back(&m);
            }
            asio::co_spawn(setting.context, move_money(setting.pool, i, m.moved),
                           asio::bind_cancellation_slot(m.stop.slot(), [&](std::exception_ptr e) {
                               m.error = std::move(e);
                               m.done = true;
                               if (--left == 0) {
                                   ended.open();
                               }
                           }));
        }
        std::ranges::shuffle(victims, dice);
        for (std::size_t i = 0; i < victims.size(); ++i) {
            // Among them are such as wait for the pool, are in a statement, and have ended.
            for (int turns = std::uniform_int_distribution{0, 20}(dice); turns > 0; --turns) {
                co_await turn();
            }
            victims[i]->stop.emit(asio::cancellation_type::terminal);
            if (i % 10 == 0) {
                co_await pause(1ms);
                most = std::max(most, setting.pool.stats().size);
            }
        }
        co_await ended.wait();
    }(s, random, most_connections, movers));
    CHECK(most_connections <= 8);

    int committed = 0;
    int cancelled = 0;
    for (const mover& m : movers) {
        CHECK((!m.error || code(m.error) == asio::error::operation_aborted));
        committed += m.error ? 0 : 1;
        cancelled += m.error ? 1 : 0;
    }
    CHECK(cancelled > 0);
    test::run(coraii::with(s.database.connect(), [&](auto& connection) -> awaitable<void> {
        const int sum = co_await number(connection, "select sum(cents) from account");
        CHECK(sum == accounts * 100000);
        const int moves = co_await number(connection, "select count(*) from moves");
        // Whoever is cancelled while the COMMIT is under way has moved money as well.
        CHECK(moves >= committed);
        CHECK(moves <= committed + cancelled);
        const int twice = co_await number(
            connection, "select count(*) from (select task from moves group by task having count(*) > 1) as t");
        CHECK(twice == 0);
    }));
}
