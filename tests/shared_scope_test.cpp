// SPDX-License-Identifier: BSL-1.0
// Shared scopes (G31), in virtual time.
#include "coraii/coraii.hpp"
#include "coraii/testing.hpp"
#include "support/scenario.hpp"
#include "support/sweep.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using coraii::shared_scope;
using coraii::testing::delay;
using coraii::testing::on_executor;
using coraii::testing::probe;
using test::code;
using test::events;
using test::what;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

namespace {

/// What the factory makes: numbered resources, which log.
struct source {
    events log;
    int made = 0;
    int fail = 0;  // so many setups fail first
    std::chrono::steady_clock::duration setup = 1s, cleanup = 1s;
    bool ignores_cancel = false, cleanup_throws = false;

    coraii::async_scope<int> open() {
        const int n = ++made;
        log.push_back("setup " + std::to_string(n));
        try {
            co_await delay(setup);
        } catch (const boost::system::system_error&) {
            log.push_back("cancelled " + std::to_string(n));
            if (!ignores_cancel) {
                throw;
            }
        }
        if (ignores_cancel) {
            co_await asio::this_coro::reset_cancellation_state();
            co_await delay(1s);
        }
        if (fail > 0) {
            --fail;
            throw std::runtime_error("setup " + std::to_string(n));
        }
        int resource = n;
        const coraii::exit_status why = co_yield resource;
        if (why.can_await()) {
            co_await asio::this_coro::reset_cancellation_state();
            co_await delay(cleanup);
        }
        log.push_back("clean " + std::to_string(n) +
                      (why.ok() ? "" : std::string{" "} + test::to_string(why.reason())));
        if (cleanup_throws) {
            throw std::runtime_error("cleanup " + std::to_string(n));
        }
    }
    std::function<coraii::async_scope<int>()> factory() {
        return [this] { return open(); };
    }
};

using shared = shared_scope<int>;

/// Uses it for a while.
awaitable<void> use(source& s, shared& from, std::string name, std::chrono::steady_clock::duration time) {
    std::exception_ptr error;
    try {
        co_await coraii::with(from.use(), [&](int& n) -> awaitable<void> {
            s.log.push_back(name + " uses " + std::to_string(n));
            co_await delay(time);
        });
        s.log.push_back(name + " left");
    } catch (...) { error = std::current_exception(); }
    if (error) {
        const auto ec = code(error);
        s.log.push_back(name + ": " +
                        (ec == coraii::errc::scope_closed       ? "closed"
                         : ec == asio::error::operation_aborted ? "cancelled"
                                                                : what(error)));
    }
}

awaitable<void> later(std::chrono::steady_clock::duration d, awaitable<void> then) {
    co_await delay(d);
    co_await std::move(then);
}

void run(const std::function<awaitable<void>(asio::any_io_executor)>& work) {
    const bool slot = GENERATE(false, true);
    CAPTURE(slot);
    coraii::testing::run([&]() -> awaitable<void> { co_await work(co_await asio::this_coro::executor); },
                         {.slot = slot});
}

}  // namespace

TEST_CASE("G31: one setup however many ask at once; the last to leave has it cleaned, and does not wait",
          "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        shared from{executor, s.factory()};
        CHECK_FALSE(from.stats().open);
        co_await (use(s, from, "a", 1s) && use(s, from, "b", 3s) && later(500ms, use(s, from, "c", 0s)));
        CHECK(from.stats().users == 0);
        CHECK_FALSE(from.stats().open);
        s.log.push_back("all left");
        co_await delay(5s);
        co_await use(s, from, "d", 0s);
        CHECK(from.stats().generation == 2);
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "b uses 1", "c uses 1", "c left", "a left", "b left", "all left",
                          "clean 1", "setup 2", "d uses 2", "d left", "clean 2"});
}

TEST_CASE("G31: if the setup fails, those who waited get that error, and the next one tries anew", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        s.fail = 1;
        shared from{executor, s.factory()};
        co_await (use(s, from, "a", 1s) && use(s, from, "b", 1s));
        CHECK(from.stats().generation == 0);
        co_await use(s, from, "c", 1s);
        co_await from.close();
    });
    CHECK(s.log == events{"setup 1", "a: setup 1", "b: setup 1", "setup 2", "c uses 2", "c left", "clean 2"});
}

