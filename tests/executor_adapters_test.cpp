// SPDX-License-Identifier: BSL-1.0
// G32: operations of pools and files, and what composes operations, with handlers that have no executor, or one that is
// erased.
#include "coraii/async_scope.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/file.hpp"
#include "coraii/pool.hpp"
#include "coraii/scopes.hpp"
#include "coraii/with.hpp"
#include "support/files.hpp"

#include <catch2/catch_test_macros.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/version.hpp>
#if BOOST_VERSION >= 108600
#include <boost/asio/cancel_after.hpp>
#endif

#include <array>
#include <chrono>
#include <cstddef>
#include <exception>
#include <string>
#include <thread>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;

namespace {

coraii::async_scope<int> resource() {
    int n = 1;
    co_yield n;
}

/// Notes what completed, and whether that was on the context's thread.
class notes {
public:
    auto handler(std::string name) {
        return [this, name](const std::exception_ptr& error) {
            log.push_back(name + (error ? " failed" : "") + (on_loop() ? "" : " elsewhere"));
        };
    }
    auto io_handler(std::string name) {
        return [this, name](const boost::system::error_code& error, std::size_t n) {
            log.push_back(name + " " + std::to_string(n) + (error ? " failed" : "") + (on_loop() ? "" : " elsewhere"));
        };
    }

    std::vector<std::string> log;

private:
    bool on_loop() const { return std::this_thread::get_id() == loop_; }

    std::thread::id loop_ = std::this_thread::get_id();
};

void run(asio::io_context& context, awaitable<void> work) {
    std::exception_ptr error;
    bool done = false;
    asio::co_spawn(context, std::move(work), [&](std::exception_ptr e) {
        error = std::move(e);
        done = true;
    });
    context.run();
    REQUIRE(done);
    if (error) {
        std::rethrow_exception(error);
    }
}

}  // namespace

TEST_CASE("G32: warm_up and close of a pool complete on its executor where the handler has none", "[pool][executor]") {
    notes n;
    asio::io_context context;
    coraii::pool<int> pool{context.get_executor(), resource, {.min_size = 1}};
    pool.warm_up([&, told = n.handler("warm")](const std::exception_ptr& error) {
        told(error);
        pool.close(n.handler("closed"));
        pool.close(1s, asio::any_completion_handler<void(std::exception_ptr)>{
                           asio::bind_executor(context, n.handler("closed"))});
    });
    context.run();
    CHECK(n.log == std::vector<std::string>{"warm", "closed", "closed"});
}

TEST_CASE("G32: a file's operations complete on its executor where the handler has none", "[file][executor]") {
    notes n;
    const test::scratch dir;
    const auto path = dir / "f";
    test::spit(path, "some text");
    asio::io_context context;
    const auto body = [&](coraii::file& f) -> awaitable<void> {
        std::array<char, 4> a{};
        std::array<char, 5> b{};
        f.async_read_some_at(0, asio::buffer(a), n.io_handler("read"));
        using any = asio::any_completion_handler<void(boost::system::error_code, std::size_t)>;
        f.async_read_some_at(4, asio::buffer(b), any{asio::bind_executor(context, n.io_handler("read"))});
        while (n.log.size() < 2) {
            co_await asio::post(asio::use_awaitable);
        }
        CHECK(std::string(a.data(), a.size()) + std::string(b.data(), b.size()) == "some text");
    };
    run(context, coraii::with(coraii::open_file(path), body));
    std::ranges::sort(n.log);
    CHECK(n.log == std::vector<std::string>{"read 4", "read 5"});
}

#if BOOST_VERSION >= 108600
TEST_CASE("G32: cancel_after finds the executor of each operation", "[executor]") {
    notes n;
    const test::scratch dir;
    const auto path = dir / "f";
    test::spit(path, "some text");
    asio::io_context context;
    coraii::pool<int> pool{context.get_executor(), resource, {}};
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await resource();
        co_await g.close(asio::cancel_after(1min, asio::use_awaitable));
        auto h = co_await resource().on(context.get_executor())(asio::cancel_after(1min, asio::use_awaitable));
        h.close(asio::cancel_after(1min, n.handler("guard closed")));
        coraii::exit_stack stack{context.get_executor()};
        co_await stack.enter(resource());
        stack.close(asio::cancel_after(1min, n.handler("stack closed")));
        pool.close(asio::cancel_after(1min, n.handler("pool closed")));
        coraii::async_drain(context, asio::cancel_after(1min, n.handler("drained")));
        const auto body = [&](coraii::file& f) -> awaitable<void> {
            std::array<char, 4> a{};
            CHECK(co_await f.async_read_some(asio::buffer(a), asio::cancel_after(1min, asio::use_awaitable)) == 4);
        };
        co_await coraii::with(coraii::open_file(path), body);
    };
    run(context, work());
    std::ranges::sort(n.log);
    CHECK(n.log == std::vector<std::string>{"drained", "guard closed", "pool closed", "stack closed"});
}
#endif
