// SPDX-License-Identifier: BSL-1.0
// Several scopes at once (G29), in virtual time.
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "support/scenario.hpp"
#include "support/sweep.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using coraii::all;
using coraii::testing::delay;
using coraii::testing::on_executor;
using coraii::testing::probe;
using test::code;
using test::events;
using test::what;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

namespace {

struct times {
    std::chrono::steady_clock::duration setup = 0s, cleanup = 0s;
    bool setup_throws = false, cleanup_throws = false;
};

struct world {
    events log;
    std::exception_ptr error;
    coraii::testing::clock::duration after{};
    int active = 0, most_active = 0;

    coraii::async_scope<std::string> open(std::string name, times t = {}) {
        const auto wait = [](world& w, std::chrono::steady_clock::duration d) -> awaitable<void> {
            struct counted {
                world& w;
                explicit counted(world& c) : w{c} { w.most_active = std::max(w.most_active, ++w.active); }
                counted(const counted&) = delete;
                ~counted() { --w.active; }
            };
            const counted here{w};
            if (d > 0s) {
                co_await delay(d);
            }
        };
        try {
            co_await wait(*this, t.setup);
        } catch (const boost::system::system_error&) {
            log.push_back(name + " cancelled");
            throw;
        }
        if (t.setup_throws) {
            throw std::runtime_error("setup of " + name);
        }
        log.push_back(name + " open");
        const coraii::exit_status why = co_yield name;
        log.push_back(name + " " + test::to_string(why.reason()) + (why.error() ? ": " + what(why.error()) : ""));
        co_await wait(*this, t.cleanup);
        log.push_back(name + " clean");
        if (t.cleanup_throws) {
            throw std::runtime_error("cleanup of " + name);
        }
    }
    coraii::async_scope<void> nothing(std::string name) {
        log.push_back(name + " open");
        co_yield coraii::entered;
        log.push_back(name + " clean");
    }

    void run(const std::function<awaitable<void>()>& work) {
        const bool slot = GENERATE(false, true);
        CAPTURE(slot);
        log.clear();
        error = nullptr;
        coraii::testing::run(
            [&]() -> awaitable<void> {
                const auto begin = coraii::testing::clock::now();
                auto& context = asio::query(co_await asio::this_coro::executor, asio::execution::context);
                coraii::on_cleanup_error(context, [this](const coraii::cleanup_failure& f) {
                    log.push_back("reported: " + what(f.error) + ", after " + what(f.suppressed_by));
                });
                try {
                    co_await work();
                } catch (...) { error = std::current_exception(); }
                log.push_back("left");
                after = coraii::testing::clock::now() - begin;
            },
            {.slot = slot});
    }
};

bool has(const events& log, const std::string& event) {
    return std::find(log.begin(), log.end(), event) != log.end();
}

awaitable<void> turn_of(std::chrono::steady_clock::duration d) {
    co_await delay(d);
}

}  // namespace

TEST_CASE("G29: all sets up at the same time, gives references, and cleans at the same time", "[all]") {
    world w;
    w.run([&]() -> awaitable<void> {
        auto scope = all(w.open("a", {3s, 1s}), w.nothing("b"), w.open("c", {2s, 2s}));
        static_assert(std::is_same_v<decltype(scope), coraii::async_scope<std::tuple<std::string&, std::string&>>>);
        auto held = co_await std::move(scope);
        auto& [a, c] = *held;
        w.log.push_back(a + c);
        co_await held.close();
    });
    CHECK(what(w.error) == "no error");
    CHECK(w.log == events{"b open", "c open", "a open", "ac", "c completed", "b clean", "a completed", "a clean",
                          "c clean", "left"});
    CHECK(w.after == 5s);
}

TEST_CASE("G29: in every way to use a scope", "[all]") {
    const int way = GENERATE(0, 1, 2, 3);
    world w;
    w.run([&]() -> awaitable<void> {
        auto scope = all(w.open("a", {1s, 1s}), w.open("b", {1s, 1s}));
        switch (way) {
            case 0: {
                auto held = co_await std::move(scope);  // dropped
                CHECK(std::get<1>(*held) == "b");
                break;
            }
            case 1:
                co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
                    auto* resources = co_await stack.enter(std::move(scope));
                    CHECK(std::get<0>(*resources) == "a");
                });
                break;
            case 2: {
                const auto executor = co_await asio::this_coro::executor;
                auto held = co_await std::move(scope).on(executor)(asio::use_awaitable);
                co_await held.close();
                break;
            }
            case 3: {
                auto held = co_await all(std::move(scope), w.open("c"));
                auto& [inner, c] = *held;
                CHECK(std::get<0>(inner) + c == "ac");
                co_await held.close();
                break;
            }
        }
    });
    CHECK(has(w.log, "a clean"));
    CHECK(has(w.log, "b clean"));
    CHECK(has(w.log, way == 0 ? "a abandoned" : "a completed"));
}

