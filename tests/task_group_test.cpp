// SPDX-License-Identifier: BSL-1.0
// Task groups (G30), in virtual time.
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "support/scenario.hpp"
#include "support/sweep.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace asio = boost::asio;
using asio::awaitable;
using coraii::open_task_group;
using coraii::task_group;
using coraii::testing::delay;
using coraii::testing::on_executor;
using coraii::testing::probe;
using test::code;
using test::events;
using test::what;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

namespace {

using body = std::function<awaitable<void>(task_group&)>;

/// One group around a body, and what came of it.
struct group_run {
    events log;
    std::exception_ptr error;
    coraii::testing::clock::duration after{};

    /// A child that notes its end.
    awaitable<void> child(std::string name, coraii::testing::clock::duration time, bool throws = false) {
        try {
            co_await delay(time);
        } catch (const boost::system::system_error&) {
            log.push_back(name + " cancelled");
            throw;
        }
        log.push_back(name + (throws ? " throws" : " ends"));
        if (throws) {
            throw std::runtime_error(name);
        }
    }

    void run(body use, coraii::task_group_options options = {},
             std::function<coraii::async_scope<task_group>(coraii::async_scope<task_group>)> with_options = {}) {
        const bool slot = GENERATE(false, true);
        CAPTURE(slot);
        log.clear();
        error = nullptr;
        const auto work = [&]() -> awaitable<void> {
            const auto begin = coraii::testing::clock::now();
            auto& context = asio::query(co_await asio::this_coro::executor, asio::execution::context);
            coraii::on_cleanup_error(context, [this](const coraii::cleanup_failure& f) {
                log.push_back("reported: " + what(f.error) +
                              (f.suppressed_by ? ", after " + what(f.suppressed_by) : ""));
            });
            auto scope = open_task_group(options);
            if (with_options) {
                scope = with_options(std::move(scope));
            }
            try {
                co_await coraii::with(std::move(scope), use);
            } catch (...) { error = std::current_exception(); }
            log.push_back("left");
            after = coraii::testing::clock::now() - begin;
        };
        coraii::testing::run(work, {.slot = slot});
    }
};

bool is_closed(task_group& group) {
    try {
        group.spawn([]() -> awaitable<void> { co_return; });
    } catch (const boost::system::system_error& e) { return e.code() == coraii::errc::scope_closed; }
    return false;
}

}  // namespace

TEST_CASE("G30: left as completed, a group waits for its children", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&] { return r.child("a", 2s); });
        group.spawn(r.child("b", 1s));
        r.log.push_back("spawned " + std::to_string(group.size()));
        co_return;
    });
    CHECK(what(r.error) == "no error");
    CHECK(r.log == events{"spawned 2", "b ends", "a ends", "left"});
    CHECK(r.after == 2s);
}

TEST_CASE("G30: left in another way, it cancels them and waits", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> {
            try {
                co_await r.child("a", 1h);
            } catch (const boost::system::system_error&) {}
            co_await asio::this_coro::reset_cancellation_state();
            co_await delay(3s);
            r.log.push_back(is_closed(group) ? "closed" : "open");
        });
        co_await delay(1s);
        throw std::runtime_error("body");
    });
    CHECK(what(r.error) == "body");
    CHECK(r.log == events{"a cancelled", "closed", "left"});
    CHECK(r.after == 4s);
}

TEST_CASE("G30: a child that fails cancels its siblings, not the body; leaving throws its error, once",
          "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&] { return r.child("a", 1h); });
        group.spawn([&] { return r.child("b", 1s, true); });
        group.spawn([&] { return r.child("c", 1h); });
        co_await delay(5s);
        r.log.push_back(is_closed(group) ? "closed" : "open");
    });
    CHECK(what(r.error) == "b");
    CHECK(r.log.size() == 5);
    CHECK(r.log[0] == "b throws");
    CHECK(r.log[3] == "closed");
    CHECK(r.log[4] == "left");
    CHECK(r.after == 5s);
}

TEST_CASE("G30: join throws it instead, when all have ended, and leaving does not any more", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> {
            try {
                co_await r.child("a", 1h);
            } catch (const boost::system::system_error&) {}
            throw std::runtime_error("a, cancelled");
        });
        group.spawn([&] { return r.child("b", 1s, true); });
        try {
            co_await group.join();
        } catch (const std::exception& e) { r.log.push_back("joined: " + std::string{e.what()}); }
        co_await group.join();
        r.log.push_back(is_closed(group) ? "closed" : "open");
    });
    CHECK(what(r.error) == "no error");
    CHECK(r.log == events{"b throws", "a cancelled", "reported: a, cancelled, after b", "joined: b", "closed", "left"});
}

