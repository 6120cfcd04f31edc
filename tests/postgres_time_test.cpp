// SPDX-License-Identifier: BSL-1.0
// Time limits, cancels from outside, a COMMIT that is cut off, and notifications that nobody reads.
#include "coraii/postgres.hpp"
#include "support/postgres.hpp"
#include "support/proxy.hpp"
#include "support/sql.hpp"

#include <catch2/matchers/catch_matchers_string.hpp>

#include <fstream>
#include <string>
#include <utility>

using namespace test;
using Catch::Matchers::ContainsSubstring;
using coraii::postgres::connection;
using pool_type = coraii::pool<connection>;

namespace {

struct setting {
    asio::io_context context;
    pool_type pool;

    explicit setting(std::string conninfo, coraii::postgres::options options = {})
        : pool{context.get_executor(), [conninfo, options] { return coraii::postgres::connect(conninfo, options); }} {
        postgres().start_over("create table t(i integer primary key)");
    }
    template <class Body>
    void with_session(coraii::session_options options, Body body) {
        test::run(
            [](pool_type& p, coraii::session_options o, Body& b) -> awaitable<void> {
                std::exception_ptr error;
                try {
                    co_await coraii::with(coraii::open_session(p, o), b);
                } catch (...) { error = std::current_exception(); }
                co_await p.close();
                if (error) {
                    std::rethrow_exception(error);
                }
            }(pool, options, body),
            context);
    }
};

/// Commits a row, whose check at COMMIT takes a while.
constexpr const char* slow_commit = R"(
    create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1000); return null; end $$;
    create constraint trigger slow after insert on t deferrable initially deferred for each row execute function slow();
)";

int rows() {
    return std::stoi(postgres().ask("select count(*) from t"));
}

/// In kB.
long memory() {
    std::ifstream in{"/proc/self/statm"};
    long total = 0;
    long resident = 0;
    in >> total >> resident;
    return resident * 4;
}

}  // namespace

TEST_CASE("statement_timeout is for each statement of a script, and not for the visitor of a stream",
          "[postgres][time]") {
    setting s{postgres().conninfo()};
    s.with_session({.fetch_size = 1, .statement_timeout = 2s}, [](auto& session) -> awaitable<void> {
        co_await session.execute_script(
            "select pg_sleep(0.4); select pg_sleep(0.4); select pg_sleep(0.4);"
            "select pg_sleep(0.4); select pg_sleep(0.4); select pg_sleep(0.4)");
        int seen = 0;
        co_await session.stream("select generate_series(1, 3)", [&seen](auto) -> awaitable<void> {
            ++seen;
            co_await pause(800ms);
        });
        CHECK(seen == 3);
    });
}

TEST_CASE("A statement_timeout that the session has set itself counts", "[postgres][time]") {
    setting s{postgres().conninfo()};
    s.with_session({.statement_timeout = 50ms}, [](auto& session) -> awaitable<void> {
        const auto early = co_await error_of([&] { return session.execute("select pg_sleep(1000)"); });
        CHECK(early == sql_errc::timeout);
        co_await session.execute("set statement_timeout = '1h'");
        co_await session.execute("select pg_sleep(1.3)");
    });
}

TEST_CASE("The error of a time limit says so, and a cancel from outside is canceled", "[postgres][time]") {
    setting s{postgres().conninfo()};
    s.with_session({.statement_timeout = 100ms}, [](auto& session) -> awaitable<void> {
        std::string text;
        try {
            co_await session.execute("select pg_sleep(1000)");
        } catch (const sql_error& e) { text = e.what(); }
        CHECK_THAT(text, ContainsSubstring("timeout") && !ContainsSubstring("answer"));
        co_await session.execute("set statement_timeout = 0");
        const int pid = session.connection().process_id();
        asio::steady_timer soon{co_await asio::this_coro::executor, 50ms};
        soon.async_wait([pid](boost::system::error_code) {
            while (postgres().ask("select count(*) from pg_stat_activity where state = 'active' and pid = " +
                                  std::to_string(pid)) == "0") {}
            postgres().ask("select pg_cancel_backend(" + std::to_string(pid) + ")");
        });
        const auto code = co_await error_of([&] { return session.execute("select pg_sleep(1000)"); });
        CHECK(code == sql_errc::canceled);
        const int one = co_await number(session, "select 1");
        CHECK(one == 1);
    });
}

