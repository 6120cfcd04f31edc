// SPDX-License-Identifier: BSL-1.0
// COPY in and out, and LISTEN, as scopes.
#include "coraii/postgres/copy.hpp"
#include "coraii/postgres/listen.hpp"
#include "support/sql_databases.hpp"

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace test;
using coraii::postgres::connection;
using coraii::postgres::copy_reader;
using coraii::postgres::copy_writer;
using coraii::postgres::notification;
using coraii::postgres::notifications;

namespace {

using setting = sql_setting<postgres_database>;
using session = coraii::session<connection>;

awaitable<std::string> all_of(copy_reader& from) {
    std::string text;
    for (;;) {
        std::optional<std::string> row = co_await from.read();
        if (!row) {
            co_return text;
        }
        text += *row;
    }
}

awaitable<int> count(session& s) {
    const int rows = co_await number(s, "select count(*) from t");
    co_return rows;
}

/// The connection is as good as before.
awaitable<void> check_usable(session& s) {
    const int one = co_await number(s, "select 1");
    CHECK(one == 1);
    CHECK(s.connection().status() == transaction_status::idle);
}

}  // namespace

TEST_CASE("copy_in stores what was written, and copy_out gives it back", "[postgres][copy]") {
    setting s;
    s.with_session([](session& in) -> awaitable<void> {
        co_await in.execute("create table t(i int, s text, b bytea, d float8, o int)");
        const std::string odd = "a\tb\nc\\d\r\\N 'x'";
        const coraii::sql_bytes bytes{std::byte{0}, std::byte{0xff}};
        const std::optional<int> none;
        co_await coraii::with(
            coraii::postgres::copy_in(in, "copy t from stdin"), [&](copy_writer& to) -> awaitable<void> {
                co_await to.row(1, odd, bytes, 1e300, none);
                co_await to.row(2, "", coraii::sql_bytes{}, -std::numeric_limits<double>::infinity(), 5);
                co_await to.write("3\tx\t\\\\x\t0\t");
                co_await to.write("7\n");
                const auto busy = co_await error_of([&] { return in.execute("select 1"); });
                CHECK(busy == sql_errc::connection_in_use);
            });
        const coraii::sql_rows rows = co_await in.execute("select * from t order by i");
        REQUIRE(rows.size() == 3);
        CHECK(rows[0]["s"].as<std::string>() == odd);
        CHECK(rows[0]["b"].as<coraii::sql_bytes>() == bytes);
        CHECK(rows[0]["o"].is_null());
        CHECK(rows[1]["s"].as<std::string>().empty());
        CHECK(rows[2]["o"].as<int>() == 7);
        const std::string text =
            co_await coraii::with(coraii::postgres::copy_out(in, "copy (select i, o from t) to stdout csv"),
                                  [](copy_reader& from) { return all_of(from); });
        CHECK(text == "1,\n2,5\n3,7\n");
        co_await check_usable(in);
    });
}

TEST_CASE("copy_in that is left by an error, a cancel or a dropped guard stores nothing", "[postgres][copy][cancel]") {
    setting s;
    const std::string row(1000, 'x');
    s.with_session([&](session& in) -> awaitable<void> {
        co_await in.execute("create table t(s text)");
        const auto fill = [&](copy_writer& to) -> awaitable<void> {
            for (int i = 0; i < 300; ++i) {
                co_await to.row(row);
            }
        };
        const auto thrown = co_await error_of([&] {
            return coraii::with(coraii::postgres::copy_in(in, "copy t from stdin"),
                                [&](copy_writer& to) -> awaitable<void> {
                                    co_await fill(to);
                                    throw boost::system::system_error(asio::error::eof);
                                });
        });
        CHECK(thrown == asio::error::eof);
        int rows = co_await count(in);
        CHECK(rows == 0);
        {
            auto dropped = co_await coraii::postgres::copy_in(in, "copy t from stdin");
            co_await fill(*dropped);
        }
        while (in.connection().status() != transaction_status::idle) {
            co_await turn();
        }
        rows = co_await count(in);
        CHECK(rows == 0);
        // Around it, a transaction has failed.
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::begin_transaction(in), [&](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values ('y')");
                (void)co_await error_of([&] {
                    return coraii::with(coraii::postgres::copy_in(tx, "copy t from stdin"),
                                        [](copy_writer&) -> awaitable<void> {
                                            throw boost::system::system_error(asio::error::eof);
                                            co_return;
                                        });
                });
            });
        });
        CHECK(code == sql_errc::rolled_back);
        rows = co_await count(in);
        CHECK(rows == 0);
        co_await check_usable(in);
    });
}