TEST_CASE("G30: if the body throws too, the child's error is reported", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&] { return r.child("a", 1s, true); });
        co_await delay(2s);
        throw std::runtime_error("body");
    });
    CHECK(what(r.error) == "body");
    CHECK(r.log == events{"a throws", "reported: a, after body", "left"});
}

TEST_CASE("G30: a callable that throws instead of returning an awaitable has failed as a child", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> { throw std::runtime_error("called"); });
        r.log.push_back("spawned");
        co_return;
    });
    CHECK(what(r.error) == "called");
    CHECK(r.log == events{"spawned", "left"});
}

TEST_CASE("G30: join can be used again, and children spawned in between", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        co_await group.join();
        group.spawn(r.child("a", 1s));
        co_await group.join();
        r.log.push_back("joined");
        group.spawn(r.child("b", 1s));
        co_await group.join();
        CHECK(group.size() == 0);
    });
    CHECK(r.log == events{"a ends", "joined", "b ends", "left"});
}

TEST_CASE("G30, G9: a cancel ends the body's join; leaving cancels the children, and is not reached itself",
          "[task_group]") {
    group_run r;
    const auto server = [&]() -> awaitable<void> {
        co_await coraii::with(open_task_group(), [&](task_group& group) -> awaitable<void> {
            group.spawn([&]() -> awaitable<void> {
                try {
                    co_await r.child("session", 1h);
                } catch (const boost::system::system_error&) {}
                co_await asio::this_coro::reset_cancellation_state();
                co_await delay(3s);
                r.log.push_back("goodbye");
            });
            co_await group.join();
        });
    };
    coraii::testing::run([&]() -> awaitable<void> {
        const auto begin = coraii::testing::clock::now();
        co_await (server() || delay(1s));
        r.after = coraii::testing::clock::now() - begin;
    });
    CHECK(r.log == events{"session cancelled", "goodbye"});
    CHECK(r.after == 4s);
}

TEST_CASE("G30, G9: a cancel while the group is being left does not reach it", "[task_group]") {
    group_run r;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(open_task_group(), [&](task_group& group) -> awaitable<void> {
            group.spawn(r.child("a", 5s));
            co_return;
        });
        r.log.push_back("left");
    };
    coraii::testing::run([&]() -> awaitable<void> { co_await (work() || delay(1s)); });
    CHECK(r.log == events{"a ends", "left"});
}

TEST_CASE("G30, G11: when the cleanup_timeout fires the children are cancelled and awaited", "[task_group]") {
    const bool fails = GENERATE(false, true);
    group_run r;
    r.run(
        [&](task_group& group) -> awaitable<void> {
            group.spawn([&, fails]() -> awaitable<void> {
                try {
                    co_await r.child("a", 1h);
                } catch (const boost::system::system_error&) {}
                co_await asio::this_coro::reset_cancellation_state();
                co_await delay(1s);
                r.log.push_back(is_closed(group) ? "closed" : "open");
                if (fails) {
                    throw std::runtime_error("own");
                }
            });
            co_return;
        },
        {}, [](auto scope) { return std::move(scope).cleanup_timeout(5s); });
    CHECK(r.log == events{"a cancelled", "closed", "left"});
    CHECK(r.after == 6s);
    if (fails) {
        CHECK(what(r.error) == "own");
    } else {
        CHECK(code(r.error) == coraii::errc::cleanup_timeout);
    }
}

TEST_CASE("G30: cancel reaches those running, those that have not begun too, and is not remembered", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn(r.child("a", 1h));
        co_await delay(1s);
        group.spawn(r.child("b", 1h));
        group.cancel();
        group.spawn(r.child("c", 1s));
        co_await group.join();
        CHECK_FALSE(is_closed(group));
    });
    CHECK(what(r.error) == "no error");
    CHECK(r.log == events{"a cancelled", "c ends", "left"});  // b's frame never began: its first co_await is refused
}

TEST_CASE("G30: each type of a cancel reaches a child as it is", "[task_group]") {
    using asio::cancellation_type;
    const auto type = GENERATE(cancellation_type::terminal, cancellation_type::partial, cancellation_type::total);
    cancellation_type seen{};
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> {
            co_await asio::this_coro::throw_if_cancelled(false);
            try {
                co_await delay(1h);
            } catch (const boost::system::system_error&) {}
            seen = (co_await asio::this_coro::cancellation_state).cancelled();
        });
        co_await delay(1s);
        group.cancel(type);
        co_await group.join();
    });
    CHECK((seen & type) == type);
}

