// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/redirect_error.hpp>

#include <memory>
#include <string>
#include <type_traits>

using namespace test;

TEST_CASE("G1: when setup throws, the same exception reaches the awaiter and nothing else runs", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    asio::io_context context;
    events log;
    const auto body = [&](item&) -> awaitable<void> {
        log.push_back("body");
        co_return;
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(make(f, log, "a", {.setup_suspends = suspends, .setup_throws = true}), body);
    };
    CHECK_THROWS_WITH(run(work(), context, s), "setup of a");
    CHECK(log == events{"setup a"});
    CHECK(coraii::stats(context).opened == 0);
}

TEST_CASE("G1: when a later setup throws, the earlier scopes are cleaned as failed", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(f, s);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(make(f, log, "a"), make(f, log, "b", {.setup_throws = true}), make(f, log, "c"),
                              [](item&, item&, item&) -> awaitable<void> { co_return; });
    };
    CHECK_THROWS_WITH(run(work(), s), "setup of b");
    CHECK(log == events{"setup a", "setup b", "cleanup a failed", "cleaned a"});
}

TEST_CASE("G3: with returns the body's result after the cleanup is done", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool setup_suspends = GENERATE(false, true);
    const bool cleanup_suspends = GENERATE(false, true);
    CAPTURE(f, s, setup_suspends, cleanup_suspends);
    events log;
    const auto work = [&]() -> awaitable<void> {
        const auto scope_plan = plan{.setup_suspends = setup_suspends, .cleanup_suspends = cleanup_suspends};
        const std::string result =
            co_await coraii::with(make(f, log, "a", scope_plan), [&](item& i) -> awaitable<std::string> {
                log.push_back("body " + i.name);
                co_await turn();
                co_return "result";
            });
        log.push_back(result);
    };
    run(work(), s);
    CHECK(log == events{"setup a", "body a", "cleanup a completed", "cleaned a", "result"});
}

TEST_CASE("G3: the result may be move-only and need not be default constructible", "[with]") {
    struct token {
        explicit token(int n) : value{std::make_unique<int>(n)} {}
        std::unique_ptr<int> value;
    };
    static_assert(!std::is_default_constructible_v<token>);
    events log;
    run([&]() -> awaitable<void> {
        const token t =
            co_await coraii::with(make(form::pair, log, "a"), [](item&) -> awaitable<token> { co_return token{7}; });
        CHECK(*t.value == 7);
    }());
}

TEST_CASE("G4: the body's exception is rethrown, the same object, after the cleanup", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(f, s);
    events log;
    const std::exception* thrown = nullptr;
    const auto work = [&]() -> awaitable<void> {
        try {
            co_await coraii::with(make(f, log, "a", {.cleanup_suspends = true}), [&](item&) -> awaitable<void> {
                co_await turn();
                try {
                    throw std::runtime_error("body");
                } catch (const std::exception& e) {
                    thrown = &e;
                    throw;
                }
            });
        } catch (const std::runtime_error& e) {
            log.push_back("caught");
            CHECK(&e == thrown);
        }
    };
    run(work(), s);
    CHECK(log == events{"setup a", "cleanup a failed", "cleaned a", "caught"});
}

TEST_CASE("G4: any type can be thrown", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    int caught = 0;
    const auto work = [&]() -> awaitable<void> {
        try {
            co_await coraii::with(make(form::co_yielded, log, "a"), [](item&) -> awaitable<void> {
                throw 7;
                co_return;
            });
        } catch (int i) { caught = i; }
    };
    run(work(), s);
    CHECK(caught == 7);
}

TEST_CASE("G5: when body and cleanup throw, the body's goes on and the cleanup's is reported once", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        const auto scope_plan = plan{.cleanup_suspends = suspends, .cleanup_throws = true};
        co_await coraii::with(make(f, log, "a", scope_plan).named("the a"), [](item&) -> awaitable<void> {
            throw std::logic_error("body");
            co_return;
        });
    };
    CHECK_THROWS_WITH(run(work(), context, s), "body");
    REQUIRE(reported.all.size() == 1);
    CHECK(what(reported.all[0].error) == "cleanup of a");
    CHECK(what(reported.all[0].suppressed_by) == "body");
    CHECK(reported.all[0].name == "the a");
    CHECK(coraii::stats(context).failed == 1);
}

TEST_CASE("G6: when only the cleanup throws, with throws it and reports nothing", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        const auto scope_plan = plan{.cleanup_suspends = suspends, .cleanup_throws = true};
        co_await coraii::with(make(f, log, "a", scope_plan), [](item&) -> awaitable<int> { co_return 1; });
    };
    CHECK_THROWS_WITH(run(work(), context, s), "cleanup of a");
    CHECK(reported.all.empty());
}

