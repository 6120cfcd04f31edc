// SPDX-License-Identifier: BSL-1.0
// BEGIN, COMMIT and the like as statements of the user's own, and text that is not sent, on both databases.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

using namespace test;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr bool is_sqlite(const auto& session) {
    return std::same_as<std::remove_cvref_t<decltype(session.connection())>, coraii::sqlite::connection>;
}

template <class Session>
awaitable<boost::system::error_code> begin_error(Session& session) {
    co_return co_await error_of([&session] {
        return coraii::with(coraii::begin_transaction(session), [](auto&) -> awaitable<void> { co_return; });
    });
}

}  // namespace

TEMPLATE_TEST_CASE("begin_transaction is refused before anything is sent while a typed BEGIN is open", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script("create table t(i integer)");
        co_await session.execute("begin");
        co_await session.execute("insert into t values (1)");
        const auto refused = co_await begin_error(session);
        CHECK(refused == sql_errc::inner_transaction_open);
        CHECK(session.connection().status() == transaction_status::in_transaction);  // as it was
        co_await session.execute("commit");
        const auto good = co_await begin_error(session);
        CHECK(!good);
        const int rows = co_await number(session, "select count(*) from t");
        CHECK(rows == 1);
    });
}

TEMPLATE_TEST_CASE("A COMMIT that was typed in a transaction: its end does not claim a rollback", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script("create table t(i integer)");
        boost::system::error_code code;
        std::string text;
        try {
            co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values (1)");
                co_await tx.execute("commit");
            });
        } catch (const sql_error& e) {
            code = e.code();
            text = e.what();
        }
        CHECK(code == sql_errc::statement_failed);
        CHECK_THAT(text, !ContainsSubstring("rolled back"));
        CHECK_THAT(text, ContainsSubstring("over already"));
        const int rows = co_await number(session, "select count(*) from t");
        CHECK(rows == 1);
    });
}

TEMPLATE_TEST_CASE("ROLLBACK TO, RELEASE and SAVEPOINT that are typed are never refused", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script("create table t(i integer)");
        co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<void> {
            co_await tx.execute("insert into t values (1)");
            co_await tx.execute("savepoint a");
            co_await tx.execute("insert into t values (2)");
            co_await tx.execute("rollback to a");
            co_await tx.execute("release a");
        });
        co_await session.execute_script("begin; insert into t values (3); rollback");
        const int sum = co_await number(session, "select sum(i) from t");
        CHECK(sum == 1);
    });
}

TEMPLATE_TEST_CASE("A failed transaction that was typed: its ROLLBACK works, however often", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        for (int round = 0; round < 4; ++round) {  // from the second time on, it may be prepared
            co_await session.execute("begin");
            (void)co_await error_of([&] { return session.execute("select nobody"); });
            co_await session.execute("rollback");
            CHECK(session.connection().status() == transaction_status::idle);
        }
    });
}

TEMPLATE_TEST_CASE("Values: a null pointer, NaN, a char, unsigned bytes, and what does not fit", "[session]",
                   CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        const char* none = nullptr;
        const auto null = co_await session.execute("select $1", none);
        CHECK(null[0][0].is_null());
        const auto letter = co_await session.execute("select $1", 'x');
        CHECK(letter[0][0].template as<char>() == 'x');
        CHECK(letter[0][0].template as<std::string>() == "x");

        const std::string bytes = is_sqlite(session) ? "select $1" : "select $1::bytea";
        const unsigned char array[]{0, 255, '\''};
        const std::vector<unsigned char> vector{array, array + 3};
        const auto of_array = co_await session.execute(bytes, array);
        CHECK(of_array[0][0].template as<std::vector<unsigned char>>() == vector);
        const auto of_vector = co_await session.execute(bytes, vector);
        CHECK(of_vector[0][0].template as<coraii::sql_bytes>() ==
              coraii::sql_bytes{std::byte{0}, std::byte{255}, std::byte{'\''}});

        const auto refused = [](const auto& rows, auto wanted) {
            try {
                (void)rows[0][0].template as<decltype(wanted)>();
            } catch (const sql_error& e) { return e.code() == sql_errc::bad_conversion; }
            return false;
        };
        const std::string real = is_sqlite(session) ? "select $1" : "select $1::double precision";
        const auto large = co_await session.execute(real, 1e300);
        CHECK(refused(large, float{}));
        CHECK(large[0][0].template as<double>() == 1e300);
        const auto tiny = co_await session.execute(real, 1e-300);
        CHECK(refused(tiny, float{}));
        const auto infinite = co_await session.execute(real, std::numeric_limits<double>::infinity());
        CHECK(std::isinf(infinite[0][0].template as<float>()));
        const std::string integer = is_sqlite(session) ? "select $1" : "select $1::bigint";
        const auto most = co_await session.execute(integer, std::numeric_limits<std::int64_t>::max());
        CHECK(refused(most, double{}));
        CHECK(most[0][0].template as<std::int64_t>() == std::numeric_limits<std::int64_t>::max());
        const auto exact = co_await session.execute(integer, std::int64_t{1} << 60);
        CHECK(exact[0][0].template as<double>() == 1152921504606846976.0);
        if (!is_sqlite(session)) {  // which makes NaN NULL
            const auto nan = co_await session.execute(real, -std::numeric_limits<double>::quiet_NaN());
            CHECK(std::isnan(nan[0][0].template as<double>()));
        }
    });
}
