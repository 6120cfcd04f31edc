// SPDX-License-Identifier: BSL-1.0
// The core under the fault-injection kit: every form of a scope and every way to use one, with every fault at every
// place. CORAII_SWEEP_PAIRS says at how many pairs of places the same fault strikes twice (the preset `sweep` has more).
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "support/scenario.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/thread_pool.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using coraii::testing::cleanup_order;
using coraii::testing::fault_kind;
using coraii::testing::on_executor;
using coraii::testing::point;
using coraii::testing::probe;
using coraii::testing::scenario;
using coraii::testing::step;
using coraii::testing::sweep_options;
using test::form;
using namespace std::chrono_literals;

namespace {

// ---- the forms

/// Which of a scope's steps wait.
enum class waits { always, in_cleanup, never };

coraii::async_scope<probe> yielded(std::string name, waits w) {
    probe p{std::move(name)};
    if (w == waits::always) {
        co_await p.set_up();
    } else {
        p.set_up_now();
    }
    co_yield p;
    if (w != waits::never) {
        co_await p.clean_up();
        co_await point("after the cleanup");
    } else {
        p.clean_up_now();
    }
}

awaitable<probe> open_probe(std::string name, waits w) {
    probe p{std::move(name)};
    if (w == waits::always) {
        co_await p.set_up();
    } else {
        p.set_up_now();
    }
    co_return p;
}

class manager {
public:
    manager(std::string name, waits w) : name_{std::move(name)}, waits_{w} {}

    awaitable<std::string> enter() {
        probe_ = co_await open_probe(name_, waits_);
        co_return name_;
    }
    auto exit(const coraii::exit_status&) { return probe_->clean_up(); }

private:
    std::string name_;
    waits waits_;
    std::optional<probe> probe_;
};

/// Calls `f` with the maker of scopes of a form: their resources are of different types. No cleanup is a coroutine of
/// its own, but for the co_yield form's, which exists before setup: there may be no memory for its frame.
template <class F>
auto in_form(form f, waits w, F with_maker) {
    if (f == form::co_yielded) {
        return with_maker([w](const char* name) { return yielded(name, w); });
    }
    if (f == form::object) {
        return with_maker([w](const char* name) { return coraii::scoped(manager{name, w}); });
    }
    if (w == waits::never) {
        return with_maker([w](const char* name) {
            return coraii::async_scope{open_probe(name, w), [](probe& p) { p.clean_up_now(); }};
        });
    }
    return with_maker([w](const char* name) {
        return coraii::async_scope{open_probe(name, w), [](probe& p) { return p.clean_up(); }};
    });
}

awaitable<void> body() {
    co_await point("the body");
    co_await point("the body, once more");
}

// ---- sweeping

std::size_t pairs() {
    const char* const given = std::getenv("CORAII_SWEEP_PAIRS");
    return given != nullptr ? std::strtoul(given, nullptr, 10) : test::sanitized ? 10 : 60;
}

std::size_t all_runs = 0;

void sweep(const std::string& name, const scenario& s, sweep_options options = {}) {
    options.pairs = pairs();
    options.executors = {on_executor::context, on_executor::strand, on_executor::forwarding};
    const auto report = coraii::testing::sweep(s, options);
    all_runs += report.runs;
    std::ostringstream text;
    text << report;
    INFO(name << ": " << text.str());
    CHECK(report.ok());
    CHECK(report.points > 0);
    if (std::getenv("CORAII_SWEEP_VERBOSE") != nullptr) {
        std::printf("%s: %s\n", name.c_str(), text.str().c_str());
    }
}

const std::vector<form> forms{form::co_yielded, form::pair, form::object};
const std::vector<waits> all_waits{waits::always, waits::in_cleanup, waits::never};

/// Sweeps `use(make)` for each form of scope.
template <class Use>
void sweep_forms(const std::string& name, Use use, const sweep_options& options = {}) {
    for (const form f : forms) {
        for (const waits w : all_waits) {
            if (f == form::object && w == waits::never) {
                continue;  // its cleanup has to be awaited
            }
            std::ostringstream text;
            text << name << ", " << f << ", waits " << static_cast<int>(w);
            sweep(text.str(), in_form(f, w, [use](auto make) -> scenario { return [use, make] { return use(make); }; }),
                  options);
        }
    }
}

const sweep_options structured{.order = cleanup_order::nested};
/// Of what exists already when it comes into a scope, and is lost if the scope cannot begin.
const sweep_options begins_well{
    .order = cleanup_order::nested,
    .kinds = {fault_kind::exception, fault_kind::cancel, fault_kind::cancel_inside, fault_kind::context_destroyed}};
const sweep_options dropped{.order = cleanup_order::reverse};

}  // namespace