TEST_CASE("G15: three scopes are set up left to right and cleaned right to left", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(f, s);
    events log;
    const auto work = [&]() -> awaitable<void> {
        const plan p{.setup_suspends = true, .cleanup_suspends = true};
        const int n = co_await coraii::with(make(f, log, "a", p), make(f, log, "b", p), make(f, log, "c", p),
                                            [&](item& a, item& b, item& c) -> awaitable<int> {
                                                log.push_back("body " + a.name + b.name + c.name);
                                                co_return 3;
                                            });
        CHECK(n == 3);
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup b", "setup c", "body abc", "cleanup c completed", "cleaned c",
                        "cleanup b completed", "cleaned b", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G15: a cleanup that fails stops none of the others", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(f, s);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(make(f, log, "a"), make(f, log, "b", {.cleanup_throws = true}),
                              make(f, log, "c", {.cleanup_throws = true}),
                              [](item&, item&, item&) -> awaitable<void> { co_return; });
    };
    CHECK_THROWS_WITH(run(work(), context, s), "cleanup of c");
    CHECK(log == events{"setup a", "setup b", "setup c", "cleanup c completed", "cleanup c throws", "cleanup b failed",
                        "cleanup b throws", "cleanup a failed", "cleaned a"});
    REQUIRE(reported.all.size() == 1);
    CHECK(what(reported.all[0].error) == "cleanup of b");
    CHECK(what(reported.all[0].suppressed_by) == "cleanup of c");
}

TEST_CASE("with: scopes of void give the body no argument", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto entry = [&](const std::string& name) -> coraii::async_scope<void> {
        return coraii::async_scope<void>{[](events& l, std::string n) -> awaitable<void> {
                                             l.push_back("enter " + n);
                                             co_return;
                                         }(log, name),
                                         [&log, name] { log.push_back("exit " + name); }};
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(entry("1"), make(form::pair, log, "a"), entry("2"), [&](item& i) -> awaitable<void> {
            log.push_back("body " + i.name);
            co_return;
        });
        co_await coraii::with(entry("3"), [&]() -> awaitable<void> {
            log.push_back("body");
            co_return;
        });
    };
    run(work(), s);
    CHECK(log == events{"enter 1", "setup a", "enter 2", "body a", "exit 2", "cleanup a completed", "cleaned a",
                        "exit 1", "enter 3", "body", "exit 3"});
}

TEST_CASE("try_with: gives what setup, body or cleanup threw as a result", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto well = co_await coraii::try_with(make(form::pair, log, "a"), [](item&) -> awaitable<int> { co_return 5; });
        static_assert(std::same_as<decltype(well), boost::system::result<int, std::exception_ptr>>);
        REQUIRE(well.has_value());
        CHECK(*well == 5);

        auto of_void =
            co_await coraii::try_with(make(form::pair, log, "a"), [](item&) -> awaitable<void> { co_return; });
        static_assert(std::same_as<decltype(of_void), boost::system::result<void, std::exception_ptr>>);
        CHECK(of_void.has_value());

        const auto quiet = [](item&) -> awaitable<int> { co_return 1; };
        const auto loud = [](item&) -> awaitable<int> {
            throw 7;
            co_return 1;
        };
        auto setup = co_await coraii::try_with(make(form::pair, log, "a", {.setup_throws = true}), quiet);
        CHECK(what(setup.error()) == "setup of a");
        auto body = co_await coraii::try_with(make(form::pair, log, "a"), loud);
        CHECK(what(body.error()) == "int 7");
        auto cleanup = co_await coraii::try_with(make(form::pair, log, "a", {.cleanup_throws = true}), quiet);
        CHECK(what(cleanup.error()) == "cleanup of a");
    };
    run(work(), s);
}

TEST_CASE("G22: a scope without a co_yield is errc::no_value", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto empty = []() -> coraii::async_scope<int> {
        if (false) {
            int n = 0;
            co_yield n;
        }
        co_return;
    };
    bool body_ran = false;
    const auto work = [&]() -> awaitable<void> {
        auto r = co_await coraii::try_with(empty(), [&](int&) -> awaitable<void> {
            body_ran = true;
            co_return;
        });
        CHECK(code(r.error()) == coraii::errc::no_value);
    };
    run(work(), s);
    CHECK_FALSE(body_ran);
}

TEST_CASE("G22: a second co_yield is errc::yielded_twice", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    bool reached = false;
    const auto twice = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        co_yield n;
        reached = true;
    };
    const auto work = [&]() -> awaitable<void> {
        auto r = co_await coraii::try_with(twice(), [](int&) -> awaitable<void> { co_return; });
        CHECK(code(r.error()) == coraii::errc::yielded_twice);
    };
    run(work(), s);
    CHECK_FALSE(reached);
}