TEST_CASE("copy_in that is cancelled while the server does not read: nothing is stored", "[postgres][copy][cancel]") {
    setting s;
    s.run([](setting& in) -> awaitable<void> {
        auto holder = co_await coraii::open_session(in.pool);
        auto writer = co_await coraii::open_session(in.pool);
        co_await holder->execute_script("create table t(i int unique, s text)");
        auto lock = co_await coraii::begin_transaction(*holder);
        co_await lock->execute("insert into t values (0)");  // the copy waits for this
        std::exception_ptr error;
        bool ended = false;
        asio::cancellation_signal cancel;
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(coraii::postgres::copy_in(*writer, "copy t from stdin"),
                                  [](copy_writer& to) -> awaitable<void> {
                                      const std::string much(1'000'000, 'x');
                                      for (int i = 0; i < 100; ++i) {
                                          co_await to.row(i, much);
                                      }
                                  });
        };
        asio::co_spawn(in.context, work(), asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e) {
                           error = std::move(e);
                           ended = true;
                       }));
        co_await pause(300ms);
        CHECK_FALSE(ended);
        cancel.emit(asio::cancellation_type::terminal);
        while (!ended) {
            co_await pause(5ms);
        }
        CHECK(writer->connection().usable());
        co_await lock.close();
        CHECK(code(error) == asio::error::operation_aborted);
        const int rows = co_await count(*holder);
        CHECK(rows == 1);
        co_await writer.close();
        co_await holder.close();
    }(s));
}

TEST_CASE("What the server does not like in a copy is an error, and the connection stays usable", "[postgres][copy]") {
    setting s;
    s.with_session([](session& in) -> awaitable<void> {
        co_await in.execute("create table t(i int primary key)");
        const auto copying = [&](std::string statement, std::string data) {
            return error_of([&in, statement, data] {
                return coraii::with(coraii::postgres::copy_in(in, statement),
                                    [data](copy_writer& to) { return to.write(data); });
            });
        };
        const auto bad = co_await copying("copy t from stdin", "1\nx\n");
        CHECK(bad == sql_errc::statement_failed);
        const auto twice = co_await copying("copy t from stdin", "1\n1\n");
        CHECK(twice == sql_errc::constraint_violated);
        const auto unknown = co_await copying("copy nowhere from stdin", "1\n");
        CHECK(unknown == sql_errc::statement_failed);
        const auto none = co_await copying("select 1", "1\n");
        CHECK(none == sql_errc::statement_failed);
        const auto other_way = co_await copying("copy t to stdout", "1\n");
        CHECK(other_way == sql_errc::statement_failed);
        const auto two = co_await copying("copy t from stdin; copy t from stdin", "1\n");
        CHECK(two == sql_errc::statement_failed);
        const auto nul = co_await copying(std::string("copy t from stdin\0", 18), "1\n");
        CHECK(nul == sql_errc::bad_statement);
        const auto reading = co_await error_of([&] {
            return coraii::with(coraii::postgres::copy_out(in, "copy t from stdin"),
                                [](copy_reader&) -> awaitable<void> { co_return; });
        });
        CHECK(reading == sql_errc::statement_failed);
        const int rows = co_await count(in);
        CHECK(rows == 0);
        co_await coraii::with(coraii::postgres::copy_in(in, "copy t from stdin"),
                              [](copy_writer& to) -> awaitable<void> {
                                  co_await to.row(1);
                                  co_await to.row(2);
                                  const auto stored = co_await to.finish();
                                  CHECK(stored == 2);
                                  const auto over = co_await error_of([&] { return to.row(3); });
                                  CHECK(over == sql_errc::statement_failed);
                              });
        co_await check_usable(in);
    });
}

TEST_CASE("copy_out that is not read to its end", "[postgres][copy]") {
    setting s;
    s.with_session([](session& in) -> awaitable<void> {
        constexpr const char* much = "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout";
        const auto before = steady_clock::now();
        co_await coraii::with(coraii::postgres::copy_out(in, much), [](copy_reader& from) -> awaitable<void> {
            const auto first = co_await from.read();
            CHECK(first.value().size() == 1001);
        });
        CHECK(steady_clock::now() - before < 20s);
        co_await check_usable(in);
        const auto failing = co_await error_of([&] {
            return coraii::with(
                coraii::postgres::copy_out(in, "copy (select 1 / (3 - i) from generate_series(1, 5) i) to stdout"),
                [](copy_reader& from) -> awaitable<void> { (void)co_await all_of(from); });
        });
        CHECK(failing == sql_errc::statement_failed);
        co_await check_usable(in);
    });
}

