// SPDX-License-Identifier: BSL-1.0
#include "coraii/testing.hpp"
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

using namespace test;

TEST_CASE("G15: an exit stack cleans last in, first out", "[exit_stack]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            const plan p{.setup_suspends = suspends, .cleanup_suspends = suspends};
            item* a = co_await stack.enter(make(f, log, "a", p));
            CHECK(a->name == "a");
            stack.defer([&] { log.push_back("deferred"); });
            stack.defer([&](coraii::exit_status why) -> awaitable<void> {
                log.push_back(std::string("deferred ") + to_string(why.reason()));
                co_await turn();
                log.push_back("deferred done");
            });
            std::string& text = stack.adopt(std::string("text"), [&](std::string& t) { log.push_back("close " + t); });
            text += "!";
            auto& number = stack.adopt(std::make_unique<int>(7), [&](std::unique_ptr<int>& n, coraii::exit_status why) {
                log.push_back("close " + std::to_string(*n) + " " + to_string(why.reason()));
            });
            CHECK(*number == 7);
            co_await stack.enter(make(f, log, "b", p));
            CHECK(stack.size() == 6);
        });
        log.push_back("returned");
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup b", "cleanup b completed", "cleaned b", "close 7 completed", "close text!",
                        "deferred completed", "deferred done", "deferred", "cleanup a completed", "cleaned a",
                        "returned"});
}

TEST_CASE("G1: a setup that throws leaves the stack as it was", "[exit_stack]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            co_await stack.enter(make(f, log, "a"));
            try {
                co_await stack.enter(make(f, log, "b", {.setup_suspends = true, .setup_throws = true}));
            } catch (const std::runtime_error& e) { log.push_back(e.what()); }
            CHECK(stack.size() == 1);
        });
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup b", "setup of b", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G4, G23: the body's exception goes through, and every cleanup is told", "[exit_stack]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            co_await stack.enter(make(f, log, "a"));
            co_await stack.enter(make(f, log, "b"));
            throw std::runtime_error("body");
        });
    };
    CHECK_THROWS_WITH(run(work(), s), "body");
    CHECK(log == events{"setup a", "setup b", "cleanup b failed", "cleaned b", "cleanup a failed", "cleaned a"});
}

TEST_CASE("G5, G15: of several failing cleanups the first is thrown, the others are reported", "[exit_stack]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool body_throws = GENERATE(false, true);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            const plan p{.cleanup_suspends = true, .cleanup_throws = true};
            co_await stack.enter(make(form::pair, log, "a", p));
            co_await stack.enter(make(form::pair, log, "b"));
            co_await stack.enter(make(form::pair, log, "c", p));
            if (body_throws) {
                throw std::runtime_error("body");
            }
        });
    };
    CHECK_THROWS_WITH(run(work(), context, s), body_throws ? "body" : "cleanup of c");
    CHECK(log.back() == "cleanup a throws");
    REQUIRE(reported.all.size() == (body_throws ? 2 : 1));
    CHECK(what(reported.all.back().error) == "cleanup of a");
    CHECK(what(reported.all.back().suppressed_by) == (body_throws ? "body" : "cleanup of c"));
}

TEST_CASE("exit_stack: close empties it, and it can be used again", "[exit_stack]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack stack{co_await asio::this_coro::executor};
        co_await stack.close();
        co_await stack.enter(make(form::pair, log, "a", {.cleanup_suspends = true}));
        co_await stack.close();
        CHECK(stack.empty());
        co_await stack.enter(make(form::pair, log, "b", {.cleanup_throws = true}));
        try {
            co_await stack.close(coraii::exit_reason::failed);
        } catch (const std::runtime_error& e) { log.push_back(e.what()); }
    };
    run(work(), s);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a", "setup b", "cleanup b failed",
                        "cleanup b throws", "cleanup of b"});
}