TEST_CASE("G31: a factory that throws is a setup that fails", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        shared from{executor, []() -> coraii::async_scope<int> { throw std::runtime_error("no file"); }};
        s = source{};
        co_await use(s, from, "a", 1s);
        co_await from.close();
    });
    CHECK(s.log == events{"a: no file"});
}

TEST_CASE("G31: a user that is cancelled while it waits stops the setup only if nobody else waits", "[shared_scope]") {
    const bool another = GENERATE(false, true);
    source s;
    s.setup = 10s;
    coraii::testing::run([&]() -> awaitable<void> {
        shared from{co_await asio::this_coro::executor, s.factory()};
        const auto a = [&]() -> awaitable<void> { co_await (use(s, from, "a", 0s) || delay(1s)); };
        if (another) {
            co_await (a() && use(s, from, "b", 0s));
        } else {
            co_await a();
        }
        co_await from.close();
    });
    if (another) {
        CHECK(s.log == events{"setup 1", "a: cancelled", "b uses 1", "b left", "clean 1"});
    } else {
        CHECK(s.log == events{"setup 1", "a: cancelled", "cancelled 1"});
    }
}

TEST_CASE("G31: who comes while a setup is being cancelled does not get that cancel", "[shared_scope]") {
    const bool comes_nevertheless = GENERATE(false, true);
    source s;
    s.ignores_cancel = true;
    s.setup = 10s;
    s.fail = comes_nevertheless ? 0 : 1;
    coraii::testing::run([&]() -> awaitable<void> {
        shared from{co_await asio::this_coro::executor, s.factory()};
        const auto a = [&]() -> awaitable<void> { co_await (use(s, from, "a", 0s) || delay(1s)); };
        const auto b = [&]() -> awaitable<void> {
            co_await delay(1500ms);
            s.ignores_cancel = false;
            s.setup = 1s;
            co_await use(s, from, "b", 0s);
        };
        co_await (a() && b());
        co_await from.close();
    });
    if (comes_nevertheless) {
        CHECK(s.log == events{"setup 1", "a: cancelled", "cancelled 1", "b uses 1", "b left", "clean 1"});
    } else {
        CHECK(s.log == events{"setup 1", "a: cancelled", "cancelled 1", "setup 2", "b uses 2", "b left", "clean 2"});
    }
}

TEST_CASE("G31: reload: who comes then uses the new one; the old one is cleaned when its last user has left",
          "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        shared from{executor, s.factory()};
        const auto reloads = [&]() -> awaitable<void> {
            co_await delay(2s);
            co_await from.reload();
            CHECK(from.stats().generation == 2);
            CHECK(from.stats().users == 1);
            s.log.push_back("reloaded");
            co_await use(s, from, "b", 10s);
        };
        co_await (use(s, from, "a", 5s) && reloads() && later(2500ms, use(s, from, "old still", 0s)));
        co_await from.close();
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "setup 2", "old still uses 1", "old still left", "reloaded",
                          "b uses 2", "a left", "clean 1", "b left", "clean 2"});
}

TEST_CASE("G31: a reload whose setup fails leaves the old one in place, and throws", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        shared from{executor, s.factory()};
        const auto reloads = [&]() -> awaitable<void> {
            co_await delay(2s);
            s.fail = 1;
            std::string failed;
            try {
                co_await from.reload();
            } catch (const std::exception& e) { failed = e.what(); }
            s.log.push_back(failed);
            CHECK(from.stats().open);
            co_await use(s, from, "b", 1s);
        };
        co_await (use(s, from, "a", 10s) && reloads());
        co_await from.close();
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "setup 2", "setup 2", "b uses 1", "b left", "a left", "clean 1"});
}

TEST_CASE("G31: the new one stays for who comes, while anybody uses an old one", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        shared from{executor, s.factory()};
        const auto reloads = [&]() -> awaitable<void> {
            co_await delay(2s);
            co_await from.reload();
            co_await delay(4s);
            CHECK(from.stats().open);
            co_await use(s, from, "b", 1s);
        };
        co_await (use(s, from, "a", 20s) && reloads());
        co_await from.close();
    });
    CHECK(s.made == 2);
    CHECK(s.log.size() == 8);
}

