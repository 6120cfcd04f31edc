// SPDX-License-Identifier: BSL-1.0
// Where things run when a setup, a body, a cleanup or the caller has hopped to another executor.
#include "support/executors.hpp"

#include <boost/asio/thread_pool.hpp>

#include <catch2/generators/catch_generators_range.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

using namespace test;

namespace {

/// Who hops to the pool, and stays there.
struct hops {
    bool caller = false;
    bool setup = false;
    bool body = false;
    bool cleanup = false;

    explicit hops(int bits)
        : caller{(bits & 1) != 0}, setup{(bits & 2) != 0}, body{(bits & 4) != 0}, cleanup{(bits & 8) != 0} {}
};

awaitable<void> hop_if(bool wanted, places& p) {
    if (wanted) {
        co_await p.hop();
    }
}

coraii::async_scope<int> hopping(places& p, hops h, std::string name = {}) {
    p.note("setup" + name);
    co_await hop_if(h.setup, p);
    int n = 1;
    co_yield n;
    p.note("cleanup" + name);
    co_await hop_if(h.cleanup, p);
}

coraii::async_scope<int> hopping_pair(places& p, hops h) {
    return coraii::async_scope{[&p, h]() -> awaitable<int> {
                                   p.note("setup");
                                   co_await hop_if(h.setup, p);
                                   co_return 1;
                               },
                               [&p, h](int&) -> awaitable<void> {
                                   p.note("cleanup");
                                   co_await hop_if(h.cleanup, p);
                               }};
}

coraii::async_scope<int> make_hopping(int pair, places& p, hops h) {
    return pair != 0 ? hopping_pair(p, h) : hopping(p, h);
}

events sorted(events e) {
    std::ranges::sort(e);
    return e;
}

}  // namespace

#define GENERATE_PLACES()                                                    \
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);     \
    const auto s = GENERATE(slot::none, slot::connected);                    \
    const int bits = GENERATE(range(0, 16));                                 \
    CAPTURE(e, s, bits);                                                     \
    const hops h{bits};                                                      \
    places p{e}

TEST_CASE("G32: a guard is given and closed on the caller's executor, and its scope runs on it", "[executor][guard]") {
    const int pair = GENERATE(0, 1);
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            co_await hop_if(h.caller, p);
            auto g = co_await make_hopping(pair, p, h);
            p.note("opened");
            co_await hop_if(h.body, p);
            co_await g.close();
            p.note("closed");
        }(),
        s);
    CHECK(p.log() == events{"setup: home", "opened: home", "cleanup: home", "closed: home"});
}

TEST_CASE("G32: a dropped guard is cleaned on the scope's executor", "[executor][guard]") {
    const int pair = GENERATE(0, 1);
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            co_await hop_if(h.caller, p);
            auto g = co_await make_hopping(pair, p, h);
            p.note("opened");
            co_await hop_if(h.body, p);
            g.reset();
            co_await coraii::async_drain(p.context, asio::use_awaitable);
            p.note("drained");
        }(),
        s);
    CHECK(p.log() == events{"setup: home", "opened: home", "cleanup: home", "drained: home"});
}

TEST_CASE("G32: with goes on on the caller's executor, and its scope runs on it", "[executor][with]") {
    const int pair = GENERATE(0, 1);
    GENERATE_PLACES();
    int result = 0;
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&](int& n) -> awaitable<int> {
                p.note("body");
                co_await hop_if(h.body, p);
                co_return n + 1;
            };
            co_await hop_if(h.caller, p);
            result = co_await coraii::with(make_hopping(pair, p, h), body);
            p.note("returned");
        }(),
        s);
    CHECK(result == 2);
    CHECK(p.log() == events{"setup: home", "body: home", "cleanup: home", "returned: home"});
}

TEST_CASE("G32: each scope of a with, and with a cleanup_timeout, too", "[executor][with]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&](int&, int&) -> awaitable<void> {
                p.note("body");
                co_await hop_if(h.body, p);
            };
            co_await hop_if(h.caller, p);
            co_await coraii::with(hopping(p, h, " a"), hopping(p, h, " b").cleanup_timeout(60s), body);
            p.note("returned");
        }(),
        s);
    CHECK(p.log() == events{"setup a: home", "setup b: home", "body: home", "cleanup b: home", "cleanup a: home",
                            "returned: home"});
}

TEST_CASE("G32: try_with, too", "[executor][with]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&](int&) -> awaitable<void> {
                co_await hop_if(h.body, p);
                throw std::runtime_error("body");
            };
            co_await hop_if(h.caller, p);
            const auto result = co_await coraii::try_with(hopping(p, h), body);
            p.note("returned");
            CHECK(result.has_error());
        }(),
        s);
    CHECK(p.log() == events{"setup: home", "cleanup: home", "returned: home"});
}

