// SPDX-License-Identifier: BSL-1.0
// A few sweeps, compiled against a copy of the library that has a bug planted: they have to find it.
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "coraii/testing/replace_allocation.hpp"

#include <boost/asio/awaitable.hpp>

#include <iostream>
#include <string>
#include <utility>

namespace asio = boost::asio;
namespace testing = coraii::testing;
using asio::awaitable;
using testing::probe;

namespace {

coraii::async_scope<probe> yielded(std::string name) {
    probe p{std::move(name)};
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}

awaitable<probe> open_probe(std::string name) {
    probe p{std::move(name)};
    try {
        co_await p.set_up();
    } catch (const boost::system::system_error&) {
        p.set_up_now();  // a cancel comes too late for this one
    }
    co_return p;
}

auto pair(const char* name) {
    return coraii::async_scope{open_probe(name), [](probe& p) { return p.clean_up(); }};
}

awaitable<void> body() {
    co_await testing::point("the body");
}

bool sweep(const char* name, const testing::scenario& scenario, testing::sweep_options options) {
    options.executors = {testing::on_executor::context, testing::on_executor::forwarding};
    options.failures = 3;
    const auto report = testing::sweep(scenario, options);
    std::cout << name << ": " << report << '\n';
    return report.ok();
}

const testing::sweep_options nested{.order = testing::cleanup_order::nested};
const testing::sweep_options dropped{.order = testing::cleanup_order::reverse};

}  // namespace

int main() {
    bool ok = sweep(
        "with",
        []() -> awaitable<void> {
            co_await coraii::with(yielded("a"), yielded("b"), [](probe&, probe&) { return body(); });
        },
        nested);
    ok &= sweep(
        "with, pair", []() -> awaitable<void> { co_await coraii::with(pair("a"), [](probe&) { return body(); }); },
        nested);
    ok &= sweep(
        "guards",
        []() -> awaitable<void> {
            auto a = co_await pair("a");
            auto b = co_await yielded("b");
            co_await body();
            co_await b.close();
        },
        dropped);
    ok &= sweep(
        "exit_stack",
        []() -> awaitable<void> {
            co_await coraii::with(coraii::make_exit_stack(), [](coraii::exit_stack& stack) -> awaitable<void> {
                for (const char* name : {"a", "b", "c"}) {
                    co_await stack.enter(yielded(name));
                }
                co_await body();
            });
        },
        nested);
    ok &= sweep(
        "task",
        []() -> coraii::task<> {
            for (const char* name : {"a", "b", "c"}) {
                co_await coraii::enter(yielded(name));
            }
            co_await body();
        },
        nested);
    ok &= sweep(
        "joined",
        []() -> awaitable<void> {
            co_await coraii::joined([]() -> awaitable<void> {
                auto a = co_await yielded("a");
                auto b = co_await yielded("b");
                auto c = co_await yielded("c");
                co_await body();
            });
        },
        nested);
    std::cout << (ok ? "all sweeps: ok" : "all sweeps: FAILED") << '\n';
    return ok ? 0 : 1;
}