TEST_CASE("G30: a child that throws operation_aborted without having been cancelled has failed", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([]() -> awaitable<void> {
            co_await delay(1s);
            throw boost::system::system_error(asio::error::operation_aborted);
        });
        co_return;
    });
    CHECK(code(r.error) == asio::error::operation_aborted);
}

TEST_CASE("G30: children may spawn while the group waits, until the last has ended", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> {
            co_await delay(1s);
            group.spawn([&]() -> awaitable<void> {
                group.spawn(r.child("grandchild", 1s));
                co_return;
            });
        });
        co_return;
    });
    CHECK(r.log == events{"grandchild ends", "left"});
}

TEST_CASE("G30: spawn_when_free waits while max_running are running; spawn does not ask", "[task_group]") {
    group_run r;
    r.run(
        [&](task_group& group) -> awaitable<void> {
            co_await group.spawn_when_free(r.child("a", 1s));
            co_await group.spawn_when_free(r.child("b", 3s));
            r.log.push_back("two");
            co_await group.spawn_when_free(r.child("c", 1s));
            r.log.push_back("three");
            group.spawn(r.child("d", 10s));
            CHECK(group.size() == 3);
            co_await group.spawn_when_free(r.child("e", 1s));
            r.log.push_back("five");
        },
        {.max_running = 2});
    CHECK(r.log == events{"two", "a ends", "three", "c ends", "b ends", "five", "e ends", "d ends", "left"});
}

TEST_CASE("G30: who waits for room is told when there will be none, and can be cancelled", "[task_group]") {
    group_run r;
    r.run(
        [&](task_group& group) -> awaitable<void> {
            group.spawn(r.child("a", 5s, true));
            const auto one = [&]() -> awaitable<void> { co_await group.spawn_when_free(r.child("never", 0s)); };
            co_await (one() || delay(1s));
            CHECK(group.size() == 1);
            try {
                co_await one();
            } catch (const boost::system::system_error& e) {
                r.log.push_back(e.code() == coraii::errc::scope_closed ? "closed" : e.what());
            }
        },
        {.max_running = 1});
    CHECK(what(r.error) == "a");
    CHECK(r.log == events{"a throws", "closed", "left"});
}

TEST_CASE("G30: room that one waiter does not take is for the next", "[task_group]") {
    group_run r;
    r.run(
        [&](task_group& group) -> awaitable<void> {
            group.spawn(r.child("a", 1s));
            const auto first = [&]() -> awaitable<void> { co_await group.spawn_when_free(r.child("first", 1s)); };
            const auto second = [&]() -> awaitable<void> { co_await group.spawn_when_free(r.child("second", 1s)); };
            // `first` is cancelled in the turn in which it would be served.
            co_await ((first() || delay(1s)) && second());
        },
        {.max_running = 1});
    CHECK(r.log.back() == "left");
    CHECK(std::count(r.log.begin(), r.log.end(), "second ends") == 1);
}

TEST_CASE("G30: what a child's callable captures lives until the child ends, and no longer than that", "[task_group]") {
    group_run r;
    const auto alive = std::make_shared<int>(7);
    const std::weak_ptr<int> weak = alive;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([kept = std::make_shared<int>(1), &r]() -> awaitable<void> {
            const std::weak_ptr<int> held = kept;
            co_await delay(1s);
            r.log.push_back(held.expired() ? "gone" : "there");
        });
        std::weak_ptr<int> gone;
        {
            const auto value = std::make_shared<int>(2);
            gone = value;
            group.spawn([value]() -> awaitable<void> { co_return; });
        }
        co_await group.join();
        r.log.push_back(gone.expired() ? "released" : "kept");
    });
    CHECK(r.log == events{"there", "released", "left"});
}

TEST_CASE("G30: what a child's callable captures is destroyed before the group is left", "[task_group]") {
    struct noted {
        events* log;
        explicit noted(events& l) : log{&l} {}
        noted(noted&& other) noexcept : log{std::exchange(other.log, nullptr)} {}
        noted& operator=(noted&&) = delete;
        ~noted() {
            if (log != nullptr) {
                log->push_back("destroyed");
            }
        }
    };
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([kept = noted{r.log}]() -> awaitable<void> { co_await delay(1s); });
        co_return;
    });
    CHECK(r.log == events{"destroyed", "left"});
}