TEST_CASE("sweep: with of one, two and three scopes", "[sweep]") {
    sweep_forms(
        "with of one",
        [](auto make) -> awaitable<void> { co_await coraii::with(make("a"), [](auto&) { return body(); }); },
        structured);
    sweep_forms(
        "with of two",
        [](auto make) -> awaitable<void> {
            co_await coraii::with(make("a"), make("b"), [](auto&, auto&) { return body(); });
        },
        structured);
    sweep_forms(
        "with of three",
        [](auto make) -> awaitable<void> {
            co_await coraii::with(make("a"), make("b"), make("c"), [](auto&, auto&, auto&) { return body(); });
            co_await point("after it");
        },
        structured);
}

TEST_CASE("sweep: with inside with, and try_with", "[sweep]") {
    sweep_forms(
        "nested",
        [](auto make) -> awaitable<void> {
            co_await coraii::with(make("session"), [&](auto&) -> awaitable<void> {
                co_await coraii::with(make("first"), [](auto&) { return body(); });
                co_await coraii::with(make("second"), [](auto&) { return body(); });
            });
        },
        structured);
    sweep_forms(
        "try_with",
        [](auto make) -> awaitable<void> {
            const auto result = co_await coraii::try_with(make("a"), [](auto&) { return body(); });
            if (!result) {
                std::rethrow_exception(result.error());
            }
        },
        structured);
}

TEST_CASE("sweep: guards that are closed", "[sweep]") {
    sweep_forms(
        "close",
        [](auto make) -> awaitable<void> {
            auto g = co_await make("a");
            co_await body();
            co_await g.close();
        },
        dropped);  // where the body throws
    const auto close_with_status = [](auto make) -> awaitable<void> {
        auto g = co_await make("a");
        std::exception_ptr error;
        try {
            co_await body();
        } catch (...) { error = std::current_exception(); }
        co_await asio::this_coro::throw_if_cancelled(false);
        const auto how = error ? coraii::exit_reason::failed : coraii::exit_reason::completed;
        const coraii::exit_status status{how, error};
        co_await g.close(status);
        co_await asio::this_coro::throw_if_cancelled(true);
        if (error) {
            std::rethrow_exception(error);
        }
    };
    sweep_options whatever_happens{.keeps_cancellation_state = false};
    std::erase(whatever_happens.kinds, fault_kind::no_memory);
    sweep_forms("close with a status, whatever happens", close_with_status, whatever_happens);
    sweep_forms("close with a status, and without memory",  // for closing: then the guard counts as dropped
                close_with_status,
                {.order = cleanup_order::reverse, .keeps_cancellation_state = false, .kinds = {fault_kind::no_memory}});
}

TEST_CASE("sweep: guards that are dropped, moved, assigned over and released", "[sweep]") {
    sweep_forms(
        "dropped",
        [](auto make) -> awaitable<void> {
            auto a = co_await make("a");
            auto b = co_await make("b");
            co_await body();
        },
        dropped);
    sweep_forms("moved and assigned over",
                [](auto make) -> awaitable<void> {
                    auto a = co_await make("a");
                    {
                        auto b = co_await make("b");
                        co_await body();
                        a = std::move(b);
                    }
                    co_await body();
                    a.reset();
                    co_await point("after the reset");
                },
                {.order = cleanup_order::any});
    sweep(
        "released",
        [&]() -> awaitable<void> {
            auto a = co_await yielded("a", waits::always);
            co_await point("before the release");
            probe p = a.release();
            p.released();
            co_await point("after the release");
        },
        dropped);
}

namespace {

coraii::async_scope<probe> composite() {
    auto inner = co_await yielded("inner", waits::always);
    probe p{"outer"};
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}

/// A transaction holds its session: the session is cleaned after it, however they are dropped.
coraii::async_scope<coraii::scope_handle> session() {
    probe p{"session"};
    coraii::scope_handle self = co_await coraii::this_scope;
    co_await p.set_up();
    co_yield self;
    co_await p.clean_up();
}

coraii::async_scope<probe> transaction(coraii::scope_handle& of) {
    const coraii::scope_hold keeps = of.hold();
    probe p{"transaction"};
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}

}  // namespace

