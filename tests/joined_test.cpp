// SPDX-License-Identifier: BSL-1.0
#include "coraii/joined.hpp"

#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace test;

namespace {

constexpr plan slow{.cleanup_suspends = true};

/// Its cleanup does not end.
coraii::async_scope<int> endless(events& log, const char* name) {
    int n = 0;
    const coraii::exit_status why = co_yield n;
    log.push_back(std::string{name} + (why.can_await() ? " awaits" : " cannot await"));
    co_await forever();
    log.push_back("not reached");
}

/// Waits for a cancel, in a coroutine that does not throw for one.
awaitable<void> forever_or_cancelled(events& log) {
    asio::steady_timer never{co_await asio::this_coro::executor, asio::steady_timer::time_point::max()};
    boost::system::error_code ec;
    co_await never.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    log.push_back(ec == asio::error::operation_aborted ? "cancelled" : ec.message());
}

awaitable<void> throw_error(const char* what) {
    throw std::runtime_error(what);
    co_return;
}

}  // namespace

TEST_CASE("G26: joined returns the body's result when every guard dropped inside has been cleaned", "[joined]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(f, s, suspends);
    events log;
    const auto work = [&]() -> awaitable<void> {
        const plan p{.setup_suspends = suspends, .cleanup_suspends = suspends};
        const auto body = [&]() -> awaitable<std::string> {
            const auto session = co_await make(f, log, "session", p);
            const auto transaction = co_await make(f, log, "transaction", p);
            log.push_back("body");
            co_return "result";
        };
        log.push_back(co_await coraii::joined(body));
    };
    run(work(), s);
    CHECK(log == events{"setup session", "setup transaction", "body", "cleanup transaction abandoned",
                        "cleaned transaction", "cleanup session abandoned", "cleaned session", "result"});
}

TEST_CASE("G26: the result may be void or move-only, and need not be default constructible", "[joined]") {
    struct token {
        explicit token(int n) : value{std::make_unique<int>(n)} {}
        std::unique_ptr<int> value;
    };
    run([]() -> awaitable<void> {
        const token t = co_await coraii::joined([]() -> awaitable<token> { co_return token{7}; });
        CHECK(*t.value == 7);
        co_await coraii::joined([]() -> awaitable<void> { co_return; });
    }());
}

TEST_CASE("G26: guards are cleaned one after another, in the order they were dropped", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            auto a = co_await make(form::co_yielded, log, "a", slow);
            auto b = co_await make(form::co_yielded, log, "b", slow);
            auto c = co_await make(form::co_yielded, log, "c");
            b.reset();
            log.push_back("b dropped");
            a.reset();
            c.reset();
            log.push_back("all dropped");
        });
        log.push_back("joined");
    }());
    CHECK(log == events{"setup a", "setup b", "setup c", "cleanup b abandoned", "b dropped", "all dropped", "cleaned b",
                        "cleanup a abandoned", "cleaned a", "cleanup c abandoned", "cleaned c", "joined"});
}

TEST_CASE("G26: callees and coroutines spawned on the region's executor are inside", "[joined]") {
    const bool on_strand = GENERATE(false, true);
    CAPTURE(on_strand);
    events log;
    run([&]() -> awaitable<void> {
        const auto child = [&]() -> awaitable<void> {
            co_await turn();
            const auto g = co_await make(form::co_yielded, log, "child's", slow);
            co_await turn();
        };
        const auto callee = [&]() -> awaitable<void> {
            const auto g = co_await make(form::pair, log, "callee's", slow);
        };
        co_await coraii::joined([&]() -> awaitable<void> {
            const asio::any_io_executor executor = co_await asio::this_coro::executor;
            co_await callee();
            if (on_strand) {
                co_await asio::co_spawn(asio::make_strand(executor), child, asio::use_awaitable);
            } else {
                co_await asio::co_spawn(executor, child, asio::use_awaitable);
            }
            log.push_back("body over");
        });
        log.push_back("joined");
    }());
    CHECK(log == events{"setup callee's", "cleanup callee's abandoned", "cleaned callee's", "setup child's",
                        "cleanup child's abandoned", "body over", "cleaned child's", "joined"});
}