TEST_CASE("G30: no child begins inside spawn, and a child may fail, cancel or spawn at once", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> {
            r.log.push_back("a");
            group.cancel();  // itself, too
            for (int i = 0; i < 100; ++i) {
                group.spawn([]() -> awaitable<void> { co_await delay(1s); });
            }
            group.cancel();
            co_return;
        });
        r.log.push_back("spawned");
        co_await group.join();
        CHECK(group.size() == 0);
    });
    CHECK(what(r.error) == "no error");
    CHECK(r.log == events{"spawned", "a", "left"});
}

TEST_CASE("G30: groups nest, and a dropped one cancels its children in the background", "[task_group]") {
    group_run r;
    r.run([&](task_group& group) -> awaitable<void> {
        group.spawn([&]() -> awaitable<void> {
            auto inner = co_await open_task_group();
            inner->spawn(r.child("dropped", 1h));
            co_await delay(1s);
            inner = {};
            auto closed = co_await open_task_group();
            closed->spawn(r.child("closed", 1s));
            co_await closed.close();
            r.log.push_back("inner left");
        });
        co_return;
    });
    CHECK(r.log == events{"dropped cancelled", "closed ends", "inner left", "left"});
}

TEST_CASE("G30, G10: a cancel of the caller is not lost in a group that cancels its children itself", "[task_group]") {
    // As in CPython's issues 155433 and 116720.
    bool seen = false;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(open_task_group(), [&](task_group& group) -> awaitable<void> {
            group.spawn([]() -> awaitable<void> {
                try {
                    co_await delay(1h);
                } catch (const boost::system::system_error&) {}
                co_await asio::this_coro::reset_cancellation_state();
                co_await delay(2s);
            });
            co_await delay(100ms);
            group.cancel();
        });
        // Nobody has thrown, so nor does the group; what was requested meanwhile is to be seen.
        const auto state = co_await asio::this_coro::cancellation_state;
        seen = state.cancelled() != asio::cancellation_type::none;
        co_await delay(1h);
    };
    coraii::testing::run([&]() -> awaitable<void> { co_await (work() || delay(500ms)); });
    CHECK(seen);
}

TEST_CASE("G30: an error that a child throws because it was cancelled is not lost behind the cancel", "[task_group]") {
    // As in CPython's issue 95704.
    group_run r;
    const auto work = [&]() -> awaitable<void> {
        auto& context = asio::query(co_await asio::this_coro::executor, asio::execution::context);
        coraii::on_cleanup_error(
            context, [&](const coraii::cleanup_failure& f) { r.log.push_back("reported: " + what(f.error)); });
        co_await coraii::with(open_task_group().named("group"), [&](task_group& group) -> awaitable<void> {
            group.spawn([]() -> awaitable<void> {
                try {
                    co_await delay(1h);
                } catch (const boost::system::system_error&) {}
                throw std::runtime_error("while it was cancelled");
            });
            co_await group.join();
        });
    };
    coraii::testing::run([&]() -> awaitable<void> { co_await (work() || delay(1s)); });
    CHECK(r.log == events{"reported: while it was cancelled"});
}

TEST_CASE("G30, G13: the context dies with children, with a join, and while the group is being left", "[task_group]") {
    const int where = GENERATE(0, 1, 2, 3);
    auto counted = std::make_shared<int>(0);
    {
        asio::io_context context;
        const auto child = [](std::shared_ptr<int>) -> awaitable<void> { co_await test::forever(); };
        const auto work = [&, where]() -> awaitable<void> {
            co_await coraii::with(open_task_group({.max_running = 1}),
                                  [&, where](task_group& group) -> awaitable<void> {
                                      // Named: g++ 12 destroys a closure that is a temporary of a co_await expression twice.
                                      auto another = [=] { return child(counted); };
                                      group.spawn(another);
                                      switch (where) {
                                          case 0: co_await test::forever(); break;
                                          case 1: co_await group.join(); break;
                                          case 2: co_await group.spawn_when_free(std::move(another)); break;
                                          case 3: break;
                                      }
                                  });
        };
        asio::co_spawn(context, work(), [kept = counted](std::exception_ptr) {});
        context.run_for(10ms);
        CHECK(counted.use_count() > 2);
    }
    CHECK(counted.use_count() == 1);
}