TEST_CASE("G31: reload does nothing if none is open, and waits if one is being set up", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        shared from{executor, s.factory()};
        co_await from.reload();
        s.log.push_back("nothing");
        const auto reloads = [&](std::string name, std::chrono::milliseconds when) -> awaitable<void> {
            co_await delay(when);
            co_await from.reload();
            s.log.push_back(name);
        };
        // What is being set up may have read what has changed since: one setup follows, for both.
        co_await (use(s, from, "a", 5s) && reloads("one", 500ms) && reloads("two", 600ms));
        co_await from.close();
        co_await from.reload();
    });
    std::sort(s.log.end() - 2, s.log.end());  // both are cleaned when a has left
    CHECK(s.log == events{"nothing", "setup 1", "a uses 1", "setup 2", "one", "two", "a left", "clean 1", "clean 2"});
}

TEST_CASE("G31: a reload that is cancelled cancels its setup, and nothing else", "[shared_scope]") {
    source s;
    coraii::testing::run([&]() -> awaitable<void> {
        shared from{co_await asio::this_coro::executor, s.factory()};
        const auto reloads = [&]() -> awaitable<void> {
            co_await delay(2s);
            co_await (from.reload() || delay(500ms));
            co_await use(s, from, "b", 0s);
        };
        co_await (use(s, from, "a", 5s) && reloads());
        co_await from.close();
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "setup 2", "b uses 1", "cancelled 2", "b left", "a left", "clean 1"});
}

TEST_CASE("G31: it lingers for who comes again; close ends that at once", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        const auto begin = coraii::testing::clock::now();
        shared from{executor, s.factory(), {.linger = 10s}};
        co_await use(s, from, "a", 1s);
        co_await delay(9s);
        co_await use(s, from, "b", 1s);
        co_await delay(9s);
        CHECK(from.stats().open);
        co_await delay(3s);
        CHECK_FALSE(from.stats().open);
        co_await use(s, from, "c", 1s);
        s.log.push_back("closes");
        const auto before = coraii::testing::clock::now();
        co_await from.close();
        CHECK(coraii::testing::clock::now() - before == 1s);  // the cleanup
        CHECK(before - begin == 26s);
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "a left", "b uses 1", "b left", "clean 1", "setup 2", "c uses 2",
                          "c left", "closes", "clean 2"});
}

TEST_CASE("G31: close refuses who comes, and waits for those who are there, and for the cleanup", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        shared from{executor, s.factory()};
        const auto closes = [&]() -> awaitable<void> {
            co_await delay(500ms);  // a is waiting
            co_await from.close();
            s.log.push_back("closed");
            co_await from.close();
        };
        co_await (use(s, from, "a", 5s) && closes() && later(2s, use(s, from, "late", 1s)));
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "late: closed", "a left", "clean 1", "closed"});
}

TEST_CASE("G31: a close that is cancelled stops waiting, and it stays closed", "[shared_scope]") {
    source s;
    coraii::testing::run([&]() -> awaitable<void> {
        shared from{co_await asio::this_coro::executor, s.factory()};
        const auto closes = [&]() -> awaitable<void> {
            co_await delay(2s);
            co_await (from.close() || delay(1s));
            s.log.push_back("gave up");
            co_await use(s, from, "b", 0s);
        };
        co_await (use(s, from, "a", 5s) && closes());
    });
    CHECK(s.log == events{"setup 1", "a uses 1", "gave up", "b: closed", "a left", "clean 1"});
}

TEST_CASE("G31: the resource is told completed whatever its users do; an error of its cleanup is reported",
          "[shared_scope]") {
    source s;
    s.cleanup_throws = true;
    coraii::testing::run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        coraii::on_cleanup_error(asio::query(executor, asio::execution::context),
                                 [&](const coraii::cleanup_failure& f) {
                                     s.log.push_back("reported: " + what(f.error) + " of " + std::string{f.name});
                                 });
        shared from{executor, [&] { return s.open().named("config"); }};
        { auto dropped = co_await from.use(); }
        co_await from.close();
    });
    CHECK(s.log == events{"setup 1", "clean 1", "reported: cleanup 1 of config"});
}