TEST_CASE("A grace ends a statement on a server that is silent, each statement of a script by itself",
          "[postgres][time]") {
    const coraii::postgres::options options{.recovery_timeout = 100ms, .grace = 10ms};
    setting s{postgres().conninfo(), options};
    s.with_session({.statement_timeout = 1s}, [](auto& session) -> awaitable<void> {
        co_await session.execute_script("select pg_sleep(0.4); select pg_sleep(0.4); select pg_sleep(0.4)");
        postgres().freeze();
        const auto code = co_await error_of([&] { return session.execute("select 1"); });
        postgres().thaw();
        CHECK((code == sql_errc::timeout || code == sql_errc::connection_lost));
    });
}

TEST_CASE("G11: a COMMIT that is cut off by its time is what the server answered: canceled", "[postgres][time]") {
    setting s{postgres().conninfo()};
    postgres().ask(slow_commit);
    s.with_session({}, [](auto& session) -> awaitable<void> {
        auto scope = coraii::begin_transaction(session).cleanup_timeout(200ms);
        const auto insert = [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into t values (1)"); };
        const auto code = co_await error_of([&] { return coraii::with(std::move(scope), insert); });
        CHECK(code == sql_errc::canceled);
        CHECK(session.connection().status() == transaction_status::idle);
        const int one = co_await number(session, "select 1");
        CHECK(one == 1);
    });
    CHECK(rows() == 0);
}

TEST_CASE("G11: a COMMIT that is cut off, and was done: its time is over, and it is not unknown", "[postgres][time]") {
    proxy between{postgres().directory()};
    setting s{between.conninfo()};
    s.with_session({}, [&between](auto& session) -> awaitable<void> {
        // The server is frozen as the COMMIT comes, and goes on when the time is over.
        between.call("COMMIT", [] {
            postgres().freeze();
            std::thread{[] {
                std::this_thread::sleep_for(400ms);
                postgres().thaw();
            }}.detach();
        });
        auto scope = coraii::begin_transaction(session).cleanup_timeout(100ms);
        const auto insert = [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into t values (1)"); };
        const auto code = co_await error_of([&] { return coraii::with(std::move(scope), insert); });
        const bool stored = rows() == 1;
        CAPTURE(stored, code.message());
        CHECK((stored ? code == coraii::errc::cleanup_timeout : code == sql_errc::canceled));
        CHECK(session.connection().status() == transaction_status::idle);
    });
}

TEST_CASE("G11: a COMMIT that is cut off, and not answered: unknown", "[postgres][time]") {
    proxy between{postgres().directory()};
    setting s{between.conninfo(), {.recovery_timeout = 100ms}};
    s.with_session({}, [&between](auto& session) -> awaitable<void> {
        between.fail(fault::stall, "COMMIT");
        auto scope = coraii::begin_transaction(session).cleanup_timeout(100ms);
        const auto insert = [](auto& tx) -> awaitable<void> { co_await tx.execute("insert into t values (1)"); };
        const auto code = co_await error_of([&] { return coraii::with(std::move(scope), insert); });
        CHECK(code == sql_errc::commit_unknown);
        between.mend();
    });
}

TEST_CASE("Notifications that nobody reads take no memory", "[postgres][notifications]") {
    setting s{postgres().conninfo()};
    s.with_session({}, [](auto& session) -> awaitable<void> {
        co_await session.execute("listen flood");
        const auto flood = [] {
            postgres().ask(
                "select count(pg_notify('flood', rpad(i::text, 3000, 'x'))) from generate_series(1, 20000) i");
        };
        const auto read = [&session]() -> awaitable<void> {
            for (int i = 0; i < 20; ++i) {
                co_await session.execute("select 1");
            }
        };
        flood();
        co_await read();
        const long before = memory();
        for (int i = 0; i < 3; ++i) {
            flood();
            co_await read();
        }
        CHECK((sanitized || memory() - before < 20'000));  // sanitizers keep what was freed
        // While it is idle, too.
        flood();
        for (int i = 0; i < 1000 && session.connection().usable(); ++i) {}
        CHECK(session.connection().usable());
        const int one = co_await number(session, "select 1");
        CHECK(one == 1);
    });
}