TEST_CASE("G30, G26: in a joined region the guards that children drop are waited for", "[task_group]") {
    events log;
    const auto scope = [&]() -> coraii::async_scope<int> {
        co_yield 7;
        co_await delay(1s);
        log.push_back("cleaned");
    };
    coraii::testing::run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            co_await coraii::with(open_task_group(), [&](task_group& group) -> awaitable<void> {
                group.spawn([&]() -> awaitable<void> { const auto held = co_await scope(); });
                co_return;
            });
        });
        log.push_back("joined");
    });
    CHECK(log == events{"cleaned", "joined"});
}

TEST_CASE("G30: with another Executor", "[task_group]") {
    using io = asio::io_context::executor_type;
    asio::io_context context;
    int ended = 0;
    const auto work = [&]() -> asio::awaitable<void, io> {
        co_await coraii::with(open_task_group<io>({.max_running = 1}),
                              [&](coraii::basic_task_group<io>& group) -> asio::awaitable<void, io> {
                                  const auto child = [&]() -> asio::awaitable<void, io> {
                                      co_await asio::post(asio::use_awaitable_t<io>{});
                                      ++ended;
                                  };
                                  group.spawn(child);
                                  co_await group.spawn_when_free(child);
                                  co_await group.join();
                              });
    };
    asio::co_spawn(context.get_executor(), work(), [](std::exception_ptr e) { CHECK(!e); });
    test::finish(context);
    CHECK(ended == 2);
}

TEST_CASE("G30: a group that is never opened, and options that make no sense", "[task_group]") {
    { const auto unused = open_task_group(); }
    CHECK_THROWS_AS((void)open_task_group({.max_running = 0}), std::invalid_argument);
}

TEST_CASE("G30, G20: spawned from other threads, on a strand and on a pool", "[task_group][threads]") {
    const bool on_strand = GENERATE(false, true);
    asio::thread_pool pool{3};
    const asio::any_io_executor executor =
        on_strand ? asio::any_io_executor{asio::make_strand(pool)} : asio::any_io_executor{pool.get_executor()};
    std::atomic<int> ended{0};
    const int many = 200;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(open_task_group({.max_running = 8}), [&](task_group& group) -> awaitable<void> {
            const auto child = [&]() -> awaitable<void> {
                co_await test::turn();
                ++ended;
            };
            const auto spawner = [&]() -> awaitable<void> {
                for (int i = 0; i < many; ++i) {
                    co_await group.spawn_when_free(child);
                    group.spawn(child);
                }
            };
            for (int i = 0; i < 3; ++i) {
                group.spawn(spawner);
            }
            co_await group.join();
            if (on_strand) {  // from elsewhere
                group.spawn([]() -> awaitable<void> { co_await test::forever(); });
                co_await asio::post(asio::bind_executor(pool, asio::use_awaitable));
                group.cancel();
                co_await group.join();
            }
        });
    };
    asio::co_spawn(executor, work(), asio::use_future).get();
    CHECK(ended == 3 * 2 * many);
}

TEST_CASE("sweep: task groups", "[task_group][sweep]") {
    const int variant = GENERATE(0, 1, 2);
    // Without memory to begin a cleanup, on an executor that nobody knows, that waits for the end of the context.
    const bool with_memory = GENERATE(false, true);
    CAPTURE(variant, with_memory);
    coraii::testing::sweep_options options{.order = coraii::testing::cleanup_order::any, .pairs = 20};
    if (with_memory) {
        options.executors = {on_executor::strand, on_executor::forwarding};
        std::erase(options.kinds, coraii::testing::fault_kind::no_memory);
    }
    const auto scope = []() -> coraii::async_scope<probe> {
        probe p{"resource"};
        co_await p.set_up();
        co_yield p;
        co_await p.clean_up();
    };
    const auto use = [](probe& p) -> awaitable<void> { co_await p.use(); };
    const auto scenario = [=]() -> awaitable<void> {
        const auto child = [=]() -> awaitable<void> { co_await coraii::with(scope(), use); };
        const auto body = [=](task_group& group) -> awaitable<void> {
            group.spawn(child);
            if (variant == 1) {
                co_await group.spawn_when_free(child);
                co_await group.join();
            } else if (variant == 2) {
                group.spawn([child, &group]() -> awaitable<void> {
                    group.spawn(child);
                    co_return;
                });
            }
        };
        co_await coraii::with(open_task_group({.max_running = 1}), body);
    };
    const auto report = coraii::testing::sweep(scenario, options);
    test::check_sweep(report);
}
