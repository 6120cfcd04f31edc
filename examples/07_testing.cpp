// SPDX-License-Identifier: BSL-1.0
// Finds a bug in a scope that looks right: a sweep runs it with an exception at every suspension point, with every
// cancel between every two turns of the event loop, and so on, and looks after each run whether all was cleaned.
//
// Prints:
//   open_connection:
//     {.injected = {.kind = fault_kind::exception, .at = 1}}
//     'socket' (07_testing.cpp:24) was set up and never cleaned
//   open_connection, mended:
//     ok
#include <coraii/coraii.hpp>
#include <coraii/testing.hpp>

#include <boost/asio/awaitable.hpp>

#include <exception>
#include <iostream>

using boost::asio::awaitable;
using coraii::testing::probe;

// A probe stands for each resource, as a fake driver would give it.
coraii::async_scope<probe> open_connection() {
    probe socket{"socket"};
    co_await socket.set_up();   // connects
    probe session{"session"};
    co_await session.set_up();  // logs in. If that fails, who closes the socket?
    co_yield session;
    co_await session.clean_up();  // and if this fails?
    co_await socket.clean_up();
}

coraii::async_scope<probe> open_socket() {
    probe socket{"socket"};
    co_await socket.set_up();
    co_yield socket;
    co_await socket.clean_up();
}

// One resource a scope: what was set up is cleaned, whatever happens to the rest.
coraii::async_scope<probe> open_connection_mended() {
    auto socket = co_await open_socket();
    probe session{"session"};
    co_await session.set_up();
    const coraii::exit_status why = co_yield session;
    co_await session.clean_up();
    co_await socket.close(why);
}

template <class Open>
void sweep(const char* name, Open open) {
    const auto use = [](probe& session) -> awaitable<void> { co_await session.use(); };
    // If the logout fails the socket is dropped, and cleaned when nobody waits for it any more: hence `reverse`.
    const auto report = coraii::testing::sweep([&]() -> awaitable<void> { co_await coraii::with(open(), use); },
                                               {.order = coraii::testing::cleanup_order::reverse});
    std::cout << name << ":\n";
    if (report.ok()) {
        std::cout << "  ok\n";
    } else {  // std::cout << report tells all failures, and what happened in each
        std::cout << "  " << report.failed[0].tried << "\n  " << report.failed[0].problems[0] << '\n';
    }
}

int main() {
    try {
        sweep("open_connection", open_connection);
        sweep("open_connection, mended", open_connection_mended);
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