TEST_CASE("G26: code that comes back from I/O is inside, whatever the executor of the I/O object", "[joined]") {
    asio::io_context context;
    const bool objects_of_the_region = GENERATE(false, true);
    CAPTURE(objects_of_the_region);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const asio::any_io_executor here = co_await asio::this_coro::executor;
            const asio::any_io_executor executor = objects_of_the_region ? here : context.get_executor();
            asio::ip::tcp::acceptor acceptor{executor, {asio::ip::address_v4::loopback(), 0}};
            asio::ip::tcp::socket client{executor};
            asio::steady_timer timer{executor, 1ms};

            auto a = co_await make(form::co_yielded, log, "a", slow);
            co_await timer.async_wait(asio::use_awaitable);
            a.reset();
            auto b = co_await make(form::co_yielded, log, "b", slow);
            client.async_connect(acceptor.local_endpoint(), [](boost::system::error_code) {});
            const auto accepted = co_await acceptor.async_accept(asio::use_awaitable);
            b.reset();
        });
        log.push_back("joined");
    };
    run(work(), context);
    CHECK(log.back() == "joined");
    CHECK(log.size() == 7);
}

TEST_CASE("G26: a guard that is moved in is waited for, also as a part of the body", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        auto moved_in = co_await make(form::co_yielded, log, "a", slow);
        auto captured = co_await make(form::co_yielded, log, "b", slow);
        auto body = [&log, &moved_in, captured = std::move(captured)]() -> awaitable<void> {
            const auto inside = std::move(moved_in);
            log.push_back("body");
            co_return;
        };
        co_await coraii::joined(std::move(body));
        log.push_back("joined");
    }());
    CHECK(log == events{"setup a", "setup b", "body", "cleanup a abandoned", "cleaned a", "cleanup b abandoned",
                        "cleaned b", "joined"});
}

TEST_CASE("G26: a guard that leaves the region alive is cleaned as any other", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        {
            const auto outside = co_await coraii::joined([&]() -> awaitable<coraii::guard<item>> {
                auto g = co_await make(form::co_yielded, log, "a", slow);
                co_return std::move(g);
            });
            log.push_back("joined");
            CHECK(outside->name == "a");
        }
        log.push_back("dropped");
        co_await coraii::async_drain(asio::query(co_await asio::this_coro::executor, asio::execution::context));
    }());
    CHECK(log == events{"setup a", "joined", "cleanup a abandoned", "dropped", "cleaned a"});
}

TEST_CASE("G26: a guard that is dropped outside while the region is open is not waited for", "[joined]") {
    asio::io_context context;
    gate drop{context}, dropped{context}, may_clean{context};
    events log;
    std::optional<coraii::guard<item>> moved_out;
    task other{context,
               [](gate& when, gate& done, std::optional<coraii::guard<item>>& g) -> awaitable<void> {
                   co_await when.wait();
                   g.reset();
                   done.open();
               }(drop, dropped, moved_out),
               slot::none};
    const auto body = [&]() -> awaitable<void> {
        auto scope = coraii::async_scope{set_up(log, "a", {}), [&](item& i) -> awaitable<void> {
                                             co_await may_clean.wait();
                                             co_await clean_up(i, {}, coraii::exit_status{});
                                         }};
        moved_out = co_await std::move(scope);
        drop.open();
        co_await dropped.wait();
    };
    run(
        [&]() -> awaitable<void> {
            co_await coraii::joined(body);
            log.push_back("joined");
            may_clean.open();
        }(),
        context);
    CHECK(log == events{"setup a", "joined", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G26: an inner region waits for its own only", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            auto outer = co_await make(form::co_yielded, log, "outer", slow);
            auto passed_in = co_await make(form::co_yielded, log, "passed in", slow);
            co_await coraii::joined([&]() -> awaitable<void> {
                const auto inner = co_await make(form::co_yielded, log, "inner", slow);
                const auto dropped_here = std::move(passed_in);
                co_await turn();
            });
            log.push_back("inner region over");
        });
        log.push_back("outer region over");
    }());
    CHECK(log == events{"setup outer", "setup passed in", "setup inner", "cleanup passed in abandoned",
                        "cleaned passed in", "cleanup inner abandoned", "cleaned inner", "inner region over",
                        "cleanup outer abandoned", "cleaned outer", "outer region over"});
}

