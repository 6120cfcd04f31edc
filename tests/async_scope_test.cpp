// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>

using namespace test;

namespace {

awaitable<int> open_int() {
    co_return 5;
}
awaitable<void> close_int(int&) {
    co_return;
}

/// An async operation that completes with an int, on the handler's executor.
template <class Token>
auto async_five(Token&& token) {
    return asio::async_initiate<Token, void(boost::system::error_code, int)>(
        [](auto handler) {
            auto executor = asio::get_associated_executor(handler);
            asio::post(executor, [handler = std::move(handler)]() mutable { std::move(handler)({}, 5); });
        },
        token);
}

}  // namespace

static_assert(std::is_nothrow_move_constructible_v<coraii::async_scope<int>>);
static_assert(!std::is_copy_constructible_v<coraii::async_scope<int>>);
static_assert(std::same_as<decltype(coraii::async_scope{open_int(), close_int}), coraii::async_scope<int>>);
static_assert(std::same_as<decltype(coraii::async_scope{open_int, [](int&) {}}), coraii::async_scope<int>>);
static_assert(std::same_as<decltype(coraii::async_scope{turn(), [] {}}), coraii::async_scope<void>>);
static_assert(
    std::same_as<decltype(coraii::async_scope{async_five(asio::deferred), [](int&) {}}), coraii::async_scope<int>>);

TEST_CASE("async_scope: the pair form takes what Asio can await", "[async_scope]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        const auto use = [](int& n) -> awaitable<int> { co_return n; };

        auto from_awaitable =
            coraii::async_scope{open_int(), [&](int& n) { log.push_back("plain " + std::to_string(n)); }};
        const int by_awaitable = co_await coraii::with(std::move(from_awaitable), use);
        CHECK(by_awaitable == 5);

        auto of_functions = coraii::async_scope{open_int, close_int};
        const int by_functions = co_await coraii::with(std::move(of_functions), use);
        CHECK(by_functions == 5);

        auto from_callable = coraii::async_scope{open_int, [&](int&, coraii::exit_status why) -> awaitable<void> {
                                                     log.push_back(std::string("awaitable ") + to_string(why.reason()));
                                                     co_return;
                                                 }};
        const int by_callable = co_await coraii::with(std::move(from_callable), use);
        CHECK(by_callable == 5);

        const auto executor = co_await asio::this_coro::executor;
        auto from_operation = coraii::async_scope{async_five(asio::deferred), [&](int&) {
                                                      log.push_back("operation");
                                                      return asio::post(executor, asio::deferred);
                                                  }};
        const int by_operation = co_await coraii::with(std::move(from_operation), use);
        CHECK(by_operation == 5);
    };
    run(work(), s);
    CHECK(log == events{"plain 5", "awaitable completed", "operation"});
}

TEST_CASE("async_scope: the resource lives in the coroutine and need not be movable", "[async_scope]") {
    const auto s = GENERATE(slot::none, slot::connected);
    struct pinned {
        explicit pinned(int n) : value{n} {}
        pinned(pinned&&) = delete;
        std::mutex mutex;
        int value;
    };
    const auto scope = []() -> coraii::async_scope<pinned> {
        pinned p{7};
        co_yield p;
    };
    const auto temporary = []() -> coraii::async_scope<pinned> { co_yield pinned{8}; };
    run(
        [&]() -> awaitable<void> {
            auto g = co_await scope();
            CHECK(g->value == 7);
            co_await g.close();
            const int n = co_await coraii::with(temporary(), [](pinned& p) -> awaitable<int> { co_return p.value; });
            CHECK(n == 8);
        }(),
        s);
}

TEST_CASE("async_scope: a derived resource can be yielded as its base", "[async_scope]") {
    struct base {
        virtual ~base() = default;
        virtual int id() const { return 1; }
    };
    struct derived : base {
        int id() const override { return 2; }
    };
    const auto scope = []() -> coraii::async_scope<base> {
        derived d;
        co_yield d;
    };
    run([&]() -> awaitable<void> {
        auto g = co_await scope();
        CHECK(g->id() == 2);
        co_await g.close();
    }());
}

TEST_CASE("async_scope: other executors than any_io_executor", "[async_scope]") {
    using executor = asio::io_context::executor_type;
    {
        const bool connected = GENERATE(false, true);
        asio::io_context context;
        events log;
        const auto scope = [&]() -> coraii::async_scope<int, executor> {
            int n = 3;
            const coraii::exit_status why = co_yield n;
            log.push_back(to_string(why.reason()));
        };
        const auto work = [&]() -> asio::awaitable<void, executor> {
            const int n =
                co_await coraii::with(scope(), [](int& i) -> asio::awaitable<int, executor> { co_return i + 1; });
            CHECK(n == 4);
            auto g = co_await scope();
            static_assert(std::same_as<decltype(g), coraii::guard<int, executor>>);
            co_await g.close();
            { auto dropped = co_await scope(); }
            co_await coraii::with(coraii::make_exit_stack<executor>(),
                                  [&](coraii::basic_exit_stack<executor>& stack) -> asio::awaitable<void, executor> {
                                      co_await stack.enter(scope());
                                  });
        };
        asio::cancellation_signal signal;
        if (connected) {
            asio::co_spawn(context, work(), asio::bind_cancellation_slot(signal.slot(), asio::detached));
        } else {
            asio::co_spawn(context, work(), asio::detached);
        }
        finish(context);
        CHECK(log == events{"completed", "completed", "abandoned", "completed"});
    }
}

