// SPDX-License-Identifier: BSL-1.0
// Rows as tuples, aggregates and values; types of one's own, times and arrays; single statements.
#include "support/sql_databases.hpp"

#include <catch2/catch_template_test_macros.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace test;

namespace app {

enum class color { red, green };

struct order {
    std::int64_t id;
    std::string customer;
    std::optional<double> discount;
    color paint;
};

struct wide {
    int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o;
    std::string p;
};

struct single {
    std::vector<int> numbers;
};

class money {
public:
    explicit money(std::int64_t cents) : cents_{cents} {}
    std::int64_t cents() const { return cents_; }

private:
    std::int64_t cents_;
};

}  // namespace app

template <>
struct coraii::sql_type<app::color> {
    static const char* to_sql(app::color c) { return c == app::color::red ? "red" : "green"; }
    static std::optional<app::color> from_sql(const coraii::sql_value& value) {
        const auto* text = std::get_if<std::string>(&value);
        return text == nullptr    ? std::nullopt
               : *text == "red"   ? std::optional{app::color::red}
               : *text == "green" ? std::optional{app::color::green}
                                  : std::nullopt;
    }
};

template <>
struct coraii::sql_type<app::money> {
    static std::int64_t to_sql(const app::money& m) { return m.cents(); }
    static std::optional<app::money> from_sql(const coraii::sql_value& value) {
        const auto* cents = std::get_if<std::int64_t>(&value);
        return cents != nullptr ? std::optional{app::money{*cents}} : std::nullopt;
    }
};

namespace {

/// The error of `f`, which throws.
template <class F>
boost::system::error_code thrown_by(F f) {
    try {
        (void)f();
    } catch (const sql_error& e) { return e.code(); }
    return {};
}

template <class T>
boost::system::error_code reading(std::string text) {
    const coraii::sql_value value{std::move(text)};
    const std::string column = "c";
    return thrown_by([&] { return coraii::sql_field{column, value}.as<T>(); });
}

template <class T>
T read(std::string text) {
    const coraii::sql_value value{std::move(text)};
    const std::string column = "c";
    return coraii::sql_field{column, value}.as<T>();
}

using bytes = coraii::sql_bytes;
using namespace std::chrono;

}  // namespace

TEMPLATE_TEST_CASE("Rows as tuples, aggregates and values", "[session][rows]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute(
            "create table orders(id integer, customer text, discount double precision, paint text)");
        const std::optional<double> none;
        co_await session.execute("insert into orders values ($1, $2, $3, $4), ($5, $6, $7, $8)", 1, "Ada", none,
                                 app::color::red, 2, "Bob", 0.5, std::optional{app::color::green});
        const coraii::sql_rows rows = co_await session.execute("select * from orders order by id");
        const auto orders = rows.as<app::order>();
        REQUIRE(orders.size() == 2);
        CHECK(orders[0].id == 1);
        CHECK(orders[0].customer == "Ada");
        CHECK(orders[0].discount == std::nullopt);
        CHECK(orders[1].discount == 0.5);
        CHECK(orders[1].paint == app::color::green);
        using row_type = std::tuple<int, std::string_view, std::optional<double>, std::string>;
        const auto tuples = rows.as<row_type>();
        CHECK(tuples == std::vector<row_type>{{1, "Ada", std::nullopt, "red"}, {2, "Bob", 0.5, "green"}});
        CHECK(rows[1].as<row_type>() == tuples[1]);

        const coraii::sql_rows one = co_await session.execute("select id, customer from orders where id = 1");
        CHECK(one.one<std::pair<int, std::string>>() == std::pair<int, std::string>{1, "Ada"});
        CHECK(one.one_or_none<std::tuple<int, std::string>>() == std::tuple<int, std::string>{1, "Ada"});
        CHECK(thrown_by([&] { return one.one<int>(); }) == sql_errc::out_of_range);
        CHECK(thrown_by([&] { return one.one<std::array<int, 3>>(); }) == sql_errc::out_of_range);
        CHECK(thrown_by([&] { return one.one<std::pair<int, int>>(); }) == sql_errc::bad_conversion);
        CHECK(thrown_by([&] { return rows.one<app::order>(); }) == sql_errc::out_of_range);
        CHECK(thrown_by([&] { return rows.one_or_none<app::order>(); }) == sql_errc::out_of_range);

        const coraii::sql_rows ids = co_await session.execute("select id from orders order by id");
        CHECK(ids.as<int>() == std::vector{1, 2});
        CHECK(ids.as<std::optional<int>>().size() == 2);
        const coraii::sql_rows empty = co_await session.execute("select id from orders where id = 3");
        CHECK(empty.as<int>().empty());
        CHECK(empty.one_or_none<int>() == std::nullopt);
        CHECK(thrown_by([&] { return empty.one<int>(); }) == sql_errc::out_of_range);
        const coraii::sql_rows null = co_await session.execute("select discount from orders where id = 1");
        CHECK(thrown_by([&] { return null.one<double>(); }) == sql_errc::null_value);
        CHECK(null.one<std::optional<double>>() == std::nullopt);

        const coraii::sql_rows sixteen = co_await session.execute("select 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,'x'");
        const auto wide = sixteen.one<app::wide>();
        CHECK(wide.o == 15);
        CHECK(wide.p == "x");
    });
}

