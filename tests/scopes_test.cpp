// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <unistd.h>

using namespace test;

TEST_CASE("stats: counts what is open, and what has become of the others", "[scopes]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    reports reported{context};
    events log;
    gate g{context};
    const auto slow = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        co_await g.wait();
    };
    const auto work = [&]() -> awaitable<void> {
        const auto body = [](item&) -> awaitable<void> { co_return; };
        co_await coraii::with(make(form::pair, log, "a"), body);
        (void)co_await coraii::try_with(make(form::pair, log, "b", {.cleanup_throws = true}), body);
        (void)co_await coraii::try_with(make(form::pair, log, "c", {.setup_throws = true}), body);
        auto open = co_await make(form::pair, log, "d");
        auto closing = co_await slow();
        closing.reset();
        const auto now = coraii::stats(context);
        CHECK(now.open == 1);
        CHECK(now.closing == 1);
        CHECK(now.opened == 4);
        CHECK(now.cleaned == 1);
        CHECK(now.failed == 1);
        CHECK(now.abandoned == 1);
        g.open();
        co_await coraii::async_drain(context);
        CHECK(coraii::stats(context).closing == 0);
    };
    run(work(), context, s);
    const auto end = coraii::stats(context);
    CHECK(end.opened == 4);
    CHECK(end.cleaned == 3);
    CHECK(end.failed == 1);
    CHECK(end.abandoned == 2);
}

TEST_CASE("for_each_scope: with tracking on it sees every scope, by name, place and phase", "[scopes]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    coraii::track_scopes(context, true);
    events log;
    std::vector<coraii::scope_phase> phases;
    std::vector<std::string> names;
    std::vector<unsigned> lines;
    const auto look = [&] {
        coraii::for_each_scope(context, [&](const coraii::scope_info& scope) {
            names.emplace_back(scope.name);
            phases.push_back(scope.state);
            lines.push_back(scope.where.line());
            CHECK(std::string{scope.where.file_name()}.find("scopes_test") != std::string::npos);
            CHECK(scope.age >= 0s);
        });
    };
    const unsigned line = __LINE__ + 2;
    const auto scope = [&] {
        return coraii::async_scope{[&]() -> awaitable<int> {
                                       look();
                                       co_return 1;
                                   },
                                   [&](int&) { look(); }};
    };
    run(
        [&]() -> awaitable<void> {
            co_await coraii::with(scope().named("db"), [&](int&) -> awaitable<void> {
                look();
                co_return;
            });
        }(),
        context, s);
    look();
    CHECK(names == std::vector<std::string>{"db", "db", "db"});
    CHECK(phases ==
          std::vector{coraii::scope_phase::setting_up, coraii::scope_phase::open, coraii::scope_phase::closing});
    for (const unsigned l : lines) {
        CHECK(l >= line);
        CHECK(l <= line + 5);
    }
}

TEST_CASE("for_each_scope: a coroutine's place is where it is written", "[scopes]") {
    asio::io_context context;
    events log;
    const unsigned line = __LINE__ + 1;
    const auto scope = []() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
    };
    run(
        [&]() -> awaitable<void> {
            auto g = co_await scope();
            int seen = 0;
            coraii::for_each_scope(context, [&](const coraii::scope_info& info) {
                ++seen;
                CHECK(info.where.line() >= line);
                CHECK(info.where.line() <= line + 3);
            });
            CHECK(seen == 1);
        }(),
        context);
}

TEST_CASE("async_drain: completes at once when nothing runs in the background", "[scopes]") {
    asio::io_context context;
    bool drained = false;
    coraii::async_drain(context, asio::bind_executor(context.get_executor(), [&](std::exception_ptr e) {
                            CHECK_FALSE(e);
                            drained = true;
                        }));
    CHECK_FALSE(drained);  // not inside the initiating function
    finish(context);
    CHECK(drained);
}

TEST_CASE("async_drain: waits for all background cleanups, also those that begin meanwhile", "[scopes]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    events log;
    gate first{context};
    gate second{context};
    const auto scope = [&](std::string name, gate& g) -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        co_await g.wait();
        log.push_back(name);
    };
    const auto work = [&]() -> awaitable<void> {
        auto b = co_await scope("second", second);
        { auto a = co_await scope("first", first); }
        asio::post(context, [&, b = std::make_shared<coraii::guard<int>>(std::move(b))] {
            b->reset();
            first.open();
            asio::post(context, [&] { second.open(); });
        });
        co_await coraii::async_drain(context);
        log.push_back("drained");
    };
    run(work(), context, s);
    CHECK(log == events{"first", "second", "drained"});
}

TEST_CASE("on_cleanup_error: an exception out of the handler does not get away", "[scopes]") {
    asio::io_context context;
    coraii::on_cleanup_error(context, [](const coraii::cleanup_failure&) { throw 1; });
    events log;
    run([&]() -> awaitable<void> { auto g = co_await make(form::pair, log, "a", {.cleanup_throws = true}); }(),
        context);
    CHECK(coraii::stats(context).failed == 1);
}

TEST_CASE("on_cleanup_error: the default is one line on stderr", "[scopes]") {
    std::FILE* file = std::tmpfile();
    REQUIRE(file != nullptr);
    std::fflush(stderr);
    const int saved = ::dup(STDERR_FILENO);
    ::dup2(::fileno(file), STDERR_FILENO);
    {
        asio::io_context context;
        events log;
        const auto work = [&]() -> awaitable<void> {
            auto g = co_await make(form::pair, log, "a", {.cleanup_throws = true}).named("orders db");
        };
        asio::co_spawn(context, work(), asio::detached);
        context.run();
    }
    std::fflush(stderr);
    ::dup2(saved, STDERR_FILENO);
    ::close(saved);
    REQUIRE(std::fseek(file, 0, SEEK_SET) == 0);
    std::string text(4096, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file));
    std::fclose(file);
    CHECK(text.starts_with("coraii: the cleanup of orders db at "));
    CHECK(text.find("failed: cleanup of a\n") != std::string::npos);
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
}
