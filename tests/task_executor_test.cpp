// SPDX-License-Identifier: BSL-1.0
// Where a task's scopes run.
#include "support/executors.hpp"
#include "support/scenario.hpp"

#include <boost/asio/use_future.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <future>
#include <string>
#include <utility>

#if defined(__unix__)
#include <unistd.h>
#endif

using namespace test;

namespace {

enum class hops { nowhere, in_setup, in_body, in_cleanup };

std::ostream& operator<<(std::ostream& out, hops h) {
    return out << (h == hops::nowhere    ? "nowhere"
                   : h == hops::in_setup ? "in setup"
                   : h == hops::in_body  ? "in the body"
                                         : "in the cleanup");
}

coraii::async_scope<int> noted_scope(places& p, std::string name, bool hops_in_setup, bool hops_in_cleanup) {
    p.note("setup " + name);
    if (hops_in_setup) {
        co_await p.hop();
    }
    int n = 0;
    co_yield n;
    p.note("cleanup " + name);
    if (hops_in_cleanup) {
        co_await p.hop();
    }
}

}  // namespace

TEST_CASE("G27, G32: a task's scopes run on its executor, wherever setup, body or cleanup go", "[task][executor]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const auto s = GENERATE(slot::none, slot::connected);
    const auto h = GENERATE(hops::nowhere, hops::in_setup, hops::in_body, hops::in_cleanup);
    CAPTURE(e, s, h);
    places p{e};
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(noted_scope(p, "a", h == hops::in_setup, h == hops::in_cleanup));
        p.note("between");
        co_await coraii::enter(noted_scope(p, "b", h == hops::in_setup, h == hops::in_cleanup));
        if (h == hops::in_body) {
            co_await p.hop();
        } else {
            p.note("body");
        }
    };
    const auto outer = [&]() -> awaitable<void> {
        co_await work();
        p.note("after");
    };
    p.run(outer(), s);
    events expected{"setup a: home", "between: home", "setup b: home"};
    if (h != hops::in_body) {
        expected.emplace_back("body: home");
    }
    for (const char* event : {"cleanup b: home", "cleanup a: home", "after: home"}) {
        expected.emplace_back(event);
    }
    CHECK(p.log() == expected);
}

TEST_CASE("G27: on a thread_pool and its strands, tasks in numbers", "[task][executor][threads]") {
    const bool strand = GENERATE(false, true);
    asio::thread_pool pool{2};
    std::atomic<int> open{0}, most{0}, cleaned{0};
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_await turn();
        int n = ++open;
        co_yield n;
        co_await turn();
        --open;
        ++cleaned;
    };
    const auto work = [&]() -> coraii::task<int> {
        for (int i = 0; i < 5; ++i) {
            most = co_await coraii::enter(scope());
        }
        co_await turn();
        co_return 1;
    };
    std::vector<std::future<int>> ended;
    for (int i = 0; i < 50; ++i) {
        const asio::any_io_executor executor =
            strand ? asio::any_io_executor{asio::make_strand(pool)} : asio::any_io_executor{pool.get_executor()};
        ended.push_back(asio::co_spawn(executor, work(), asio::use_future));
    }
    for (auto& each : ended) {
        CHECK(each.get() == 1);
    }
    pool.join();
    CHECK(open == 0);
    CHECK(cleaned == 250);
}

TEST_CASE("G27: a task of another Executor", "[task][executor]") {
    using executor = asio::io_context::executor_type;
    const bool with_slot = GENERATE(false, true);
    asio::io_context context;
    events log;
    const auto scope = [&](std::string name) -> coraii::async_scope<int, executor> {
        log.push_back("setup " + name);
        co_await asio::post(asio::use_awaitable_t<executor>{});
        int n = 3;
        const coraii::exit_status why = co_yield n;
        co_await asio::post(asio::use_awaitable_t<executor>{});
        log.push_back("cleanup " + name + " " + test::to_string(why.reason()));
    };
    const auto work = [&]() -> coraii::task<int, executor> {
        const int& a = co_await coraii::enter(scope("a"));
        co_await coraii::defer([&] { log.emplace_back("deferred"); });
        const int& b = co_await coraii::enter(scope("b"));
        coraii::basic_exit_stack<executor>& stack = co_await coraii::this_stack;
        CHECK(stack.size() == 3);
        co_return a + b;
    };
    asio::cancellation_signal never;
    int result = 0;
    auto done = [&](const std::exception_ptr& error, int n) {
        CHECK(!error);
        result = n;
    };
    if (with_slot) {
        asio::co_spawn(context, work(), asio::bind_cancellation_slot(never.slot(), done));
    } else {
        asio::co_spawn(context, work, done);
    }
    finish(context);
    CHECK(result == 6);
    CHECK(log == events{"setup a", "setup b", "cleanup b completed", "deferred", "cleanup a completed"});
}

TEST_CASE("G27: a task is the user of a pool", "[task][pool]") {
    events log;
    const auto work = [&]() -> awaitable<void> {
        coraii::pool<item> pool{co_await asio::this_coro::executor,
                                [&] { return make(form::co_yielded, log, "connection"); }};
        const auto user = [&]() -> coraii::task<std::string> {
            auto& lease = co_await coraii::enter(pool.acquire());
            co_return lease.name;
        };
        for (int i = 0; i < 3; ++i) {
            const std::string name = co_await user();
            CHECK(name == "connection");
        }
        co_await pool.close();
    };
    run(work());
    CHECK(log == events{"setup connection", "cleanup connection completed", "cleaned connection"});
}

#if defined(__unix__) && !defined(NDEBUG)
TEST_CASE("G27: a debug build names the place where a task enters more scopes than it should, once", "[task]") {
    coraii::warn_about_scopes_of_a_task(10);
    std::FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    std::fflush(stderr);
    const int before = ::dup(2);
    REQUIRE(::dup2(::fileno(file), 2) == 2);
    events log;
    const auto work = [&]() -> coraii::task<> {
        for (int i = 0; i < 15; ++i) {
            co_await coraii::enter(make(form::co_yielded, log, "a"));
        }
    };
    run(work());
    run(work());
    std::fflush(stderr);
    ::dup2(before, 2);
    ::close(before);
    coraii::warn_about_scopes_of_a_task(1000);
    std::rewind(file);
    std::array<char, 1000> text{};
    const std::size_t size = std::fread(text.data(), 1, text.size() - 1, file);
    std::fclose(file);
    const std::string said{text.data(), size};
    CAPTURE(said);
    CHECK(said.find("task_executor_test.cpp") != std::string::npos);
    CHECK(said.find("more than 10 scopes") != std::string::npos);
    CHECK(said.find('\n') == said.size() - 1);
}
#endif