TEMPLATE_TEST_CASE("for (auto& row : rows), front and at", "[session][rows]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        const coraii::sql_rows rows = co_await session.execute("select 1 as a union all select 2 order by a");
        int sum = 0;
        for (auto& row : rows) {
            sum += row[0].template as<int>();
        }
        for (const auto& row : rows) {
            sum += row["a"].template as<int>();
        }
        for (auto&& row : rows) {
            sum += row.template as<int>();
        }
        for (const coraii::sql_row row : rows) {
            sum += row[0].as<int>();
        }
        CHECK(sum == 12);
        CHECK(rows.front()[0].template as<int>() == 1);
        CHECK(rows.at(1)[0].template as<int>() == 2);
        CHECK(thrown_by([&] { return rows.at(2); }) == sql_errc::out_of_range);
        CHECK(thrown_by([&] { return coraii::sql_rows{}.front(); }) == sql_errc::out_of_range);
        const std::vector<coraii::sql_row> kept(rows.begin(), rows.end());
        CHECK(kept[0][0].as<int>() == 1);
        CHECK(kept[1][0].as<int>() == 2);
        auto second = rows.begin();
        const auto first = second++;
        CHECK((*first)[0].template as<int>() == 1);
        CHECK(second->size() == 1);
    });
}

TEMPLATE_TEST_CASE("Types of one's own are parameters and values", "[session][values]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute_script("create table t(paint text, price bigint)");
        co_await session.execute("insert into t values ($1, $2)", app::color::green, app::money{1250});
        const coraii::sql_rows rows =
            co_await session.execute("select paint, price from t where paint = $1", app::color::green);
        CHECK(rows[0]["paint"].as<app::color>() == app::color::green);
        CHECK(rows[0]["price"].as<app::money>().cents() == 1250);
        const auto [paint, price] = rows[0].as<std::tuple<app::color, std::optional<app::money>>>();
        CHECK(paint == app::color::green);
        CHECK(price.value().cents() == 1250);
        const coraii::sql_rows other = co_await session.execute("select 'blue', null");
        CHECK(thrown_by([&] { return other[0][0].as<app::color>(); }) == sql_errc::bad_conversion);
        CHECK(thrown_by([&] { return other[0][1].as<app::color>(); }) == sql_errc::null_value);
        CHECK(other[0][1].as<std::optional<app::color>>() == std::nullopt);
    });
}

