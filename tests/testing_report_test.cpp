// SPDX-License-Identifier: BSL-1.0
// The kit in trouble: what never ends, what crashes, what is left outside, and what it then says.
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "support/scenario.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

using namespace test;
namespace testing = coraii::testing;
using Catch::Matchers::ContainsSubstring;
using testing::fault_kind;
using testing::probe;

namespace {

template <class Report>
std::string text(const Report& report) {
    std::ostringstream out;
    out << report;
    return out.str();
}

template <class F>
std::string complaint(F coroutine, const testing::run_options& options = {}) {
    try {
        testing::run(std::move(coroutine), options);
    } catch (const testing::failure& f) { return f.what(); }
    return {};
}

/// What a child of the process prints to stderr, in which `f` is called; and that it does not come back from it.
template <class F>
std::string last_words(F f) {
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::dup2(pipe[1], 2);
        for (const int signal : {SIGSEGV, SIGABRT}) {  // this is not the test framework's death
            ::signal(signal, SIG_DFL);
        }
        std::set_terminate(std::abort);
        f();
        std::_Exit(0);
    }
    ::close(pipe[1]);
    std::string all;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(pipe[0], buffer, sizeof buffer)) > 0;) {
        all.append(buffer, static_cast<std::size_t>(n));
    }
    ::close(pipe[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK((!WIFEXITED(status) || WEXITSTATUS(status) != 0));
    return all;
}

awaitable<void> ticks(std::chrono::milliseconds period) {
    for (;;) {
        co_await testing::delay(period);
    }
}

}  // namespace

TEST_CASE("run: a child that is never stopped is an error, with what it waits for", "[testing]") {
    const auto period = GENERATE(1ms, 1000ms, 3600000ms);
    const auto leaves_it = [&]() -> awaitable<void> {
        asio::co_spawn(co_await asio::this_coro::executor, ticks(period), asio::detached);
    };
    const std::string said = complaint(leaves_it, {.most_turns = 5000});
    CHECK_THAT(said, ContainsSubstring("has ended, but something goes on"));
    CHECK_THAT(said, ContainsSubstring("waiting: delay (testing_report_test.cpp:"));
    const std::string waits =
        complaint([&] { return ticks(period); }, {.most_turns = 20'000, .most_time = std::chrono::hours{5}});
    CHECK_THAT(waits, ContainsSubstring("the coroutine does not end"));
    CHECK_THAT(waits, ContainsSubstring(period == 1ms ? "after 20000 turns" : "5 h of virtual time"));
}

TEST_CASE("sweep: a child that is never stopped is found in each run", "[testing]") {
    const auto scenario = []() -> awaitable<void> {
        asio::co_spawn(co_await asio::this_coro::executor, ticks(1ms), asio::detached);
        co_await testing::point();
    };
    const auto report = testing::sweep(scenario, {.failures = 3, .most_turns = 1000});
    REQUIRE_FALSE(report.ok());
    CHECK_THAT(text(report), ContainsSubstring("the scenario has ended, but something goes on"));
}

TEST_CASE("sweep: a probe beside what is cut off in a dying context is told so", "[testing]") {
    const bool first = GENERATE(false, true);
    const auto open = [=]() -> coraii::async_scope<probe> {
        probe p{"p"};
        co_await p.set_up();
        co_yield p;
        if (first) {
            p.clean_up_now();
        }
        co_await testing::delay(1ms);  // stands for the real resource's goodbye
        if (!first) {
            p.clean_up_now();
        }
    };
    const auto scenario = [=]() -> awaitable<void> {
        const auto use = [](probe& p) -> awaitable<void> { co_await p.use(); };
        co_await coraii::with(open(), use);
    };
    const auto report = testing::sweep(scenario, {.kinds = {fault_kind::context_destroyed}});
    CHECK(report.ok() == first);
    if (!first) {
        CHECK_THAT(text(report), ContainsSubstring("is cut off at its first suspension"));
    }
}

TEST_CASE("sweep: a check of the program's own tells what a run has left, in that run", "[testing]") {
    int files = 0;
    const auto scenario = [&]() -> awaitable<void> {
        ++files;
        co_await testing::point("in use");
        --files;
    };
    int checked = 0;
    const auto check = [&] {
        ++checked;
        if (std::exchange(files, 0) != 0) {
            throw std::runtime_error("a file is left");
        }
    };
    const auto report = testing::sweep(scenario, {.kinds = {fault_kind::exception}, .check = check});
    CHECK(checked >= static_cast<int>(report.runs));
    REQUIRE(report.failed.size() == 2);  // with a slot, and without
    for (const auto& run : report.failed) {
        CHECK(run.tried.injected.kind == fault_kind::exception);
        CHECK(run.problems == std::vector<std::string>{"the check after the run: a file is left"});
    }
    CHECK(testing::replay(scenario, {}, {.check = check}).ok());
}

TEST_CASE("sweep: a crash tells the run", "[testing]") {
    const int how = GENERATE(0, 1, 2);
    const auto words = last_words([&] {
        const auto crash = [&]() {
            if (how == 0) {
                std::abort();
            }
            if (how == 1) {
                std::terminate();
            }
            volatile int* nowhere = nullptr;
            asm volatile("" : "+r"(nowhere));
            *nowhere = 1;
        };
        const auto scenario = [&]() -> awaitable<void> {
            try {
                co_await testing::point("one");
                co_await testing::point("two");
            } catch (...) {
                crash();
                throw;
            }
        };
        (void)testing::sweep(scenario, {.kinds = {fault_kind::exception}});
    });
    CHECK_THAT(words, ContainsSubstring("coraii::testing: the program ends in the run replay(scenario, {.injected = "
                                        "{.kind = fault_kind::exception, .at = 0}}, options)"));
}

TEST_CASE("a probe's place is the user's line, however it was made", "[testing]") {
    constexpr unsigned line = __LINE__ + 3;
    const std::string said = complaint([]() -> awaitable<void> {
        const auto p = std::make_shared<probe>("shared");
        co_await p->set_up();
    });
    CHECK_THAT(said, ContainsSubstring("'shared' (testing_report_test.cpp:" + std::to_string(line) + ")"));
    const std::string other = complaint([]() -> awaitable<void> {
        probe p{"direct"};

        co_await p.set_up();
    });
    CHECK_THAT(other, ContainsSubstring("'direct' (testing_report_test.cpp:" + std::to_string(line + 4) + ")"));
}