TEST_CASE("G31: a shared_scope that is destroyed counts as closed; its users stay valid", "[shared_scope]") {
    source s;
    run([&](asio::any_io_executor executor) -> awaitable<void> {
        s = source{};
        std::optional<shared> from{std::in_place, executor, s.factory()};
        auto held = co_await from->use();
        auto unused = from->use();
        from.reset();
        CHECK(*held == 1);
        try {
            auto late = co_await std::move(unused);
        } catch (const boost::system::system_error& e) {
            s.log.push_back(e.code() == coraii::errc::scope_closed ? "closed" : e.what());
        }
        co_await delay(5s);
        CHECK(*held == 1);
        co_await held.close();
        s.log.push_back("left");
    });
    CHECK(s.log == events{"setup 1", "closed", "left", "clean 1"});
}

TEST_CASE("G31: of void", "[shared_scope]") {
    events log;
    coraii::testing::run([&]() -> awaitable<void> {
        const auto factory = [&]() -> coraii::async_scope<void> {
            log.push_back("setup");
            co_yield coraii::entered;
            log.push_back("clean");
        };
        shared_scope<void> from{co_await asio::this_coro::executor, factory};
        co_await coraii::with(from.use(), from.use(), []() -> awaitable<void> { co_return; });
        co_await from.close();
    });
    CHECK(log == events{"setup", "clean"});
}

TEST_CASE("G31, G28: a user can bound its waiting; a resource its setup", "[shared_scope]") {
    source s;
    s.setup = 10s;
    coraii::testing::run([&]() -> awaitable<void> {
        const auto factory = [&] { return s.open().setup_timeout(5s); };
        shared from{co_await asio::this_coro::executor, factory};
        const auto impatient = [&]() -> awaitable<void> {
            try {
                auto held = co_await from.use().setup_timeout(1s);
            } catch (const boost::system::system_error& e) {
                s.log.push_back(e.code() == coraii::errc::setup_timeout ? "impatient" : e.what());
            }
        };
        const auto patient = [&]() -> awaitable<void> {
            try {
                auto held = co_await from.use();
            } catch (const boost::system::system_error& e) {
                s.log.push_back(e.code() == coraii::errc::setup_timeout ? "patient" : e.what());
            }
        };
        co_await (impatient() && patient());
        co_await from.close();
    });
    CHECK(s.log == events{"setup 1", "impatient", "cancelled 1", "patient"});
}

TEST_CASE("G31: with another Executor, and options that make no sense", "[shared_scope]") {
    using io = asio::io_context::executor_type;
    asio::io_context context;
    int used = 0;
    const auto factory = [&]() -> coraii::async_scope<int, io> { co_yield 7; };
    shared_scope<int, io> from{context.get_executor(), factory};
    const auto work = [&]() -> asio::awaitable<void, io> {
        co_await coraii::with(from.use(), [&](int& n) -> asio::awaitable<void, io> {
            used = n;
            co_return;
        });
        co_await from.reload();
        co_await from.close();
    };
    asio::co_spawn(context.get_executor(), work(), [](std::exception_ptr e) { CHECK(!e); });
    test::finish(context);
    CHECK(used == 7);
    CHECK_THROWS_AS((shared{context.get_executor(), nullptr}), std::invalid_argument);
    CHECK_THROWS_AS((shared{context.get_executor(), [] { return source{}.open(); }, {.linger = -1s}}),
                    std::invalid_argument);
}

