// SPDX-License-Identifier: BSL-1.0
// Bugs that others have reported, each twice: as it was, with the leak; and with coraii, without. README lists them.
#include "support/scenario.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <exception>
#include <stdexcept>
#include <utility>

using namespace test;

namespace {

/// A pool as one writes it: connections are numbers, given out and given back, which takes a turn of the event loop.
class hand_pool {
public:
    explicit hand_pool(int size) : idle_{size} {}

    awaitable<int> acquire() {
        co_await turn();
        if (idle_ == 0) {
            throw std::runtime_error("none left");
        }
        co_return idle_--;
    }
    awaitable<void> release(int /*connection*/) {
        co_await turn();
        ++idle_;
    }
    int idle() const { return idle_; }

    /// The same as a scope.
    coraii::async_scope<int> lease() {
        int connection = co_await acquire();
        co_yield connection;
        co_await release(connection);
    }

private:
    int idle_;
};

/// Runs `work` until it waits, and cancels it then.
template <class Work>
void cancelled_half_way(asio::io_context& context, Work work, const bool& waits) {
    task t{context, work(), slot::connected};
    while (!waits && !t.finished()) {
        context.restart();
        REQUIRE(context.run_one() != 0);
    }
    t.cancel();
    finish(context);
    REQUIRE(t.finished());
}

awaitable<void> wait_forever(bool& waits) {
    waits = true;
    co_await forever();
}

}  // namespace

TEST_CASE("G9, SQLAlchemy #6652 and #8145: a cancelled task keeps its connection", "[reports][cancel]") {
    asio::io_context context;
    hand_pool pool{1};
    bool waits = false;
    const auto by_hand = [&]() -> awaitable<void> {
        const int connection = co_await pool.acquire();
        std::exception_ptr error;
        try {
            co_await wait_forever(waits);
        } catch (...) { error = std::current_exception(); }
        co_await pool.release(connection);  // throws: this coroutine was cancelled
        if (error) {
            std::rethrow_exception(error);
        }
    };
    const auto with_coraii = [&]() -> awaitable<void> {
        co_await coraii::with(pool.lease(), [&](int&) { return wait_forever(waits); });
    };
    SECTION("by hand") {
        cancelled_half_way(context, by_hand, waits);
        CHECK(pool.idle() == 0);
    }
    SECTION("with coraii") {
        cancelled_half_way(context, with_coraii, waits);
        CHECK(pool.idle() == 1);
    }
}

TEST_CASE("G2, asyncpg #464 and #467: what is acquired in the instant of a timeout belongs to nobody", "[reports]") {
    using namespace asio::experimental::awaitable_operators;
    asio::io_context context;
    hand_pool pool{1};
    const auto timeout = []() -> awaitable<void> { co_await turn(); };  // as long as acquiring takes
    const auto by_hand = [&]() -> awaitable<void> { co_await (timeout() || pool.acquire()); };
    const auto with_coraii = [&]() -> awaitable<void> {
        const auto acquire = [&]() -> awaitable<void> { auto lease = co_await pool.lease(); };
        co_await (timeout() || acquire());
        co_await coraii::async_drain(context);
    };
    SECTION("by hand") {
        run(by_hand(), context);
        CHECK(pool.idle() == 0);
    }
    SECTION("with coraii") {
        run(with_coraii(), context);
        CHECK(pool.idle() == 1);
    }
}

TEST_CASE("Pool promise 2, psycopg #1208: a connection is lost when its check is cancelled", "[reports][pool]") {
    asio::io_context context;
    bool checking = false;
    SECTION("by hand") {
        hand_pool pool{1};
        const auto by_hand = [&]() -> awaitable<void> {
            const int connection = co_await pool.acquire();
            co_await wait_forever(checking);  // the check, before anybody is responsible for the connection
            co_await pool.release(connection);
        };
        cancelled_half_way(context, by_hand, checking);
        CHECK(pool.idle() == 0);
    }
    SECTION("with coraii") {
        gate answered{context};
        coraii::pool_hooks<int> hooks;
        hooks.check = [&](int&) -> awaitable<bool> {
            checking = true;
            co_await answered.wait();
            co_return true;
        };
        const auto connect = []() -> coraii::async_scope<int> {
            int connection = 1;
            co_yield connection;
        };
        coraii::pool<int> pool{context, connect, {.max_size = 1, .check_after_idle = 0s}, std::move(hooks)};
        const auto use = [&]() -> awaitable<void> { auto lease = co_await pool.acquire(); };
        task first{context, use(), slot::none};
        while (!first.finished()) {
            context.restart();
            context.run_one();
        }
        task waiting{context, use(), slot::connected};
        while (!checking) {
            context.restart();
            context.run_one();
        }
        waiting.cancel();
        answered.open();
        context.restart();
        context.run_for(20ms);  // the open connection keeps it going
        CHECK(waiting.finished());
        CHECK(pool.stats().idle == 1);
        asio::co_spawn(context, pool.close(), [](std::exception_ptr e) { CHECK(!e); });
        finish(context);
    }
}

