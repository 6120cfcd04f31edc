// SPDX-License-Identifier: BSL-1.0
// What travels together: BEGIN with the first statement, a statement with its preparing. Counted by a proxy.
#include "coraii/postgres.hpp"
#include "coraii/postgres/copy.hpp"
#include "support/postgres.hpp"
#include "support/proxy.hpp"
#include "support/sql.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

using namespace test;
using coraii::postgres::connection;
using session = coraii::session<connection>;
using transaction = coraii::transaction<connection>;

namespace {

constexpr const char* table = "create table t(id int primary key, name text)";

/// A session through a proxy.
class counted {
public:
    explicit counted(coraii::postgres::options options = {})
        : between_{(postgres().start_over(table), postgres().directory())}, options_{std::move(options)} {}

    void run(std::function<awaitable<void>(session&)> body) {
        const auto use = [&]() -> awaitable<void> {
            auto connect = [&] { return coraii::postgres::connect(between_.conninfo(), options_); };
            coraii::pool<connection> pool{co_await asio::this_coro::executor, connect, {.max_size = 1}};
            co_await coraii::with(coraii::open_session(pool), body);
            co_await pool.close();
        };
        test::run(use());
    }

    /// Of `work`.
    awaitable<std::size_t> round_trips(std::function<awaitable<void>()> work) {
        const std::size_t before = between_.round_trips();
        co_await work();
        co_return between_.round_trips() - before;
    }

    test::proxy& proxy() { return between_; }

private:
    test::proxy between_;
    coraii::postgres::options options_;
};

awaitable<int> count(session& s) {
    co_return co_await number(s, "select count(*) from t");
}

}  // namespace

TEST_CASE("A transaction of one statement is two round trips, prepared or not", "[postgres][trips]") {
    counted c;
    c.run([&](session& s) -> awaitable<void> {
        for (int i = 0; i < 5; ++i) {
            const std::size_t trips = co_await c.round_trips([&] {
                return coraii::with(coraii::begin_transaction(s), [i](transaction& tx) -> awaitable<void> {
                    const auto rows = co_await tx.execute("insert into t values ($1, $2)", i, "x");
                    CHECK(rows.affected() == 1);
                });
            });
            CAPTURE(i);
            CHECK(trips == 2);
        }
        const int stored = co_await count(s);
        CHECK(stored == 5);
    });
}

TEST_CASE("A statement is prepared in the round trip of its second use", "[postgres][trips]") {
    counted c;
    c.run([&](session& s) -> awaitable<void> {
        for (int i = 0; i < 4; ++i) {
            const std::size_t trips = co_await c.round_trips([&]() -> awaitable<void> {
                const auto rows = co_await s.execute("select $1::int + 1", i);
                CHECK(rows[0][0].as<int>() == i + 1);
            });
            CAPTURE(i);
            CHECK(trips == 1);
        }
        const int prepared =
            co_await number(s, "select count(*) from pg_prepared_statements where statement = 'select $1::int + 1'");
        CHECK(prepared == 1);
    });
}

TEST_CASE("A transaction of no statements costs nothing, however it ends", "[postgres][trips]") {
    counted c;
    c.run([&](session& s) -> awaitable<void> {
        const auto empty = [](transaction& tx) -> awaitable<void> {
            CHECK(tx.connection().status() == transaction_status::in_transaction);
            co_return;
        };
        const std::size_t trips =
            co_await c.round_trips([&] { return coraii::with(coraii::begin_transaction(s), empty); });
        CHECK(trips == 0);
        CHECK(s.connection().status() == transaction_status::idle);
        const std::size_t failed = co_await c.round_trips([&]() -> awaitable<void> {
            const auto fails = [](transaction&) -> awaitable<void> {
                throw std::runtime_error("body");
                co_return;
            };
            (void)co_await coraii::try_with(coraii::begin_transaction(s), fails);
        });
        CHECK(failed == 0);
        CHECK(s.connection().status() == transaction_status::idle);
        co_await s.execute("insert into t values (1, 'not in a transaction')");
        CHECK(postgres().ask("select count(*) from t") == "1");
    });
}

