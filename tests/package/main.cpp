// SPDX-License-Identifier: BSL-1.0
// What a project outside the tree compiles against, however it found the library: the README's first example.
#include <coraii/coraii.hpp>
#include <boost/asio.hpp>
#include <iostream>

coraii::async_scope<std::string> open_session(std::string user) {
    std::string session = "session of " + user;           // setup: co_await whatever it takes
    coraii::exit_status why = co_yield session;           // the session is in use
    std::cout << (why.ok() ? "commit\n" : "rollback\n");  // cleanup: always reached, and may co_await, too
}

coraii::task<> work(std::string user) {
    std::string& session = co_await coraii::enter(open_session(user));
    std::cout << "in " << session << '\n';
}  // here the cleanup is awaited, after a co_return, an exception and a cancel alike

int main() {
    boost::asio::io_context context;
    boost::asio::co_spawn(context, work("ada"), boost::asio::detached);
    context.run();
}
