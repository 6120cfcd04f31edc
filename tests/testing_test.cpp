// SPDX-License-Identifier: BSL-1.0
// The fault-injection kit itself: what it finds, and what it says.
#include "coraii/testing.hpp"

#include "coraii/coraii.hpp"
#include "support/scenario.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
namespace testing = coraii::testing;
using asio::awaitable;
using Catch::Matchers::ContainsSubstring;
using testing::cleanup_order;
using testing::fault_kind;
using testing::probe;
using testing::step;
using namespace std::chrono_literals;

namespace {

coraii::async_scope<probe> scope(std::string name) {
    probe p{std::move(name)};
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}

coraii::async_scope<probe> stalls_in_cleanup(std::string name) {
    probe p{std::move(name)};
    p.stall_at(step::cleanup);
    co_await p.set_up();
    co_yield p;
    co_await p.clean_up();
}

/// What `run` complains about; empty if it does not.
template <class F>
std::string complaint(F coroutine, testing::run_options options = {}) {
    options.patience = 1ms;
    try {
        testing::run(std::move(coroutine), options);
    } catch (const testing::failure& f) { return f.what(); }
    return {};
}

std::string text(const testing::sweep_report& report) {
    std::ostringstream out;
    out << report;
    return out.str();
}

testing::sweep_report sweep(const testing::scenario& scenario, testing::sweep_options options = {}) {
    options.patience = 1ms;
    return testing::sweep(scenario, options);
}

}  // namespace

// ---- run

TEST_CASE("run gives the coroutine's result, or throws what it threw", "[testing]") {
    CHECK(testing::run([]() -> awaitable<int> { co_return 7; }) == 7);
    CHECK(*testing::run([]() -> awaitable<std::unique_ptr<int>> { co_return std::make_unique<int>(8); }) == 8);
    CHECK_THROWS_MATCHES(testing::run([]() -> awaitable<void> {
                             co_await testing::point();
                             throw std::runtime_error("mine");
                         }),
                         std::runtime_error, Catch::Matchers::Message("mine"));
    const auto work = []() -> awaitable<int> { co_return 9; };
    CHECK(testing::run(work()) == 9);
}

TEST_CASE("run lets timers expire in their order, without waiting", "[testing]") {
    std::vector<int> order;
    testing::clock::duration passed{};
    testing::run([&]() -> awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        const auto note = [&order](int hours) -> awaitable<void> {
            co_await testing::delay(std::chrono::hours{hours});
            order.push_back(hours);
        };
        const auto before = testing::clock::now();
        for (const int hours : {300, 1, 20}) {
            asio::co_spawn(executor, note(hours), asio::detached);
        }
        testing::timer cancelled{executor, 2h};
        cancelled.async_wait([&order](const boost::system::error_code& e) { order.push_back(e ? -1 : 2); });
        cancelled.cancel();
        co_await testing::delay(1000h);
        passed = testing::clock::now() - before;
    });
    CHECK(order == std::vector{-1, 1, 20, 300});
    CHECK(passed == 1000h);
    // Outside, it is the steady clock.
    const auto real = std::chrono::steady_clock::now().time_since_epoch();
    CHECK(testing::clock::now().time_since_epoch() - real < 1h);
    CHECK(testing::clock::now().time_since_epoch() >= real);
}

TEST_CASE("run has cleanup_timeout go by virtual time", "[testing]") {
    testing::run([]() -> awaitable<void> {
        auto g = co_await stalls_in_cleanup("slow").cleanup_timeout(5h);
        const auto before = testing::clock::now();
        boost::system::error_code code;
        try {
            co_await g.close();
        } catch (const boost::system::system_error& e) { code = e.code(); }
        if (code != coraii::errc::cleanup_timeout || testing::clock::now() - before != 5h) {
            throw std::logic_error("not after five hours");
        }
    });
}

TEST_CASE("run says what a coroutine waits for that cannot finish", "[testing]") {
    const auto work = []() -> awaitable<void> {
        co_await coraii::with(scope("outer").named("session"), [](probe&) -> awaitable<void> {
            probe p{"inner"};
            p.stall_at(step::setup);
            co_await testing::delay(3s);
            co_await p.set_up();
        });
    };
    const std::string said = complaint(work);
    CHECK_THAT(said, ContainsSubstring("cannot finish"));
    CHECK_THAT(said, ContainsSubstring("setup of 'inner'"));
    CHECK_THAT(said, ContainsSubstring("'session' ("));
    CHECK_THAT(said, ContainsSubstring("testing_test.cpp"));
    CHECK_THAT(said, ContainsSubstring("is open, begun 3000 ms ago"));

    CHECK_THAT(complaint(test::forever()), ContainsSubstring("an operation that the kit does not know"));
}

