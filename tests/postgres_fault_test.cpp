// SPDX-License-Identifier: BSL-1.0
// Promise 6: the server is killed, frozen, restarted or cut off, at each phase. Every call ends, with a clear error, and
// the pool recovers when the server is back.
#include "coraii/postgres.hpp"
#include "support/postgres.hpp"
#include "support/proxy.hpp"
#include "support/sql.hpp"

#include <chrono>
#include <string>
#include <thread>

using namespace test;

namespace {

using pool_type = coraii::pool<coraii::postgres::connection>;

const coraii::postgres::options& impatient() {
    static const coraii::postgres::options options{.connect_timeout = 500ms, .recovery_timeout = 300ms, .grace = 100ms};
    return options;
}
constexpr coraii::session_options bounded{.statement_timeout = 300ms};

/// A pool of connections, to the server or through a proxy.
struct setting {
    asio::io_context context;
    pool_type pool;

    explicit setting(std::string conninfo, steady_clock::duration patience = 1s)
        : pool{context.get_executor(),
               [conninfo] { return coraii::postgres::connect(conninfo, impatient()); },
               {.max_size = 2, .acquire_timeout = patience, .open_backoff = 10ms, .open_backoff_max = 50ms}} {}

    void run(awaitable<void> work) { test::run(closed_after(std::move(work)), context); }

private:
    awaitable<void> closed_after(awaitable<void> work) {
        std::exception_ptr error;
        try {
            co_await std::move(work);
        } catch (...) { error = std::current_exception(); }
        co_await pool.close();
        if (error) {
            std::rethrow_exception(error);
        }
    }
};

awaitable<boost::system::error_code> insert_row(pool_type& pool, int row, coraii::session_options options = bounded) {
    co_return co_await error_of([&]() -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool, options), [row](auto& session) {
            return coraii::with(coraii::begin_transaction(session), [row](auto& tx) -> awaitable<void> {
                co_await tx.execute("insert into t values ($1)", row);
                co_await tx.execute("select pg_sleep(0.05) as in_transaction");
            });
        });
    });
}

/// If it never is so, the test runs into its time limit.
template <class Condition>
void until(Condition condition) {
    while (!condition()) {
        std::this_thread::sleep_for(1ms);
    }
}

/// Promise 1. The server learns from a socket that is closed that it is alone.
class nothing_left_open {
public:
    nothing_left_open() = default;
    nothing_left_open(const nothing_left_open&) = delete;
    nothing_left_open& operator=(const nothing_left_open&) = delete;
    ~nothing_left_open() {
        until([] { return postgres().backends() == 0; });
    }
};

/// The pool is good again, by itself.
awaitable<void> recovers(pool_type& pool) {
    const auto limit = steady_clock::now() + 30s;
    auto code = co_await insert_row(pool, 1000);
    while (code && steady_clock::now() < limit) {
        code = co_await insert_row(pool, 1000);
    }
    CHECK(!code);
}

void create_table() {
    postgres().start_over("create table t(i integer)");
}
int rows(int i) {
    return std::stoi(postgres().ask("select count(*) from t where i = " + std::to_string(i)));
}

struct phase {
    const char* name;
    const char* sent;  // by which it is known
};

}  // namespace

TEST_CASE("Promise 6: cut off by a proxy that closes, stalls or drops, at each phase", "[postgres][fault]") {
    const auto how = GENERATE(fault::close, fault::stall, fault::drop, fault::lose_answer);
    const auto when = GENERATE(phase{"connect", ""}, phase{"begin", "BEGIN"}, phase{"query", "insert into t"},
                               phase{"in transaction", "in_transaction"}, phase{"commit", "COMMIT"});
    CAPTURE(static_cast<int>(how), when.name);
    create_table();
    const nothing_left_open at_the_end;
    proxy between{postgres().directory()};
    setting s{between.conninfo()};
    s.run([](setting& set, proxy& cut, fault f, phase p) -> awaitable<void> {
        cut.fail(f, p.sent);
        const auto code = co_await insert_row(set.pool, 1);
        CAPTURE(code.message());
        if (std::string{p.sent} == "COMMIT") {
            CHECK(code == sql_errc::commit_unknown);
            CHECK(rows(1) == (f == fault::lose_answer ? 1 : 0));
        } else if (std::string{p.sent}.empty()) {
            CHECK(code == coraii::errc::pool_timeout);
        } else {
            CHECK((code == sql_errc::connection_lost || code == sql_errc::timeout));
            CHECK(rows(1) == 0);
        }
        cut.mend();
        co_await recovers(set.pool);
    }(s, between, how, when));
}

TEST_CASE("Promise 6: cut off while idle in the pool: the next session does not notice", "[postgres][fault]") {
    create_table();
    const nothing_left_open at_the_end;
    proxy between{postgres().directory()};
    setting s{between.conninfo(), 30s};
    s.run([](setting& set, proxy& cut) -> awaitable<void> {
        co_await recovers(set.pool);
        while (set.pool.stats().idle == 0) {
            co_await pause(1ms);
        }
        cut.fail_now(fault::close);
        co_await pause(50ms);
        const auto code = co_await insert_row(set.pool, 1, {});
        CHECK(!code);
        CHECK(rows(1) == 1);
        while (set.pool.stats().idle == 0) {  // it is being reset
            co_await pause(1ms);
        }
        cut.fail_now(fault::stall);  // cannot be known before it is used
        const auto stalled = co_await insert_row(set.pool, 2);
        CHECK((stalled == sql_errc::connection_lost || stalled == sql_errc::timeout));
        co_await recovers(set.pool);
    }(s, between));
}