TEST_CASE("G31, G13: the context dies while it is set up, used, lingers and is closed", "[shared_scope]") {
    const int where = GENERATE(0, 1, 2, 3);
    source s;
    s.setup = where == 0 ? 1h : 1ms;
    s.cleanup = 1h;
    std::optional<shared> from;
    {
        asio::io_context context;
        from.emplace(context.get_executor(), s.factory(), coraii::shared_options{.linger = 1h});
        asio::co_spawn(
            context, [&]() -> awaitable<void> { co_await use(s, *from, "a", where == 1 ? 1h : 0s); },
            [](std::exception_ptr) {});
        if (where == 3) {
            asio::co_spawn(context, from->close(), [](std::exception_ptr) {});
        }
        context.run_for(50ms);
    }
    CHECK(from->stats().users == 0);
    CHECK_FALSE(from->stats().open);
    if (where == 0) {
        CHECK(s.log == events{"setup 1"});
    } else if (where == 1) {
        CHECK(s.log.back() == "clean 1 abandoned");
    }
    asio::io_context other;
    std::exception_ptr error;
    asio::co_spawn(
        other, [&]() -> awaitable<void> { auto held = co_await from->use(); },
        [&](std::exception_ptr e) { error = std::move(e); });
    test::finish(other);
    CHECK(code(error) == coraii::errc::scope_closed);
}

TEST_CASE("G31, G20: used from several threads and contexts, and reloaded meanwhile", "[shared_scope][threads]") {
    const bool on_strand = GENERATE(false, true);
    asio::thread_pool pool{3};
    asio::io_context home;
    auto keeps = asio::make_work_guard(home);
    std::thread home_thread;
    if (!on_strand) {
        home_thread = std::thread{[&] { home.run(); }};
    }
    std::atomic<int> open{0};
    const auto factory = [&]() -> coraii::async_scope<int> {
        co_await test::turn();
        ++open;
        int n = 7;
        co_yield n;
        n = 0;
        --open;
    };
    const asio::any_io_executor executor =
        on_strand ? asio::any_io_executor{asio::make_strand(pool)} : asio::any_io_executor{home.get_executor()};
    shared_scope<int> from{executor, factory};
    std::atomic<int> wrong{0};
    const auto user = [&]() -> awaitable<void> {
        for (int i = 0; i < 200; ++i) {
            co_await coraii::with(from.use(), [&](int& n) -> awaitable<void> {
                co_await test::turn();
                wrong += n == 7 ? 0 : 1;
            });
        }
    };
    const auto reloader = [&]() -> awaitable<void> {
        for (int i = 0; i < 100; ++i) {
            co_await from.reload();
            co_await test::turn();
        }
    };
    std::vector<std::future<void>> ends;
    for (int i = 0; i < 4; ++i) {
        ends.push_back(asio::co_spawn(asio::make_strand(pool), user(), asio::use_future));
    }
    ends.push_back(asio::co_spawn(asio::make_strand(pool), reloader(), asio::use_future));
    for (auto& end : ends) {
        end.get();
    }
    asio::co_spawn(pool, from.close(), asio::use_future).get();
    CHECK(wrong == 0);
    CHECK(open == 0);
    keeps.reset();
    if (home_thread.joinable()) {
        home_thread.join();
    }
}

TEST_CASE("sweep: shared scopes", "[shared_scope][sweep]") {
    const int variant = GENERATE(0, 1, 2);
    const bool with_memory = GENERATE(false, true);  // as for task groups
    CAPTURE(variant, with_memory);
    // Several users get the error of one setup; the resource is cleaned in the background.
    coraii::testing::sweep_options options{.order = coraii::testing::cleanup_order::any,
                                           .cleanups_may_be_cancelled = false,
                                           .errors_may_be_swallowed = true,
                                           .pairs = 20};
    if (with_memory) {
        options.executors = {on_executor::strand, on_executor::forwarding};
        std::erase(options.kinds, coraii::testing::fault_kind::no_memory);
    }
    const auto factory = []() -> coraii::async_scope<probe> {
        probe p{"resource"};
        co_await p.set_up();
        co_yield p;
        co_await p.clean_up();
    };
    const auto scenario = [=]() -> awaitable<void> {
        shared_scope<probe> from{co_await asio::this_coro::executor, factory};
        const auto user = [&]() -> awaitable<void> {
            co_await coraii::with(from.use(), [](probe& p) -> awaitable<void> { co_await p.use(); });
        };
        if (variant == 0) {
            co_await user();
            co_await from.close();
        } else if (variant == 1) {
            co_await (user() && user());
        } else {
            auto held = co_await from.use();
            co_await from.reload();
            co_await user();
            co_await held->use();
        }
    };
    const auto report = coraii::testing::sweep(scenario, options);
    test::check_sweep(report);
}