TEST_CASE("A session that has copied is reset: what a trigger has set is gone", "[postgres][copy]") {
    setting s{coraii::pool_options{.max_size = 1}};
    s.run([](setting& in) -> awaitable<void> {
        co_await in.pool.execute("create table t(i int)");
        co_await coraii::with(coraii::open_session(in.pool), [](session& one) -> awaitable<void> {
            co_await coraii::with(
                coraii::postgres::copy_out(one, "copy (select set_config('app.user', 'ada', false)) to stdout"),
                [](copy_reader& from) -> awaitable<void> { (void)co_await all_of(from); });
        });
        const auto rows = co_await in.pool.execute("select coalesce(current_setting('app.user', true), '')");
        CHECK(rows[0][0].as<std::string>().empty());
    }(s));
}

TEST_CASE("listen gives the notifications of its channel, in the order of coming", "[postgres][listen]") {
    setting s;
    s.run([](setting& in) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(in.pool), [&](session& one) -> awaitable<void> {
            co_await coraii::with(
                coraii::postgres::listen(one, "My \"orders\""), [&](notifications& heard) -> awaitable<void> {
                    const int own = one.connection().process_id();
                    co_await one.execute("select pg_notify($1, $2)", "My \"orders\"", "mine");
                    co_await one.execute("select pg_notify('other', 'no')");
                    const notification first = co_await heard.next();
                    CHECK(first.payload == "mine");
                    CHECK(first.channel == "My \"orders\"");
                    CHECK(first.process_id == own);
                // Somebody else, while it waits.
                    asio::co_spawn(
                        in.context,
                        [](setting& to) -> awaitable<void> {
                            co_await pause(50ms);
                            co_await to.pool.execute(
                                "select pg_notify('My \"orders\"', i::text) from generate_series(1, 3) i");
                        }(in),
                        asio::detached);
                    for (const char* wanted : {"1", "2", "3"}) {
                        const notification n = co_await heard.next();
                        CHECK(n.payload == wanted);
                        CHECK(n.process_id != own);
                    }
                // A cancel of the waiting loses nothing, and leaves the session usable.
                    bool done = false;
                    asio::cancellation_signal stop;
                    asio::co_spawn(
                        in.context, heard.next(),
                        asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, const notification&) {
                            CHECK(code(e) == asio::error::operation_aborted);
                            done = true;
                        }));
                    co_await pause(10ms);
                    CHECK(one.connection().status() == transaction_status::active);
                    stop.emit(asio::cancellation_type::terminal);
                    while (!done) {
                        co_await turn();
                    }
                    co_await one.execute("select pg_notify('My \"orders\"', 'last')");
                    const notification last = co_await heard.next();
                    CHECK(last.payload == "last");
                    CHECK(heard.dropped() == 0);
                });
            const int left = co_await number(one, "select count(*) from pg_listening_channels()");
            CHECK(left == 0);
        });
    }(s));
}

TEST_CASE("listen: several scopes in a session, and what nobody reads", "[postgres][listen]") {
    setting s;
    s.with_session([](session& in) -> awaitable<void> {
        auto a = co_await coraii::postgres::listen(in, "a");
        auto again = co_await coraii::postgres::listen(in, "a", {.most_kept = 2});
        auto b = co_await coraii::postgres::listen(in, "b");
        co_await in.execute("select pg_notify('a', i::text) from generate_series(1, 5) i");
        co_await in.execute("select pg_notify('b', 'x')");
        const notification x = co_await b->next();
        CHECK(x.payload == "x");
        CHECK(again->dropped() == 3);
        const notification four = co_await again->next();
        CHECK(four.payload == "4");
        co_await again.close();
        co_await in.execute("select pg_notify('a', '6')");
        for (const char* wanted : {"1", "2", "3", "4", "5", "6"}) {
            const notification n = co_await a->next();
            CHECK(n.payload == wanted);
        }
        co_await a.close();
        co_await b.close();
        const int left = co_await number(in, "select count(*) from pg_listening_channels()");
        CHECK(left == 0);
    });
}

TEST_CASE("listen: a connection that is lost ends the waiting", "[postgres][listen]") {
    setting s;
    s.with_session([](session& in) -> awaitable<void> {
        const int process = in.connection().process_id();
        const auto lost = co_await error_of([&] {
            return coraii::with(coraii::postgres::listen(in, "a"), [&](notifications& heard) -> awaitable<void> {
                postgres_database::server().ask("select pg_terminate_backend(" + std::to_string(process) + ")");
                (void)co_await heard.next();
            });
        });
        CHECK(lost == sql_errc::connection_lost);
    });
}