TEST_CASE("G26: what outlives its region belongs to the one around it", "[joined]") {
    asio::io_context context;
    gate go_on{context};
    events log;
    const auto child = [&]() -> awaitable<void> {
        const auto g = co_await make(form::co_yielded, log, "child's", slow);
        co_await go_on.wait();
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            co_await coraii::joined([&]() -> awaitable<void> {
                asio::co_spawn(co_await asio::this_coro::executor, child, asio::detached);
                co_await turn();
            });
            log.push_back("inner region over");
            go_on.open();
            co_await turn();
            co_await turn();
        });
        log.push_back("outer region over");
    };
    run(work(), context);
    CHECK(log == events{"setup child's", "inner region over", "cleanup child's abandoned", "cleaned child's",
                        "outer region over"});
}

TEST_CASE("G4, G26: the body's exception is rethrown, the same object, after the cleanups", "[joined]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool at_once = GENERATE(false, true);
    CAPTURE(s, at_once);
    events log;
    const std::exception* thrown = nullptr;
    const auto work = [&]() -> awaitable<void> {
        try {
            co_await coraii::joined([&]() -> awaitable<void> {
                const auto a = co_await make(form::co_yielded, log, "a", slow);
                const auto b = co_await make(form::co_yielded, log, "b", {.cleanup_suspends = !at_once});
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
    CHECK(log == events{"setup a", "setup b", "cleanup b abandoned", "cleaned b", "cleanup a abandoned", "cleaned a",
                        "caught"});
}

TEST_CASE("G26: what the body throws before it is a coroutine is its error", "[joined]") {
    const auto work = []() -> awaitable<void> { co_await coraii::joined([]() -> awaitable<void> { throw 7; }); };
    CHECK_THROWS_AS(run(work()), int);
}

TEST_CASE("G5, G26: when the body throws, errors of cleanups are reported", "[joined]") {
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const auto a = co_await make(form::co_yielded, log, "a", {.cleanup_throws = true}).named("the a");
            const auto b = co_await make(form::co_yielded, log, "b", {true, false, true, true}).named("the b");
            co_await throw_error("body");
        });
    };
    CHECK_THROWS_WITH(run(work(), context), "body");
    REQUIRE(reported.all.size() == 2);
    CHECK(reported.all[0].name == "the a");
    CHECK(what(reported.all[0].suppressed_by) == "cleanup of b");
    CHECK(reported.all[1].name == "the b");
    CHECK(what(reported.all[1].error) == "cleanup of b");
    CHECK(what(reported.all[1].suppressed_by) == "body");
}

TEST_CASE("G6, G26: when only cleanups throw, the first error is thrown and the others are reported", "[joined]") {
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(s);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<int> {
            const auto a = co_await make(form::co_yielded, log, "a", {.cleanup_throws = true}).named("the a");
            const auto b = co_await make(form::co_yielded, log, "b", {true, false, true, true}).named("the b");
            co_return 1;
        });
    };
    CHECK_THROWS_WITH(run(work(), context, s), "cleanup of b");
    REQUIRE(reported.all.size() == 1);
    CHECK(what(reported.all[0].error) == "cleanup of a");
    CHECK(what(reported.all[0].suppressed_by) == "cleanup of b");
}