TEST_CASE("run says what is left behind by a coroutine that has finished", "[testing]") {
    const std::string said =
        complaint([]() -> awaitable<void> { auto g = co_await stalls_in_cleanup("dropped").named("connection"); });
    CHECK_THAT(said, ContainsSubstring("has finished, but work is left behind"));
    CHECK_THAT(said, ContainsSubstring("cleanup of 'dropped'"));
    CHECK_THAT(said, ContainsSubstring("'connection' ("));
    CHECK_THAT(said, ContainsSubstring("is being cleaned"));
    // What can still end, may.
    CHECK(complaint([]() -> awaitable<void> { auto g = co_await scope("dropped"); }).empty());
}

TEST_CASE("run tells what is wrong although the coroutine throws", "[testing]") {
    const auto leaves_it = []() -> awaitable<void> {
        probe p{"p"};
        co_await p.set_up();
        throw std::runtime_error("mine");
    };
    CHECK_THAT(complaint(leaves_it),
               ContainsSubstring("was set up and never cleaned") && ContainsSubstring("the coroutine threw: mine"));
}

TEST_CASE("in virtual time a timer that was cancelled is as if it had not been", "[testing]") {
    testing::run([]() -> awaitable<void> {
        const auto before = testing::clock::now();
        {
            testing::timer cancelled{co_await asio::this_coro::executor, 2h};
            cancelled.async_wait([](const boost::system::error_code&) {});
            co_await testing::point();
        }
        asio::steady_timer real{co_await asio::this_coro::executor, 1ms};
        co_await real.async_wait(asio::deferred);
        if (testing::clock::now() != before) {
            throw std::logic_error("time has gone on");
        }
    });
}

// ---- probe

TEST_CASE("a probe notices what is wrong with its use", "[testing]") {
    const auto never_cleaned = []() -> awaitable<void> {
        probe p{"p"};
        co_await p.set_up();
    };
    CHECK_THAT(complaint(never_cleaned), ContainsSubstring("'p' (") && ContainsSubstring("testing_test.cpp") &&
                                             ContainsSubstring("was set up and never cleaned"));
    const auto cleaned_twice = []() -> awaitable<void> {
        probe p{"p"};
        p.set_up_now();
        p.clean_up_now();
        co_await p.clean_up();
    };
    CHECK_THAT(complaint(cleaned_twice), ContainsSubstring("was cleaned twice"));
    const auto used_afterwards = []() -> awaitable<void> {
        probe p{"p"};
        p.set_up_now();
        co_await p.clean_up();
        co_await p.use();
    };
    CHECK_THAT(complaint(used_afterwards), ContainsSubstring("was used after its cleanup had begun"));
    const auto never_set_up = []() -> awaitable<void> {
        probe p{"p"};
        p.touch();
        co_await p.clean_up();
    };
    CHECK_THAT(complaint(never_set_up), ContainsSubstring("was used before it was set up") &&
                                            ContainsSubstring("is cleaned but was never set up"));
    const auto wrong_order = []() -> awaitable<void> {
        probe a{"a"}, b{"b"};
        co_await a.set_up();
        co_await b.set_up();
        co_await a.clean_up();
        co_await b.clean_up();
    };
    CHECK(complaint(wrong_order).empty());
    CHECK_THAT(complaint(wrong_order, {.order = cleanup_order::reverse}),
               ContainsSubstring("is cleaned before 'b', which was set up after it"));
    const auto overlapping = []() -> awaitable<void> {
        auto a = co_await scope("a");
        auto b = co_await scope("b");
    };
    CHECK(complaint(overlapping, {.order = cleanup_order::reverse}).empty());
    CHECK_THAT(complaint(overlapping, {.order = cleanup_order::nested}),
               ContainsSubstring("is cleaned while 'b' is still being cleaned") &&
                   ContainsSubstring("was not cleaned when the scenario went on"));
}