TEST_CASE("G22: a scope that has been moved from is errc::already_awaited", "[with]") {
    events log;
    run([&]() -> awaitable<void> {
        auto scope = make(form::pair, log, "a");
        auto other = std::move(scope);
        auto r = co_await coraii::try_with(std::move(scope), [](item&) -> awaitable<void> { co_return; });
        CHECK(code(r.error()) == coraii::errc::already_awaited);
        CHECK_THROWS_AS((void)std::move(scope).named("x"), boost::system::system_error);
    }());
    CHECK(log.empty());
}

TEST_CASE("G23: the cleanup is told the body's exception", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    coraii::exit_status told;
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        told = co_yield n;
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(scope(), [](int&) -> awaitable<void> { co_return; });
        CHECK(told.ok());
        CHECK(told.error() == nullptr);
        CHECK(told.can_await());
        (void)co_await coraii::try_with(scope(), [](int&) -> awaitable<void> {
            throw 7;
            co_return;
        });
        CHECK(told.reason() == coraii::exit_reason::failed);
        CHECK(what(told.error()) == "int 7");
        CHECK_FALSE(told.ok());
    };
    run(work(), s);
}

TEST_CASE("G24: a with that is never awaited runs nothing and leaks nothing", "[with]") {
    events log;
    {
        auto unused = coraii::with(make(form::co_yielded, log, "a"), make(form::pair, log, "b"),
                                   [](item&, item&) -> awaitable<void> { co_return; });
        auto scope = make(form::object, log, "c").cleanup_timeout(1s).named("unused");
        (void)scope;
    }
    CHECK(log.empty());
}

TEST_CASE("G13: a context that dies under the body cleans up as far as that goes without waiting", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool timer_first = GENERATE(false, true);
    CAPTURE(f, s, timer_first);
    events log;
    std::vector<bool> could_await;
    const auto outer = [&]() -> coraii::async_scope<int> {
        const auto note = std::shared_ptr<void>(nullptr, [&](void*) { log.push_back("outer's locals"); });
        int n = 0;
        const coraii::exit_status why = co_yield n;
        could_await.push_back(why.can_await());
        log.push_back(std::string("outer ") + to_string(why.reason()));
        co_await turn();
        log.push_back("never");
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(outer(), make(f, log, "a", {.cleanup_suspends = true}),
                              [](int&, item&) -> awaitable<void> { co_await forever(); });
    };
    {
        asio::io_context context;
        if (timer_first) {  // the order in which services are made decides the order in which they end
            asio::steady_timer{context};
        }
        task t{context, work(), s};
        context.run_for(10ms);
        CHECK(log == events{"setup a"});
    }
    CHECK(could_await == std::vector<bool>{false});
    REQUIRE(log.size() == 4);
    CHECK(log[1] == "cleanup a abandoned");
    CHECK(log[2] == "outer abandoned");
    CHECK(log[3] == "outer's locals");
}

TEST_CASE("G13: a context that dies during setup or cleanup unwinds the scope's locals", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool in_cleanup = GENERATE(false, true);
    CAPTURE(s, in_cleanup);
    events log;
    {
        const auto scope = [&]() -> coraii::async_scope<int> {
            const auto note = std::shared_ptr<void>(nullptr, [&](void*) { log.push_back("locals"); });
            if (!in_cleanup) {
                co_await forever();
            }
            int n = 0;
            co_yield n;
            log.push_back("cleanup");
            co_await forever();
        };
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(scope(), [](int&) -> awaitable<void> { co_return; });
        };
        asio::io_context context;
        task t{context, work(), s};
        context.run_for(10ms);
    }
    CHECK(log == (in_cleanup ? events{"cleanup", "locals"} : events{"locals"}));
}

TEST_CASE("G18: a million scopes in one loop do not grow the native stack", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    long cleaned = 0;
    const auto scope = [&]() -> coraii::async_scope<long> {
        long n = 1;
        co_yield n;
        cleaned += n;
    };
    const auto body = [](long&) -> awaitable<void> { co_return; };
    constexpr long rounds = sanitized ? 50'000 : 1'000'000;
    const auto work = [&]() -> awaitable<void> {
        for (long i = 0; i < rounds; ++i) {
            co_await coraii::with(scope(), body);
        }
    };
    run(work(), s);
    CHECK(cleaned == rounds);
}