TEST_CASE("Promise 6: the server is killed and started again", "[postgres][fault]") {
    create_table();
    const nothing_left_open at_the_end;
    postgres_server& server = postgres();
    setting s{server.conninfo()};
    const bool in_commit = GENERATE(false, true);
    s.run([](setting& set, postgres_server& pg, bool idle) -> awaitable<void> {
        co_await recovers(set.pool);
        if (!idle) {
            asio::steady_timer soon{set.context, 20ms};
            soon.async_wait([&pg](boost::system::error_code) { pg.kill(); });
            const auto code = co_await insert_row(set.pool, 1);
            CHECK(code == sql_errc::connection_lost);
        } else {
            pg.kill();
        }
        const auto down = co_await insert_row(set.pool, 2);
        // A server process that is not quite dead yet has not closed its connection.
        CHECK((down == coraii::errc::pool_timeout || down == sql_errc::connection_lost));
        pg.start();
        co_await recovers(set.pool);
        CHECK(rows(1) == 0);
        CHECK(rows(2) == 0);
        CHECK(rows(1000) == 2);
    }(s, server, in_commit));
}

TEST_CASE("Promise 6: the server is killed, or frozen, at each phase", "[postgres][fault]") {
    const bool frozen = GENERATE(false, true);
    const auto when = GENERATE(phase{"begin", "BEGIN"}, phase{"query", "insert into t"},
                               phase{"in transaction", "in_transaction"}, phase{"commit", "COMMIT"});
    CAPTURE(frozen, when.name);
    create_table();
    const nothing_left_open at_the_end;
    proxy between{postgres().directory()};
    setting s{between.conninfo()};
    s.run([](setting& set, proxy& on_the_way, bool freeze, phase p) -> awaitable<void> {
        const auto strike = [freeze] { freeze ? postgres().freeze() : postgres().kill(); };
        on_the_way.call(p.sent, strike);
        const auto code = co_await insert_row(set.pool, 1);
        CAPTURE(code.message());
        const bool at_commit = std::string{p.sent} == "COMMIT";
        if (at_commit) {
            CHECK(code == sql_errc::commit_unknown);
        } else {
            CHECK((code == sql_errc::connection_lost || code == sql_errc::timeout));
        }
        freeze ? postgres().thaw() : postgres().start();
        co_await recovers(set.pool);
        CHECK(rows(1) <= (at_commit && freeze ? 1 : 0));  // a COMMIT that is unknown may have been done
    }(s, between, frozen, when));
}

TEST_CASE("Promise 6: the server is frozen, and goes on", "[postgres][fault]") {
    create_table();
    const nothing_left_open at_the_end;
    postgres_server& server = postgres();
    setting s{server.conninfo()};
    s.run([](setting& set, postgres_server& pg) -> awaitable<void> {
        co_await recovers(set.pool);
        asio::steady_timer soon{set.context, 20ms};
        soon.async_wait([&pg](boost::system::error_code) { pg.freeze(); });
        const auto in_query = co_await insert_row(set.pool, 1);
        CHECK((in_query == sql_errc::timeout || in_query == sql_errc::connection_lost));
        const auto at_connect = co_await insert_row(set.pool, 2);
        CHECK(at_connect == coraii::errc::pool_timeout);
        pg.thaw();
        co_await recovers(set.pool);
        CHECK(rows(1) == 0);
        CHECK(rows(2) == 0);
    }(s, server));
}

TEST_CASE("Promise 6: without a statement_timeout, a cancel ends a statement on a frozen server", "[postgres][fault]") {
    create_table();
    const nothing_left_open at_the_end;
    postgres_server& server = postgres();
    setting s{server.conninfo()};
    s.run([](setting& set, postgres_server& pg) -> awaitable<void> {
        co_await recovers(set.pool);
        pg.freeze();
        task user{set.context,
                  coraii::with(coraii::open_session(set.pool),
                               [](auto& session) -> awaitable<void> { co_await session.execute("select 1"); }),
                  slot::connected};
        co_await pause(50ms);
        user.cancel();
        const auto limit = steady_clock::now() + 30s;
        while (!user.finished() && steady_clock::now() < limit) {
            co_await pause(10ms);
        }
        REQUIRE(user.finished());
        CHECK(code(user.error()) == asio::error::operation_aborted);
        pg.thaw();
        co_await recovers(set.pool);
    }(s, server));
}

TEST_CASE("Promise 6: a backend that an administrator ends", "[postgres][fault]") {
    create_table();
    const nothing_left_open at_the_end;
    postgres_server& server = postgres();
    setting s{server.conninfo()};
    s.run([](setting& set, postgres_server& pg) -> awaitable<void> {
        const auto code = co_await error_of([&] {
            return coraii::with(coraii::open_session(set.pool), [&](auto& session) -> awaitable<void> {
                asio::steady_timer soon{set.context, 20ms};
                soon.async_wait([&](boost::system::error_code) {
                    pg.ask("select pg_terminate_backend(" + std::to_string(session.connection().process_id()) + ")");
                });
                co_await session.execute("select pg_sleep(100)");
            });
        });
        CHECK(code == sql_errc::connection_lost);
        co_await recovers(set.pool);
    }(s, server));
}