TEST_CASE("G32: an exit_stack's scopes run on its executor, and enter and close go on on the caller's",
          "[executor][exit_stack]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            coraii::exit_stack stack{p.executor};
            stack.defer([&]() -> awaitable<void> {
                p.note("deferred a");
                co_await hop_if(h.cleanup, p);
            });
            co_await hop_if(h.caller, p);
            co_await stack.enter(hopping(p, h));
            p.note("entered");
            co_await hop_if(h.body, p);
            stack.defer([&]() -> awaitable<void> {
                p.note("deferred b");
                co_await hop_if(h.cleanup, p);
            });
            co_await stack.close();
            p.note("closed");
        }(),
        s);
    CHECK(p.log() == events{"setup: home", "entered: home", "deferred b: home", "cleanup: home", "deferred a: home",
                            "closed: home"});
}

TEST_CASE("G32: an exit_stack that is a scope, too", "[executor][exit_stack]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&](coraii::exit_stack& stack) -> awaitable<void> {
                p.note("body");
                co_await stack.enter(hopping(p, h));
                p.note("entered");
                stack.defer([&] { p.note("deferred"); });
                co_await hop_if(h.body, p);
            };
            co_await hop_if(h.caller, p);
            co_await coraii::with(coraii::make_exit_stack(), body);
            p.note("returned");
        }(),
        s);
    CHECK(p.log() == events{"body: home", "setup: home", "entered: home", "deferred: home", "cleanup: home",
                            "returned: home"});
}

TEST_CASE("G32: a dropped exit_stack is cleaned on its executor", "[executor][exit_stack]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            {
                coraii::exit_stack stack{p.executor};
                co_await stack.enter(hopping(p, h, " a"));
                stack.defer([&] { p.note("deferred"); });
                co_await hop_if(h.caller, p);
                co_await stack.enter(hopping(p, h, " b"));
                p.note("entered");
                co_await hop_if(h.body, p);
            }
            co_await coraii::async_drain(p.context, asio::use_awaitable);
            p.note("drained");
        }(),
        s);
    CHECK(p.log() == events{"setup a: home", "setup b: home", "entered: home", "cleanup b: home", "deferred: home",
                            "cleanup a: home", "drained: home"});
}

TEST_CASE("G26, G32: joined goes on on the caller's executor, and its body begins on it", "[executor][joined]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&]() -> awaitable<void> {
                p.note("body");
                { const auto dropped = co_await hopping(p, h, " a"); }
                auto closed = co_await hopping(p, h, " b");
                p.note("opened");
                co_await hop_if(h.body, p);
                co_await closed.close();
                p.note("closed");
                co_await hop_if(h.body, p);
            };
            co_await hop_if(h.caller, p);
            co_await coraii::joined(body);
            p.note("returned");
        }(),
        s);
    CHECK(sorted(p.log()) == events{"body: home", "cleanup a: home", "cleanup b: home", "closed: home", "opened: home",
                                    "returned: home", "setup a: home", "setup b: home"});
    REQUIRE(!p.log().empty());
    CHECK(p.log().back() == "returned: home");
}

TEST_CASE("G26, G32: cleanups in a region that begin later run on the scope's executor, too", "[executor][joined]") {
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&]() -> awaitable<void> {
                const auto a = co_await hopping(p, h, " a");
                const auto b = co_await hopping(p, h, " b");
                const auto c = co_await hopping(p, h, " c");
                co_await hop_if(h.body, p);
                co_await turn();  // back: guards are dropped inside
            };
            co_await hop_if(h.caller, p);
            co_await coraii::joined(body);
            p.note("returned");
        }(),
        s);
    CHECK(p.log() == events{"setup a: home", "setup b: home", "setup c: home", "cleanup c: home", "cleanup b: home",
                            "cleanup a: home", "returned: home"});
}

TEST_CASE("G32: what is offloaded runs on its pool, and all else on the caller's executor", "[executor][offload]") {
    const int way = GENERATE(0, 1, 2);
    GENERATE_PLACES();
    CAPTURE(way);
    asio::thread_pool workers{1};
    const auto on_worker = [&](const char* what) {
        p.note_as(what, workers.get_executor().running_in_this_thread() ? "worker" : "elsewhere");
    };
    const auto offloaded = [&] {
        return coraii::offload(
            workers,
            [&] {
                on_worker("open");
                return 1;
            },
            [&](int&) { on_worker("close"); });
    };
    p.run(
        [&]() -> awaitable<void> {
            const auto body = [&](int&) -> awaitable<void> {
                p.note("body");
                co_await hop_if(h.body, p);
            };
            co_await hop_if(h.caller, p);
            if (way == 0) {
                co_await coraii::with(offloaded(), body);
            } else {
                auto g = co_await offloaded();
                co_await body(*g);
                if (way == 1) {
                    co_await g.close();
                } else {
                    g.reset();
                    co_await coraii::async_drain(p.context, asio::use_awaitable);
                }
            }
            p.note("returned");
        }(),
        s);
    CHECK(p.log() == events{"open: worker", "body: home", "close: worker", "returned: home"});
}