TEST_CASE("G8, G26: a cancel reaches the body as if it were awaited directly", "[joined][cancel]") {
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    CAPTURE(static_cast<int>(type));
    asio::io_context context;
    events log;
    task t{context,
           [](events& l) -> awaitable<void> {
               co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
               try {
                   co_await coraii::joined([&]() -> awaitable<void> {
                       const auto a = co_await make(form::co_yielded, l, "a", slow);
                       co_await forever();
                   });
               } catch (const boost::system::system_error& e) {
                   l.push_back(e.code() == asio::error::operation_aborted ? "aborted" : e.what());
               }
               const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
               l.push_back(now.cancelled() != asio::cancellation_type::none ? "still cancelled" : "forgotten");
           }(log),
           slot::connected};
    context.run_for(20ms);
    t.cancel(type);
    finish(context);
    CHECK(t.finished());
    CHECK(what(t.error()) == "no error");
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a", "aborted", "still cancelled"});
}

TEST_CASE("G8, G26: the caller's filter is the body's, and so are its setting and what was requested before",
          "[joined][cancel]") {
    asio::io_context context;
    events log;
    task t{context,
           [](events& l) -> awaitable<void> {
               co_await asio::this_coro::throw_if_cancelled(false);
               co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
               co_await forever_or_cancelled(l);
               co_await coraii::joined([&]() -> awaitable<void> {
                   const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
                   l.push_back(now.cancelled() == asio::cancellation_type::terminal ? "seen" : "not seen");
                   const bool throws = co_await asio::this_coro::throw_if_cancelled();
                   l.push_back(throws ? "throws" : "does not throw");
                   co_await asio::this_coro::throw_if_cancelled(true);
               });
               const bool throws = co_await asio::this_coro::throw_if_cancelled();
               l.push_back(throws ? "throws" : "does not throw");
           }(log),
           slot::connected};
    context.run_for(20ms);
    t.cancel(asio::cancellation_type::total);
    context.run_for(20ms);
    CHECK(log.empty());
    t.cancel(asio::cancellation_type::terminal);
    finish(context);
    CHECK(t.finished());
    CHECK(log == events{"cancelled", "seen", "does not throw", "does not throw"});
}

TEST_CASE("G9, G26: a cancel during the cleanups does not reach them, and is seen afterwards", "[joined][cancel]") {
    asio::io_context context;
    gate cleaning{context}, go_on{context};
    events log;
    task t{context,
           [](events& l, gate& begun, gate& may) -> awaitable<void> {
               const int n = co_await coraii::joined([&]() -> awaitable<int> {
                   auto scope = coraii::async_scope{set_up(l, "a", {}), [&](item& i) -> awaitable<void> {
                                                        begun.open();
                                                        co_await may.wait();
                                                        co_await clean_up(i, slow, coraii::exit_status{});
                                                    }};
                   const auto a = co_await std::move(scope);
                   co_return 1;
               });
               l.push_back("result " + std::to_string(n));
               const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
               l.push_back(now.cancelled() != asio::cancellation_type::none ? "cancelled" : "forgotten");
           }(log, cleaning, go_on),
           slot::connected};
    context.run_for(20ms);
    t.cancel();
    context.run_for(20ms);
    CHECK(log == events{"setup a"});
    go_on.open();
    finish(context);
    CHECK(t.finished());
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a", "result 1", "cancelled"});
}

