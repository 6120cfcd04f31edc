// SPDX-License-Identifier: BSL-1.0
// Coroutines of scopes: what must be found, and what looks alike.
#include <coraii/coraii.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;

struct session {
    awaitable<void> connect();
    awaitable<void> query(std::string text);
    awaitable<void> logout();
    awaitable<void> close();
    bool good = true;
};
struct socket_of {
    template <class Token>
    auto async_shutdown(Token&& token) {
        return asio::async_initiate<Token, void(boost::system::error_code)>([](auto) {}, token);
    }
};

// ---- coraii-missing-yield: found

coraii::async_scope<session> only_sets_up() {  // FINDS: coraii-missing-yield
    session s;
    co_await s.connect();
}
coraii::async_scope<void> only_returns() {  // FINDS: coraii-missing-yield
    co_return;
}
coraii::async_scope<session> yields_in_a_lambda_only() {  // FINDS: coraii-missing-yield
    auto inner = []() -> coraii::async_scope<session> {
        session s;
        co_yield s;
    };
    co_await coraii::with(inner(), [](session& s) -> awaitable<void> { co_await s.query("select 1"); });
}
auto lambda_without_yield = []() -> coraii::async_scope<session> {  // FINDS: coraii-missing-yield
    session s;
    co_await s.connect();
};

// ---- coraii-missing-yield: looks alike

coraii::async_scope<session> one_yield() {
    session s;
    co_await s.connect();
    co_yield s;
}
coraii::async_scope<void> of_nothing() {
    co_yield coraii::entered;
}
coraii::async_scope<session> no_coroutine() {
    return one_yield();
}
coraii::async_scope<session> not_supported() {
    co_await asio::post(use_awaitable);
    throw std::runtime_error("not supported");
}
awaitable<void> no_scope() {
    co_await asio::post(use_awaitable);
}

// ---- coraii-second-yield: found

coraii::async_scope<session> in_a_loop() {  // FINDS: coraii-second-yield
    session s;
    for (int i = 0; i < 3; ++i) {
        co_yield s;
    }
}
coraii::async_scope<session> while_it_is_good() {  // FINDS: coraii-second-yield
    session s;
    while (s.good) {
        co_await s.connect();
        co_yield s;
    }
}
coraii::async_scope<session> twice() {  // FINDS: coraii-second-yield
    session a, b;
    co_yield a;
    co_yield b;
}
coraii::async_scope<session> once_more_behind_a_branch(bool first) {  // FINDS: coraii-second-yield
    session a, b;
    if (first) {
        co_yield a;
    }
    co_yield b;
}

// ---- coraii-second-yield: looks alike

coraii::async_scope<session> one_of_two(bool first) {
    session a, b;
    if (first) {
        co_yield a;
    } else {
        co_yield b;
    }
}
coraii::async_scope<session> the_first_leaves(bool first) {
    session a, b;
    if (first) {
        co_yield a;
        co_return;
    }
    co_yield b;
}
coraii::async_scope<session> tries_until_it_can() {
    for (;;) {
        session s;
        try {
            co_await s.connect();
        } catch (const std::exception&) { continue; }
        co_yield s;
        co_await s.close();
        co_return;
    }
}
coraii::async_scope<session> one_case_of_some(int which) {
    session a, b;
    switch (which) {
        case 0: co_yield a; break;
        default: co_yield b; break;
    }
}

// ---- coraii-fragile-cleanup: found

