// SPDX-License-Identifier: BSL-1.0
// What a project outside the tree compiles against, however it found the library: the README's first example.
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>

namespace asio = boost::asio;

coraii::async_scope<std::string> open_session(std::string user) {
    std::string session = "session of " + user;         // setup: co_await what it takes
    coraii::exit_status why = co_yield session;          // in use
    std::cout << (why.ok() ? "commit\n" : "rollback\n");  // cleanup: always reached, and may co_await, too
}

asio::awaitable<void> work(std::string& session) {
    std::cout << "in " << session << '\n';
    co_return;  // or throw, or be cancelled
}

int main() {
    asio::io_context context;
    asio::co_spawn(context, coraii::with(open_session("ada"), work), asio::detached);
    context.run();
}