TEST_CASE("G11, G26: each cleanup has its own deadline", "[joined][cancel]") {
    asio::io_context context;
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const auto a = co_await make(form::co_yielded, log, "a", slow);
            auto stuck = coraii::async_scope{set_up(log, "stuck", {}), [](item&) { return forever(); }};
            const auto b = co_await std::move(stuck).cleanup_timeout(10ms);
        });
    };
    std::exception_ptr error;
    try {
        run(work(), context);
    } catch (...) { error = std::current_exception(); }
    CHECK(code(error) == coraii::errc::cleanup_timeout);
    CHECK(log == events{"setup a", "setup stuck", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G13, G26: the context dies inside", "[joined][context]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto where = GENERATE(as<std::string>{}, "in the body", "in a cleanup");
    CAPTURE(s, where);
    events log;
    auto context = std::make_unique<asio::io_context>();
    const auto work = [](events& l, bool in_body) -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const auto a = co_await endless(l, "a");
            const auto b = co_await endless(l, "b");
            const auto c = co_await endless(l, "c");
            if (in_body) {
                co_await forever();
            }
        });
        l.push_back("not reached");
    };
    task t{*context, work(log, where == "in the body"), s};
    context->run_for(20ms);
    context.reset();
    CHECK(!t.finished());
    if (where == "in the body") {
        CHECK(log == events{"c cannot await", "b cannot await", "a cannot await"});
    } else {
        CHECK(log == events{"c awaits", "b cannot await", "a cannot await"});
    }
}

TEST_CASE("G15, G26: an exit_stack that is dropped inside is cleaned last in, first out", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const auto before = co_await make(form::co_yielded, log, "before", slow);
            coraii::exit_stack stack{co_await asio::this_coro::executor};
            for (const char* name : {"a", "b", "c"}) {
                co_await stack.enter(make(form::co_yielded, log, name, slow));
            }
            log.clear();
        });
        log.push_back("joined");
    }());
    CHECK(log == events{"cleanup c abandoned", "cleaned c", "cleanup b abandoned", "cleaned b", "cleanup a abandoned",
                        "cleaned a", "cleanup before abandoned", "cleaned before", "joined"});
}

namespace {

coraii::async_scope<coraii::scope_handle> held_scope(events& log) {
    coraii::scope_handle self = co_await coraii::this_scope;
    co_yield self;
    log.push_back("session cleaned");
}

coraii::async_scope<int> holder(events& log, coraii::scope_handle& of) {
    const coraii::scope_hold keeps = of.hold();
    int n = 0;
    co_yield n;
    co_await turn();
    log.push_back("transaction cleaned");
}

coraii::async_scope<int> composite(events& log, std::string name) {
    const auto inner = co_await make(form::co_yielded, log, name + "'s inner", slow);
    int n = 0;
    co_yield n;
    co_await turn();
    log.push_back("cleaned " + name);
}

}  // namespace

TEST_CASE("G25, G26: what is held lets those behind it pass, and is waited for", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            auto other = co_await make(form::co_yielded, log, "other", slow);
            auto session = co_await held_scope(log);
            auto transaction = co_await holder(log, *session);
            log.clear();
            session.reset();
            transaction.reset();
        });
        log.push_back("joined");
    }());
    CHECK(log ==
          events{"transaction cleaned", "session cleaned", "cleanup other abandoned", "cleaned other", "joined"});
}

TEST_CASE("G25, G26: a hold from outside keeps the region open", "[joined]") {
    asio::io_context context;
    gate let_go{context};
    events log;
    coraii::scope_hold hold;
    task t{context,
           [](events& l, coraii::scope_hold& h) -> awaitable<void> {
               co_await coraii::joined([&]() -> awaitable<void> {
                   const auto session = co_await held_scope(l);
                   h = session->hold();
               });
               l.push_back("joined");
           }(log, hold),
           slot::none};
    context.run_for(20ms);
    CHECK(log.empty());
    hold = {};
    finish(context);
    CHECK(log == events{"session cleaned", "joined"});
}

TEST_CASE("G26: what a cleanup drops at the body's end is cleaned next, as with destructors", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const auto a = co_await composite(log, "a");
            const auto b = co_await composite(log, "b");
            log.clear();
        });
    }());
    CHECK(log == events{"cleaned b", "cleanup b's inner abandoned", "cleaned b's inner", "cleaned a",
                        "cleanup a's inner abandoned", "cleaned a's inner"});
}