TEST_CASE("The options of a transaction hold from its first statement on", "[postgres][trips]") {
    counted c;
    c.run([](session& s) -> awaitable<void> {
        const coraii::transaction_options strict{.isolation = coraii::isolation::serializable,
                                                 .access = coraii::access_mode::read_only};
        const auto work = [](transaction& tx) -> awaitable<void> {
            const auto rows = co_await tx.execute("select current_setting('transaction_isolation')");
            CHECK(rows[0][0].as<std::string>() == "serializable");
            const auto code = co_await error_of([&] { return tx.execute("insert into t values (1, 'x')"); });
            CHECK(code == sql_errc::statement_failed);
        };
        const auto code = co_await error_of([&] { return coraii::with(coraii::begin_transaction(s, strict), work); });
        CHECK(code == sql_errc::rolled_back);  // for a statement has failed
    });
}

TEST_CASE("Whatever comes first in a transaction is in it", "[postgres][trips]") {
    counted c;
    c.run([](session& s) -> awaitable<void> {
        const auto rolled_back = [&](auto first) -> awaitable<void> {
            const auto work = [&](transaction& tx) -> awaitable<void> {
                co_await first(tx);
                throw std::runtime_error("body");
            };
            (void)co_await coraii::try_with(coraii::begin_transaction(s), work);
            CHECK(s.connection().status() == transaction_status::idle);
            const int stored = co_await count(s);
            CHECK(stored == 0);
        };
        co_await rolled_back([](transaction& tx) { return tx.execute_script("insert into t values (1); select 1"); });
        co_await rolled_back([](transaction& tx) -> awaitable<void> {
            co_await coraii::with(coraii::postgres::copy_in(tx, "copy t from stdin"),
                                  [](coraii::postgres::copy_writer& to) { return to.write("1\tx\n2\ty\n"); });
        });
        co_await rolled_back([](transaction& tx) -> awaitable<void> {
            co_await coraii::with(coraii::begin_transaction(tx), [](transaction& inner) -> awaitable<void> {
                co_await inner.execute("insert into t values (3, 'z')");
            });
        });
        co_await rolled_back([](transaction& tx) -> awaitable<void> {
            co_await tx.stream("insert into t select i, 'x' from generate_series(1, 10) i returning id",
                               [](coraii::sql_row) {});
        });
    });
}

TEST_CASE("Rows of a first statement are streamed: no more than fetch_size in memory", "[postgres][trips]") {
    counted c;
    c.run([](session& s) -> awaitable<void> {
        for (int i = 0; i < 3; ++i) {  // unprepared, prepared in the same trip, prepared
            std::size_t most = 0;
            int seen = 0;
            co_await coraii::with(coraii::begin_transaction(s), [&](transaction& tx) -> awaitable<void> {
                coraii::sql_row_sink sink = [&](const coraii::sql_rows& batch) -> awaitable<void> {
                    most = std::max(most, batch.size());
                    seen += static_cast<int>(batch.size());
                    co_return;
                };
                co_await tx.stream(coraii::sql_query{"select i from generate_series(1, 5000) i"}, std::move(sink));
            });
            CAPTURE(i);
            CHECK(seen == 5000);
            CHECK(most == coraii::session_options{}.fetch_size);
        }
    });
}

