// SPDX-License-Identifier: BSL-1.0
// Completion handlers without an executor of their own, and with one of every kind.
#include "support/executors.hpp"

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>

using namespace test;

namespace {

coraii::async_scope<int> resource(places& p, bool cleanup_suspends, std::string name = {}) {
    int n = 1;
    co_yield n;
    p.note("cleanup" + name);
    if (cleanup_suspends) {
        co_await turn();
        co_await turn();
    }
}

/// A completion handler that writes down where it is called.
auto noting(places& p, std::string name) {
    return [&p, name = std::move(name)](std::exception_ptr error) { p.note(error ? what(error) : name); };
}

}  // namespace

TEST_CASE("G32: guard::close without a handler's executor completes on the scope's", "[executor][guard]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool suspends = GENERATE(false, true);
    const bool hopped = GENERATE(false, true);
    CAPTURE(e, suspends, hopped);
    places p{e};
    p.run([&]() -> awaitable<void> {
        auto g = co_await resource(p, suspends);
        if (hopped) {
            co_await p.hop();
        }
        g.close(noting(p, "closed"));
    }());
    CHECK(p.log() == events{"cleanup: home", "closed: home"});
}

TEST_CASE("G32: with an error and a status, too", "[executor][guard]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    places p{e};
    const auto scope = []() -> coraii::async_scope<int> {
        int n = 1;
        co_yield n;
        co_await turn();
        throw 7;
    };
    p.run([&]() -> awaitable<void> {
        auto g = co_await scope();
        g.close(coraii::exit_status{coraii::exit_reason::completed}, noting(p, "closed"));
    }());
    CHECK(p.log() == events{"int 7: home"});
}

TEST_CASE("G19, G32: the event loop runs on until such a handler has been called", "[executor][guard]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const int what_ends = GENERATE(0, 1, 2);
    CAPTURE(e, what_ends);
    places p{e};
    coraii::guard<int> g;
    coraii::exit_stack stack{p.executor};
    p.run([&]() -> awaitable<void> {
        auto other = co_await resource(p, true, " other");
        if (what_ends == 0) {
            g = std::move(other);
        } else if (what_ends == 1) {
            co_await stack.enter(resource(p, true));
        }
        // From the main thread, where no executor runs: the operation itself has to keep the loop going.
        asio::post(p.context, [&] {
            if (what_ends == 0) {
                g.close(noting(p, "completed"));
            } else if (what_ends == 1) {
                stack.close(noting(p, "completed"));
            } else {
                coraii::async_drain(p.context, noting(p, "completed"));
            }
        });
    }());
    CHECK(p.context.stopped());
    REQUIRE(!p.log().empty());
    const std::string where = what_ends == 2 && e != on::context ? "completed: elsewhere" : "completed: home";
    CHECK(p.log().back() == where);
}

TEST_CASE("G32: exit_stack::close without a handler's executor completes on the stack's", "[executor][exit_stack]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool suspends = GENERATE(false, true);
    const bool empty = GENERATE(false, true);
    CAPTURE(e, suspends, empty);
    places p{e};
    coraii::exit_stack stack{p.executor};
    p.run([&]() -> awaitable<void> {
        if (!empty) {
            co_await stack.enter(resource(p, suspends));
        }
        co_await p.hop();
        stack.close(noting(p, "closed"));
    }());
    CHECK(p.log() == (empty ? events{"closed: home"} : events{"cleanup: home", "closed: home"}));
}

TEST_CASE("G32: async_drain without a handler's executor completes on the context's", "[executor][scopes]") {
    const bool background = GENERATE(false, true);
    const bool hopped = GENERATE(false, true);
    places p;
    p.run([&]() -> awaitable<void> {
        if (background) {
            const auto g = co_await resource(p, true);
        }
        if (hopped) {
            co_await p.hop();
        }
        coraii::async_drain(p.context, noting(p, "drained"));
    }());
    CHECK(p.log() == (background ? events{"cleanup: home", "drained: home"} : events{"drained: home"}));
}

TEST_CASE("G32: operations in a parallel group complete on their object's executor", "[executor]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool suspends = GENERATE(false, true);
    CAPTURE(e, suspends);
    places p{e};
    coraii::exit_stack stack{p.executor};
    p.run([&]() -> awaitable<void> {
        auto a = co_await resource(p, suspends, " a");
        auto b = co_await resource(p, suspends, " b");
        co_await stack.enter(resource(p, suspends, " c"));
        const auto done = [&](std::array<std::size_t, 3>, std::exception_ptr ea, std::exception_ptr eb,
                              std::exception_ptr ec) { p.note(ea || eb || ec ? "error" : "all"); };
        asio::experimental::make_parallel_group(a.close(asio::deferred), b.close(asio::deferred),
                                                stack.close(asio::deferred))
            .async_wait(asio::experimental::wait_for_all{}, done);
    }());
    const auto log = p.log();
    REQUIRE(log.size() == 4);
    for (const auto& event : log) {
        CHECK(event.ends_with(": home"));
    }
    CHECK(log.back() == "all: home");
}