TEMPLATE_TEST_CASE("Times, dates and durations come back as they went", "[session][values]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    constexpr bool sqlite = std::same_as<TestType, sqlite_database>;
    s.with_session([](auto& session) -> awaitable<void> {
        co_await session.execute(sqlite ? "create table t(t text, l text, d text, i text)"
                                        : "create table t(t timestamptz, l timestamp, d date, i interval)");
        const sys_time<microseconds> time = sys_days{2026y / November / 26} + 10h + 20min + 30s + 123456us;
        const local_seconds local = local_days{2024y / February / 29} + 23h + 59min + 59s;
        const microseconds span = -(26h + 3min + 4s + 500000us);
        co_await session.execute("insert into t values ($1, $2, $3, $4)", time, local, 1999y / December / 31, span);
        co_await session.execute("insert into t values ($1, $2, $3, $4)", sys_seconds{-1s}, local_days{1y / 1 / 1},
                                 sys_days{9999y / 12 / 31}, 0s);
        const coraii::sql_rows rows = co_await session.execute("select * from t order by t desc");
        CHECK(rows[0]["t"].as<sys_time<microseconds>>() == time);
        CHECK(rows[0]["t"].as<system_clock::time_point>() == time);
        CHECK(thrown_by([&] { return rows[0]["t"].as<sys_seconds>(); }) == sql_errc::bad_conversion);
        CHECK(rows[0]["l"].as<local_seconds>() == local);
        CHECK(rows[0]["d"].as<year_month_day>() == 1999y / December / 31);
        CHECK(rows[0]["i"].as<microseconds>() == span);
        CHECK(rows[0]["i"].as<duration<double>>() == duration<double>{span});
        CHECK(rows[1]["t"].as<sys_seconds>() == sys_seconds{-1s});
        CHECK(rows[1]["l"].as<local_days>() == local_days{1y / 1 / 1});
        CHECK(rows[1]["d"].as<sys_days>() == sys_days{9999y / 12 / 31});
        CHECK(rows[1]["i"].as<hours>() == 0h);
        using row_type = std::tuple<sys_time<microseconds>, std::optional<local_seconds>, sys_days, microseconds>;
        CHECK(std::get<3>(rows[0].as<row_type>()) == span);
        if constexpr (sqlite) {  // its own functions understand what was written
            const coraii::sql_rows known = co_await session.execute(
                "select strftime('%s', t), datetime(l), date(d), julianday(t) < julianday('now') from t order by t desc");
            CHECK(known[0][0].as<std::int64_t>() == floor<seconds>(time).time_since_epoch().count());
            CHECK(known[0][1].as<std::string>() == "2024-02-29 23:59:59");
            CHECK(known[0][2].as<std::string>() == "1999-12-31");
            const coraii::sql_rows now = co_await session.execute("select datetime('now') as now");
            const auto since = system_clock::now() - now[0]["now"].as<sys_seconds>();
            CHECK(since < 60s);
        } else {
            co_await session.execute("set timezone = 'Asia/Kolkata'");
            const coraii::sql_rows there = co_await session.execute(
                "select t, t::text, extract(epoch from t)::bigint, time '10:00:01.5', interval '-1 day 01:00', "
                "interval '1 month', timestamp 'infinity', now() from t order by 1 desc limit 1");
            CHECK(there[0][0].as<sys_time<microseconds>>() == time);
            CHECK(there[0][1].as<std::string>() == "2026-11-26 15:50:30.123456+05:30");
            CHECK(thrown_by([&] { return there[0][0].as<local_seconds>(); }) == sql_errc::bad_conversion);
            CHECK(there[0][3].as<milliseconds>() == 10h + 1s + 500ms);
            CHECK(there[0][4].as<hours>() == -23h);
            CHECK(thrown_by([&] { return there[0][5].as<hours>(); }) == sql_errc::bad_conversion);
            CHECK(thrown_by([&] { return there[0][6].as<local_seconds>(); }) == sql_errc::bad_conversion);
        }
    });
}