TEST_CASE("G17, G26: a released resource is nobody's business", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        const item i = co_await coraii::joined([&]() -> awaitable<item> {
            auto busy = co_await make(form::co_yielded, log, "busy", slow);
            auto a = co_await make(form::pair, log, "a", slow);
            busy.reset();
            co_return a.release();
        });
        CHECK(i.name == "a");
    }());
    CHECK(log == events{"setup busy", "setup a", "cleanup busy abandoned", "cleaned busy"});
}

TEST_CASE("G26: a guard of another execution context is cleaned there, and not waited for", "[joined]") {
    asio::io_context here, there;
    events log;
    coraii::guard<item> foreign;
    asio::co_spawn(
        there, [&]() -> awaitable<void> { foreign = co_await make(form::co_yielded, log, "a", slow); }, asio::detached);
    there.poll();
    run(
        [&]() -> awaitable<void> {
            co_await coraii::joined([&]() -> awaitable<void> {
                foreign.reset();
                co_return;
            });
            log.push_back("joined");
        }(),
        here);
    finish(there);
    CHECK(log == events{"setup a", "joined", "cleanup a abandoned", "cleaned a"});
}

TEST_CASE("G18, G26: a hundred thousand regions in a loop, and guards in one region", "[joined]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    CAPTURE(s, suspends);
    const int many = (sanitized ? 10'000 : 100'000);
    int cleaned = 0;
    const auto open = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        if (suspends) {
            co_await turn();
        }
        ++cleaned;
    };
    const auto work = [&]() -> awaitable<void> {
        for (int i = 0; i < many; ++i) {
            co_await coraii::joined([&]() -> awaitable<void> { const auto g = co_await open(); });
        }
        CHECK(cleaned == many);
        co_await coraii::joined([&]() -> awaitable<void> {
            std::vector<coraii::guard<int>> guards;
            for (int i = 0; i < many; ++i) {
                guards.push_back(co_await open());
            }
        });
        CHECK(cleaned == 2 * many);
    };
    run(work(), s);
}

TEST_CASE("G19, G26: the event loop runs on while a guard from a region is open, but not for an idle object",
          "[joined]") {
    asio::io_context context;
    events log;
    coraii::guard<item> open;
    std::optional<asio::steady_timer> idle;
    asio::co_spawn(
        context,
        [&]() -> awaitable<void> {
            co_await coraii::joined([&]() -> awaitable<void> {
                idle.emplace(co_await asio::this_coro::executor);
                open = co_await make(form::co_yielded, log, "a");
            });
        },
        asio::detached);
    context.run_for(20ms);
    CHECK(!context.stopped());
    open.reset();
    finish(context);
    CHECK(log.back() == "cleaned a");
}

TEST_CASE("G20, G26: guards are dropped inside on several threads", "[joined][threads]") {
    constexpr int children = 8, rounds = 50;
    asio::thread_pool pool{4};
    std::atomic<int> open{0}, cleaning{0}, together{0}, cleaned{0};
    const auto resource = [&]() -> coraii::async_scope<int> {
        int n = ++open;
        co_yield n;
        if (++cleaning != 1) {
            ++together;
        }
        co_await turn();
        --cleaning;
        ++cleaned;
    };
    const auto child = [&]() -> awaitable<void> {
        for (int i = 0; i < rounds; ++i) {
            const auto a = co_await resource();
            const auto b = co_await resource();
            co_await turn();
        }
    };
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const asio::any_io_executor executor = co_await asio::this_coro::executor;
            std::atomic<int> running{children};
            for (int i = 0; i < children; ++i) {
                asio::co_spawn(executor, child, [&](std::exception_ptr) { --running; });
            }
            while (running != 0) {
                co_await turn();
            }
        });
        CHECK(cleaned == 2 * children * rounds);
    };
    asio::co_spawn(pool, work, asio::use_future).get();
    CHECK(together == 0);
    pool.join();
}

