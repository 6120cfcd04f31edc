// SPDX-License-Identifier: BSL-1.0
// Uses every public header in the usual ways, so that the templates are instantiated. It is compiled with a strict user's
// warnings, and is never run.
#include <coraii/coraii.hpp>
#include <coraii/file.hpp>
#include <coraii/session.hpp>
#include <coraii/testing.hpp>
#include <coraii/testing/replace_allocation.hpp>
#if __has_include(<sqlite3.h>)
#include <coraii/sqlite.hpp>
#endif
#if __has_include(<libpq-fe.h>)
#include <coraii/postgres.hpp>
#endif

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <utility>

namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::awaitable;

static awaitable<std::string> log_in(std::string user) {
    co_await asio::post(asio::use_awaitable);
    co_return user;
}

static coraii::async_scope<std::string> open_session(std::string user) {
    std::string session = co_await log_in(std::move(user));
    const coraii::exit_status why = co_yield session;
    if (why.can_await()) {
        co_await asio::post(asio::use_awaitable);
    }
}

static coraii::async_scope<void> transaction() {
    const coraii::exit_status why = co_yield coraii::entered;
    std::cout << (why.ok() ? "commit\n" : "roll back\n");
}

struct counter {
    int count = 0;
    awaitable<int*> enter() { co_return &count; }
    awaitable<void> exit(const coraii::exit_status&) { co_return; }
};

static coraii::task<std::size_t> task_with_scopes(std::string user) {
    const std::string& session = co_await coraii::enter(open_session(std::move(user)));
    co_await coraii::enter(transaction());
    co_await coraii::defer([](coraii::exit_status) -> awaitable<void> { co_return; });
    coraii::exit_stack& stack = co_await coraii::this_stack;
    stack.adopt(1, [](int&) -> coraii::task<> { co_return; });
    co_return session.size();
}

static awaitable<void> dependent_scopes() {
    co_await coraii::with(
        open_session("ada"), [](const std::string& user) { return open_session(user + "'s"); },
        [](std::string&, std::string& second) { return task_with_scopes(second); });
}

static awaitable<void> pairs_and_with() {
    const auto close = [](std::string&) -> awaitable<void> { co_return; };
    co_await coraii::with(coraii::async_scope{log_in("ada"), close}.named("ada").cleanup_timeout(1s),
                          coraii::async_scope{[] { return log_in("bob"); }, [](std::string&, coraii::exit_status) {}},
                          transaction(), [](std::string& a, std::string& b) -> awaitable<void> {
                              std::cout << a << b;
                              co_return;
                          });
    const auto length = co_await coraii::try_with(
        open_session("eve"), [](const std::string& s) -> awaitable<std::size_t> { co_return s.size(); });
    std::cout << length.has_value();
    co_await coraii::with(coraii::scoped(counter{}), [](int* count) -> awaitable<void> {
        *count += 2;
        co_return;
    });
}

static awaitable<void> guards() {
    coraii::guard<std::string> closed = co_await open_session("ada");
    const coraii::scope_hold hold = closed.hold();
    co_await closed.close(coraii::exit_status{coraii::exit_reason::failed});
    coraii::guard<std::string> with_token = co_await open_session("bob");
    co_await with_token.close(asio::use_awaitable);
    { const coraii::guard<std::string> dropped = co_await open_session("eve"); }
    coraii::guard<std::string> released = co_await open_session("dan");
    std::cout << released->size() << released.release();
    coraii::guard<void> nothing = co_await transaction();
    nothing.reset();
}

static awaitable<void> stacks() {
    co_await coraii::with(coraii::make_exit_stack(), [](coraii::exit_stack& stack) -> awaitable<void> {
        std::string* session = co_await stack.enter(open_session("ada"));
        co_await stack.enter(transaction());
        stack.defer([](const coraii::exit_status& why) { std::cout << why.ok(); });
        stack.defer([]() -> awaitable<void> { co_return; });
        int& adopted = stack.adopt(1, [](int&) -> awaitable<void> { co_return; });
        std::cout << *session << adopted;
    });
}