coraii::async_scope<session> two_steps() {  // FINDS: coraii-fragile-cleanup
    session s;
    co_await s.connect();
    co_yield s;
    co_await s.logout();
    co_await s.close();
}
coraii::async_scope<session> throws_before_the_rest() {  // FINDS: coraii-fragile-cleanup
    session s;
    co_await s.connect();
    co_yield s;
    if (!s.good) {
        throw std::runtime_error("lost");
    }
    co_await s.close();
}
coraii::async_scope<session> a_step_in_a_branch() {  // FINDS: coraii-fragile-cleanup
    session s;
    coraii::exit_status why = co_yield s;
    if (why.ok()) {
        co_await s.query("commit");
    }
    co_await s.close();
}
coraii::async_scope<session> the_rest_does_not_throw() {  // FINDS: coraii-fragile-cleanup
    session s;
    socket_of socket;
    co_yield s;
    co_await s.logout();
    co_await socket.async_shutdown(asio::as_tuple(use_awaitable));
}
coraii::async_scope<session> two_in_one_branch() {  // FINDS: coraii-fragile-cleanup
    session s;
    const coraii::exit_status why = co_yield s;
    if (why.ok()) {
        co_await s.query("commit");
        co_await s.close();
    } else {
        co_await s.close();
    }
}
coraii::async_scope<session> the_handler_throws() {  // FINDS: coraii-fragile-cleanup
    session s;
    co_yield s;
    try {
        co_await s.logout();
    } catch (const std::exception&) { throw std::runtime_error("logout failed"); }
    co_await s.close();
}

coraii::async_scope<session> in_a_loop_of_cleanups() {  // FINDS: coraii-fragile-cleanup
    session all[3];
    co_yield all[0];
    for (session& s : all) {
        co_await s.close();
    }
}

// ---- coraii-fragile-cleanup: looks alike

coraii::async_scope<session> in_a_loop_of_guarded_cleanups() {
    session all[3];
    for (session& s : all) {
        co_await s.connect();
    }
    co_yield all[0];
    for (session& s : all) {
        try {
            co_await s.close();
        } catch (const std::exception&) {}
    }
}

coraii::async_scope<session> one_step() {
    session s;
    co_await s.connect();
    co_await s.query("set time zone");
    co_yield s;
    co_await s.close();
}
coraii::async_scope<session> one_of_two_steps() {
    session s;
    coraii::exit_status why = co_yield s;
    if (why.ok()) {
        co_await s.query("commit");
    } else {
        co_await s.query("rollback");
    }
}
coraii::async_scope<session> guarded_steps() {
    session s;
    co_yield s;
    std::exception_ptr error;
    try {
        co_await s.logout();
    } catch (...) { error = std::current_exception(); }
    co_await s.close();
    if (error) {
        std::rethrow_exception(error);
    }
}
coraii::async_scope<session> steps_that_do_not_throw() {
    session s;
    socket_of socket;
    co_yield s;
    co_await socket.async_shutdown(asio::as_tuple(use_awaitable));
    co_await s.close();
}
coraii::async_scope<session> throws_last() {
    session s;
    co_yield s;
    co_await s.close();
    if (!s.good) {
        throw std::runtime_error("lost");
    }
}
coraii::async_scope<session> the_rest_is_a_guard() {
    auto below = co_await one_step();
    session s;
    const coraii::exit_status why = co_yield s;
    co_await s.close();
    co_await below.close(why);
}
coraii::async_scope<session> a_branch_that_leaves() {
    session s;
    const coraii::exit_status why = co_yield s;
    if (why.ok()) {
        co_await s.query("commit");
        co_return;
    }
    co_await s.query("rollback");
}

// ---- coraii-dangling-capture: found

awaitable<session> login(std::string user);

coraii::async_scope<session> by_reference(std::string user) {
    return coraii::async_scope{login("x"), [&user](session&) { user.clear(); }};  // FINDS: coraii-dangling-capture
}
coraii::async_scope<session> by_default() {
    int queries = 0;
    return coraii::async_scope{login("ada"), [&](session&) { ++queries; }};  // FINDS: coraii-dangling-capture
}
coraii::async_scope<session> from_a_variable() {
    std::string text = "bye";
    coraii::async_scope scope{login("ada"), [&text](session&) { text.clear(); }};  // FINDS: coraii-dangling-capture
    return scope;
}
coraii::task<> in_a_task() {
    std::string text = "bye";
    co_await coraii::defer([&text] { text.clear(); });  // FINDS: coraii-dangling-capture
    coraii::exit_stack& stack = co_await coraii::this_stack;
    stack.defer([&] { text.clear(); });  // FINDS: coraii-dangling-capture
    co_await asio::post(use_awaitable);
}
awaitable<void> on_the_callers_stack(coraii::exit_stack& stack, std::string by_value) {
    stack.defer([&by_value] { by_value.clear(); });  // FINDS: coraii-dangling-capture
    co_await asio::post(use_awaitable);
}