TEST_CASE("What is no time is refused, and what is too far away is not written", "[session][values]") {
    for (const char* text :
         {"", "x", "2026", "2026-13-01", "2026-02-29", "2026-2-9", "2026-01-01 ", "2026-01-01 1:00", "2026-01-01 10:60",
          "2026-01-01 10:00:61", "2026-01-01 10:00x", "2026-01-01 10:00+", "2026-01-01 10:00:00.0000001",
          "2026-01-01 10:00:00+2", "2026-01-01 10:00:00+02:0", "0044-03-15 BC", "infinity", "12026-01-01 10:00"}) {
        CAPTURE(text);
        CHECK(reading<sys_seconds>(text) == sql_errc::bad_conversion);
        CHECK(reading<year_month_day>(text) == sql_errc::bad_conversion);
    }
    CHECK(read<sys_seconds>("2026-01-01") == sys_days{2026y / 1 / 1});
    CHECK(read<sys_seconds>("2026-01-01T10:00Z") == sys_days{2026y / 1 / 1} + 10h);
    CHECK(read<sys_seconds>("2026-01-01 10:00:00.000000000+0230") == sys_days{2026y / 1 / 1} + 7h + 30min);
    CHECK(read<sys_seconds>("1900-01-01 00:00:00-00:00:30") == sys_days{1900y / 1 / 1} + 30s);
    CHECK(reading<year_month_day>("2026-01-01 10:00") == sql_errc::bad_conversion);
    for (const char* text :
         {"", "1", "1:00", "01:60", "1 mon", "1 day ", "1 day 2", "00:00:00 ", "1 year 00:00:00", "-"}) {
        CAPTURE(text);
        CHECK(reading<microseconds>(text) == sql_errc::bad_conversion);
    }
    CHECK(read<seconds>("3 days 00:00:01") == 72h + 1s);
    CHECK(read<days>("-2 days") == -days{2});
    CHECK(read<seconds>("-1 days +00:00:01") == -24h + 1s);
    CHECK(reading<nanoseconds>("999999999:00:00") == sql_errc::bad_conversion);
    CHECK(reading<sys_time<nanoseconds>>("9999-01-01") == sql_errc::bad_conversion);

    const auto writing = [](auto value) { return thrown_by([&] { return coraii::detail::to_sql_value(value); }); };
    CHECK(writing(sys_days{10000y / 1 / 1}) == sql_errc::bad_conversion);
    CHECK(writing(sys_days{0y / 1 / 1}) == sql_errc::bad_conversion);
    CHECK(writing(2026y / 2 / 30) == sql_errc::bad_conversion);
    CHECK(writing(sys_seconds::max()) == sql_errc::bad_conversion);
    CHECK(writing(hours::min()) == sql_errc::bad_conversion);
    CHECK(!writing(system_clock::now()));
    CHECK(std::get<std::string>(coraii::detail::to_sql_value(-1ns)) == "-00:00:00.000001");
}

TEST_CASE("An array's text is read as it is written", "[session][values]") {
    const auto text_of = [](auto value) { return std::get<std::string>(coraii::detail::to_sql_value(value)); };
    using strings = std::vector<std::string>;
    using holes = std::vector<std::optional<std::string>>;
    const strings odd{"", "NULL", "a,b", "{}", "\"\\", " space ", "Gr\u00fc\u00df\n"};
    CHECK(read<strings>(text_of(odd)) == odd);
    CHECK(text_of(std::vector<int>{1, -2}) == "{1,-2}");
    CHECK(text_of(std::vector<int>{}) == "{}");
    CHECK(text_of(std::vector<bool>{true, false}) == "{1,0}");
    CHECK(text_of(holes{"x", std::nullopt}) == "{\"x\",NULL}");
    CHECK(read<holes>("{a,\"b c\",NULL,\"NULL\"}") == holes{"a", "b c", std::nullopt, "NULL"});
    CHECK(read<std::vector<int>>("[0:1]={7,8}") == std::vector{7, 8});
    CHECK(read<std::vector<bool>>("{t,f}") == std::vector{true, false});
    const std::vector<std::vector<int>> nested{{1, 2}, {3, 4}};
    CHECK(text_of(nested) == "{{1,2},{3,4}}");
    CHECK(read<std::vector<std::vector<int>>>("{{1,2},{3,4}}") == nested);
    CHECK(read<std::vector<std::vector<int>>>("{}").empty());
    const std::vector<bytes> blobs{{std::byte{0}, std::byte{0xfe}}, {}};
    CHECK(text_of(blobs) == R"({"\\x00fe","\\x"})");
    CHECK(read<std::vector<bytes>>(text_of(blobs)) == blobs);
    const std::vector<sys_seconds> times{sys_days{2026y / 1 / 1}};
    CHECK(read<std::vector<sys_seconds>>(text_of(times)) == times);

    for (const char* text : {"", "{", "}", "{1", "{1,}", "{,1}", "{1}}", "{{1}", "{1}x", "1", "{1,2", "{\"1}", "[0:1]",
                             "{1 2}", "{\"1\"2}", "{x}", "{NULL}", "{{1},{2}}"}) {
        CAPTURE(text);
        CHECK(reading<std::vector<int>>(text) == sql_errc::bad_conversion);
    }
    CHECK(reading<std::vector<std::vector<int>>>("{1,2}") == sql_errc::bad_conversion);
}