TEST_CASE("G24: a scope that is never awaited runs nothing and leaks nothing", "[async_scope]") {
    events log;
    {
        auto a = make(form::co_yielded, log, "a");
        auto b = make(form::pair, log, "b");
        auto c = make(form::object, log, "c");
        a = std::move(b);
    }
    CHECK(log.empty());
}

TEST_CASE("async_scope: arguments can be checked before anything is begun", "[async_scope]") {
    events log;
    const auto open = [&](int port) {
        if (port <= 0) {
            throw std::invalid_argument("port");
        }
        return make(form::co_yielded, log, "a");
    };
    CHECK_THROWS_AS((void)open(0), std::invalid_argument);
    CHECK(log.empty());
}

TEST_CASE("async_scope: scopes nest: a scope's coroutine may use other scopes", "[async_scope]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto outer = [&]() -> coraii::async_scope<std::string> {
        auto inner = co_await make(form::pair, log, "inner", {.cleanup_suspends = true});
        std::string name = "outer of " + inner->name;
        co_yield name;
        log.push_back("outer cleanup");
        co_await inner.close();
        log.push_back("outer cleaned");
    };
    run(
        [&]() -> awaitable<void> {
            co_await coraii::with(outer(), [&](std::string& name) -> awaitable<void> {
                log.push_back(name);
                co_return;
            });
        }(),
        s);
    CHECK(log == events{"setup inner", "outer of inner", "outer cleanup", "cleanup inner completed", "cleaned inner",
                        "outer cleaned"});
}

TEST_CASE("async_scope: a co_yield in the middle of an expression and in a loop condition", "[async_scope]") {
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        log.push_back((co_yield n).ok() ? "commit" : "rollback");
    };
    run([&]() -> awaitable<void> {
        co_await coraii::with(scope(), [](int&) -> awaitable<void> { co_return; });
        { auto g = co_await scope(); }
    }());
    CHECK(log == events{"commit", "rollback"});
}

TEST_CASE("scoped: an object whose exit takes nothing, and one that enters void", "[async_scope]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    struct lock {
        events* log;
        awaitable<void> enter() {
            log->push_back("lock");
            co_return;
        }
        awaitable<void> exit() {
            log->push_back("unlock");
            co_return;
        }
    };
    static_assert(std::same_as<decltype(coraii::scoped(lock{nullptr})), coraii::async_scope<void>>);
    run(
        [&]() -> awaitable<void> {
            co_await coraii::with(coraii::scoped(lock{&log}), [&]() -> awaitable<void> {
                log.push_back("body");
                co_return;
            });
        }(),
        s);
    CHECK(log == events{"lock", "body", "unlock"});
}

TEST_CASE("G1: where an operation of setup cannot begin, its locals are gone when the error arrives", "[async_scope]") {
    const bool in_stack = GENERATE(false, true);
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        const auto local = std::shared_ptr<void>(nullptr, [&](void*) { log.push_back("setup's local"); });
        int n = 0;
        auto cannot_begin = [](auto) { throw std::bad_alloc{}; };
        co_await asio::async_initiate<const asio::deferred_t&, void()>(cannot_begin, asio::deferred);
        co_yield n;
    };
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack stack{co_await asio::this_coro::executor};
        try {
            if (in_stack) {
                co_await stack.enter(scope());
            } else {
                const auto g = co_await scope();
            }
        } catch (const std::bad_alloc&) { log.push_back("error"); }
    };
    const auto s = GENERATE(slot::none, slot::connected);
    run(work(), s);
    CHECK(log == events{"setup's local", "error"});
}

TEST_CASE("exit_status: only completed is ok, and nobody's status is abandoned", "[async_scope]") {
    CHECK(coraii::exit_status{coraii::exit_reason::completed}.ok());
    for (const auto reason :
         {coraii::exit_reason::failed, coraii::exit_reason::cancelled, coraii::exit_reason::abandoned}) {
        CHECK_FALSE(coraii::exit_status{reason}.ok());
    }
    const coraii::exit_status none;
    CHECK(none.reason() == coraii::exit_reason::abandoned);
    CHECK(none.error() == nullptr);
    CHECK(none.can_await());
    CHECK_FALSE(none.without_await().can_await());
}

TEST_CASE("errc: every value has a message of its own in the category coraii", "[async_scope]") {
    std::vector<std::string> messages;
    for (int value = 1; value <= static_cast<int>(coraii::errc::lease_overdue); ++value) {
        const boost::system::error_code code = static_cast<coraii::errc>(value);
        CHECK(std::string{code.category().name()} == "coraii");
        CHECK(code.message() != "unknown coraii error");
        CHECK(std::ranges::find(messages, code.message()) == messages.end());
        messages.push_back(code.message());
    }
}
