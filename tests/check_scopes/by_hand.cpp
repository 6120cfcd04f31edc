// SPDX-License-Identifier: BSL-1.0
// Cleanups written by hand: what must be found, and what looks alike. `FINDS: name` at the end of a line: there, and only there, the
// check finds something.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using boost::system::error_code;

struct session {
    awaitable<void> connect(std::string host);
    awaitable<void> query(std::string text);
    awaitable<void> close();
    awaitable<void> logout();
    awaitable<error_code> try_query(std::string text);
    awaitable<void> query_into(std::string text, error_code& error);
    awaitable<void> wait_for_shutdown();
    void cancel();
    bool close_requested();
};
awaitable<session> open_session(std::string user);
awaitable<void> close_session(session& s);
awaitable<void> rollback(int transaction);
awaitable<int> begin();

template <class Token>
auto async_close(session& s, Token&& token) {
    return asio::post(std::forward<Token>(token));
}
struct tls_stream {
    template <class Token>
    auto async_shutdown(Token&& token) {
        return asio::async_initiate<Token, void(error_code)>([](auto) {}, token);
    }
    template <class Token>
    auto async_handshake(Token&& token) {
        return asio::async_initiate<Token, void(error_code)>([](auto) {}, token);
    }
};

// ---- coraii-skipped-cleanup: found

awaitable<void> at_the_end() {
    session s = co_await open_session("ada");
    co_await s.query("select 1");
    co_await s.close();  // FINDS: coraii-skipped-cleanup
}

awaitable<void> through_a_pointer(std::unique_ptr<session> s) {
    co_await s->connect("db");
    co_await s->query("select 1");
    co_await s->close();  // FINDS: coraii-skipped-cleanup
}

awaitable<void> with_a_function() {
    session s = co_await open_session("ada");
    co_await s.query("select 1");
    co_await async_close(s, use_awaitable);  // FINDS: coraii-skipped-cleanup
}

awaitable<void> with_a_function_of_another_name() {
    session s = co_await open_session("ada");
    for (int i = 0; i < 3; ++i) {
        co_await s.query("select 1");
    }
    co_await close_session(s);  // FINDS: coraii-skipped-cleanup
}

awaitable<void> that_does_not_throw_itself(tls_stream& stream) {
    co_await stream.async_handshake(use_awaitable);
    co_await asio::post(use_awaitable);
    auto [error] = co_await stream.async_shutdown(asio::as_tuple(use_awaitable));  // FINDS: coraii-skipped-cleanup
    std::cout << error.message();
}

awaitable<void> of_a_transaction(session& s) {
    const int tx = co_await begin();
    co_await s.query("insert");
    if (tx > 7) {
        co_await rollback(tx);  // FINDS: coraii-skipped-cleanup
    }
}

class client {
public:
    awaitable<void> run() {
        co_await session_.connect("db");
        co_await session_.query("select 1");
        co_await session_.logout();  // FINDS: coraii-skipped-cleanup
    }
    awaitable<void> run_and_log() {
        co_await session_.connect("db");
        try {
            co_await session_.query("select 1");
        } catch (const std::exception& e) {
            std::cout << e.what();
            throw;
        }
        co_await session_.logout();  // FINDS: coraii-skipped-cleanup
    }
    // The first cleanup that fails skips the second.
    awaitable<void> stop() {
        co_await first_.logout();
        co_await session_.close();  // FINDS: coraii-skipped-cleanup
    }

private:
    session session_, first_;
};

awaitable<void> in_a_condition(session s) {
    if (bool more = (co_await s.query("select 1"), true); more) {
        co_await s.close();  // FINDS: coraii-skipped-cleanup
    }
}

awaitable<void> whose_error_alone_is_swallowed(session s) {
    co_await s.query("select 1");
    try {
        co_await s.close();  // FINDS: coraii-skipped-cleanup
    } catch (...) {}
}

// In a template, where it is used.
template <class Session>
awaitable<void> in_a_template(Session s) {
    co_await s.query("select 1");
    co_await s.close();  // FINDS: coraii-skipped-cleanup
}
awaitable<void> uses_the_template() {
    return in_a_template(session{});
}

auto in_a_lambda = [](session s) -> awaitable<void> {
    co_await s.query("select 1");
    co_await s.close();  // FINDS: coraii-skipped-cleanup
};

// ---- coraii-skipped-cleanup: looks alike

awaitable<void> filled_later(bool first) {
    session s;
    std::unique_ptr<session> other;
    co_await asio::post(use_awaitable);
    if (first) {
        s = co_await open_session("ada");
    } else {
        s = co_await open_session("bob");
    }
    co_await s.close();
    other.reset(new session(co_await open_session("eve")));
    co_await other->close();
}

struct its_own {
    awaitable<void> connect();
    awaitable<void> close();
    awaitable<void> probe_it() {
        co_await connect();
        co_await close();
    }
};

awaitable<void> the_handler_cleans_and_throws(tcp::socket socket, session s) {
    try {
        co_await s.query("select 1");
    } catch (...) {
        socket.close();
        throw;
    }
    co_await s.close();
}

awaitable<void> nothing_between() {
    session s = co_await open_session("ada");
    co_await s.close();
}

awaitable<void> nothing_between_but_its_opening() {
    tcp::socket socket{co_await asio::this_coro::executor};
    tcp::resolver resolver{co_await asio::this_coro::executor};
    auto found = co_await resolver.async_resolve("localhost", "80", use_awaitable);
    session s;
    co_await s.connect("db");
    co_await s.close();
}

