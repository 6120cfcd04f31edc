// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_SCENARIO_HPP
#define CORAII_TESTS_SUPPORT_SCENARIO_HPP

// What the tests of the guarantees share: an event log, a resource that writes into it, the forms a scope can be
// written in, and the ways it can be used. No test waits for wall-clock time to pass in its favour.

#include "coraii/coraii.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace test {

namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;

using events = std::vector<std::string>;

// Under a sanitizer everything is ten times as slow, and a stack overflow shows as early.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CORAII_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CORAII_TEST_SANITIZED 1
#endif
#endif
#ifndef CORAII_TEST_SANITIZED
#define CORAII_TEST_SANITIZED 0
#endif
inline constexpr bool sanitized = CORAII_TEST_SANITIZED;

// ---- suspending

/// Suspends once: goes round the event loop.
inline awaitable<void> turn() {
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
}

/// Suspends until cancelled (or the context dies).
inline awaitable<void> forever() {
    asio::steady_timer never{co_await asio::this_coro::executor, asio::steady_timer::time_point::max()};
    co_await never.async_wait(asio::use_awaitable);
}

/// Opened once, by anybody on the same thread; a wait for it can be cancelled.
class gate {
public:
    explicit gate(asio::io_context& context) : timer_{context, asio::steady_timer::time_point::max()} {}

    awaitable<void> wait() {
        if (!open_) {
            boost::system::error_code ec;
            co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
            if (!open_) {
                throw boost::system::system_error(ec);
            }
        }
    }
    void open() {
        open_ = true;
        timer_.cancel();
    }

private:
    asio::steady_timer timer_;
    bool open_ = false;
};

// ---- the resource

struct plan {
    bool setup_suspends = false;
    bool setup_throws = false;
    bool cleanup_suspends = false;
    bool cleanup_throws = false;
};

struct item {
    events* log = nullptr;
    std::string name;
};

inline const char* to_string(coraii::exit_reason reason) {
    switch (reason) {
        case coraii::exit_reason::completed: return "completed";
        case coraii::exit_reason::failed: return "failed";
        case coraii::exit_reason::cancelled: return "cancelled";
        case coraii::exit_reason::abandoned: return "abandoned";
    }
    return "?";
}

inline awaitable<item> set_up(events& log, std::string name, plan p) {
    log.push_back("setup " + name);
    if (p.setup_suspends) {
        co_await turn();
    }
    if (p.setup_throws) {
        throw std::runtime_error("setup of " + name);
    }
    co_return item{&log, name};
}

inline awaitable<void> clean_up(item& i, plan p, coraii::exit_status why) {
    i.log->push_back("cleanup " + i.name + " " + to_string(why.reason()));
    if (p.cleanup_suspends) {
        co_await turn();
    }
    if (p.cleanup_throws) {
        i.log->push_back("cleanup " + i.name + " throws");
        throw std::runtime_error("cleanup of " + i.name);
    }
    i.log->push_back("cleaned " + i.name);
}

// ---- the forms

enum class form { co_yielded, pair, object };

inline std::ostream& operator<<(std::ostream& out, form f) {
    return out << (f == form::co_yielded ? "co_yield" : f == form::pair ? "pair" : "object");
}

inline coraii::async_scope<item> yielded_scope(events& log, std::string name, plan p) {
    item i = co_await set_up(log, std::move(name), p);
    const coraii::exit_status why = co_yield i;
    co_await clean_up(i, p, why);
}

class item_manager {
public:
    item_manager(events& log, std::string name, plan p) : log_{&log}, name_{std::move(name)}, plan_{p} {}

    awaitable<item> enter() {
        item_ = co_await set_up(*log_, name_, plan_);
        co_return item_;
    }
    awaitable<void> exit(coraii::exit_status why) { return clean_up(item_, plan_, std::move(why)); }

private:
    events* log_;
    std::string name_;
    plan plan_;
    item item_;
};

inline coraii::async_scope<item> make(form f, events& log, std::string name, plan p = {}) {
    switch (f) {
        case form::co_yielded: return yielded_scope(log, std::move(name), p);
        case form::pair:
            return coraii::async_scope{set_up(log, std::move(name), p), [p](item& i, coraii::exit_status why) {
                                           return clean_up(i, p, std::move(why));
                                       }};
        case form::object: return coraii::scoped(item_manager{log, std::move(name), p});
    }
    throw std::logic_error("no such form");
}

// ---- running

/// Runs what is left to run. Fails the test if that does not come to an end.
inline void finish(asio::io_context& context) {
    context.restart();
    context.run_for(60s);
    REQUIRE(context.stopped());
}

enum class slot { none, connected };

inline std::ostream& operator<<(std::ostream& out, slot s) {
    return out << (s == slot::none ? "no cancellation slot" : "slot connected");
}

/// A coroutine under test, with or without a cancellation slot.
class task {
public:
    task(asio::io_context& context, awaitable<void> work, slot s) {
        auto done = [this](std::exception_ptr e) {
            finished_ = true;
            error_ = std::move(e);
        };
        if (s == slot::none) {
            asio::co_spawn(context, std::move(work), done);
        } else {
            asio::co_spawn(context, std::move(work), asio::bind_cancellation_slot(signal_.slot(), done));
        }
    }
    task(const task&) = delete;
    task& operator=(const task&) = delete;

    void cancel(asio::cancellation_type type = asio::cancellation_type::terminal) { signal_.emit(type); }
    [[nodiscard]] bool finished() const { return finished_; }
    [[nodiscard]] const std::exception_ptr& error() const { return error_; }

private:
    asio::cancellation_signal signal_;
    bool finished_ = false;
    std::exception_ptr error_;
};

/// Runs a coroutine to its end, and rethrows what it threw. Nothing may be left behind.
inline void run(awaitable<void> work, asio::io_context& context, slot s = slot::none) {
    task t{context, std::move(work), s};
    finish(context);
    REQUIRE(t.finished());
    const auto left = coraii::stats(context);
    CHECK(left.open == 0);
    CHECK(left.closing == 0);
    if (t.error()) {
        std::rethrow_exception(t.error());
    }
}
inline void run(awaitable<void> work, slot s = slot::none) {
    asio::io_context context;
    run(std::move(work), context, s);
}

inline std::string what(const std::exception_ptr& error) {
    if (!error) {
        return "no error";
    }
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) { return e.what(); } catch (int i) {
        return "int " + std::to_string(i);
    } catch (...) { return "?"; }
}

inline boost::system::error_code code(const std::exception_ptr& error) {
    if (error) {
        try {
            std::rethrow_exception(error);
        } catch (const boost::system::system_error& e) { return e.code(); } catch (...) {
        }
    }
    return {};
}

/// Collects what goes to `on_cleanup_error`.
class reports {
public:
    struct entry {
        std::exception_ptr error, suppressed_by;
        std::string name;
        unsigned line;
    };

    explicit reports(asio::io_context& context) {
        coraii::on_cleanup_error(context, [this](const coraii::cleanup_failure& f) {
            all.push_back({f.error, f.suppressed_by, std::string{f.name}, f.where.line()});
        });
    }
    std::vector<entry> all;
};

}  // namespace test

#endif