TEST_CASE("a probe fails and stalls where it is told to", "[testing]") {
    const step where = GENERATE(step::setup, step::use, step::cleanup);
    const auto work = [where](bool stalls) -> awaitable<void> {
        probe p{"p"};
        stalls ? p.stall_at(where) : p.fail_at(where);
        co_await p.set_up();
        try {
            co_await p.use();
        } catch (const std::runtime_error&) {
            p.clean_up_now();
            throw;
        }
        co_await p.clean_up();
    };
    CHECK_THROWS_WITH(testing::run(work(false)), ContainsSubstring("of 'p' fails, as it was told"));
    CHECK_THAT(complaint([=] { return work(true); }), ContainsSubstring("of 'p'"));
}

TEST_CASE("a probe that was moved from says so", "[testing]") {
    const auto work = []() -> awaitable<void> {
        probe p{"p"};
        const probe q{std::move(p)};
        p.touch();
        co_return;
    };
    CHECK_THROWS_WITH(testing::run(work), ContainsSubstring("was moved from"));
}

TEST_CASE("probes and points work only inside a run", "[testing]") {
    CHECK_THROWS_AS(probe{"p"}, std::logic_error);
    CHECK_THROWS_AS(testing::point(), std::logic_error);
}

// ---- sweep

TEST_CASE("a sweep of what is right finds nothing, and counts", "[testing]") {
    const auto report = sweep([]() -> awaitable<void> {
        co_await coraii::with(scope("a"), [](probe& p) -> awaitable<void> { co_await p.use(); });
    });
    INFO(text(report));
    CHECK(report.ok());
    CHECK(report.points == 3);
    CHECK(report.turns >= 3);
    CHECK(report.runs > 50);
    CHECK((report.allocations > 0) == testing::allocations::counted());
}

TEST_CASE("a sweep finds what a cancel leaves behind, and the run can be repeated alone", "[testing]") {
    const auto by_hand = []() -> awaitable<void> {
        probe p{"connection"};
        co_await p.set_up();
        std::exception_ptr error;
        try {
            co_await p.use();
        } catch (...) { error = std::current_exception(); }
        co_await p.clean_up();  // throws at once, once a cancel was requested
        if (error) {
            std::rethrow_exception(error);
        }
    };
    const auto report = sweep(by_hand, {.kinds = {fault_kind::cancel}});
    INFO(text(report));
    REQUIRE_FALSE(report.ok());
    const testing::run_report& found = report.failed.front();
    CHECK(found.tried.injected.kind == fault_kind::cancel);
    CHECK(found.tried.slot);
    CHECK_THAT(found.problems.front(), ContainsSubstring("'connection'") && ContainsSubstring("never cleaned"));
    const auto again = testing::replay(by_hand, found.tried);
    CHECK(again.problems == found.problems);
    CHECK(again.trace == found.trace);
    CHECK_THAT(text(report), ContainsSubstring("replay(scenario, {.injected = {.kind = fault_kind::cancel, .at = "));
}

TEST_CASE("a sweep finds a cleanup that is cancelled", "[testing]") {
    const auto unshielded = []() -> awaitable<void> {
        probe p{"p"};
        co_await p.set_up();
        co_await p.clean_up();
    };
    const auto report = sweep(unshielded, {.kinds = {fault_kind::cancel}});
    CHECK_THAT(text(report), ContainsSubstring("had its cleanup cancelled"));
    CHECK(sweep(unshielded, {.cleanups_may_be_cancelled = true, .kinds = {fault_kind::context_destroyed}}).ok());
}

TEST_CASE("a sweep finds errors that are lost, and those that hide an earlier one", "[testing]") {
    const auto swallows = []() -> awaitable<void> {
        try {
            co_await testing::point();
        } catch (const testing::injected_error&) {  // lost
        }
    };
    CHECK_THAT(text(sweep(swallows, {.kinds = {fault_kind::exception}})),
               ContainsSubstring("injected error 0 was lost"));
    CHECK(sweep(swallows, {.errors_may_be_swallowed = true, .kinds = {fault_kind::exception}}).ok());
}

TEST_CASE("a sweep finds a cancellation state that is not what it was", "[testing]") {
    const auto throws_no_more = []() -> awaitable<void> {
        co_await asio::this_coro::throw_if_cancelled(false);
        co_await testing::point();
    };
    CHECK_THAT(text(sweep(throws_no_more)), ContainsSubstring("throw_if_cancelled was left false"));
    const auto forgets = []() -> awaitable<void> {
        try {
            co_await testing::point();
        } catch (const boost::system::system_error&) {  // then it was cancelled
        }
        co_await asio::this_coro::reset_cancellation_state();
    };
    CHECK_THAT(text(sweep(forgets)), ContainsSubstring("no longer visible"));
    CHECK(sweep(forgets, {.errors_may_be_swallowed = true, .keeps_cancellation_state = false}).ok());
}

