// SPDX-License-Identifier: BSL-1.0
// Ways to set up a resource, use it and clean it up, all of which do nothing: by hand, and with coraii.
#ifndef CORAII_TESTS_BENCH_SCOPE_FORMS_HPP
#define CORAII_TESTS_BENCH_SCOPE_FORMS_HPP

#include "coraii/async_scope.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/joined.hpp"
#include "coraii/task.hpp"
#include "coraii/with.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>

namespace scope_bench {

namespace asio = boost::asio;
using asio::awaitable;

inline awaitable<int> open_resource() {
    co_return 0;
}
inline awaitable<void> use_resource(int&) {
    co_return;
}
inline awaitable<void> close_resource(int&) {
    co_return;
}

inline coraii::async_scope<int> resource() {
    int r = co_await open_resource();
    co_yield r;
    co_await close_resource(r);
}

// ---- by hand

inline awaitable<void> by_hand_unshielded() {
    int r = co_await open_resource();
    std::exception_ptr error;
    try {
        co_await use_resource(r);
    } catch (...) { error = std::current_exception(); }
    co_await close_resource(r);
    if (error) {
        std::rethrow_exception(error);
    }
}

inline awaitable<void> by_hand_shielded() {
    int r = co_await open_resource();
    std::exception_ptr error;
    try {
        co_await use_resource(r);
    } catch (...) { error = std::current_exception(); }
    const bool throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await asio::co_spawn(co_await asio::this_coro::executor, close_resource(r),
                            asio::bind_cancellation_slot(asio::cancellation_slot{}, asio::use_awaitable));
    co_await asio::this_coro::throw_if_cancelled(throws);
    if (error) {
        std::rethrow_exception(error);
    }
}

// ---- with coraii

inline awaitable<void> with_one() {
    return coraii::with(resource(), use_resource);
}

inline awaitable<void> with_three() {
    return coraii::with(resource(), resource(), resource(), [](int& r, int&, int&) { return use_resource(r); });
}

inline coraii::task<> task_of_one() {
    int& r = co_await coraii::enter(resource());
    co_await use_resource(r);
}

inline coraii::task<> task_of_three() {
    int& r = co_await coraii::enter(resource());
    co_await coraii::enter(resource());
    co_await coraii::enter(resource());
    co_await use_resource(r);
}

inline awaitable<void> guard_closed() {
    auto g = co_await resource();
    co_await use_resource(*g);
    co_await g.close();
}

inline awaitable<void> guard_dropped() {
    auto g = co_await resource();
    co_await use_resource(*g);
}

inline awaitable<void> region_of_one() {
    return coraii::joined(guard_dropped);
}

inline constexpr int stack_size = 100;

inline awaitable<void> fill(coraii::exit_stack& stack) {
    for (int i = 0; i < stack_size; ++i) {
        int* r = co_await stack.enter(resource());
        co_await use_resource(*r);
    }
}

inline awaitable<void> stack_of_hundred() {
    return coraii::with(coraii::make_exit_stack(), fill);
}

template <coraii::task<> (*Round)()>
awaitable<void> of_task() {
    return Round();
}

/// One way to use a scope, or to do without.
struct form {
    const char* name;
    awaitable<void> (*round)();
    int scopes = 1;  // in a round
    bool in_a_region = false;
};

inline constexpr form unshielded{"by hand, unshielded", by_hand_unshielded};
inline constexpr form shielded{"by hand, shielded", by_hand_shielded};
inline constexpr form with{"with", with_one};
inline constexpr form task{"task", of_task<task_of_one>};
inline constexpr form task_three{"three scopes in one task", of_task<task_of_three>, 3};
inline constexpr form closed{"guard, closed", guard_closed};
inline constexpr form dropped{"guard, dropped", guard_dropped};
inline constexpr form dropped_inside{"guard, dropped in a region", guard_dropped, 1, true};
inline constexpr form region{"region of one guard", region_of_one};
inline constexpr form three{"three scopes in one with", with_three, 3};
inline constexpr form stack{"exit_stack of 100", stack_of_hundred, stack_size};

inline constexpr const form* forms[] = {&unshielded,     &shielded, &with,  &task,       &closed, &dropped,
                                        &dropped_inside, &region,   &three, &task_three, &stack};

}  // namespace scope_bench

#endif
