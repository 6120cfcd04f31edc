// SPDX-License-Identifier: BSL-1.0
// Tasks that are destroyed half-way, and contexts that die.
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

using namespace test;

namespace {

/// A wait whose handler, and with it the coroutine, is destroyed when it says so.
class cut {
public:
    awaitable<void> wait() {
        co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(
            [this](auto handler) { kept_ = std::make_unique<keeps<decltype(handler)>>(std::move(handler)); },
            asio::use_awaitable);
    }
    void now() { kept_.reset(); }

private:
    struct base {
        base() = default;
        base(const base&) = delete;
        base& operator=(const base&) = delete;
        virtual ~base() = default;
    };
    template <class Handler>
    struct keeps : base {
        explicit keeps(Handler h) : handler{std::move(h)} {}
        Handler handler;
    };
    std::unique_ptr<base> kept_;
};

auto wait_for(cut& c) {
    return [&c] { return c.wait(); };
}

enum class at { setup, body, cleanup };

std::ostream& operator<<(std::ostream& out, at a) {
    return out << (a == at::setup ? "setup" : a == at::body ? "body" : "cleanup");
}

struct says_when_destroyed {
    events* log;
    const char* text;
    ~says_when_destroyed() { log->emplace_back(text); }
};

using wait_function = std::function<awaitable<void>()>;

coraii::async_scope<item> scope(events& log, std::string name, wait_function in_setup = nullptr,
                                wait_function in_cleanup = nullptr) {
    log.push_back("setup " + name);
    if (in_setup) {
        co_await in_setup();
    }
    item i{&log, name};
    const coraii::exit_status why = co_yield i;
    log.push_back("cleanup " + name + " " + to_string(why.reason()) + (why.can_await() ? "" : ", cannot wait"));
    if (in_cleanup) {
        co_await in_cleanup();
    }
    co_await turn();
    log.push_back("cleaned " + name);
}

coraii::task<> destroyed_at(at where, events& log, wait_function wait) {
    const says_when_destroyed local{&log, "~local"};
    co_await coraii::enter(scope(log, "a"));
    co_await coraii::enter(scope(log, "b"));
    co_await coraii::enter(scope(log, "c", where == at::setup ? wait : nullptr, where == at::cleanup ? wait : nullptr));
    if (where == at::body) {
        co_await wait();
    }
}

}  // namespace

TEST_CASE("G27: a task that is destroyed half-way leaves its scopes in the background, the last entered first",
          "[task][context]") {
    const auto where = GENERATE(at::setup, at::body, at::cleanup);
    CAPTURE(where);
    asio::io_context context;
    reports reported{context};
    events log;
    cut c;
    bool finished = false;
    asio::co_spawn(context, destroyed_at(where, log, wait_for(c)), [&](const std::exception_ptr&) { finished = true; });
    context.poll();
    CHECK_FALSE(finished);
    log.push_back("cut");
    c.now();
    finish(context);
    CHECK_FALSE(finished);
    const auto left = coraii::stats(context);
    CHECK(left.open == 0);
    CHECK(left.closing == 0);
    switch (where) {
        case at::setup:
            CHECK(log == events{"setup a", "setup b", "setup c", "cut", "~local", "cleanup b abandoned", "cleaned b",
                                "cleanup a abandoned", "cleaned a"});
            break;
        case at::body:
            CHECK(log == events{"setup a", "setup b", "setup c", "cut", "~local", "cleanup c abandoned", "cleaned c",
                                "cleanup b abandoned", "cleaned b", "cleanup a abandoned", "cleaned a"});
            break;
        case at::cleanup:
            CHECK(log == events{"setup a", "setup b", "setup c", "~local", "cleanup c completed", "cut",
                                "cleanup b abandoned", "cleaned b", "cleanup a abandoned", "cleaned a"});
            break;
    }
}

TEST_CASE("G27: a setup or cleanup on a thread of its own that is destroyed is the task's error", "[task][context]") {
    const auto where = GENERATE(at::setup, at::cleanup);
    CAPTURE(where);
    asio::io_context context;
    events log;
    cut c;
    task t{context, destroyed_at(where, log, wait_for(c)), slot::connected};
    context.poll();
    c.now();
    finish(context);
    if (where == at::cleanup) {
        CHECK(code(t.error()) == coraii::errc::cleanup_destroyed);
        CHECK(log == events{"setup a", "setup b", "setup c", "~local", "cleanup c completed", "cleanup b failed",
                            "cleaned b", "cleanup a failed", "cleaned a"});
    }
    CHECK(coraii::stats(context).open == 0);
}

TEST_CASE("G27, G13: a context that dies leaves a task's scopes, the last entered first, as far as that goes",
          "[task][context]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto where = GENERATE(at::setup, at::body, at::cleanup);
    CAPTURE(s, where);
    events log;
    {
        std::optional<asio::io_context> context{std::in_place};
        task t{*context, destroyed_at(where, log, forever), s};
        context->poll();
        log.push_back("dies");
        context.reset();
        CHECK_FALSE(t.finished());
    }
    events cleanups;
    for (const std::string& event : log) {
        if (event.starts_with("cleanup")) {
            cleanups.push_back(event.substr(0, 9));
        }
    }
    if (where == at::setup) {
        CHECK(cleanups == events{"cleanup b", "cleanup a"});
    } else {
        CHECK(cleanups == events{"cleanup c", "cleanup b", "cleanup a"});
    }
}

TEST_CASE("G24: a task that is never awaited runs nothing and leaks nothing", "[task]") {
    events log;
    {
        cut c;
        const coraii::task<> never = destroyed_at(at::body, log, wait_for(c));
        CHECK(never.valid());
        const coraii::task<> empty;
        CHECK_FALSE(empty.valid());
    }
    CHECK(log.empty());
}

TEST_CASE("G27, G19: run() does not return while a stack that was moved out of a task is open", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::io_context context;
    events log;
    std::optional<coraii::exit_stack> kept;
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(scope(log, "a"));
        kept.emplace(std::move(co_await coraii::this_stack));
    };
    task t{context, work(), s};
    context.run_for(20ms);
    CHECK(t.finished());
    CHECK_FALSE(context.stopped());
    kept.reset();
    finish(context);
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G27, G13: a stack that was moved out of a task is cleaned when the context dies", "[task][context]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    std::optional<coraii::exit_stack> kept;
    {
        asio::io_context context;
        const auto work = [&]() -> coraii::task<> {
            co_await coraii::enter(scope(log, "a"));
            co_await coraii::enter(scope(log, "b"));
            kept.emplace(std::move(co_await coraii::this_stack));
        };
        task t{context, work(), s};
        context.run_for(20ms);
        CHECK(t.finished());
    }
    CHECK(log == events{"setup a", "setup b", "cleanup b abandoned, cannot wait", "cleanup a abandoned, cannot wait"});
}
