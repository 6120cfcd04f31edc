// SPDX-License-Identifier: BSL-1.0
// Wrong uses of task groups, of several scopes at once and of timeouts, and what the compiler must say of each.
#include "coraii/coraii.hpp"

#include <chrono>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;

coraii::async_scope<int> scope() {
    int n = 1;
    co_yield n;
}

#ifndef CASE
#define CASE 0
#endif

#if CASE == 1
// expect 1: task_group: a child must be callable without arguments and return asio::awaitable<void>
void wrong(coraii::task_group& group) {
    group.spawn([] { return 7; });
}
#elif CASE == 2
// expect 2: task_group: a child must be callable without arguments and return asio::awaitable<void>
void wrong(coraii::task_group& group) {
    group.spawn([]() -> awaitable<int> { co_return 7; });
}
#elif CASE == 3
// expect 3: task_group: a child must be callable without arguments
awaitable<void> wrong(coraii::task_group& group) {
    co_await group.spawn_when_free([](int) -> awaitable<void> { co_return; });
}
#elif CASE == 4
// expect 4: (deleted|delete)
void wrong(coraii::task_group& group) {
    coraii::task_group copy = group;
}
#elif CASE == 5
// expect 5: (move_constructible|constraints? not satisfied)
awaitable<void> wrong() {
    auto group = co_await coraii::open_task_group();
    (void)group.release();
}
#elif CASE == 6
// expect 6: a scope is used once; say std::move\(scope\).setup_timeout\(limit\)
void wrong() {
    auto kept = scope();
    auto bounded = kept.setup_timeout(std::chrono::seconds{1});
}
#elif CASE == 7
// expect 7: all: every argument must be an async_scope
auto wrong = coraii::all(scope(), 7);
#elif CASE == 8
// expect 8: all: a scope is used once; pass std::move\(scope\)
auto kept = scope();
auto wrong = coraii::all(kept, scope());
#elif CASE == 9
// expect 9: all: the scopes must have the same Executor
coraii::async_scope<int, asio::io_context::executor_type> typed() {
    int n = 1;
    co_yield n;
}
auto wrong = coraii::all(scope(), typed());
#endif
