// SPDX-License-Identifier: BSL-1.0
// Wrong uses of scopes, guards and with, and what the compiler must say of each.
#include "coraii/coraii.hpp"

#include <chrono>
#include <exception>
#include <mutex>
#include <string>

namespace asio = boost::asio;
using asio::awaitable;

awaitable<int> open_int() {
    co_return 1;
}
coraii::async_scope<int> scope() {
    int n = 1;
    co_yield n;
}
coraii::async_scope<std::mutex> pinned() {
    std::mutex m;
    co_yield m;
}

#ifndef CASE
#define CASE 0
#endif

#if CASE == 1
// expect 1: the cleanup must be callable as cleanup\(T&\) or cleanup\(T&, coraii::exit_status\)
coraii::async_scope wrong{open_int(), [](std::string&) {}};
#elif CASE == 2
// expect 2: the cleanup must be callable as .* and return asio::awaitable<void>, an async operation, or void
coraii::async_scope wrong{open_int(), [](int&) { return 7; }};
#elif CASE == 3
// expect 3: the setup must be an asio::awaitable<T>, a callable that returns one, or an async operation
coraii::async_scope wrong{42, [](int&) {}};
#elif CASE == 4
// expect 4: the setup does not give a T
coraii::async_scope<std::string> wrong{open_int(), [](std::string&) {}};
#elif CASE == 5
// expect 5: co_yield must be given the T itself
coraii::async_scope<int> wrong() {
    std::string s;
    co_yield s;
}
#elif CASE == 6
// expect 6: co_yield must be given the T itself .or coraii::entered if T is void
coraii::async_scope<void> wrong() {
    co_yield 7;
}
#elif CASE == 7
// expect 7: T must be an object type or void, not a reference
using wrong = coraii::async_scope<int&>;
wrong* instantiated = new wrong(nullptr, nullptr);
#elif CASE == 8
// expect 8: the body must be callable as body\(T&...\)
auto wrong = coraii::with(scope(), [](std::string&) -> awaitable<void> { co_return; });
#elif CASE == 9
// expect 9: and return asio::awaitable<R>
auto wrong = coraii::with(scope(), [](int&) { return 7; });
#elif CASE == 10
// expect 10: a scope is used once; pass std::move\(scope\)
auto kept = scope();
auto wrong = coraii::with(kept, [](int&) -> awaitable<void> { co_return; });
#elif CASE == 11
// expect 11: every argument but the last, the body, must be an async_scope
auto wrong = coraii::with(7, [](int&) -> awaitable<void> { co_return; });
#elif CASE == 12
// expect 12: (move_constructible|constraints? not satisfied)
awaitable<void> wrong() {
    auto g = co_await pinned();
    (void)g.release();
}
#elif CASE == 13
// expect 13: the object needs a member asio::awaitable<X> enter\(\)
struct no_enter {
    awaitable<void> exit(coraii::exit_status);
};
auto wrong = coraii::scoped(no_enter{});
#elif CASE == 14
// expect 14: the object needs a member asio::awaitable<void> exit\(coraii::exit_status\)
struct no_exit {
    awaitable<int> enter();
};
auto wrong = coraii::scoped(no_exit{});
#elif CASE == 15
// expect 15: defer: the function must be callable as f\(\) or f\(coraii::exit_status\)
void wrong(coraii::exit_stack& stack) {
    stack.defer([](int) {});
}
#elif CASE == 16
// expect 16: adopt: the function must be callable as f\(T&\) or f\(T&, coraii::exit_status\)
void wrong(coraii::exit_stack& stack) {
    stack.adopt(7, [](std::string&) {});
}
#elif CASE == 17
// expect 17: offload: close must be callable as close\(T&\)
void wrong(asio::thread_pool& pool) {
    (void)coraii::offload(pool, [] { return 1; }, [](std::string&) {});
}
#elif CASE == 18
// expect 18: a scope is used once; say co_await std::move\(scope\)
awaitable<void> wrong() {
    auto kept = scope();
    auto g = co_await kept;  // a scope is used once: co_await std::move(kept)
}
#elif CASE == 19
// expect 19: (deleted|delete)
void wrong(coraii::guard<int>& g) {
    coraii::guard<int> copy = g;
}
#elif CASE == 20
// expect 20: await_transform
awaitable<void> wrong() {
    auto self = co_await coraii::this_scope;  // only in a scope's own coroutine
}
#elif CASE == 21
// expect 21: joined: the body must be callable without arguments and return asio::awaitable<R>
auto wrong = coraii::joined([](int&) -> awaitable<void> { co_return; });
#elif CASE == 22
// expect 22: joined: the body must be callable without arguments and return asio::awaitable<R>
auto wrong = coraii::joined([] { return 7; });
#elif CASE == 23
// expect 23: the completion handler has no executor, .*asio::bind_executor, or the scope with std::move\(scope\).on\(executor\)
void wrong() {
    scope()([](std::exception_ptr, coraii::guard<int>) {});
}
#elif CASE == 24
// expect 24: a scope is used once; say std::move\(scope\).named\(name\)
void wrong() {
    auto kept = scope();
    auto named = kept.named("x");
}
#elif CASE == 25
// expect 25: a scope is used once; say std::move\(scope\).cleanup_timeout\(limit\)
void wrong() {
    auto kept = scope();
    auto bounded = kept.cleanup_timeout(std::chrono::seconds{1});
}
#elif CASE == 26
// expect 26: a scope is used once; say std::move\(scope\).on\(executor\)
void wrong(asio::any_io_executor executor) {
    auto kept = scope();
    auto operation = kept.on(executor);
}
#elif CASE == 27
// expect 27: offload: open returns a reference
int shared;
void wrong(asio::thread_pool& pool) {
    (void)coraii::offload(pool, []() -> int& { return shared; }, [](int&) {});
}
#elif CASE == 28
// expect 28: the scopes and the awaitable that the body returns must have the same Executor
using typed = asio::awaitable<void, asio::io_context::executor_type>;
typed wrong() {
    co_await coraii::with(scope(), [](int&) -> typed { co_return; });
}
#elif CASE == 29
// expect 29: an awaitable of one Executor is awaited in a coroutine of another
coraii::async_scope<int, asio::io_context::executor_type> wrong() {
    int n = co_await open_int();
    co_yield n;
}
#elif CASE == 30
// expect 30: the handler's associated executor must convert to the scope's Executor
coraii::async_scope<int, asio::io_context::executor_type> typed_scope() {
    int n = 1;
    co_yield n;
}
awaitable<void> wrong() {
    auto g = co_await typed_scope();
}
#endif