TEST_CASE("G26: on a strand, code that comes back from a setup, a close or an inner region is still inside",
          "[joined]") {
    events log;
    const auto on_strand = [&]() -> awaitable<void> {
        {
            const auto a =
                co_await make(form::co_yielded, log, "a", {.setup_suspends = true, .cleanup_suspends = true});
        }
        auto b = co_await make(form::co_yielded, log, "b", slow);
        co_await b.close();
        { const auto c = co_await make(form::co_yielded, log, "c", slow); }
        co_await coraii::joined([]() -> awaitable<void> { co_await turn(); });
        const auto d = co_await make(form::co_yielded, log, "d", slow);
    };
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            const asio::any_io_executor executor = co_await asio::this_coro::executor;
            co_await asio::co_spawn(asio::make_strand(executor), on_strand, asio::use_awaitable);
        });
        log.push_back("joined");
    }());
    CHECK(log.back() == "joined");
    CHECK(log.size() == 13);
}

TEST_CASE("G25, G26: what a cleanup drops lets others pass when it is held, too", "[joined]") {
    events log;
    const auto session = [&]() -> coraii::async_scope<coraii::guard<coraii::scope_handle>> {
        auto connection = co_await held_scope(log);
        co_yield connection;
        co_await turn();
    };
    run([&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> awaitable<void> {
            auto s = co_await session();
            auto transaction = co_await holder(log, **s);
            s.reset();
            transaction.reset();
        });
        log.push_back("joined");
    }());
    CHECK(log == events{"transaction cleaned", "session cleaned", "joined"});
}

TEST_CASE("G26: what a scope's own code drops before its turn waits for its turn", "[joined]") {
    events log;
    asio::io_context context;
    gate drop{context};
    const auto reader = [&]() -> awaitable<void> {
        auto own = co_await make(form::co_yielded, log, "reader's", slow);
        co_await drop.wait();
    };
    const auto with_reader = [&]() -> coraii::async_scope<int> {
        asio::co_spawn(co_await asio::this_coro::executor, reader, asio::detached);
        co_await turn();
        int n = 0;
        co_yield n;
        log.push_back("cleanup b");
    };
    const auto slowly = [&]() -> coraii::async_scope<int> {
        int n = 0;
        co_yield n;
        log.push_back("cleanup a");
        drop.open();
        co_await turn();
        co_await turn();
        co_await turn();
        log.push_back("cleaned a");
    };
    run(
        [&]() -> awaitable<void> {
            co_await coraii::joined([&]() -> awaitable<void> {
                auto b = co_await with_reader();
                auto a = co_await slowly();
                log.clear();
            });
        }(),
        context);
    CHECK(log == events{"cleanup a", "cleaned a", "cleanup b", "cleanup reader's abandoned", "cleaned reader's"});
}

TEST_CASE("G26: a body that can only be copied is destroyed inside, too", "[joined]") {
    events log;
    run([&]() -> awaitable<void> {
        auto open = co_await make(form::co_yielded, log, "a", slow);
        auto region = [](const std::shared_ptr<coraii::guard<item>> kept) {
            return coraii::joined([kept]() -> awaitable<void> { co_return; });
        }(std::make_shared<coraii::guard<item>>(std::move(open)));
        co_await std::move(region);
        log.push_back("joined");
    }());
    CHECK(log == events{"setup a", "cleanup a abandoned", "cleaned a", "joined"});
}

TEST_CASE("G26: what refers to a scope may outlive the context, on a strand, too", "[joined][context]") {
    coraii::scope_handle handle;
    events log;
    {
        asio::io_context context;
        asio::co_spawn(
            asio::make_strand(context),
            [&]() -> awaitable<void> {
                co_await coraii::joined([&]() -> awaitable<void> {
                    const auto session = co_await held_scope(log);
                    handle = *session;
                });
            },
            asio::detached);
        finish(context);
    }
    CHECK(log == events{"session cleaned"});
    CHECK_THROWS(handle.hold());
}