TEST_CASE("G1, G32: the error of a setup that hopped is thrown on the caller's executor", "[executor]") {
    const int way = GENERATE(0, 1, 2);
    GENERATE_PLACES();
    CAPTURE(way);
    const auto scope = [&]() -> coraii::async_scope<int> {
        p.note("setup");
        co_await hop_if(h.setup, p);
        throw std::runtime_error("setup");
        int n = 0;
        co_yield n;
    };
    p.run(
        [&]() -> awaitable<void> {
            coraii::exit_stack stack{p.executor};
            co_await hop_if(h.caller, p);
            try {
                if (way == 0) {
                    const auto g = co_await scope();
                } else if (way == 1) {
                    const auto body = [](int&) -> awaitable<void> { co_return; };
                    co_await coraii::with(scope(), body);
                } else {
                    co_await stack.enter(scope());
                }
            } catch (const std::runtime_error& error) { p.note(std::string{"error of "} + error.what()); }
        }(),
        s);
    CHECK(p.log() == events{"setup: home", "error of setup: home"});
}

TEST_CASE("G4, G32: the error of a body that hopped is thrown on the caller's executor", "[executor]") {
    const bool in_region = GENERATE(false, true);
    GENERATE_PLACES();
    p.run(
        [&]() -> awaitable<void> {
            const auto with_body = [&](int&) -> awaitable<void> {
                co_await hop_if(h.body, p);
                throw std::runtime_error("body");
            };
            const auto joined_body = [&]() -> awaitable<void> {
                co_await hop_if(h.body, p);
                throw std::runtime_error("body");
            };
            co_await hop_if(h.caller, p);
            try {
                if (in_region) {
                    co_await coraii::joined(joined_body);
                } else {
                    co_await coraii::with(hopping(p, h), with_body);
                }
            } catch (const std::runtime_error& error) { p.note(std::string{"error of "} + error.what()); }
        }(),
        s);
    if (in_region) {
        CHECK(p.log() == events{"error of body: home"});
    } else {
        CHECK(p.log() == events{"setup: home", "cleanup: home", "error of body: home"});
    }
}

TEST_CASE("G6, G32: the error of a cleanup that hopped is thrown on the caller's executor", "[executor]") {
    const int way = GENERATE(0, 1, 2);
    GENERATE_PLACES();
    CAPTURE(way);
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        p.note("cleanup");
        co_await hop_if(h.cleanup, p);
        throw std::runtime_error("cleanup");
    };
    p.run(
        [&]() -> awaitable<void> {
            coraii::exit_stack stack{p.executor};
            co_await hop_if(h.caller, p);
            try {
                if (way == 0) {
                    auto g = co_await scope();
                    co_await hop_if(h.body, p);
                    co_await g.close();
                } else if (way == 1) {
                    const auto body = [&](int&) { return hop_if(h.body, p); };
                    co_await coraii::with(scope(), body);
                } else {
                    co_await stack.enter(scope());
                    co_await hop_if(h.body, p);
                    co_await stack.close();
                }
            } catch (const std::runtime_error& error) { p.note(std::string{"error of "} + error.what()); }
        }(),
        s);
    CHECK(p.log() == events{"cleanup: home", "error of cleanup: home"});
}

TEST_CASE("G6, G32: on the destructor path it is reported on the scope's executor", "[executor][guard]") {
    GENERATE_PLACES();
    coraii::on_cleanup_error(p.context,
                             [&](const coraii::cleanup_failure& f) { p.note("report of " + what(f.error)); });
    const auto scope = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        co_await hop_if(h.cleanup, p);
        throw std::runtime_error("cleanup");
    };
    p.run(
        [&]() -> awaitable<void> {
            co_await hop_if(h.caller, p);
            auto g = co_await scope();
            co_await hop_if(h.body, p);
        }(),
        s);
    CHECK(p.log() == events{"report of cleanup: home"});
}

TEST_CASE("G6, G13: the error of a cleanup that ended on another executor is reported if the context dies before the way back",
          "[executor][with]") {
    asio::io_context elsewhere;
    events log;
    {
        asio::io_context context;
        coraii::on_cleanup_error(context, [&](const coraii::cleanup_failure& f) { log.push_back("report of " + what(f.error)); });
        const auto scope = [&]() -> coraii::async_scope<int> {
            int n = 0;
            co_yield n;
            co_await asio::post(asio::bind_executor(elsewhere, asio::use_awaitable));
            log.push_back("cleaned");
            throw std::runtime_error("cleanup");
        };
        const auto work = [&]() -> awaitable<void> {
            co_await coraii::with(scope(), [](int&) -> awaitable<void> { co_return; });
        };
        asio::co_spawn(context, work, asio::detached);
        context.poll();
        elsewhere.poll();
    }
    CHECK(log == events{"cleaned", "report of cleanup"});
}