TEST_CASE("G29: if a setup fails the others are cancelled, what was opened is cleaned, and then its error is thrown",
          "[all]") {
    world w;
    w.run([&]() -> awaitable<void> {
        auto held = co_await all(w.open("a", {1s, 3s}), w.open("b", {1h}), w.open("c", {2s, 0s, true}));
        w.log.push_back("body");
    });
    CHECK(what(w.error) == "setup of c");
    CHECK(w.log == events{"a open", "b cancelled", "a failed: setup of c", "a clean", "left"});
    CHECK(w.after == 5s);
}

TEST_CASE("G29: a resource that comes although its setup was cancelled is cleaned, too", "[all]") {
    world w;
    const auto stubborn = [&]() -> coraii::async_scope<int> {
        try {
            co_await delay(1h);
        } catch (const boost::system::system_error&) {}
        int n = 1;
        const coraii::exit_status why = co_yield n;
        w.log.push_back(test::to_string(why.reason()));
    };
    w.run([&]() -> awaitable<void> { auto held = co_await all(stubborn(), w.open("c", {2s, 0s, true})); });
    CHECK(what(w.error) == "setup of c");
    CHECK(w.log == events{"failed", "left"});
}

TEST_CASE("G29, G7: a cancel during setup reaches all setups; what was opened is told cancelled", "[all]") {
    using asio::cancellation_type;
    world w;
    const bool from_timeout = GENERATE(false, true);
    w.run([&]() -> awaitable<void> {
        const auto one = [&]() -> awaitable<void> {
            auto scope = all(w.open("a", {1s}), w.open("b", {1h}), w.open("c", {1h}));
            if (from_timeout) {
                scope = std::move(scope).setup_timeout(2s);
            }
            auto held = co_await std::move(scope);
        };
        if (from_timeout) {
            co_await one();
        } else {
            co_await (one() || turn_of(2s));
        }
    });
    CHECK(w.log == events{"a open", "b cancelled", "c cancelled", "a cancelled: Operation canceled [system:125]",
                          "a clean", "left"});
    CHECK(w.after == 2s);
    CHECK(code(w.error) == (from_timeout ? make_error_code(coraii::errc::setup_timeout) : boost::system::error_code{}));
}

TEST_CASE("G29: the first error of a cleanup is thrown, the others are reported", "[all]") {
    world w;
    w.run([&]() -> awaitable<void> {
        auto held =
            co_await all(w.open("a", {0s, 2s, false, true}), w.open("b", {0s, 1s, false, true}), w.open("c", {0s, 3s}));
        co_await held.close();
    });
    CHECK(what(w.error) == "cleanup of b");
    CHECK(has(w.log, "reported: cleanup of a, after cleanup of b"));
    CHECK(w.log.back() == "left");
    CHECK(w.log[w.log.size() - 2] == "c clean");
}

TEST_CASE("G29, G23: each is told how the use ended, and a body's error goes before theirs", "[all]") {
    world w;
    w.run([&]() -> awaitable<void> {
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            co_await stack.enter(all(w.open("a"), w.open("b", {0s, 0s, false, true})));
            throw std::runtime_error("body");
        });
    });
    CHECK(what(w.error) == "body");
    CHECK(has(w.log, "a failed: body"));
    CHECK(has(w.log, "b failed: body"));
    CHECK(has(w.log, "reported: cleanup of b, after body"));
}

TEST_CASE("G29: a vector of scopes, so many at once", "[all]") {
    const std::size_t at_once = GENERATE(1U, 3U, coraii::unlimited);
    world w;
    w.run([&]() -> awaitable<void> {
        std::vector<coraii::async_scope<std::string>> scopes;
        for (int i = 0; i < 6; ++i) {
            scopes.push_back(w.open(std::to_string(i), {1s, 1s}));
        }
        w.most_active = 0;
        auto held = co_await all(std::move(scopes), at_once);
        static_assert(std::is_same_v<decltype(held)::value_type, std::vector<std::string*>>);
        CHECK(held->size() == 6);
        CHECK(*(*held)[4] == "4");
        CHECK(w.most_active == static_cast<int>(std::min<std::size_t>(at_once, 6)));
        w.most_active = 0;
        co_await held.close();
        CHECK(w.most_active == static_cast<int>(std::min<std::size_t>(at_once, 6)));
    });
    CHECK(w.after == (at_once == 1 ? 12s : at_once == 3 ? 4s : 2s));
    if (at_once == 1) {
        CHECK(w.log[6] == "5 completed");  // the last one first
    }
}