TEST_CASE("exit_stack: moving is pop all: the resources outlive the scope of the stack", "[exit_stack]") {
    events log;
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack mine{co_await asio::this_coro::executor};
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            co_await stack.enter(make(form::pair, log, "a"));
            co_await stack.enter(make(form::pair, log, "b"));
            mine = std::move(stack);
            CHECK(stack.empty());
        });
        log.push_back("with returned");
        co_await mine.close();
    };
    run(work());
    CHECK(log == events{"setup a", "setup b", "with returned", "cleanup b completed", "cleaned b",
                        "cleanup a completed", "cleaned a"});
}

TEST_CASE("G15: dropped without close, the scopes are still cleaned one after another, last in first out",
          "[exit_stack]") {
    const bool suspends = GENERATE(false, true);
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack stack{co_await asio::this_coro::executor};
        const plan p{.cleanup_suspends = suspends};
        co_await stack.enter(make(form::pair, log, "a", p));
        co_await stack.enter(make(form::pair, log, "b", p));
        co_await stack.enter(make(form::pair, log, "c", p));
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup b", "setup c", "cleanup c abandoned", "cleaned c", "cleanup b abandoned",
                        "cleaned b", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G13: in a dying context the scopes of a stack are cleaned last in, first out", "[exit_stack]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool timer_first = GENERATE(false, true);
    CAPTURE(s, timer_first);
    events log;
    {
        asio::io_context context;
        if (timer_first) {
            asio::steady_timer{context};
        }
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                co_await stack.enter(make(form::pair, log, "a", {.cleanup_suspends = true}));
                stack.defer([&](coraii::exit_status why) { log.push_back(why.can_await() ? "?" : "deferred"); });
                co_await stack.enter(make(form::pair, log, "b"));
                co_await forever();
            });
        };
        task t{context, work(), s};
        context.run_for(10ms);
    }
    CHECK(log == events{"setup a", "setup b", "cleanup b abandoned", "cleaned b", "deferred", "cleanup a abandoned"});
}

TEST_CASE("G18: 10 000 scopes on one stack do not grow the native stack", "[exit_stack]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const int how = GENERATE(0, 1, 2);
    CAPTURE(s, how);
    constexpr int depth = 10'000;
    int cleaned = 0;
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 1;
        co_yield n;
        cleaned += n;
    };
    const auto work = [&]() -> awaitable<void> {
        coraii::exit_stack stack{co_await asio::this_coro::executor};
        for (int i = 0; i < depth; ++i) {
            co_await stack.enter(scope());
        }
        if (how == 0) {
            co_await stack.close();
        } else if (how == 1) {
            co_await forever();  // the context dies
        }  // else dropped
    };
    {
        asio::io_context context;
        task t{context, work(), s};
        if (how == 1) {
            context.run_for(sanitized ? 5s : 1s);
        } else {
            finish(context);
        }
    }
    CHECK(cleaned == depth);
}

TEST_CASE("exit_stack: one that was moved from can be used", "[exit_stack]") {
    events log;
    run([&]() -> awaitable<void> {
        coraii::exit_stack stack{co_await asio::this_coro::executor};
        stack.defer([&] { log.push_back("first"); });
        coraii::exit_stack all = std::move(stack);
        stack.defer([&] { log.push_back("second"); });
        co_await stack.close();
        co_await all.close();
    }());
    CHECK(log == events{"second", "first"});
}

TEST_CASE("exit_stack: may outlive its context, also one that never ran", "[exit_stack]") {
    auto context = std::make_unique<asio::io_context>();
    bool cleaned = false;
    {
        coraii::exit_stack stack{context->get_executor()};
        stack.adopt(5, [&](int&) { cleaned = true; });
        context.reset();
    }
    CHECK_FALSE(cleaned);  // nothing has run; the resource was destroyed with the context
}

TEST_CASE("exit_stack: a scope that lives on another context does not take the caller there", "[exit_stack]") {
    asio::io_context mine;
    asio::io_context other;
    auto work = asio::make_work_guard(other);
    std::thread thread{[&] { other.run(); }};
    events log;
    bool back_home = false;
    run(
        [&]() -> awaitable<void> {
            co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                const auto enter_there = [&]() -> awaitable<void> {
                    co_await stack.enter(make(form::pair, log, "a", {.cleanup_suspends = true}));
                };
                co_await asio::co_spawn(other, enter_there, asio::use_awaitable);
            });
            back_home = mine.get_executor().running_in_this_thread();
        }(),
        mine);
    work.reset();
    thread.join();
    CHECK(back_home);
    CHECK(log.back() == "cleaned a");
}