awaitable<void> errors_are_results(tcp::socket socket, session s) {
    char data[64];
    auto [error, size] = co_await socket.async_read_some(asio::buffer(data), asio::as_tuple(use_awaitable));
    error_code second;
    co_await asio::async_write(socket, asio::buffer(data, size), asio::redirect_error(use_awaitable, second));
    error = co_await s.try_query("select 1");
    co_await s.query_into("select 2", error);
    co_await s.close();
}

awaitable<void> in_another_branch(session s, bool wanted) {
    if (wanted) {
        co_await s.query("select 1");
    } else {
        co_await s.close();
    }
}

awaitable<void> in_another_case(session s, int command) {
    switch (command) {
        case 1: co_await s.query("select 1"); break;
        case 2: {
            co_await s.query("select 2");
            break;
        }
        default: co_await s.close();
    }
}

awaitable<void> in_a_branch_that_leaves(session s, bool wanted) {
    if (wanted) {
        co_await s.query("select 1");
        co_return;
    }
    co_await s.close();
}

awaitable<void> errors_are_handled(session s) {
    try {
        co_await s.query("select 1");
    } catch (const std::exception& e) { std::cout << e.what(); }
    co_await s.close();
}

awaitable<void> the_handler_cleans(tcp::socket socket, tls_stream& stream) {
    try {
        co_await asio::post(use_awaitable);
        co_await stream.async_shutdown(use_awaitable);
    } catch (...) {
        socket.close();
        throw;
    }
}

awaitable<void> no_cleanup_by_name(session s) {
    co_await s.query("select 1");
    co_await s.wait_for_shutdown();
    if (s.close_requested()) {
        co_await asio::post(use_awaitable);
    }
}

awaitable<void> not_awaited(session s, tcp::socket socket) {
    co_await s.query("select 1");
    socket.close();
}

struct scope_exit {
    session& s;
    ~scope_exit() { s.cancel(); }
};
awaitable<void> an_object_cleans(session s) {
    scope_exit cleanup{s};
    co_await s.query("select 1");
    co_await s.close();
}

awaitable<void> in_a_coroutine_of_its_own(session s) {
    co_await s.query("select 1");
    auto close = [](session s) -> awaitable<void> { co_await s.close(); };
    (void)close;
}

awaitable<void> opened_after_the_wait() {
    co_await asio::post(use_awaitable);
    session s = co_await open_session("ada");
    co_await s.close();
}

awaitable<void> said_to_be_wanted(session s) {
    co_await s.query("select 1");
    co_await s.close();  // NOLINT(coraii-skipped-cleanup)
    // NOLINTNEXTLINE(coraii-skipped-cleanup)
    co_await s.close();
}

// ---- coraii-kept-exception: found

awaitable<void> kept_for_a_cleanup() {
    session s = co_await open_session("ada");
    std::exception_ptr error;
    try {
        co_await s.query("select 1");
    } catch (...) {  // FINDS: coraii-kept-exception
        error = std::current_exception();
    }
    co_await s.close();
    if (error) {
        std::rethrow_exception(error);
    }
}

awaitable<void> kept_for_a_rollback(session& s) {
    const int tx = co_await begin();
    std::exception_ptr error;
    try {
        co_await s.query("insert");
    } catch (...) { error = std::current_exception(); }  // FINDS: coraii-kept-exception
    if (error) {
        co_await rollback(tx);
        std::rethrow_exception(error);
    }
}

awaitable<void> say_farewell(session& s);
awaitable<void> kept_for_a_cleanup_of_any_name(session s) {
    std::exception_ptr error;
    try {
        co_await s.query("select 1");
    } catch (const std::exception&) {  // FINDS: coraii-kept-exception
        error = std::current_exception();
    }
    co_await say_farewell(s);
    if (error) {
        std::rethrow_exception(error);
    }
}

awaitable<void> kept_in_a_loop(std::vector<session>& sessions) {
    for (session& s : sessions) {
        std::exception_ptr error{};
        try {
            co_await s.query("select 1");
        } catch (...) {  // FINDS: coraii-kept-exception
            error = std::current_exception();
        }
        co_await s.logout();
        if (error) {
            std::rethrow_exception(error);
        }
    }
}

// ---- coraii-kept-exception: looks alike

void log(std::exception_ptr error);
awaitable<void> kept_to_be_logged(session s) {
    std::exception_ptr error;
    try {
        co_await s.query("select 1");
    } catch (...) { error = std::current_exception(); }
    log(error);
}

awaitable<void> kept_to_try_again(session s) {
    std::exception_ptr last;
    for (int tries = 0; tries < 3; ++tries) {
        try {
            co_await s.query("select 1");
            co_return;
        } catch (...) { last = std::current_exception(); }
        asio::steady_timer timer{co_await asio::this_coro::executor, std::chrono::seconds{1}};
        co_await timer.async_wait(use_awaitable);
    }
    std::rethrow_exception(last);
}

awaitable<void> send(std::exception_ptr error);
awaitable<void> kept_to_be_sent(session s) {
    std::exception_ptr error;
    try {
        co_await s.query("select 1");
    } catch (...) { error = std::current_exception(); }
    co_await send(error);
}

awaitable<void> not_kept(session s) {
    try {
        co_await s.query("select 1");
    } catch (...) { std::cout << "failed\n"; }
    co_await s.close();
}
