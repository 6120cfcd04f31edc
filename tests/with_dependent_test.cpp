// SPDX-License-Identifier: BSL-1.0
// with: scopes that are made of the resources before them, and resources that are tuples of references.
#include "support/scenario.hpp"

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

using namespace test;

namespace {

/// A resource that depends on another: its scope holds that one's.
coraii::async_scope<item> after(item& before, std::string name) {
    item i{before.log, before.name + "/" + name};
    i.log->push_back("setup " + i.name);
    co_await turn();
    const coraii::exit_status why = co_yield i;
    co_await turn();
    i.log->push_back("cleanup " + i.name + " " + to_string(why.reason()));
}

coraii::async_scope<void> nothing(events& log) {
    log.emplace_back("setup nothing");
    co_yield coraii::entered;
    log.emplace_back("cleanup nothing");
}

coraii::async_scope<std::tuple<int&, std::string&>> two(events& log) {
    int n = 1;
    std::string s = "two";
    std::tuple<int&, std::string&> both{n, s};
    co_yield both;
    log.push_back("cleanup " + s + " " + std::to_string(n));
}

}  // namespace

TEST_CASE("G29: with gives a callable argument the resources so far, and sets up the scope that it makes", "[with]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    CAPTURE(f, s);
    events log;
    const auto work = [&]() -> awaitable<void> {
        const std::string result = co_await coraii::with(
            make(f, log, "a"), [](item& a) { return after(a, "b"); }, nothing(log),
            [](item& a, item& b) {
                CHECK(b.name == a.name + "/b");
                return after(b, "c");
            },
            [](item&, item&, item& c) -> awaitable<std::string> { co_return c.name; });
        CHECK(result == "a/b/c");
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup a/b", "setup nothing", "setup a/b/c", "cleanup a/b/c completed",
                        "cleanup nothing", "cleanup a/b completed", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G29: a callable that comes first is called without arguments, when the awaitable is awaited", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        auto later = coraii::with(
            [&] {
                log.emplace_back("called");
                return make(form::pair, log, "a");
            },
            [](item&) -> coraii::task<> { co_return; });
        log.emplace_back("made");
        co_await std::move(later);
    };
    run(work(), s);
    CHECK(log == events{"made", "called", "setup a", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G29: a callable that throws counts as a setup that failed", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool first = GENERATE(false, true);
    events log;
    const auto throws = []() -> coraii::async_scope<item> { throw std::runtime_error("callable"); };
    const auto body = [&](auto&...) -> awaitable<void> {
        log.emplace_back("body");
        co_return;
    };
    const auto work = [&]() -> awaitable<void> {
        if (first) {
            const auto result = co_await coraii::try_with(throws, body);
            CHECK(what(result.error()) == "callable");
        } else {
            const auto result =
                co_await coraii::try_with(make(form::co_yielded, log, "a"), [&](item&) { return throws(); }, body);
            CHECK(what(result.error()) == "callable");
        }
    };
    run(work(), s);
    CHECK(log == (first ? events{} : events{"setup a", "cleanup a failed", "cleaned a"}));
}

TEST_CASE("with: a callable, its captures too, lives until the scope that it made is clean", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    struct notes {
        events* log;
        explicit notes(events& l) : log{&l} {}
        notes(notes&& other) noexcept : log{std::exchange(other.log, nullptr)} {}
        notes(const notes&) = default;
        notes& operator=(const notes&) = delete;
        ~notes() {
            if (log != nullptr) {
                log->emplace_back("~callable");
            }
        }
    };
    const auto work = [&]() -> awaitable<void> {
        // The scope's coroutine refers to what the closure has.
        auto made = [captured = notes{log}]() -> coraii::async_scope<int> {
            co_await turn();
            int n = 0;
            co_yield n;
            co_await turn();
            captured.log->emplace_back("cleanup");
        };
        auto body = [](int&) -> awaitable<void> { co_return; };
        co_await coraii::with(std::move(made), body);
    };
    run(work(), s);
    REQUIRE(log.size() >= 2);
    CHECK(log.front() == "cleanup");
}

TEST_CASE("G29: with spreads a tuple of references, to the body and to a callable argument", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto body = [](int& n, std::string& text, item& i) -> awaitable<std::string> {
        n = 2;
        co_return text + i.name;
    };
    const auto work = [&]() -> awaitable<void> {
        const std::string result = co_await coraii::with(
            two(log), [&](int& n, std::string& text) { return make(form::pair, log, text + std::to_string(n)); }, body);
        CHECK(result == "twotwo1");
        const auto alone = [](int& n, std::string&) -> awaitable<int> { co_return n; };
        const int n = co_await coraii::with(two(log), alone);
        CHECK(n == 1);
    };
    run(work(), s);
    CHECK(log == events{"setup two1", "cleanup two1 completed", "cleaned two1", "cleanup two 2", "cleanup two 1"});
}

TEST_CASE("G25: with, a scope that holds the one before it", "[with]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto session = [&]() -> coraii::async_scope<coraii::scope_handle> {
        coraii::scope_handle self = co_await coraii::this_scope;
        co_yield self;
        log.emplace_back("session");
    };
    const auto transaction = [&](coraii::scope_handle& of) -> coraii::async_scope<int> {
        const coraii::scope_hold hold = of.hold();
        int n = 0;
        co_yield n;
        co_await turn();
        log.emplace_back("transaction");
    };
    const auto body = [](coraii::scope_handle&, int&) -> awaitable<void> { co_return; };
    const auto work = [&]() -> awaitable<void> { co_await coraii::with(session(), transaction, body); };
    run(work(), s);
    CHECK(log == events{"transaction", "session"});
}