TEST_CASE("A first statement that fails fails the transaction, at each of its uses", "[postgres][trips]") {
    counted c;
    c.run([](session& s) -> awaitable<void> {
        for (int i = 0; i < 4; ++i) {
            for (const char* text :
                 {"insert into t values ($1, 1/0)", "insrt into t values ($1)", "select $1::int / 0"}) {
                CAPTURE(i, text);
                const auto code = co_await error_of([&] {
                    return coraii::with(coraii::begin_transaction(s), [&](transaction& tx) -> awaitable<void> {
                        try {
                            co_await tx.execute(text, i);
                        } catch (const sql_error& e) {
                            CHECK(e.statement() == text);
                            CHECK(tx.connection().status() == transaction_status::failed);
                        }
                    });
                });
                CHECK(code == sql_errc::rolled_back);  // what went well could not be committed
                CHECK(s.connection().status() == transaction_status::idle);
            }
        }
        const int stored = co_await count(s);
        CHECK(stored == 0);
    });
}

TEST_CASE("A first statement that is cancelled: the connection stays, and nothing was done",
          "[postgres][trips][cancel]") {
    counted c;
    c.run([&](session& s) -> awaitable<void> {
        for (int i = 0; i < 3; ++i) {
            asio::cancellation_signal signal;
            bool ended = false;
            const auto work = [&]() -> awaitable<void> {
                co_await coraii::with(coraii::begin_transaction(s), [&](transaction& tx) -> awaitable<void> {
                    co_await tx.execute("insert into t select 1, pg_sleep(60)::text where $1 > 0", i + 1);
                });
            };
            boost::system::error_code code;
            asio::co_spawn(
                co_await asio::this_coro::executor, error_of(work),
                asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr, boost::system::error_code e) {
                    code = e;
                    ended = true;
                }));
            while (postgres().ask("select count(*) from pg_stat_activity where query like 'insert into t select%' and "
                                  "wait_event = 'PgSleep'") == "0") {
                co_await pause(std::chrono::milliseconds{1});
            }
            signal.emit(asio::cancellation_type::terminal);
            while (!ended) {
                co_await pause(std::chrono::milliseconds{1});
            }
            CHECK(code == asio::error::operation_aborted);
            CHECK(s.connection().status() == transaction_status::idle);
            const int stored = co_await count(s);
            CHECK(stored == 0);
        }
    });
}

TEST_CASE("A server that goes away before the first statement, or in it, is a lost connection", "[postgres][trips]") {
    for (const bool before : {true, false}) {
        CAPTURE(before);
        counted c;
        c.run([&](session& s) -> awaitable<void> {
            if (!before) {
                c.proxy().fail(fault::close, "insert into t");
            }
            const auto code = co_await error_of([&] {
                return coraii::with(coraii::begin_transaction(s), [&](transaction& tx) -> awaitable<void> {
                    if (before) {
                        c.proxy().fail_now(fault::close);
                    }
                    co_await tx.execute("insert into t values (1, 'x')");
                });
            });
            CHECK(code == sql_errc::connection_lost);
            CHECK(postgres().ask("select count(*) from t") == "0");
        });
    }
}

TEST_CASE("execute_many is one round trip, however many rows; with its transaction, two", "[postgres][trips][batch]") {
    counted c;
    c.run([&](session& s) -> awaitable<void> {
        std::vector<std::tuple<int, std::string>> rows;
        for (int i = 0; i < 200; ++i) {
            rows.emplace_back(i, "row");
        }
        const auto insert = [&](auto& client) {
            return client.execute_many("insert into t values ($1, $2) on conflict do nothing", rows);
        };
        for (int i = 0; i < 3; ++i) {
            CAPTURE(i);
            std::size_t trips = co_await c.round_trips([&]() -> awaitable<void> { co_await insert(s); });
            CHECK(trips == 1);
            trips = co_await c.round_trips([&] {
                return coraii::with(coraii::begin_transaction(s),
                                    [&](transaction& tx) -> awaitable<void> { co_await insert(tx); });
            });
            CHECK(trips == 2);
        }
        const int stored = co_await count(s);
        CHECK(stored == 200);
        // More than the sockets between us hold.
        rows.assign(20'000, {0, std::string(1000, 'x')});
        const std::uint64_t done = co_await insert(s);
        CHECK(done == 0);
    });
}
