// SPDX-License-Identifier: BSL-1.0
// Coroutines that outlive what they refer to: what must be found, and what looks alike.
#include <coraii/task.hpp>
#include <coraii/task_group.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using asio::co_spawn;
using asio::detached;
using asio::use_awaitable;

template <class T>
awaitable<T> wait(T value) {
    co_await asio::post(use_awaitable);
    co_return value;
}
std::string name();

// ---- coraii-temporary-lambda: found

void spawned(asio::io_context& c, int x) {
    co_spawn(c, [x]() -> awaitable<void> { co_await wait(x); }(), detached);  // FINDS: coraii-temporary-lambda
    co_spawn(c, [&]() -> awaitable<void> { co_await wait(x); }(), detached);  // FINDS: coraii-temporary-lambda
    auto f =
        co_spawn(c, [x]() -> awaitable<int> { co_return x; }(), asio::use_future);  // FINDS: coraii-temporary-lambda
    co_spawn(c, ([x]() -> awaitable<void> { co_await wait(x); })(), detached);  // FINDS: coraii-temporary-lambda
    f.get();
}

struct server {
    asio::io_context& c;
    int n = 0;
    void start() {
        co_spawn(c, [this]() -> awaitable<void> { co_await wait(++n); }(), detached);  // FINDS: coraii-temporary-lambda
        co_spawn(
            c,
            [this](int more) -> coraii::task<> {  // FINDS: coraii-temporary-lambda
                co_await wait(1);
                n += more;
            }(3),
            detached);
    }
};

awaitable<void> kept_and_awaited_later(int x) {
    auto later = [x]() -> awaitable<void> { co_await wait(x); }();  // FINDS: coraii-temporary-lambda
    co_await wait(1);
    co_await std::move(later);
}
awaitable<void> returned(int x) {
    return [x]() -> awaitable<void> { co_await wait(x); }();  // FINDS: coraii-temporary-lambda
}
awaitable<void> given_to_a_group(coraii::task_group& group, int x) {
    group.spawn([x]() -> awaitable<void> { co_await wait(x); }());  // FINDS: coraii-temporary-lambda
    co_await group.spawn_when_free([x]() -> awaitable<void> { co_await wait(x); }());  // FINDS: coraii-temporary-lambda
}
void kept_in_a_list(std::vector<awaitable<void>>& list, int x) {
    list.push_back([x]() -> awaitable<void> { co_await wait(x); }());  // FINDS: coraii-temporary-lambda
}

// ---- coraii-temporary-lambda: looks alike

void kept_by_co_spawn(asio::io_context& c, int x) {
    co_spawn(c, [x]() -> awaitable<void> { co_await wait(x); }, detached);
    co_spawn(c, []() -> awaitable<void> { co_await wait(1); }(), detached);
    co_spawn(c, [](int y) -> awaitable<void> { co_await wait(y); }(x), detached);
    co_spawn(c, [x] { return wait(x); }(), detached);  // no coroutine
    co_spawn(c, [x]() -> awaitable<int> { co_return x; }(), asio::use_future).get();  // waited for
}
awaitable<int> awaited_at_once(int x) {
    using namespace asio::experimental::awaitable_operators;
    co_await [&]() -> awaitable<void> { co_await wait(x); }();
    co_await ([x]() -> awaitable<void> { co_await wait(x); }() && wait(x));
    co_await asio::co_spawn(
        co_await asio::this_coro::executor, [x]() -> awaitable<void> { co_await wait(x); }(), use_awaitable);
    co_return co_await [x]() -> awaitable<int> { co_return co_await wait(x); }();
}
int no_coroutine_at_all(int x) {
    const int y = [x] { return x + 1; }();
    return y;
}
awaitable<void> a_lambda_with_a_name(int x) {
    auto coroutine = [x]() -> awaitable<void> { co_await wait(x); };
    co_await coroutine();
}

// ---- coraii-dangling-parameter: found

awaitable<void> greet(const std::string& name) {
    co_await wait(name);
}
awaitable<void> consume(std::string&& name);
awaitable<void> count(const int& n, std::string by_value);
coraii::task<> task_of(const std::string& name) {
    co_await greet(name);
}

awaitable<void> by_default(const std::string& name = "ada") {
    co_await wait(name);
}
void spawned_with_temporaries(asio::io_context& c, std::string a, coraii::task_group& group) {
    co_spawn(c, greet("ada"), detached);  // FINDS: coraii-dangling-parameter
    co_spawn(c, greet(name()), detached);  // FINDS: coraii-dangling-parameter
    co_spawn(c, consume(a + "da"), detached);  // FINDS: coraii-dangling-parameter
    co_spawn(c, count(7, "ada"), detached);  // FINDS: coraii-dangling-parameter
    co_spawn(c, task_of(std::string{"ada"}), detached);  // FINDS: coraii-dangling-parameter
    co_spawn(c, by_default(), detached);  // FINDS: coraii-dangling-parameter
    group.spawn(greet("ada"));  // FINDS: coraii-dangling-parameter
    const auto lambda = [](const std::string& n) -> awaitable<void> { co_await greet(n); };
    co_spawn(c, lambda("ada"), detached);  // FINDS: coraii-dangling-parameter
}
awaitable<void> awaited_later() {
    awaitable<void> later = greet("ada");  // FINDS: coraii-dangling-parameter
    co_await std::move(later);
}

// ---- coraii-dangling-parameter: looks alike

awaitable<void> by_value(std::string name) {
    co_await wait(name);
}
awaitable<void> by_view(std::string_view name) {
    co_await wait(name);
}
// No coroutine: its argument is copied before it returns.
awaitable<void> checked(const std::string& name) {
    return by_value(name);
}

awaitable<void> awaited_with_temporaries(const std::string& a, std::string b) {
    co_await greet("ada");
    co_await greet(name());
    co_await asio::co_spawn(co_await asio::this_coro::executor, greet("ada"), use_awaitable);
    auto executor = co_await asio::this_coro::executor;
    asio::co_spawn(executor, greet(a), detached);
    asio::co_spawn(executor, greet(b), detached);
    asio::co_spawn(executor, by_value("ada"), detached);
    asio::co_spawn(executor, by_view("ada"), detached);
    asio::co_spawn(executor, checked("ada"), detached);
    asio::co_spawn(executor, consume(std::move(b)), detached);
    asio::co_spawn(executor, [n = name()]() -> awaitable<void> { co_await greet(n); }, detached);
}
void waited_for(asio::io_context& c) {
    co_spawn(c, greet("ada"), asio::use_future).get();
}