TEST_CASE("G29: with a bound, nothing is begun any more when one has failed, or after a cancel", "[all]") {
    const bool fails = GENERATE(false, true);
    world w;
    w.run([&]() -> awaitable<void> {
        std::vector<coraii::async_scope<std::string>> scopes;
        for (int i = 0; i < 4; ++i) {
            scopes.push_back(w.open(std::to_string(i), {1s, 0s, fails && i == 1}));
        }
        const auto one = [&]() -> awaitable<void> { auto held = co_await all(std::move(scopes), 1); };
        co_await (one() || turn_of(fails ? 1h : 1500ms));
    });
    const std::string why = fails ? "failed: setup of 1" : "cancelled: Operation canceled [system:125]";
    CHECK(w.log == (fails ? events{"0 open", "0 " + why, "0 clean", "left"}
                          : events{"0 open", "1 cancelled", "0 " + why, "0 clean", "left"}));
}

TEST_CASE("G29: vectors of void, and of nothing; a bound of zero is refused", "[all]") {
    world w;
    w.run([&]() -> awaitable<void> {
        std::vector<coraii::async_scope<void>> scopes;
        scopes.push_back(w.nothing("a"));
        scopes.push_back(w.nothing("b"));
        coraii::guard<void> held = co_await all(std::move(scopes), 1);
        co_await held.close();
        auto none = co_await all(std::vector<coraii::async_scope<int>>{});
        CHECK(none->empty());
        co_await none.close();
    });
    CHECK(w.log == events{"a open", "b open", "b clean", "a clean", "left"});
    CHECK_THROWS_AS((void)all(std::vector<coraii::async_scope<int>>{}, 0), std::invalid_argument);
}

TEST_CASE("G29, G22: a scope that was used is an error of the setup", "[all]") {
    world w;
    w.run([&]() -> awaitable<void> {
        auto used = w.open("a");
        { auto gone = std::move(used); }
        auto held = co_await all(w.open("b"), std::move(used));
    });
    CHECK(code(w.error) == coraii::errc::already_awaited);
    CHECK(has(w.log, "b clean"));
}

TEST_CASE("G29, G25: a member that is held is cleaned when it is let go; the others do not wait for that", "[all]") {
    world w;
    coraii::scope_hold hold;
    const auto held_scope = [&]() -> coraii::async_scope<int> {
        const coraii::scope_handle self = co_await coraii::this_scope;
        hold = self.hold();
        co_yield 7;
        w.log.push_back("held clean");
    };
    w.run([&]() -> awaitable<void> {
        const auto lets_go = [&]() -> awaitable<void> {
            co_await delay(5s);
            hold = {};
        };
        const auto use = [&]() -> awaitable<void> {
            auto held = co_await all(held_scope(), w.open("b", {1s}));
            co_await held.close();
        };
        co_await (use() && lets_go());
    });
    CHECK(w.log == events{"b open", "b completed", "b clean", "held clean", "left"});
    CHECK(w.after == 5s);
}

TEST_CASE("G29, G9, G11: a cancel does not reach the cleanups; the cleanup_timeout of all does", "[all]") {
    const bool timed = GENERATE(false, true);
    world w;
    w.run([&]() -> awaitable<void> {
        const auto cleans_long = [&](bool& aborted) -> coraii::async_scope<int> {
            co_yield 7;
            try {
                co_await delay(10s);
            } catch (const boost::system::system_error&) {
                aborted = true;
                throw;
            }
        };
        bool aborted[2] = {};
        const auto use = [&]() -> awaitable<void> {
            auto scope = all(cleans_long(aborted[0]), cleans_long(aborted[1]));
            if (timed) {
                scope = std::move(scope).cleanup_timeout(3s);
            }
            auto held = co_await std::move(scope);
            try {
                co_await held.close();
            } catch (const boost::system::system_error& e) {
                w.log.push_back(e.code() == coraii::errc::cleanup_timeout ? "timeout" : e.what());
            }
        };
        co_await (use() || turn_of(1s));
        CHECK(aborted[0] == timed);
        CHECK(aborted[1] == timed);
    });
    CHECK(has(w.log, "timeout") == timed);
    CHECK(w.after == (timed ? 3s : 10s));
}