coraii::async_scope<session> by_name() {
    std::string text = "bye";
    const auto cleanup = [&text](session& s) { return s.query(text); };  // FINDS: coraii-dangling-capture
    return coraii::async_scope{login("ada"), cleanup};
}
coraii::async_scope<session> by_its_setup(std::string user) {
    const auto close = [](session& s) { return s.close(); };
    return coraii::async_scope{[&user] { return login(user); }, close};  // FINDS: coraii-dangling-capture
}
coraii::task<> entered_in_a_task(std::string user) {
    std::string text = "bye";
    auto cleanup = [&text](session& s) { return s.query(text); };  // FINDS: coraii-dangling-capture
    co_await coraii::enter(coraii::async_scope{login(user), cleanup});
    const auto clear = [&text](session&) { text.clear(); };  // FINDS: coraii-dangling-capture
    co_await coraii::enter(coraii::async_scope{login(user), clear});
    co_await coraii::enter(coraii::async_scope{login(user), [&user](session& s) { return s.query(user); }});
    co_await coraii::enter(coraii::async_scope{login(user), [text](session& s) { return s.query(text); }});
}

// ---- coraii-dangling-capture: looks alike

coraii::async_scope<session> a_copy(std::string user) {
    return coraii::async_scope{login(user), [user](session& s) { return s.query("bye " + user); }};
}
coraii::async_scope<session> was_a_reference(std::string& user) {
    return coraii::async_scope{login(user), [&user](session& s) { return s.query("bye " + user); }};
}
awaitable<void> used_up_here() {
    int queries = 0;
    coraii::async_scope scope{login("ada"), [&queries](session&) { ++queries; }};
    co_await coraii::with(std::move(scope), [&](session& s) -> awaitable<void> { co_await s.query("select 1"); });
}
coraii::task<> a_parameter_of_a_task(std::string text) {
    co_await coraii::defer([&text] { text.clear(); });
    co_await asio::post(use_awaitable);
}
coraii::task<> copies_in_a_task() {
    std::string text = "bye";
    co_await coraii::defer([text] { (void)text; });
    co_await coraii::defer([text = std::move(text)] { (void)text; });
}
awaitable<void> outside_of_the_body() {
    int cleaned = 0;
    co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
        stack.defer([&] { ++cleaned; });
        co_await asio::post(use_awaitable);
    });
}

// ---- coraii-late-check: found

coraii::async_scope<session> checks_late(int port) {  // FINDS: coraii-late-check
    if (port <= 0) {
        throw std::invalid_argument("port");
    }
    session s;
    co_await s.connect();
    co_yield s;
}
coraii::async_scope<session> checks_a_name(std::string user) {  // FINDS: coraii-late-check
    if (user.empty()) {
        throw std::runtime_error("no user");
    }
    session s = co_await login(user);
    co_yield s;
}
coraii::task<> a_task_checks_late(const std::string& user, int tries) {  // FINDS: coraii-late-check
    if (tries < 1) {
        throw std::out_of_range("tries");
    }
    co_await login(user);
}

// ---- coraii-late-check: looks alike

coraii::async_scope<session> connect_checked(int port);
coraii::async_scope<session> checks_first(int port) {
    if (port <= 0) {
        throw std::invalid_argument("port");
    }
    return connect_checked(port);
}
coraii::async_scope<session> checks_a_result(int port) {
    session s;
    co_await s.connect();
    if (!s.good) {
        throw std::runtime_error("not connected");
    }
    if (port > 7) {
        throw std::invalid_argument("too late anyhow");
    }
    co_yield s;
}
coraii::async_scope<session> checks_a_state(session& s) {
    if (!s.good) {
        throw std::logic_error("not connected");
    }
    co_yield s;
}
awaitable<void> answers(std::string request) {
    if (request.empty()) {
        throw std::runtime_error("400");
    }
    co_await asio::post(use_awaitable);
}
