// SPDX-License-Identifier: BSL-1.0
// Uses what was made of the three headers.
#include "file_scope.hpp"
#include "store_scope.hpp"
#ifdef WITH_SQLITE
#include "database_scope.hpp"
#endif

#include <coraii/task.hpp>
#include <coraii/with.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;

void check(bool right, const char* what) {
    if (!right) {
        throw std::logic_error(what);
    }
}

coraii::task<> uses_a_class(asio::thread_pool& pool) {
    app::store_on_pool& store = co_await coraii::enter(app::open_store(pool, 2, "path", "w"));
    check(app::open_stores == 1, "the store is open");
    co_await store.put("a", app::store::row{1});
    co_await store.put("b", app::store::row{2});
    check(store.size() == 2, "size");
    check((co_await store.get("b")).number == 2, "get");
    check((co_await store.keys()).front() == "a", "keys");
    check((co_await store.keys(app::store::order::down)).front() == "b", "keys, down");
    check(co_await store.where() != std::this_thread::get_id(), "the calls are made on the pool");
    const std::string path = co_await store.call([](app::store& s) { return s.path(); });
    check(path == "path:w", "call");
    bool full = false;
    try {
        co_await store.put("c", app::store::row{3});
    } catch (const std::runtime_error& e) { full = std::string{e.what()} == "full"; }
    check(full, "an error of a call is thrown by its co_await");
}

awaitable<void> uses_a_file(asio::thread_pool& pool) {
    auto scope = open_file(pool, "convert_scope.txt", "w");
    co_await coraii::with(std::move(scope), [](file_on_pool& f) -> awaitable<void> {
        const int written = co_await f.call([](std::FILE* out) { return std::fputs("hello\n", out); });
        check(written >= 0, "fputs");
    });
    bool refused = false;
    try {
        auto missing = open_file(pool, "no/such/file", "r");
        co_await coraii::with(std::move(missing), [](file_on_pool&) -> awaitable<void> { co_return; });
    } catch (const std::runtime_error&) { refused = true; }
    check(refused, "a file that cannot be opened fails the setup");
}

#ifdef WITH_SQLITE
coraii::task<> uses_sqlite(asio::thread_pool& pool) {
    auto scope = open_database(pool, [] {
        sqlite3* db = nullptr;
        sqlite3_open(":memory:", &db);
        return db;
    });
    database_on_pool& db = co_await coraii::enter(std::move(scope));
    const int result =
        co_await db.call([](sqlite3* d) { return sqlite3_exec(d, "create table t (x)", nullptr, nullptr, nullptr); });
    check(result == SQLITE_OK, "sqlite3_exec");
}
#endif

awaitable<void> run(asio::thread_pool& pool) {
    co_await uses_a_class(pool);
    check(app::open_stores == 0, "the store is closed");
    check(app::store::closed_on != std::this_thread::get_id(), "on the pool");
    co_await uses_a_file(pool);
#ifdef WITH_SQLITE
    co_await uses_sqlite(pool);
#endif
}

int main() {
    try {
        asio::io_context context;
        asio::thread_pool pool{1};
        asio::co_spawn(context, run(pool), [](std::exception_ptr error) {
            if (error) {
                std::rethrow_exception(error);
            }
        });
        context.run();
        pool.join();
        std::cout << "ok\n";
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