TEST_CASE("sweep: scopes that hold others", "[sweep]") {
    sweep(
        "dropped together",
        []() -> awaitable<void> {
            auto s = co_await session();
            auto t = co_await transaction(*s);
            co_await body();
        },
        dropped);
    sweep(
        "the held one closed first",
        []() -> awaitable<void> {
            auto s = co_await session();
            auto t = co_await transaction(*s);
            co_await body();
            t.reset();
            co_await s.close();
        },
        dropped);
    sweep(
        "with, and a guard inside",
        []() -> awaitable<void> {
            co_await coraii::with(session(), [](coraii::scope_handle& s) -> awaitable<void> {
                auto t = co_await transaction(s);
                co_await body();
            });
        },
        structured);
}

TEST_CASE("sweep: scopes that use scopes", "[sweep]") {
    const auto outer = []() -> coraii::async_scope<probe> {
        auto inner = co_await yielded("inner", waits::always);
        probe p{"outer"};
        co_await p.set_up();
        const coraii::exit_status why = co_yield p;
        co_await p.clean_up();
        co_await coraii::with(yielded("in the cleanup", waits::always), [](probe&) { return body(); });
        co_await inner.close(why);
    };
    const auto in_with = [=]() -> awaitable<void> { co_await coraii::with(outer(), [](probe&) { return body(); }); };
    const auto in_guard = [=]() -> awaitable<void> {
        auto g = co_await outer();
        co_await body();
    };
    // Where the cleanup of the outer one fails, its inner guard is dropped; where it is destroyed for want of memory,
    // that overtakes the scope that is open in it.
    sweep_options options{dropped};
    std::erase(options.kinds, fault_kind::no_memory);
    sweep("with", in_with, options);
    sweep("guard", in_guard, options);
    options = {.order = cleanup_order::any, .kinds = {fault_kind::no_memory}};
    sweep("with, without memory", in_with, options);
    sweep("guard, without memory", in_guard, options);
}

TEST_CASE("sweep: joined", "[sweep]") {
    sweep_forms(
        "dropped inside",
        [](auto make) -> awaitable<void> {
            co_await coraii::joined([&]() -> awaitable<void> {
                auto a = co_await make("a");
                auto b = co_await make("b");
                co_await body();
            });
            co_await point("after it");
        },
        structured);
    sweep_forms(
        "region in region, with in it, and a guard that leaves both",
        [](auto make) -> awaitable<void> {
            auto left = co_await coraii::joined([&]() -> awaitable<typename decltype(make("a"))::guard_type> {
                auto a = co_await make("a");
                co_await coraii::joined([&]() -> awaitable<void> {
                    auto b = co_await make("b");
                    co_await coraii::with(make("c"), [](auto&) { return body(); });
                });
                co_return std::move(a);
            });
            co_await left.close();
        },
        dropped);
    sweep(
        "a session and its transaction",
        []() -> awaitable<void> {
            co_await coraii::joined([]() -> awaitable<void> {
                auto s = co_await session();
                auto t = co_await transaction(*s);
                co_await body();
            });
        },
        structured);
    sweep("a scope that uses a scope",
          []() -> awaitable<void> {
              co_await coraii::joined([]() -> awaitable<void> {
                  auto first = co_await yielded("first", waits::always);
                  auto second = co_await composite();
                  co_await body();
              });
          },
          {.order = cleanup_order::any});  // in a dying context a frame goes after those that it was to go before
    sweep(
        "a stack",
        []() -> awaitable<void> {
            co_await coraii::joined([]() -> awaitable<void> {
                coraii::exit_stack stack{co_await asio::this_coro::executor};
                co_await stack.enter(yielded("a", waits::always));
                co_await stack.enter(yielded("b", waits::in_cleanup));
                co_await body();
            });
        },
        structured);
    sweep("guards of a child coroutine",
          []() -> awaitable<void> {
              co_await coraii::joined([]() -> awaitable<void> {
                  const auto child = []() -> awaitable<void> {
                      auto a = co_await yielded("a", waits::always);
                      co_await body();
                  };
                  auto b = co_await yielded("b", waits::always);
                  co_await asio::co_spawn(co_await asio::this_coro::executor, child, asio::use_awaitable);
              });
          },
          {.order = cleanup_order::any});
}

