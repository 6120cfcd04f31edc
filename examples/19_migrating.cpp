// SPDX-License-Identifier: BSL-1.0
// From a class with open() and close() to a scope in three steps, each of which can be shipped alone. By hand, a cancel loses the
// session: from then on `co_await close()` throws before it begins.
// Prints:
//   by hand: committed, rolled back, never closed
//   step 1: committed, rolled back, rolled back
//   step 2: committed, rolled back, rolled back
//   step 3: committed, rolled back, rolled back
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
asio::cancellation_signal user;  // may give up
std::string last_end;  // as the server saw it

struct session {
    asio::awaitable<void> open() { co_await asio::post(asio::use_awaitable); }
    asio::awaitable<void> insert(int amount) {
        amount == 0 ? user.emit(asio::cancellation_type::terminal) : void();
        co_await asio::post(asio::use_awaitable);
        amount < 0 ? throw std::invalid_argument("negative") : void();
    }
    asio::awaitable<void> close(bool commit) {
        co_await asio::post(asio::use_awaitable);
        last_end = commit ? "committed" : "rolled back";
    }
};

// Before. A `catch` cannot co_await: so each user of a session keeps the error, closes, and throws it again.
asio::awaitable<void> by_hand(int amount) {
    session s;
    co_await s.open();
    std::exception_ptr error;
    try {
        co_await s.insert(amount);
    } catch (...) { error = std::current_exception(); }
    co_await s.close(!error);
    if (error) {
        std::rethrow_exception(error);
    }
}

// Step 1: the scope is made of the class, which does not change. Its users lose the try and catch.
coraii::async_scope<session> open_session() {
    session s;
    co_await s.open();
    const coraii::exit_status why = co_yield s;
    co_await s.close(why.ok());
}
asio::awaitable<void> step_1(int amount) {
    co_await coraii::with(open_session(), [amount](session& s) { return s.insert(amount); });
}

// Step 2: the users become tasks, and lose the nesting.
coraii::task<> step_2(coraii::async_scope<session> opened, int amount) {
    session& s = co_await coraii::enter(std::move(opened));
    co_await s.insert(amount);
}

// Step 3: the bodies of open() and close() move into the scope. A session that is not open cannot be had any more.
coraii::async_scope<session> opened_session() {
    co_await asio::post(asio::use_awaitable);
    session s;
    const coraii::exit_status why = co_yield s;
    co_await asio::post(asio::use_awaitable);
    last_end = why.ok() ? "committed" : "rolled back";
}

void try_out(std::string name, auto use) {
    for (int amount : {1, -1, 0}) {  // goes well, throws, is cancelled
        asio::io_context context;
        last_end = "never closed";
        asio::co_spawn(context, use(amount), asio::bind_cancellation_slot(user.slot(), asio::detached));
        context.run();
        std::cout << (amount == 1 ? name + ": " : ", ") << last_end << (amount == 0 ? "\n" : "");
    }
}

int main() {
    try_out("by hand", by_hand);
    try_out("step 1", step_1);
    try_out("step 2", [](int amount) { return step_2(open_session(), amount); });
    try_out("step 3", [](int amount) { return step_2(opened_session(), amount); });
}
