// SPDX-License-Identifier: BSL-1.0
// Wrong uses of tasks, and of with's dependent scopes, and what the compiler must say of each.
#include "coraii/coraii.hpp"

#include <boost/asio/io_context.hpp>

#include <string>
#include <tuple>
#include <utility>

namespace asio = boost::asio;
using asio::awaitable;

coraii::async_scope<int> scope() {
    int n = 1;
    co_yield n;
}
coraii::async_scope<std::tuple<int&, std::string&>> two() {
    int n = 1;
    std::string s;
    std::tuple<int&, std::string&> both{n, s};
    co_yield both;
}
coraii::async_scope<std::string> of(int&) {
    std::string s;
    co_yield s;
}
coraii::task<int> right() {
    int& n = co_await coraii::enter(scope());
    co_await coraii::defer([] {});
    (co_await coraii::this_stack).defer([] {});
    co_await coraii::with(scope(), of, [](int&, std::string&) -> coraii::task<> { co_return; });
    co_await coraii::with(two(), [](int&, std::string&) -> awaitable<void> { co_return; });
    co_return n;
}

#ifndef CASE
#define CASE 0
#endif

#if CASE == 1
// expect 1: coraii::enter: only the coroutine of a coraii::task can enter a scope
awaitable<void> wrong() {
    int& n = co_await coraii::enter(scope());
}
#elif CASE == 2
// expect 2: coraii::enter: only the coroutine of a coraii::task can enter a scope
coraii::async_scope<int> wrong() {
    int& n = co_await coraii::enter(scope());
    co_yield n;
}
#elif CASE == 3
// expect 3: coraii::defer: only the coroutine of a coraii::task can defer a function
awaitable<void> wrong() {
    co_await coraii::defer([] {});
}
#elif CASE == 4
// expect 4: coraii::this_stack: only the coroutine of a coraii::task has a stack
awaitable<void> wrong() {
    auto& stack = co_await coraii::this_stack;
}
#elif CASE == 5
// expect 5: coraii::enter: a scope is used once; say enter\(std::move\(scope\)\)
coraii::task<> wrong() {
    auto kept = scope();
    co_await coraii::enter(kept);
}
#elif CASE == 6
// expect 6: coraii::enter: the scope and the task must have the same Executor
coraii::task<void, asio::io_context::executor_type> wrong() {
    co_await coraii::enter(scope());
}
#elif CASE == 7
// expect 7: coraii::defer: the function must be callable as f\(\) or f\(coraii::exit_status\)
coraii::task<> wrong() {
    co_await coraii::defer([](int) {});
}
#elif CASE == 8
// expect 8: coraii::defer: .* and return asio::awaitable<void>, an async operation, or void
coraii::task<> wrong() {
    co_await coraii::defer([] { return 7; });
}
#elif CASE == 9
// expect 9: or a callable that is given the resources before it .a T& for each scope that is not of void. and returns an async_scope
auto wrong = coraii::with(scope(), [](std::string&) { return scope(); }, [](int&, int&) -> awaitable<void> { co_return; });
#elif CASE == 10
// expect 10: or a callable that is given the resources before it .a T& for each scope that is not of void. and returns an async_scope
auto wrong = coraii::with(scope(), [](int& n) { return n; }, [](int&, int&) -> awaitable<void> { co_return; });
#elif CASE == 11
// expect 11: or a callable that is given the resources before it .a T& for each scope that is not of void. and returns an async_scope
auto wrong = coraii::with([](int&) { return scope(); }, [](int&) -> awaitable<void> { co_return; });
#elif CASE == 12
// expect 12: the body must be callable as body\(T&...\)
auto wrong = coraii::with(scope(), of, [](int&) -> awaitable<void> { co_return; });
#elif CASE == 13
// expect 13: the body must be callable as body\(T&...\)
auto wrong = coraii::with(two(), [](std::tuple<int&, std::string&>&) -> awaitable<void> { co_return; });
#elif CASE == 14
// expect 14: the scopes and the awaitable that the body returns must have the same Executor
using typed = coraii::task<void, asio::io_context::executor_type>;
auto wrong = coraii::with(scope(), [](int&) -> typed { co_return; });
#elif CASE == 15
// expect 15: an awaitable of one Executor is awaited in a coroutine of another
coraii::task<void, asio::io_context::executor_type> typed();
coraii::task<> wrong() {
    co_await typed();
}
#endif