TEST_CASE("sweep: exit_stack", "[sweep]") {
    sweep_forms(
        "five in a with",
        [](auto make) -> awaitable<void> {
            co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                for (const char* name : {"a", "b", "c", "d", "e"}) {
                    co_await stack.enter(make(name));
                }
                co_await body();
            });
        },
        structured);
    sweep_forms(
        "dropped",
        [](auto make) -> awaitable<void> {
            coraii::exit_stack stack{co_await asio::this_coro::executor};
            for (const char* name : {"a", "b", "c"}) {
                co_await stack.enter(make(name));
            }
            co_await body();
        },
        dropped);
    sweep(
        "deferred and adopted",
        []() -> awaitable<void> {
            co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                auto p = std::make_shared<probe>("deferred");
                co_await point("before it");
                stack.defer([p]() -> awaitable<void> { co_await p->clean_up(); });
                p->set_up_now();
                probe q{"adopted"};
                q.set_up_now();
                stack.adopt(std::move(q), [](probe& adopted) { return adopted.clean_up(); });
                co_await body();
            });
        },
        begins_well);
    sweep(
        "closed, used again and moved",
        []() -> awaitable<void> {
            coraii::exit_stack stack{co_await asio::this_coro::executor};
            co_await stack.enter(yielded("a", waits::always));
            co_await stack.close();
            co_await stack.enter(yielded("b", waits::always));
            coraii::exit_stack moved{std::move(stack)};
            co_await moved.enter(yielded("c", waits::always));
            co_await moved.close();
        },
        dropped);
}

TEST_CASE("sweep: tasks", "[sweep]") {
    sweep_forms(
        "of one scope",
        [](auto make) -> coraii::task<> {
            co_await coraii::enter(make("a"));
            co_await body();
        },
        structured);
    sweep_forms(
        "of three scopes",
        [](auto make) -> coraii::task<> {
            co_await coraii::enter(make("a"));
            co_await point("between them");
            co_await coraii::enter(make("b"));
            co_await coraii::enter(make("c"));
            co_await body();
        },
        structured);
    sweep_forms(
        "a task, a with and a stack in a task",
        [](auto make) -> coraii::task<> {
            const auto inner = [](auto make_inner) -> coraii::task<> {
                co_await coraii::enter(make_inner("inner"));
                co_await coraii::with(make_inner("with"), [](auto&) { return body(); });
            };
            co_await coraii::enter(make("outer"));
            co_await inner(make);
            co_await coraii::enter(make("outer, too"));
            coraii::exit_stack& stack = co_await coraii::this_stack;
            co_await stack.enter(make("in the stack"));
            co_await coraii::enter(make("above it"));
            co_await point("the end");
        },
        structured);
    sweep(
        "of which one cleanup is timed",
        []() -> coraii::task<> {
            co_await coraii::enter(yielded("a", waits::always));
            co_await coraii::enter(yielded("timed", waits::always).cleanup_timeout(1h));
            co_await coraii::enter(yielded("c", waits::in_cleanup));
            co_await body();
        },
        structured);
    sweep(
        "a session and its transaction",
        []() -> coraii::task<> {
            auto& s = co_await coraii::enter(session());
            co_await coraii::enter(transaction(s));
            co_await body();
        },
        structured);
    sweep(
        "a guard that holds a scope of it",
        []() -> coraii::task<> {
            auto& s = co_await coraii::enter(session());
            auto t = co_await transaction(s);
            co_await body();
        },
        structured);
    sweep(
        "deferred",
        []() -> coraii::task<> {
            probe p{"deferred"};
            auto shared = std::make_shared<probe>(std::move(p));
            co_await point("before it");
            shared->set_up_now();
            auto clean_up = [shared]() -> awaitable<void> {
                co_await shared->clean_up();
            };  // named: see README of g++ 12
            co_await coraii::defer(std::move(clean_up));
            co_await coraii::enter(yielded("a", waits::always));
            co_await body();
        },
        begins_well);
    sweep_forms(
        "in a region",
        [](auto make) -> awaitable<void> {
            co_await coraii::joined([&]() -> coraii::task<> {
                co_await coraii::enter(make("a"));
                co_await coraii::enter(make("b"));
                co_await body();
            });
        },
        structured);
}