TEST_CASE("a sweep finds memory that is leaked where an error strikes", "[testing]") {
    if (!testing::allocations::counted()) {
        SKIP("allocations are not counted");
    }
    static std::array<std::string*, 100> made{};  // for the end: what is lost for good, a sanitizer would tell as well
    static std::size_t count;
    const auto leaks = []() -> awaitable<void> {
        auto* const block = made.at(count++) = new std::string(100, 'x');
        co_await testing::point();
        made.at(--count) = nullptr;
        delete block;
    };
    const auto report = sweep(leaks, {.kinds = {fault_kind::exception}});
    for (std::string* const block : made) {
        delete block;
    }
    CHECK_THAT(text(report), ContainsSubstring("memory is leaked"));
    CHECK(report.failed.front().tried.injected.kind == fault_kind::exception);
}

TEST_CASE("a sweep finds a scenario that throws by itself", "[testing]") {
    const auto broken = []() -> awaitable<void> {
        throw std::runtime_error("my setup is broken");
        co_return;
    };
    CHECK_THAT(text(sweep(broken)), ContainsSubstring("nothing was injected: my setup is broken"));
    CHECK(sweep(broken, {.may_throw = true, .kinds = {}}).ok());
}

TEST_CASE("a sweep sees an error through awaitable_operators", "[testing]") {
    using namespace asio::experimental::awaitable_operators;
    const auto both = []() -> awaitable<void> {
        const auto one = []() -> awaitable<void> { co_await testing::point(); };
        co_await (one() && one());
    };
    const auto report = sweep(both, {.order = cleanup_order::any, .kinds = {fault_kind::exception}, .pairs = 0});
    INFO(text(report));
    CHECK(report.ok());
    CHECK(report.runs_with.at(fault_kind::exception) > 4);
}

TEST_CASE("a sweep finds a scenario that cannot finish", "[testing]") {
    const auto waits_for_ever = []() -> awaitable<void> {
        bool failed = false;
        try {
            co_await testing::point();
        } catch (const testing::injected_error&) { failed = true; }
        if (failed) {
            probe p{"p"};
            p.stall_at(step::setup);
            co_await p.set_up();
        }
    };
    const auto report = sweep(waits_for_ever, {.errors_may_be_swallowed = true, .kinds = {fault_kind::exception}});
    CHECK_THAT(text(report), ContainsSubstring("the scenario cannot finish") && ContainsSubstring("setup of 'p'"));
}

TEST_CASE("a sweep lets each allocation fail", "[testing]") {
    if (!testing::allocations::counted()) {
        SKIP("allocations are not counted");
    }
    const auto forgets_without_memory = []() -> awaitable<void> {
        probe p{"p"};
        p.set_up_now();
        const auto memory = std::make_unique<std::string>(1000, 'x');
        p.clean_up_now();
        co_return;
    };
    const auto report = sweep(forgets_without_memory);
    REQUIRE_FALSE(report.ok());
    for (const auto& failed : report.failed) {
        CHECK(failed.tried.injected.kind == fault_kind::no_memory);
    }
}

// ---- allocations

TEST_CASE("allocations are counted, and can be made to fail", "[testing]") {
    if (!testing::allocations::counted()) {
        SKIP("allocations are not counted");
    }
    const long before = testing::allocations::made();
    const long live = testing::allocations::live();
    auto kept = std::make_unique<std::string>(1000, 'x');
    CHECK(testing::allocations::made() - before == 2);
    CHECK(testing::allocations::live() > live);
    {
        const testing::allocations::unobserved quiet;
        const auto unseen = std::make_unique<int>(1);
    }
    CHECK(testing::allocations::made() - before == 2);
    {
        int made = 0;
        bool failed = false;
        {
            const testing::allocations::failing third{3, 1};
            for (int i = 0; i < 5; ++i) {
                try {
                    ::operator delete(::operator new(sizeof(int)));  // a new expression may be left out
                    ++made;
                } catch (const std::bad_alloc&) { failed = third.failed() == 1; }
            }
        }
        CHECK(made == 4);
        CHECK(failed);
    }
    const long with_it = testing::allocations::live();
    kept.reset();
    CHECK(testing::allocations::live() < with_it);
}
