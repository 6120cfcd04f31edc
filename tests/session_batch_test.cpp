// SPDX-License-Identifier: BSL-1.0
// execute_many: one statement, many rows.
#include "support/sql_databases.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <catch2/catch_template_test_macros.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace test;
using coraii::sql_value;

namespace {

using row = std::tuple<int, std::optional<std::string>>;

std::vector<row> rows(int from, int to) {
    std::vector<row> all;
    for (int i = from; i < to; ++i) {
        all.emplace_back(i, i % 2 == 0 ? std::optional{"row " + std::to_string(i)} : std::nullopt);
    }
    return all;
}

constexpr const char* table = "create table t(id integer primary key, name text)";
constexpr const char* insert = "insert into t(id, name) values ($1, $2)";

template <class Client>
awaitable<std::pair<sql_error, int>> fails(Client& client, std::string text, std::vector<row> with) {
    try {
        co_await client.execute_many(text, with);
    } catch (const sql_error& e) { co_return std::pair{e, static_cast<int>(e.row())}; }
    FAIL("no error");
    std::abort();
}

}  // namespace

TEMPLATE_TEST_CASE("execute_many: all rows, in a transaction or not", "[session][batch]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script(table);
        std::uint64_t done = co_await session.execute_many(insert, rows(0, 1000));
        CHECK(done == 1000);
        done = co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<std::uint64_t> {
            co_return co_await tx.execute_many(insert, rows(1000, 1500));
        });
        CHECK(done == 500);
        done = co_await session.execute_many(insert, rows(0, 0));
        CHECK(done == 0);
        done = co_await session.execute_many("update t set name = $2 where id >= $1", rows(1498, 1499));
        CHECK(done == 2);
        const std::vector<std::vector<sql_value>> values{{std::int64_t{7}}, {std::int64_t{8}}};
        done = co_await session.execute_many("delete from t where id = $1", values);
        CHECK(done == 2);
        const int left = co_await number(session, "select count(*) from t");
        CHECK(left == 1498);
        const int unnamed = co_await number(session, "select count(*) from t where name is null");
        CHECK(unnamed == 748);
        CHECK(session.connection().status() == transaction_status::idle);
    });
}

TEMPLATE_TEST_CASE("execute_many: if a row fails nothing is done, and the error says which", "[session][batch]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script(table);
        co_await session.execute_many(insert, rows(10, 11));
        for (int i = 0; i < 3; ++i) {  // prepared or not
            const auto [error, at] = co_await fails(session, insert, rows(0, 100));
            CHECK(error.code() == sql_errc::constraint_violated);
            CHECK(at == 11);
            CHECK(error.statement() == insert);
            CHECK(session.connection().status() == transaction_status::idle);
        }
        const auto [wrong, first] = co_await fails(session, "insert into nowhere values ($1, $2)", rows(0, 5));
        CHECK(wrong.code() == sql_errc::statement_failed);
        int stored = co_await number(session, "select count(*) from t");
        CHECK(stored == 1);
        // In a transaction: what came before in it is for the transaction to decide.
        const auto work = [](auto& tx) -> awaitable<void> {
            co_await tx.execute_many(insert, rows(200, 205));
            co_await coraii::try_with(coraii::begin_transaction(tx), [](auto& inner) -> awaitable<void> {
                co_await inner.execute_many(insert, rows(205, 300));
                co_await inner.execute_many(insert, rows(5, 15));  // 10 is there
            });
            co_await tx.execute_many(insert, rows(300, 302));
        };
        co_await coraii::with(coraii::begin_transaction(session), work);
        stored = co_await number(session, "select count(*) from t");
        CHECK(stored == 8);
    });
}

TEMPLATE_TEST_CASE("execute_many that is cancelled has done nothing, and the connection goes on", "[session][batch]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script(table);
        const std::string slow =
            std::string{"insert into t select $1, $2 where ("} + TestType::endless + ") is not null";
        asio::cancellation_signal signal;
        std::optional<boost::system::error_code> ended;
        const auto work = [&]() -> awaitable<void> { co_await session.execute_many(slow, rows(0, 3)); };
        asio::co_spawn(co_await asio::this_coro::executor, error_of(work),
                       asio::bind_cancellation_slot(
                           signal.slot(), [&](std::exception_ptr, boost::system::error_code e) { ended = e; }));
        co_await pause(std::chrono::milliseconds{20});
        CHECK(session.connection().status() == transaction_status::active);
        signal.emit(asio::cancellation_type::terminal);
        while (!ended) {
            co_await pause(std::chrono::milliseconds{1});
        }
        CHECK(ended == asio::error::operation_aborted);
        CHECK(session.connection().status() == transaction_status::idle);
        const int stored = co_await number(session, "select count(*) from t");
        CHECK(stored == 0);
    });
}

TEST_CASE("execute_many: a wrong number of values in a later row", "[session][batch]") {
    sql_setting<sqlite_database> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script(table);
        const std::vector<std::vector<sql_value>> values{{std::int64_t{1}, "a"}, {std::int64_t{2}}};
        std::size_t at = 0;
        try {
            co_await session.execute_many(insert, values);
        } catch (const sql_error& e) {
            CHECK(e.code() == sql_errc::wrong_parameter_count);
            at = e.row();
        }
        CHECK(at == 2);
        const int stored = co_await number(session, "select count(*) from t");
        CHECK(stored == 0);
    });
}