TEMPLATE_TEST_CASE("Arrays as parameters", "[session][values]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    constexpr bool sqlite = std::same_as<TestType, sqlite_database>;
    const std::vector<int> numbers{1, 2, 3};
    const std::vector<int> outer{1, 3};
    const std::vector<std::optional<std::string>> names{"a\"b", std::nullopt, "{c}\\"};
    const std::vector<std::string> not_null{"a\"b", "{c}\\"};
    const std::vector<bytes> blobs{{std::byte{0}, std::byte{0xff}}};
    s.with_session([&](auto& session) -> awaitable<void> {
        co_await session.execute("create table t(i integer, s text)");
        if constexpr (sqlite) {
            const auto added = co_await session.execute(
                "insert into t select a.value, b.value from json_each($1) a join json_each($2) b using (key)",
                coraii::json_array(numbers), coraii::json_array(names));
            CHECK(added.affected() == 3);
            const coraii::sql_rows some = co_await session.execute(
                "select s from t where i in (select value from json_each($1)) order by i", coraii::json_array(outer));
            CHECK(some.as<std::string>() == not_null);
        } else {
            const auto added =
                co_await session.execute("insert into t select * from unnest($1::int[], $2::text[])", numbers, names);
            CHECK(added.affected() == 3);
            const coraii::sql_rows some =
                co_await session.execute("select s from t where i = any($1) order by i", outer);
            CHECK(some.as<std::string>() == not_null);
            const coraii::sql_rows arrays = co_await session.execute(
                "select array_agg(i order by i), array_agg(s order by i), array['\\x00ff'::bytea], array[1.5, 'nan']::float8[], "
                "'{}'::int[] from t");
            CHECK(arrays[0][0].as<std::vector<int>>() == numbers);
            CHECK(arrays[0][1].as<std::vector<std::optional<std::string>>>() == names);
            CHECK(arrays[0][2].as<std::vector<bytes>>() == blobs);
            CHECK(arrays[0][3].as<std::vector<double>>()[0] == 1.5);
            CHECK(arrays[0][4].as<std::vector<int>>().empty());
            const coraii::sql_rows agg = co_await session.execute("select array[5]");
            CHECK(agg.one<app::single>().numbers == std::vector{5});
        }
        const coraii::sql_rows all = co_await session.execute("select s from t order by i");
        CHECK(all.as<std::optional<std::string>>() == names);
    });
}

TEMPLATE_TEST_CASE("A single statement: pool.execute, and execute(pool)", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.run([](auto& pool) -> awaitable<void> {
        co_await pool.execute("create table t(i integer)");
        const auto added = co_await pool.execute("insert into t values ($1), ($2)", 1, 2);
        CHECK(added.affected() == 2);
        const coraii::sql_rows rows = co_await coraii::execute(pool, "select i from t order by i");
        CHECK(rows.as<int>() == std::vector{1, 2});
        const auto wrong = co_await error_of([&] { return pool.execute("select * from nowhere"); });
        CHECK(wrong == sql_errc::statement_failed);
        // What it leaves behind is gone.
        co_await pool.execute("create temp table mine(i integer)");
        const auto gone = co_await error_of([&] { return pool.execute("select * from mine"); });
        CHECK(gone == sql_errc::statement_failed);
    }(s.pool));
}

TEMPLATE_TEST_CASE("The visitor of stream may return void", "[session]", CORAII_TEST_DATABASES) {
    sql_setting<TestType> s;
    s.with_session([](auto& session) -> awaitable<void> {
        std::vector<int> seen;
        co_await session.stream(
            "select $1 + 0 as i union all select 2 order by i",
            [&](coraii::sql_row row) { seen.push_back(row[0].as<int>()); }, 1);
        co_await session.stream("select 3", [&](const coraii::sql_row& row) -> awaitable<void> {
            co_await turn();
            seen.push_back(row[0].as<int>());
        });
        CHECK(seen == std::vector{1, 2, 3});
        const auto thrown = co_await error_of(
            [&] { return session.stream("select 'x'", [](coraii::sql_row row) { (void)row[0].as<int>(); }); });
        CHECK(thrown == sql_errc::bad_conversion);
        const int still = co_await number(session, "select 5");
        CHECK(still == 5);
    });
}
