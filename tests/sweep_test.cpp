// SPDX-License-Identifier: BSL-1.0
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"

#include <catch2/catch_test_macros.hpp>

#include <iostream>

namespace testing = coraii::testing;
namespace asio = boost::asio;
using asio::awaitable;

namespace {
coraii::async_scope<testing::probe> yielded(std::string name) {
    testing::probe p{std::move(name)};
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}
}  // namespace

TEST_CASE("x") {
    const auto r = testing::sweep(
        []() -> awaitable<void> {
            co_await coraii::with(yielded("a"), [](testing::probe& p) -> awaitable<void> { co_await p.use(); });
        },
        {.executors = {testing::on_executor::context, testing::on_executor::strand, testing::on_executor::other}});
    std::cout << r << "\n";
    CHECK(r.ok());
}
