// SPDX-License-Identifier: BSL-1.0
// A fake server for tests of pools: it counts what is open, and tells what has happened.
#ifndef CORAII_TESTS_SUPPORT_POOL_HPP
#define CORAII_TESTS_SUPPORT_POOL_HPP

#include "coraii/async_scope.hpp"
#include "coraii/pool.hpp"
#include "coraii/testing.hpp"
#include "coraii/with.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace test {

namespace asio = boost::asio;
using asio::awaitable;
using coraii::testing::clock;
using coraii::testing::delay;
using namespace std::chrono_literals;

#ifdef CORAII_NO_RECYCLING
inline constexpr bool recycling = false;  // under sanitizers
#else
inline constexpr bool recycling = true;
#endif

struct connection {
    explicit connection(int n) : id{n} {}
    connection(connection&&) = default;
    int id;
};

struct server {
    clock::duration open_time = 10ms;
    clock::duration close_time = 1ms;
    int fail = 0;  // so many openings fail first
    int made = 0;
    int open = 0;    // from the begin of opening to the end of cleanup
    int opening = 0;
    int cleaned = 0;
    int most_open = 0;
    int most_opening = 0;
    std::function<void()> at_close = [] {};
    std::vector<std::string> log;

    void note(std::string what) { log.push_back(std::move(what)); }
};

inline coraii::async_scope<connection> connect(server& s) {
    struct counted {
        int& n;
        explicit counted(int& count, int& most) : n{count} { most = std::max(most, ++n); }
        counted(const counted&) = delete;
        counted& operator=(const counted&) = delete;
        ~counted() { --n; }
    };
    const counted open{s.open, s.most_open};
    {
        const counted opening{s.opening, s.most_opening};
        co_await delay(s.open_time);
        if (s.fail > 0) {
            --s.fail;
            throw std::runtime_error("no answer from the server");
        }
    }
    connection c{++s.made};
    const coraii::exit_status why = co_yield c;
    if (why.can_await() && s.close_time > clock::duration::zero()) {
        co_await delay(s.close_time);
    }
    s.note((why.ok() ? "close " : "abort ") + std::to_string(c.id));
    ++s.cleaned;
    s.at_close();
}

inline std::function<coraii::async_scope<connection>()> connects(server& s) {
    return [&s] { return connect(s); };
}

/// A run in virtual time.
inline void run(const std::function<awaitable<void>()>& coroutine) {
    coraii::testing::run([&]() -> awaitable<void> { return coroutine(); });
}

/// A coroutine beside the test's, which can be cancelled. It may outlive this.
class beside {
public:
    beside(const asio::any_io_executor& executor, std::function<awaitable<void>()> work)
        : it_{std::make_shared<state>(std::move(work))} {
        asio::co_spawn(executor, it_->work(),
                       asio::bind_cancellation_slot(it_->signal.slot(), [it = it_](std::exception_ptr e) {
                           it->error = std::move(e);
                           it->ended = true;
                       }));
    }

    void cancel(asio::cancellation_type type = asio::cancellation_type::terminal) { it_->signal.emit(type); }
    bool ended() const { return it_->ended; }

    /// What it threw, or "ok", or "runs".
    std::string what() const {
        try {
            rethrow();
        } catch (const std::exception& e) { return e.what(); }
        return ended() ? "ok" : "runs";
    }
    boost::system::error_code code() const {
        try {
            rethrow();
        } catch (const boost::system::system_error& e) { return e.code(); } catch (...) {
        }
        return {};
    }

private:
    struct state {
        explicit state(std::function<awaitable<void>()> w) : work{std::move(w)} {}
        std::function<awaitable<void>()> work;
        asio::cancellation_signal signal;
        bool ended = false;
        std::exception_ptr error;
    };

    void rethrow() const {
        if (it_->error) {
            std::rethrow_exception(it_->error);
        }
    }

    std::shared_ptr<state> it_;
};

/// Uses a resource for so long.
inline awaitable<void> use(
    coraii::pool<connection>& pool, clock::duration time, std::function<void(connection&)> first = [](connection&) {}) {
    auto body = [&](connection& c) -> awaitable<void> {
        first(c);
        if (time > time.zero()) {
            co_await delay(time);
        }
    };
    co_await coraii::with(pool.acquire(), body);
}

}  // namespace test

#endif
