// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

using namespace test;

namespace {

/// An event log that two threads write into.
class shared_log {
public:
    void push(std::string event) {
        const std::lock_guard lock{mutex_};
        events_.push_back(std::move(event));
    }
    events all() {
        const std::lock_guard lock{mutex_};
        return events_;
    }

private:
    std::mutex mutex_;
    events events_;
};

}  // namespace

TEST_CASE("offload: open and close run on the pool, the body on the event loop", "[offload]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto w = GENERATE(0, 1, 2);
    asio::thread_pool pool{1};
    asio::io_context context;
    shared_log log;
    const auto here = [&] { return pool.get_executor().running_in_this_thread() ? " on pool" : " on loop"; };
    const auto scope = [&] {
        return coraii::offload(
            pool,
            [&] {
                log.push(std::string("open") + here());
                return std::make_unique<int>(5);
            },
            [&](std::unique_ptr<int>& p, coraii::exit_status why) {
                log.push("close " + std::to_string(*p) + " " + to_string(why.reason()) + here());
            });
    };
    const auto work = [&]() -> awaitable<void> {
        if (w == 0) {
            co_await coraii::with(scope(), [&](std::unique_ptr<int>&) -> awaitable<void> {
                log.push(std::string("body") + here());
                co_return;
            });
        } else {
            auto g = co_await scope();
            log.push(std::string("body") + here());
            if (w == 1) {
                co_await g.close();
            }
        }
    };
    run(work(), context, s);
    const std::string reason = w == 2 ? "abandoned" : "completed";
    CHECK(log.all() == events{"open on pool", "body on loop", "close 5 " + reason + " on pool"});
}

TEST_CASE("offload: a pair of void functions is a scope of void", "[offload]") {
    asio::thread_pool pool{1};
    shared_log log;
    run([&]() -> awaitable<void> {
        co_await coraii::with(coraii::offload(
                                  pool.get_executor(), [&] { log.push("open"); }, [&] { log.push("close"); }),
                              [&]() -> awaitable<void> {
                                  log.push("body");
                                  co_return;
                              });
    }());
    CHECK(log.all() == events{"open", "body", "close"});
}

TEST_CASE("G1, G6: what open and close throw comes through", "[offload]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::thread_pool pool{1};
    const auto work = [&](bool open_throws) -> awaitable<void> {
        auto open = [open_throws] {
            if (open_throws) {
                throw std::runtime_error("open");
            }
            return 1;
        };
        auto close = [](int&) { throw std::runtime_error("close"); };
        co_await coraii::with(coraii::offload(pool, open, close), [](int&) -> awaitable<void> { co_return; });
    };
    CHECK_THROWS_WITH(run(work(true), s), "open");
    CHECK_THROWS_WITH(run(work(false), s), "close");
}

TEST_CASE("G2: a cancel while open blocks is seen when it returns, and the resource is closed", "[offload]") {
    asio::thread_pool pool{1};
    asio::io_context context;
    shared_log log;
    std::promise<void> may_open;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(coraii::offload(
                                  pool,
                                  [&] {
                                      may_open.get_future().wait();
                                      log.push("opened");
                                      return 1;
                                  },
                                  [&](int&) { log.push("closed"); }),
                              [&](int&) -> awaitable<void> {
                                  log.push("body");
                                  co_return;
                              });
    };
    task t{context, work(), slot::connected};
    context.run_for(10ms);
    t.cancel();
    may_open.set_value();
    finish(context);
    CHECK(code(t.error()) == asio::error::operation_aborted);
    CHECK(log.all() == events{"opened", "closed"});
}

TEST_CASE("offload: a stopped pool fails the setup, and cannot keep a resource from being closed", "[offload]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    shared_log log;
    auto pool = std::make_unique<asio::thread_pool>(1);
    const auto open = [&] {
        log.push("open");
        return 1;
    };
    const auto close = [&](int&) { log.push("close"); };
    std::exception_ptr error;
    const auto work = [&]() -> awaitable<void> {
        asio::thread_pool stopped{1};
        stopped.stop();
        stopped.join();
        co_await coraii::with(coraii::offload(*pool, open, close), [&](int&) -> awaitable<void> {
            pool->stop();
            pool->join();
            co_return;
        });
    };
    task t{context, work(), s};
    while (log.all().empty()) {
        context.run_for(1ms);
    }
    context.run_for(20ms);
    pool.reset();
    finish(context);
    CHECK(what(t.error()) == "no error");
    CHECK(log.all() == events{"open", "close"});
}

TEST_CASE("offload: open that was never called is errc::offload_stopped", "[offload]") {
    asio::io_context context;
    auto pool = std::make_unique<asio::thread_pool>(1);
    pool->stop();
    pool->join();
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(
            coraii::offload(*pool, [] { return 1; }, [](int&) {}), [&](int&) -> awaitable<void> { co_return; });
    };
    task t{context, work(), slot::none};
    context.run_for(10ms);
    pool.reset();
    finish(context);
    CHECK(code(t.error()) == coraii::errc::offload_stopped);
}

TEST_CASE("G13: a context that dies while the pool opens or holds the resource closes it", "[offload]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool while_opening = GENERATE(false, true);
    CAPTURE(s, while_opening);
    asio::thread_pool pool{1};
    shared_log log;
    std::promise<void> may_open;
    if (!while_opening) {
        may_open.set_value();
    }
    {
        const auto open = [&] {
            log.push("opening");
            may_open.get_future().wait();
            return 1;
        };
        asio::io_context context;
        const auto close = [&](int&, coraii::exit_status why) { log.push(why.can_await() ? "?" : "closed"); };
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(coraii::offload(pool, open, close), [&](int&) -> awaitable<void> {
                log.push("body");
                co_await forever();
            });
        };
        task t{context, work(), s};
        while (log.all().empty() || (!while_opening && log.all().back() != "body")) {
            context.run_for(1ms);
        }
    }
    if (while_opening) {
        may_open.set_value();
    }
    pool.join();
    CHECK(log.all() == (while_opening ? events{"opening", "closed"} : events{"opening", "body", "closed"}));
}