TEST_CASE("G25: with waits for those who hold the scope", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    asio::io_context context;
    coraii::scope_hold hold;
    const auto scope = [&]() -> coraii::async_scope<coraii::scope_handle> {
        coraii::scope_handle self = co_await coraii::this_scope;
        co_yield self;
        log.push_back("cleanup");
        CHECK_THROWS_AS((void)self.hold(), boost::system::system_error);
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::with(scope(), [&](coraii::scope_handle& h) -> awaitable<void> {
            hold = h.hold();
            log.push_back("body ends");
            co_return;
        });
        log.push_back("with returned");
    };
    task t{context, work(), s};
    context.run_for(10ms);
    CHECK(log == events{"body ends"});
    hold = {};
    finish(context);
    CHECK(log == events{"body ends", "cleanup", "with returned"});
}

TEST_CASE("G13: a context that dies while with waits for a hold still cleans", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    coraii::scope_hold hold;
    {
        const auto scope = [&]() -> coraii::async_scope<int> {
            coraii::scope_handle self = co_await coraii::this_scope;
            hold = self.hold();
            int n = 0;
            const coraii::exit_status why = co_yield n;
            log.push_back(why.can_await() ? "?" : "cleanup");
        };
        const auto work = [&]() -> awaitable<void> {
            const auto local = std::shared_ptr<void>(nullptr, [&](void*) { log.push_back("caller's local"); });
            co_await coraii::with(scope(), [](int&) -> awaitable<void> { co_return; });
            co_await forever();
        };
        asio::io_context context;
        task t{context, work(), s};
        context.run_for(10ms);
    }
    CHECK(log == events{"cleanup", "caller's local"});
    hold = {};
}

TEST_CASE("G13: a coroutine that has a handle to itself does not outlive the context", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    bool destroyed = false;
    {
        const auto scope = [&]() -> coraii::async_scope<coraii::scope_handle> {
            const auto local = std::shared_ptr<void>(nullptr, [&](void*) { destroyed = true; });
            coraii::scope_handle self = co_await coraii::this_scope;
            co_yield self;
            co_await turn();
        };
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(scope(), [](coraii::scope_handle&) { return forever(); });
        };
        asio::io_context context;
        task t{context, work(), s};
        context.run_for(10ms);
    }
    CHECK(destroyed);
}

TEST_CASE("G13, G15: in a dying context a coroutine's scopes are cleaned innermost first, of whatever kind", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool on_timer = GENERATE(false, true);
    events log;
    struct noting {
        events* log;
        ~noting() { log->push_back("the body's frame is gone"); }
    };
    {
        const auto work = [&]() -> awaitable<void> {
            auto session = co_await make(form::co_yielded, log, "session");
            co_await coraii::with(make(form::pair, log, "transaction"), [&](item&) -> awaitable<void> {
                const noting n{&log};
                auto cursor = co_await make(form::co_yielded, log, "cursor");
                if (on_timer) {
                    co_await forever();
                }
                for (;;) {
                    co_await turn();
                }
            });
        };
        asio::io_context context;
        task t{context, work(), s};
        for (int i = 0; i < 20; ++i) {
            context.poll_one();
        }
    }
    CHECK(log == events{"setup session", "setup transaction", "setup cursor", "cleanup cursor abandoned",
                        "cleaned cursor", "the body's frame is gone", "cleanup transaction abandoned",
                        "cleaned transaction", "cleanup session abandoned", "cleaned session"});
}

TEST_CASE("G13: in a dying context guards that no coroutine holds are cleaned newest first", "[with]") {
    events log;
    coraii::guard<item> first, second;
    {
        const auto open = [&]() -> awaitable<void> {
            first = co_await make(form::co_yielded, log, "first");
            second = co_await make(form::pair, log, "second");
            co_await forever();
        };
        asio::io_context context;
        task t{context, open(), slot::connected};
        context.poll();
    }
    CHECK(log == events{"setup first", "setup second", "cleanup second abandoned", "cleaned second",
                        "cleanup first abandoned", "cleaned first"});
}

TEST_CASE("G13, G15: in a dying context a scope outlives coroutines that await one another, however deep", "[with]") {
    events log;
    struct user_of {
        events* log;
        ~user_of() { log->push_back("its user is gone"); }
    };
    const auto nested = [](auto self, int depth) -> awaitable<void> {
        if (depth == 0) {
            co_await forever();
        }
        co_await asio::co_spawn(co_await asio::this_coro::executor, self(self, depth - 1), asio::deferred);
    };
    {
        const auto work = [&]() -> awaitable<void> {
            auto g = co_await make(form::co_yielded, log, "a");
            const user_of u{&log};
            co_await nested(nested, 40);
        };
        asio::io_context context;
        task t{context, work(), slot::none};
        context.poll();
    }
    CHECK(log == events{"setup a", "its user is gone", "cleanup a abandoned", "cleaned a"});
}