TEST_CASE("G29: many that need not wait do not nest", "[all]") {
    const std::size_t at_once = GENERATE(1U, coraii::unlimited);
    const bool posts = GENERATE(false, true);
    asio::io_context context;
    int cleaned = 0;
    const int many = test::sanitized ? 2'000 : 20'000;
    const auto scope = [&]() -> coraii::async_scope<int> {
        if (posts) {
            co_await test::turn();
        }
        co_yield 7;
        ++cleaned;
    };
    test::run(
        [&]() -> awaitable<void> {
            std::vector<coraii::async_scope<int>> scopes;
            for (int i = 0; i < many; ++i) {
                scopes.push_back(scope());
            }
            auto held = co_await all(std::move(scopes), at_once);
            co_await held.close();
        }(),
        context);
    CHECK(cleaned == many);
}

TEST_CASE("G29, G13: the context dies in a setup, in the use, and in a cleanup of several", "[all]") {
    const int where = GENERATE(0, 1, 2);
    events log;
    const auto scope = [&](std::string name, bool waits) -> coraii::async_scope<int> {
        if (waits) {
            co_await test::forever();
        }
        const coraii::exit_status why = co_yield 7;
        log.push_back(name + (why.can_await() ? " cleaned" : " cleaned at the end"));
        co_await test::forever();
    };
    {
        asio::io_context context;
        const auto work = [&, where]() -> awaitable<void> {
            auto held = co_await all(scope("a", false), scope("b", where == 0));
            if (where == 1) {
                co_await test::forever();
            }
            co_await held.close();
        };
        asio::co_spawn(context, work(), [](std::exception_ptr) {});
        context.run_for(10ms);
    }
    if (where == 0) {
        CHECK(log == events{"a cleaned at the end"});
    } else if (where == 1) {
        CHECK(log == events{"b cleaned at the end", "a cleaned at the end"});
    } else {
        CHECK(log == events{"b cleaned", "a cleaned"});
    }
}

TEST_CASE("G29: with another Executor", "[all]") {
    using io = asio::io_context::executor_type;
    asio::io_context context;
    int cleaned = 0;
    const auto scope = [&]() -> coraii::async_scope<int, io> {
        co_await asio::post(asio::use_awaitable_t<io>{});
        co_yield 7;
        co_await asio::post(asio::use_awaitable_t<io>{});
        ++cleaned;
    };
    const auto work = [&]() -> asio::awaitable<void, io> {
        auto held = co_await all(scope(), scope());
        co_await held.close();
    };
    asio::co_spawn(context.get_executor(), work(), [](std::exception_ptr e) { CHECK(!e); });
    test::finish(context);
    CHECK(cleaned == 2);
}

TEST_CASE("G29, G30: task groups among them; the error of a child comes out when all is left", "[all][task_group]") {
    // As in CPython's issue 137517.
    world w;
    w.run([&]() -> awaitable<void> {
        auto held = co_await all(w.open("a"), coraii::open_task_group(), w.open("b", {0s, 0s, false, true}));
        auto& group = std::get<1>(*held);
        group.spawn([]() -> awaitable<void> {
            co_await delay(1s);
            throw std::runtime_error("child");
        });
        co_await held.close();
    });
    CHECK(what(w.error) == "cleanup of b");
    CHECK(has(w.log, "reported: child, after cleanup of b"));
}

TEST_CASE("G29, G24: all that is never awaited runs nothing", "[all]") {
    world w;
    { const auto unused = all(w.open("a"), w.nothing("b")); }
    CHECK(w.log.empty());
}

TEST_CASE("sweep: several scopes at once", "[all][sweep]") {
    const int variant = GENERATE(0, 1, 2);
    const bool with_memory = GENERATE(false, true);  // as for task groups
    CAPTURE(variant, with_memory);
    // Of several setups that fail, the errors of the later ones are dropped.
    coraii::testing::sweep_options options{
        .order = coraii::testing::cleanup_order::any, .errors_may_be_swallowed = true, .pairs = 20};
    if (with_memory) {
        options.executors = {on_executor::strand, on_executor::forwarding};
        std::erase(options.kinds, coraii::testing::fault_kind::no_memory);
    }
    const auto scope = [](std::string name) -> coraii::async_scope<probe> {
        probe p{std::move(name)};
        co_await p.set_up();
        co_yield p;
        co_await p.clean_up();
    };
    const auto scenario = [=]() -> awaitable<void> {
        if (variant == 0) {
            co_await coraii::with(all(scope("a"), scope("b")), [](auto&, auto&) -> awaitable<void> { co_return; });
        } else if (variant == 1) {
            auto held = co_await all(scope("a"), scope("b"));
            co_await std::get<0>(*held).use();
        } else {
            std::vector<coraii::async_scope<probe>> scopes;
            for (int i = 0; i < 3; ++i) {
                scopes.push_back(scope(std::to_string(i)));
            }
            auto held = co_await all(std::move(scopes), 2);
            co_await held.close();
        }
    };
    const auto report = coraii::testing::sweep(scenario, options);
    test::check_sweep(report);
}
