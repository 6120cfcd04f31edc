// SPDX-License-Identifier: BSL-1.0
// A lock between programs, kept by a PostgreSQL server, as a scope: whatever happens to its holder, it is given back.
// The second worker waits until the first is done; the third has no patience, and its waiting is cancelled:
//
//     11_advisory_lock "host=/var/run/postgresql dbname=postgres"
#include <coraii/coraii.hpp>
#include <coraii/postgres.hpp>
#include <coraii/session.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;
using connections = coraii::pool<coraii::postgres::connection>;
using session = coraii::session<coraii::postgres::connection>;

coraii::async_scope<void> advisory_lock(session& s, std::int64_t key) {
    co_await s.execute("select pg_advisory_lock($1)", key);  // a cancel here is one at the server
    const coraii::exit_status why = co_yield coraii::entered;
    if (why.can_await()) {  // else the connection ends, and the lock with it
        co_await s.execute("select pg_advisory_unlock($1)", key);
    }
}

asio::awaitable<void> sleep(std::chrono::milliseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, time};
    co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<void> work(connections& db, const char* name) {
    co_await coraii::with(coraii::open_session(db), [name](session& s) {
        return coraii::with(advisory_lock(s, 4711), [name]() -> asio::awaitable<void> {
            std::cout << name << " has the lock\n";
            co_await sleep(200ms);
            std::cout << name << " is done\n";
        });
    });
}

asio::awaitable<void> later(connections& db, const char* name) {
    co_await sleep(50ms);
    co_await work(db, name);
}

asio::awaitable<void> impatient(connections& db) {
    co_await sleep(50ms);
    co_await (work(db, "a third") || sleep(50ms));
    std::cout << "a third has given up\n";
}

asio::awaitable<void> run(const char* conninfo) {
    const auto executor = co_await asio::this_coro::executor;
    const auto connect = [conninfo] { return coraii::postgres::connect(conninfo); };
    co_await coraii::with(coraii::open_pool(executor, connect), [](connections& db) -> asio::awaitable<void> {
        co_await (work(db, "one") && later(db, "another") && impatient(db));
    });
}

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cout << "usage: 11_advisory_lock CONNINFO, such as \"host=/var/run/postgresql dbname=postgres\"\n";
        return 0;
    }
    try {
        asio::io_context context;
        std::exception_ptr error;
        asio::co_spawn(context, run(argv[1]), [&error](std::exception_ptr e) { error = e; });
        context.run();
        if (error) {
            std::rethrow_exception(error);
        }
    } catch (const std::exception& e) {
        std::cerr << e.what() << '\n';
        return 1;
    }
}