TEST_CASE("exit_stack: what a cleanup puts on the stack is cleaned in its turn", "[exit_stack]") {
    events log;
    run([&]() -> awaitable<void> {
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            co_await stack.enter(make(form::co_yielded, log, "bottom", {.cleanup_suspends = true}));
            stack.defer([&]() -> awaitable<void> {
                stack.defer([&]() -> awaitable<void> {
                    co_await turn();
                    log.push_back("late");
                });
                co_await turn();
                log.push_back("top");
            });
        });
        log.push_back("returned");
    }());
    CHECK(log == events{"setup bottom", "top", "late", "cleanup bottom completed", "cleaned bottom", "returned"});
}

TEST_CASE("G13: a stack on a strand that is older than the first scope dies without a leak", "[exit_stack]") {
    events log;
    {
        asio::io_context context;
        const auto strand = asio::make_strand(context);
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                co_await stack.enter(make(form::co_yielded, log, "a", {.cleanup_suspends = true}));
                co_await forever();
            });
        };
        asio::co_spawn(strand, work, asio::detached);
        context.poll();
    }
    CHECK(log == events{"setup a", "cleanup a abandoned"});  // and AddressSanitizer, that nothing is left
}

TEST_CASE(
    "G3, G6: a stack that is closed off its executor, while a scope of it is being set up there, waits for the cleanup",
    "[exit_stack][threads]") {
    asio::thread_pool pool{2};
    for (int round = 0; round < 2'000; ++round) {
        std::atomic<bool> cleaned = false;
        coraii::exit_stack stack{pool.get_executor()};
        stack.defer([&]() -> awaitable<void> {
            cleaned = true;
            throw std::runtime_error("cleanup failed");
            co_return;
        });
        for (int i = 0; i < 100 * (round % 500); ++i) {  // close at another moment of the setup each time
            std::atomic_signal_fence(std::memory_order_seq_cst);
        }
        auto closed = stack.close(asio::use_future);
        REQUIRE_THROWS_WITH(closed.get(), "cleanup failed");
        REQUIRE(cleaned);
    }
}

TEST_CASE("G11: the time limit of a stack cancels the cleanup under way, and those that follow",
          "[exit_stack][timeout]") {
    const bool all_stuck = GENERATE(false, true);
    const bool dropped = GENERATE(false, true);
    CAPTURE(all_stuck, dropped);
    events log;
    const auto scope = [&](std::string name, bool stuck) -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        log.push_back(name);
        if (stuck) {
            try {
                co_await coraii::testing::delay(1h);
            } catch (const boost::system::system_error&) {
                log.push_back(name + " is cancelled");
                throw;
            }
        }
    };
    std::string error;
    const auto work = [&]() -> awaitable<void> {
        const auto body = [&](coraii::exit_stack& stack) -> awaitable<void> {
            (void)co_await stack.enter(scope("a", all_stuck));
            (void)co_await stack.enter(scope("b", false));
            (void)co_await stack.enter(scope("c", true));
        };
        auto limited = coraii::make_exit_stack().cleanup_timeout(5s);
        if (dropped) {
            auto stack = co_await std::move(limited);
            co_await body(*stack);
        } else {
            try {
                co_await coraii::with(std::move(limited), body);
            } catch (const boost::system::system_error& e) {
                error = e.code() == coraii::errc::cleanup_timeout ? "timeout" : e.what();
            }
        }
    };
    coraii::testing::run([&]() -> awaitable<void> {
        auto ex = co_await asio::this_coro::executor;
        coraii::on_cleanup_error(asio::query(ex, asio::execution::context), [](const coraii::cleanup_failure&) {});
        co_await work();
    });
    CHECK(error == (dropped ? "" : "timeout"));
    CHECK(log == (all_stuck ? events{"c", "c is cancelled", "b", "a", "a is cancelled"}
                            : events{"c", "c is cancelled", "b", "a"}));
}