TEST_CASE("G32: async_drain in a parallel group completes on the context's executor", "[executor][scopes]") {
    places p;
    p.run([&]() -> awaitable<void> {
        auto a = co_await resource(p, true, " a");
        { const auto dropped = co_await resource(p, true, " b"); }
        const auto done = [&](std::array<std::size_t, 2>, std::exception_ptr ea, std::exception_ptr ed) {
            p.note(ea || ed ? "error" : "all");
        };
        asio::experimental::make_parallel_group(a.close(asio::deferred),
                                                coraii::async_drain(p.context, asio::deferred))
            .async_wait(asio::experimental::wait_for_all{}, done);
    }());
    CHECK(p.log() == events{"cleanup b: home", "cleanup a: home", "all: home"});
}

TEST_CASE("G32: a parallel group awaited in a coroutine goes on there", "[executor]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(e, s);
    places p{e};
    p.run(
        [&]() -> awaitable<void> {
            auto a = co_await resource(p, true, " a");
            auto b = co_await resource(p, true, " b");
            auto both =
                asio::experimental::make_parallel_group(a.close(asio::deferred), b.close(asio::deferred))
                    .async_wait(asio::experimental::wait_for_all{}, asio::deferred);
            co_await std::move(both);
            p.note("all");
        }(),
        s);
    CHECK(p.log() == events{"cleanup a: home", "cleanup b: home", "all: home"});
}

TEST_CASE("G32: a handler's own executor comes before the object's", "[executor]") {
    const auto e = GENERATE(on::context, on::strand, on::strand_of_any);
    const bool suspends = GENERATE(false, true);
    CAPTURE(e, suspends);
    places p{e};
    coraii::exit_stack stack{p.executor};
    p.run([&]() -> awaitable<void> {
        auto a = co_await resource(p, suspends, " a");
        co_await stack.enter(resource(p, suspends, " b"));
        a.close(asio::bind_executor(p.pool, noting(p, "closed")));
        stack.close(asio::bind_executor(p.pool, noting(p, "closed")));
        coraii::async_drain(p.context, asio::bind_executor(p.pool, noting(p, "drained")));
    }());
    p.pool.join();
    auto log = p.log();
    std::ranges::sort(log);
    CHECK(log == events{"cleanup a: home", "cleanup b: home", "closed: pool", "closed: pool", "drained: pool"});
}

// ---- executors that Asio's own operations take: close_strand.cpp among the cases

TEST_CASE("G32: handlers bound to a strand<any_io_executor> compile and run there", "[executor]") {
    const bool suspends = GENERATE(false, true);
    CAPTURE(suspends);
    places p;
    coraii::exit_stack stack{p.executor};
    p.run([&]() -> awaitable<void> {
        const auto strand = asio::make_strand(co_await asio::this_coro::executor);
        const auto on_strand = [&](std::string name) {
            return asio::bind_executor(strand, [&p, strand, name = std::move(name)](std::exception_ptr error) {
                p.note_as(error ? what(error) : name, strand.running_in_this_thread() ? "strand" : p.here());
            });
        };
        auto a = co_await resource(p, suspends, " a");
        auto b = co_await resource(p, suspends, " b");
        co_await stack.enter(resource(p, suspends, " c"));
        a.close(on_strand("closed a"));
        b.close(coraii::exit_status{coraii::exit_reason::completed}, on_strand("closed b"));
        stack.close(on_strand("closed c"));
        coraii::async_drain(p.context, on_strand("drained"));
        coraii::guard<int>{}.close(on_strand("nothing"));
    }());
    auto log = p.log();
    std::ranges::sort(log);
    CHECK(log == events{"cleanup a: home", "cleanup b: home", "cleanup c: home", "closed a: strand",
                        "closed b: strand", "closed c: strand", "drained: strand", "nothing: strand"});
}

TEST_CASE("G32: an any_completion_handler has the executor of what is in it, else the object's", "[executor]") {
    using handler = asio::any_completion_handler<void(std::exception_ptr)>;
    const bool suspends = GENERATE(false, true);
    const bool bound = GENERATE(false, true);
    CAPTURE(suspends, bound);
    places p;
    coraii::exit_stack stack{p.executor};
    const auto any = [&](std::string name) {
        return bound ? handler{asio::bind_executor(p.pool, noting(p, std::move(name)))}
                     : handler{noting(p, std::move(name))};
    };
    p.run([&]() -> awaitable<void> {
        auto a = co_await resource(p, suspends, " a");
        auto b = co_await resource(p, suspends, " b");
        co_await stack.enter(resource(p, suspends, " c"));
        a.close(any("closed a"));
        b.close(coraii::exit_status{coraii::exit_reason::completed}, any("closed b"));
        stack.close(any("closed c"));
        coraii::async_drain(p.context, any("drained"));
    }());
    p.pool.join();
    const std::string where = bound ? "pool" : "home";
    auto log = p.log();
    std::ranges::sort(log);
    CHECK(log == events{"cleanup a: home", "cleanup b: home", "cleanup c: home", "closed a: " + where,
                        "closed b: " + where, "closed c: " + where, "drained: " + where});
}

TEST_CASE("G32: a closed guard is closed again by an any_completion_handler", "[executor][guard]") {
    places p;
    bool called = false;
    p.run([&]() -> awaitable<void> {
        auto g = co_await resource(p, false);
        co_await g.close();
        g.close(asio::any_completion_handler<void(std::exception_ptr)>{asio::bind_executor(
            p.executor, [&](std::exception_ptr error) { called = error == nullptr; })});
    }());
    CHECK(called);
}