TEST_CASE("G9, hail #9307: a cancel between the end of a transaction and the release", "[reports][cancel]") {
    asio::io_context context;
    hand_pool pool{1};
    bool commits = false;
    gate answered{context};
    const auto commit = [&]() -> awaitable<void> {
        commits = true;
        co_await answered.wait();
    };
    const auto by_hand = [&]() -> awaitable<void> {
        const int connection = co_await pool.acquire();
        co_await commit();
        co_await pool.release(connection);
    };
    const auto begin = [&]() -> coraii::async_scope<void> {
        const coraii::exit_status why = co_yield coraii::entered;
        if (why.ok()) {
            co_await commit();
        }
    };
    const auto with_coraii = [&]() -> awaitable<void> {
        co_await coraii::with(pool.lease(), begin(), [](int&) -> awaitable<void> { co_return; });
    };
    const auto cancelled_in_commit = [&](auto work) {
        task t{context, work(), slot::connected};
        while (!commits) {
            context.restart();
            REQUIRE(context.run_one() != 0);
        }
        t.cancel();
        answered.open();
        finish(context);
    };
    SECTION("by hand") {
        cancelled_in_commit(by_hand);
        CHECK(pool.idle() == 0);
    }
    SECTION("with coraii") {
        cancelled_in_commit(with_coraii);
        CHECK(pool.idle() == 1);
    }
}

TEST_CASE("Pool promise 7, asyncmy #156: closing that is cancelled strands a connection", "[reports][pool][cancel]") {
    asio::io_context context;
    int open = 0;
    bool closing = false;
    gate answered{context};
    const auto say_goodbye = [&]() -> awaitable<void> {
        closing = true;
        co_await answered.wait();
        --open;
    };
    const auto cancelled_while_closing = [&](awaitable<void> close) {
        task t{context, std::move(close), slot::connected};
        while (!closing) {
            context.restart();
            context.run_one();
        }
        t.cancel();
        context.restart();
        context.poll();
        answered.open();
        finish(context);
    };
    SECTION("by hand") {
        open = 1;
        cancelled_while_closing(say_goodbye());
        CHECK(open == 1);
    }
    SECTION("with coraii") {
        const auto connect = [&]() -> coraii::async_scope<int> {
            int connection = ++open;
            co_yield connection;
            co_await say_goodbye();
        };
        coraii::pool<int> pool{context, connect};
        bool used = false;
        asio::co_spawn(context, coraii::with(pool.acquire(), [](int&) -> awaitable<void> { co_return; }),
                       [&](std::exception_ptr) { used = true; });
        while (!used) {
            context.restart();
            context.run_one();
        }
        cancelled_while_closing(pool.close());
        CHECK(open == 0);
    }
}

TEST_CASE("G12, cppcoro #38: whoever stops half way never closes the file", "[reports]") {
    asio::io_context context;
    int open = 0;
    const auto close = [&]() -> awaitable<void> {
        co_await turn();
        --open;
    };
    SECTION("by hand") {
        const auto read_all = [&]() -> awaitable<void> {
            ++open;
            co_await turn();  // the first block
            throw std::runtime_error("the reader has seen enough");
            co_await close();
        };
        CHECK_THROWS(run(read_all(), context));
        CHECK(open == 1);
    }
    SECTION("with coraii") {
        const auto open_file = [&]() -> coraii::async_scope<void> {
            ++open;
            co_yield coraii::entered;
            co_await close();
        };
        const auto read_all = [&]() -> awaitable<void> {
            auto file = co_await open_file();
            co_await turn();
            throw std::runtime_error("the reader has seen enough");
        };
        CHECK_THROWS(run(read_all(), context));
        CHECK(open == 0);
    }
}