static awaitable<void> offloaded(asio::thread_pool& workers) {
    co_await coraii::with(coraii::offload(workers, [] { return std::string{"handle"}; }, [](std::string&) {}),
                          [](std::string& handle) -> awaitable<void> {
                              std::cout << handle;
                              co_return;
                          });
    co_await coraii::with(coraii::offload(workers, [] {}, [](coraii::exit_status) {}),
                          []() -> awaitable<void> { co_return; });
}

static awaitable<void> pools() {
    const auto executor = co_await asio::this_coro::executor;
    const auto factory = [] { return open_session("ada"); };
    co_await coraii::with(coraii::open_pool(executor, factory, {.min_size = 1}), [](auto& pool) -> awaitable<void> {
        co_await coraii::with(pool.acquire(1s), [&pool](std::string& s) -> awaitable<void> {
            pool.discard(s);
            co_return;
        });
        coraii::guard<std::string> lease = pool.try_acquire();
        pool.resize(2);
        std::cout << pool.stats().in_use;
    });
}

static awaitable<void> files(std::filesystem::path from, std::filesystem::path to) {
    co_await coraii::with(coraii::lock_file(to.native() + ".lock"), coraii::open_file(from), coraii::atomic_file(to),
                          coraii::temp_directory(), coraii::temp_file(),
                          [](coraii::file_lock&, coraii::file& in, coraii::file& out, std::filesystem::path&,
                             coraii::file& other) -> awaitable<void> {
                              while (std::optional<std::string> line = co_await in.read_line()) {
                                  co_await out.write(*line);
                              }
                              co_await asio::async_write(other, asio::buffer("text", 4), asio::use_awaitable);
                              co_await out.sync();
                          });
}

template <class Connect>
static awaitable<void> sessions(Connect connect) {
    const auto executor = co_await asio::this_coro::executor;
    co_await coraii::with(coraii::open_pool(executor, connect), [](auto& pool) -> awaitable<void> {
        co_await coraii::with(coraii::open_session(pool), [](auto& session) -> awaitable<void> {
            co_await coraii::with(coraii::begin_transaction(session), [](auto& tx) -> awaitable<void> {
                const coraii::sql_rows rows = co_await tx.execute("select 1, 'a' where 1 = ?", 1);
                std::cout << rows[0][0].template as<std::int64_t>() << rows[0][1].template as<std::string>();
            });
        });
        co_await coraii::run_transaction(pool, [](auto& tx) -> awaitable<void> {
            co_await tx.stream("select 1.5", [](coraii::sql_row row) -> awaitable<void> {
                std::cout << row[0].template as<double>() << row[0].template as<std::optional<int>>().has_value();
                co_return;
            });
        });
    });
}

static awaitable<void> run(asio::thread_pool& workers) {
    using namespace asio::experimental::awaitable_operators;
    co_await (coraii::joined([] { return guards(); }) || coraii::joined(stacks));
    co_await (pairs_and_with() && dependent_scopes() && task_with_scopes("eve") && pools() && offloaded(workers) && files("from", "to"));
#if __has_include(<sqlite3.h>)
    co_await sessions([] { return coraii::sqlite::connect("db"); });
#endif
#if __has_include(<libpq-fe.h>)
    co_await sessions([] { return coraii::postgres::connect("dbname=db"); });
#endif
}

int main() {
    asio::thread_pool workers{1};
    asio::io_context context;
    coraii::on_cleanup_error(context, [](const coraii::cleanup_failure& failure) { std::cout << failure.name; });
    // No cancellation slot here. In run(), operator|| gives its operands one.
    asio::co_spawn(context, run(workers), asio::detached);
    open_session("zoe").on(context.get_executor())([](const std::exception_ptr&, coraii::guard<std::string> guard) { std::cout << *guard; });
    coraii::async_drain(context)([](const std::exception_ptr&) {});
    context.run();
    std::cout << coraii::stats(context).opened << coraii::testing::sweep(guards);
}
