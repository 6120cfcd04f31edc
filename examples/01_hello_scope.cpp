// SPDX-License-Identifier: BSL-1.0
// A resource with asynchronous setup and cleanup: written as a coroutine, and made from a pair of functions.
// Prints:
//   log in as ada
//   query on the session of ada
//   log out (went well)
//   log in as bob
//   log out (went wrong)
//   the query threw: no such table
//   log in as eve
//   query on the session of eve
//   log out
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;

asio::awaitable<std::string> log_in(std::string user) {
    std::cout << "log in as " << user << '\n';
    co_await asio::post(asio::use_awaitable);  // stands for any I/O
    co_return "the session of " + user;
}

// Setup, use and cleanup in one function. co_yield does not throw: it returns how the use ended.
coraii::async_scope<std::string> open_session(std::string user) {
    std::string session = co_await log_in(std::move(user));
    const coraii::exit_status why = co_yield session;
    co_await asio::post(asio::use_awaitable);
    std::cout << "log out (" << (why.ok() ? "went well" : "went wrong") << ")\n";
}

// A coroutine with scopes of its own: they are left when it ends, however it does, and its caller waits for their cleanup.
coraii::task<> query(std::string user, std::string table) {
    std::string& session = co_await coraii::enter(open_session(user));
    if (table.empty()) {
        throw std::runtime_error("no such table");
    }
    std::cout << "query on " << session << '\n';
}

asio::awaitable<void> run() {
    co_await query("ada", "orders");
    try {
        co_await query("bob", "");
    } catch (const std::runtime_error& e) {
        std::cout << "the query threw: " << e.what() << '\n';  // the cleanup is complete by now
    }

    // A scope made from a pair, and used in a block. A cleanup that has nothing to wait for may be a plain function.
    coraii::async_scope scope{log_in("eve"), [](std::string&) { std::cout << "log out\n"; }};
    co_await coraii::with(std::move(scope), [](std::string& session) -> asio::awaitable<void> {
        std::cout << "query on " << session << '\n';
        co_return;
    });
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, run(), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
