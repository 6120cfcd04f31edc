// SPDX-License-Identifier: BSL-1.0
// Instantiates coraii's main templates. For the sources that must compile.
#ifndef CORAII_TESTS_MACROS_TYPICAL_HPP
#define CORAII_TESTS_MACROS_TYPICAL_HPP

#include <coraii/coraii.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>

#include <chrono>
#include <exception>

using boost::asio::awaitable;

inline coraii::async_scope<int> open_scope() {
    int resource = 1;
    co_yield resource;
    co_await boost::asio::post(boost::asio::deferred);
}

inline awaitable<void> use(int&) {
    co_return;
}

inline awaitable<void> guards() {
    coraii::guard<int> guard = co_await open_scope();
    co_await guard.close();
    guard = co_await open_scope();
}

inline coraii::task<int> task() {
    int& resource = co_await coraii::enter(open_scope());
    co_await coraii::defer([] {});
    (co_await coraii::this_stack).defer([](coraii::exit_status) {});
    co_return resource;
}

inline awaitable<void> typical(boost::asio::thread_pool& workers) {
    co_await coraii::with(open_scope(), use);
    co_await coraii::with(open_scope(), [](int&) { return open_scope(); }, [](int&, int&) { return task(); });
    co_await coraii::joined(guards);
    co_await coraii::with(coraii::make_exit_stack(), [](coraii::exit_stack& stack) -> awaitable<void> {
        co_await stack.enter(open_scope());
        stack.defer([] {});
    });
    co_await coraii::with(coraii::offload(workers, [] { return 1; }, [](int&) {}), use);
    coraii::pool<int> pool{co_await boost::asio::this_coro::executor, open_scope};
    co_await coraii::with(pool.acquire(std::chrono::seconds{1}), use);
    co_await pool.close();
}

inline void run() {
    boost::asio::thread_pool workers{1};
    boost::asio::io_context context;
    boost::asio::co_spawn(context, typical(workers), boost::asio::detached);
    open_scope().on(context.get_executor())([](const std::exception_ptr&, const coraii::guard<int>&) {});
    coraii::async_drain(context)([](const std::exception_ptr&) {});
    context.run();
}

#endif