TEST_CASE("sweep: a task's stack is moved out", "[sweep]") {
    sweep_forms(
        "and closed",
        [](auto make) -> awaitable<void> {
            const auto open = [](auto make_inside) -> coraii::task<coraii::exit_stack> {
                co_await coraii::enter(make_inside("a"));
                co_await coraii::enter(make_inside("b"));
                co_await body();
                co_return std::move(co_await coraii::this_stack);
            };
            coraii::exit_stack opened = co_await open(make);
            co_await point("outside");
            co_await opened.close();
        },
        dropped);
    // Two are cleaned at once here. Without memory for its queue, an executor that takes none from us leaves one of them
    // for the end of the context.
    sweep_options any_order{.order = cleanup_order::any};
    std::erase(any_order.kinds, fault_kind::no_memory);
    sweep_forms(
        "and dropped",
        [](auto make) -> coraii::task<> {
            coraii::exit_stack moved{co_await asio::this_coro::executor};
            co_await coraii::enter(make("a"));
            co_await coraii::enter(make("b"));
            co_await body();
            moved = std::move(co_await coraii::this_stack);
            co_await coraii::enter(make("c"));
            co_await point("with both");
            coraii::exit_stack gone = std::move(moved);
        },
        any_order);
}

TEST_CASE("sweep: offload", "[sweep]") {
    // On the same context, so that it is the same each time.
    sweep(
        "to the event loop itself",
        []() -> awaitable<void> {
            const auto executor = co_await asio::this_coro::executor;
            auto p = std::make_shared<probe>("blocking");
            const auto open = [p] {
                p->set_up_now();
                return p;
            };
            const auto close = [](std::shared_ptr<probe>& opened) { opened->clean_up_now(); };
            co_await coraii::with(coraii::offload(executor, open, close),
                                  [](std::shared_ptr<probe>& opened) -> awaitable<void> { co_await opened->use(); });
        },
        structured);
}

TEST_CASE("sweep: cleanup_timeout", "[sweep]") {
    const auto slow = [](bool stalls) -> coraii::async_scope<probe> {
        probe p{"slow"};
        co_await p.set_up();
        if (stalls) {
            p.stall_at(step::cleanup);
        }
        co_yield p;
        co_await p.clean_up();
    };
    for (const bool stalls : {false, true}) {
        sweep_options options{.order = cleanup_order::nested, .cleanups_may_be_cancelled = stalls};
        if (stalls) {
            options.may_throw = true;  // that it took too long
            std::erase(options.kinds, fault_kind::no_memory);  // without a deadline it would stall for ever
        }
        sweep(
            "with",
            [=]() -> awaitable<void> {
                co_await coraii::with(slow(stalls).cleanup_timeout(1h), [](probe&) { return body(); });
            },
            options);
        options.order = cleanup_order::reverse;
        sweep(
            "dropped",
            [=]() -> awaitable<void> {
                auto g = co_await slow(stalls).cleanup_timeout(1h);
                co_await body();
            },
            options);
        sweep(
            "two in a with, and a guard closed",
            [=]() -> awaitable<void> {
                co_await coraii::with(slow(stalls).cleanup_timeout(2h), slow(stalls).cleanup_timeout(1h),
                                      [](probe&, probe&) { return body(); });
                auto g = co_await slow(stalls).cleanup_timeout(1h);
                co_await body();
                co_await g.close();
            },
            options);
    }
}

TEST_CASE("sweep: races of awaitable_operators", "[sweep]") {
    using namespace asio::experimental::awaitable_operators;
    sweep_options options{.order = cleanup_order::any, .errors_may_be_swallowed = true};
    // A wait of Asio's timer whose start or end is destroyed leaves its cancellation handler behind.
    std::erase(options.kinds, fault_kind::no_memory);
    std::erase(options.kinds, fault_kind::coroutine_destroyed);
    sweep(
        "a scope that loses against a timer",
        []() -> awaitable<void> {
            const auto use = []() -> awaitable<void> {
                co_await coraii::with(yielded("a", waits::always),
                                      [](probe&) -> awaitable<void> { co_await coraii::testing::delay(2h); });
            };
            co_await (use() || coraii::testing::delay(1h));
        },
        options);
    sweep(
        "two scopes at once",
        []() -> awaitable<void> {
            const auto use = [](const char* name) -> awaitable<void> {
                co_await coraii::with(yielded(name, waits::always), [](probe&) { return body(); });
            };
            co_await (use("a") && use("b"));
        },
        options);
}

TEST_CASE("sweep: this many runs it was", "[sweep]") {
    std::printf("sweep: %zu runs\n", all_runs);
    SUCCEED();
}
