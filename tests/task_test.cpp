// SPDX-License-Identifier: BSL-1.0
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/strand.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace test;

namespace {

/// Writes down when it is destroyed, unless it was moved from.
class noted {
public:
    noted(events& log, std::string name) : log_{&log}, name_{std::move(name)} {}
    noted(noted&& other) noexcept : log_{std::exchange(other.log_, nullptr)}, name_{std::move(other.name_)} {}
    noted& operator=(noted&&) = delete;
    ~noted() {
        if (log_ != nullptr) {
            log_->push_back("~" + name_);
        }
    }

private:
    events* log_;
    std::string name_;
};

constexpr plan all_suspends{.setup_suspends = true, .cleanup_suspends = true};

}  // namespace

TEST_CASE("G27: a task's scopes are left after its locals are destroyed and before its parameters are", "[task]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    const bool throws = GENERATE(false, true);
    CAPTURE(f, s, suspends, throws);
    events log;
    const auto child = [](events& l, form how, bool waits, bool fails, noted) -> coraii::task<> {
        const plan p = waits ? all_suspends : plan{};
        const noted local{l, "local"};
        item& a = co_await coraii::enter(make(how, l, "a", p));
        CHECK(a.name == "a");
        item& b = co_await coraii::enter(make(how, l, "b", p));
        CHECK(b.name == "b");
        if (fails) {
            throw std::runtime_error("body");
        }
        l.push_back("body");
    };
    const auto work = [&]() -> awaitable<void> {
        co_await child(log, f, suspends, throws, noted{log, "parameter"});
        log.push_back("after it");
    };
    if (throws) {
        CHECK_THROWS_WITH(run(work(), s), "body");
        CHECK(log == events{"setup a", "setup b", "~local", "cleanup b failed", "cleaned b", "cleanup a failed",
                            "cleaned a", "~parameter"});
    } else {
        run(work(), s);
        CHECK(log == events{"setup a", "setup b", "body", "~local", "cleanup b completed", "cleaned b",
                            "cleanup a completed", "cleaned a", "~parameter", "after it"});
    }
}

TEST_CASE("G27: a task gives its result after the last cleanup", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto move_only = [&]() -> coraii::task<std::unique_ptr<int>> {
        co_await coraii::enter(make(form::co_yielded, log, "a", all_suspends));
        co_return std::make_unique<int>(7);
    };
    const auto refers = [](int& n) -> coraii::task<std::reference_wrapper<int>> { co_return n; };
    const auto nothing_entered = []() -> coraii::task<> { co_return; };
    const auto work = [&]() -> awaitable<void> {
        const std::unique_ptr<int> seven = co_await move_only();
        log.push_back("result");
        CHECK(*seven == 7);
        int n = 1;
        int& same = co_await refers(n);
        CHECK(&same == &n);
        co_await nothing_entered();
    };
    run(work(), s);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a", "result"});
}

TEST_CASE("G27, G4: what a task throws is thrown after the cleanups, whatever its type", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto fails = [&]() -> coraii::task<int> {
        co_await coraii::enter(make(form::pair, log, "a", all_suspends));
        throw 7;
    };
    int caught = 0;
    const auto work = [&]() -> awaitable<void> {
        try {
            co_await fails();
        } catch (int i) { caught = i; }
    };
    run(work(), s);
    CHECK(caught == 7);
    CHECK(log == events{"setup a", "cleanup a failed", "cleaned a"});
}

TEST_CASE("G27, G23: a task's scopes are told how it ended, with the exception", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool throws = GENERATE(false, true);
    std::exception_ptr told;
    const auto scope = [&]() -> coraii::async_scope<void> {
        const coraii::exit_status why = co_yield coraii::entered;
        CHECK(why.ok() == !throws);
        told = why.error();
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(scope());
        if (throws) {
            throw std::runtime_error("body");
        }
    };
    if (throws) {
        CHECK_THROWS_WITH(run(work(), s), "body");
        CHECK(what(told) == "body");
    } else {
        run(work(), s);
        CHECK(told == nullptr);
    }
}

TEST_CASE("G27, G1: a setup that throws in a task is an exception at its enter", "[task]") {
    const auto f = GENERATE(form::co_yielded, form::pair, form::object);
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    events log;
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(make(f, log, "a"));
        try {
            co_await coraii::enter(make(f, log, "b", {.setup_suspends = suspends, .setup_throws = true}));
        } catch (const std::runtime_error& e) { log.push_back(e.what()); }
        co_await coraii::enter(make(f, log, "c"));
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup b", "setup of b", "setup c", "cleanup c completed", "cleaned c",
                        "cleanup a completed", "cleaned a"});
}

TEST_CASE("G27, G5, G6: the first error of a cleanup is thrown, those entered before are told, later ones are reported",
          "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool body_throws = GENERATE(false, true);
    const bool suspends = GENERATE(false, true);
    CAPTURE(s, body_throws, suspends);
    asio::io_context context;
    reports reported{context};
    events log;
    const auto work = [&]() -> coraii::task<std::string> {
        const plan p{.cleanup_suspends = suspends, .cleanup_throws = true};
        co_await coraii::enter(make(form::pair, log, "a", p));
        co_await coraii::enter(make(form::co_yielded, log, "b"));
        co_await coraii::enter(make(form::pair, log, "c", p));
        if (body_throws) {
            throw std::runtime_error("body");
        }
        co_return "lost";
    };
    const auto discard = [&]() -> awaitable<void> { co_await work(); };
    CHECK_THROWS_WITH(run(discard(), context, s), body_throws ? "body" : "cleanup of c");
    CHECK(log == events{"setup a", "setup b", "setup c", body_throws ? "cleanup c failed" : "cleanup c completed",
                        "cleanup c throws", "cleanup b failed", "cleaned b", "cleanup a failed", "cleanup a throws"});
    REQUIRE(reported.all.size() == (body_throws ? 2 : 1));
    CHECK(what(reported.all.back().error) == "cleanup of a");
    CHECK(what(reported.all.back().suppressed_by) == (body_throws ? "body" : "cleanup of c"));
}

TEST_CASE("G27: what is deferred is called in its turn, and may be a task", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [](events& l) -> coraii::task<> {
        co_await coraii::enter(make(form::pair, l, "a"));
        co_await coraii::defer([&l] { l.push_back("plain"); });
        co_await coraii::defer(
            [&l](coraii::exit_status why) { l.push_back(std::string{"status "} + to_string(why.reason())); });
        co_await coraii::defer([&l]() -> awaitable<void> {
            co_await turn();
            l.push_back("awaitable");
        });
        co_await coraii::defer([&l](coraii::exit_status) -> coraii::task<> {
            co_await coraii::enter(make(form::pair, l, "inner"));
            l.push_back("task");
        });
        co_await coraii::enter(make(form::pair, l, "b"));
    };
    run(work(log), s);
    CHECK(log == events{"setup a", "setup b", "cleanup b completed", "cleaned b", "setup inner", "task",
                        "cleanup inner completed", "cleaned inner", "awaitable", "status completed", "plain",
                        "cleanup a completed", "cleaned a"});
}

TEST_CASE("G27: a scope of void gives nothing, and a deferred function that throws is a failed cleanup", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    bool failed = false;
    const auto scope = [&]() -> coraii::async_scope<void> {
        const coraii::exit_status why = co_yield coraii::entered;
        failed = why.reason() == coraii::exit_reason::failed && what(why.error()) == "deferred";
    };
    const auto work = [&]() -> coraii::task<> {
        static_assert(std::is_void_v<decltype(coraii::detail::enter_in_task<void, asio::any_io_executor>{
                          scope(), std::source_location::current()}
                                                  .await_in_task(std::declval<coraii::task<>::promise_type&>())
                                                  .await_resume())>);
        co_await coraii::enter(scope());
        co_await coraii::defer([] { throw std::runtime_error("deferred"); });
    };
    CHECK_THROWS_WITH(run(work(), s), "deferred");
    CHECK(failed);
}

TEST_CASE("G27: a task's stack is for callees: what they put on it is left with the task's own scopes", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto callee = [&](coraii::exit_stack& stack) -> awaitable<item*> {
        item* entered = co_await stack.enter(make(form::co_yielded, log, "entered", all_suspends));
        stack.adopt(item{&log, "adopted"}, [](item& i) { i.log->push_back("clean " + i.name); });
        stack.defer([&] { log.push_back("deferred"); });
        co_return entered;
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(make(form::pair, log, "a"));
        coraii::exit_stack& stack = co_await coraii::this_stack;
        CHECK(stack.size() == 1);
        const item* entered = co_await callee(stack);
        CHECK(entered->name == "entered");
        CHECK(stack.size() == 4);
        const coraii::exit_stack& same = co_await coraii::this_stack;
        CHECK(&stack == &same);
        const auto executor = co_await asio::this_coro::executor;
        CHECK(stack.get_executor() == executor);
        co_await coraii::enter(make(form::pair, log, "b"));
    };
    run(work(), s);
    CHECK(log == events{"setup a", "setup entered", "setup b", "cleanup b completed", "cleaned b", "deferred",
                        "clean adopted", "cleanup entered completed", "cleaned entered", "cleanup a completed",
                        "cleaned a"});
}

TEST_CASE("G27: what is moved out of a task's stack outlives the task", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const bool suspends = GENERATE(false, true);
    const bool close = GENERATE(false, true);
    CAPTURE(s, suspends, close);
    events log;
    const auto open_all = [&]() -> coraii::task<coraii::exit_stack> {
        const plan p = suspends ? all_suspends : plan{};
        co_await coraii::enter(make(form::co_yielded, log, "a", p));
        co_await coraii::enter(make(form::pair, log, "b", p));
        co_await coraii::defer([&] { log.push_back("deferred"); });
        co_return std::move(co_await coraii::this_stack);
    };
    const auto work = [&]() -> awaitable<void> {
        {
            coraii::exit_stack opened = co_await open_all();
            log.push_back("opened");
            CHECK(opened.size() == 3);
            CHECK(coraii::stats(asio::query(opened.get_executor(), asio::execution::context)).open == 3);
            co_await turn();
            if (close) {
                co_await opened.close();
            }
        }
        log.push_back("gone");
        co_await coraii::async_drain(asio::query(co_await asio::this_coro::executor, asio::execution::context));
    };
    run(work(), s);
    const std::string why = close ? "completed" : "abandoned";
    events expected{"setup a", "setup b", "opened", "deferred", "cleanup b " + why};
    if (close || !suspends) {
        for (const std::string& event : {std::string{"cleaned b"}, "cleanup a " + why, std::string{"cleaned a"}}) {
            expected.push_back(event);
        }
        expected.emplace_back("gone");
    } else {
        expected.emplace_back("gone");
        for (const std::string& event : {std::string{"cleaned b"}, "cleanup a " + why, std::string{"cleaned a"}}) {
            expected.push_back(event);
        }
    }
    CHECK(log == expected);
}

TEST_CASE("G27: moved out, closed or used again in the middle, the stack is the task's still", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(make(form::pair, log, "a"));
        coraii::exit_stack& mine = co_await coraii::this_stack;
        co_await mine.close();
        co_await coraii::enter(make(form::pair, log, "b"));
        {
            const coraii::exit_stack dropped = std::move(mine);
            CHECK(mine.empty());
        }
        co_await coraii::enter(make(form::pair, log, "c"));
    };
    run(work(), s);
    CHECK(log == events{"setup a", "cleanup a completed", "cleaned a", "setup b", "cleanup b abandoned", "cleaned b",
                        "setup c", "cleanup c completed", "cleaned c"});
}

TEST_CASE("G27, G25: a task waits for those that hold its scopes", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    coraii::scope_hold hold;
    const auto held = [&]() -> coraii::async_scope<int> {
        const coraii::scope_handle self = co_await coraii::this_scope;
        hold = self.hold();
        int n = 0;
        co_yield n;
        log.push_back("held is cleaned");
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(make(form::pair, log, "a"));
        co_await coraii::enter(held());
        asio::co_spawn(
            co_await asio::this_coro::executor,
            [&]() -> awaitable<void> {
                co_await turn();
                log.push_back("hold is dropped");
                hold = {};
            },
            asio::detached);
    };
    run(work(), s);
    CHECK(log == events{"setup a", "hold is dropped", "held is cleaned", "cleanup a completed", "cleaned a"});
}

TEST_CASE("G27: wherever a callable returns an awaitable, one that returns a task will do", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto open = [&]() -> coraii::task<int> {
        co_await coraii::enter(make(form::pair, log, "in setup"));
        co_return 1;
    };
    const auto close = [&](int&) -> coraii::task<> { co_await coraii::enter(make(form::pair, log, "in cleanup")); };
    class object {
    public:
        coraii::task<int> enter() { co_return 2; }
        coraii::task<> exit(coraii::exit_status) { co_return; }
    };
    const auto work = [&]() -> coraii::task<> {
        coraii::async_scope from_callable{open, close};
        static_assert(std::is_same_v<decltype(from_callable), coraii::async_scope<int>>);
        coraii::async_scope from_task{open(), [](int&) {}};
        static_assert(std::is_same_v<decltype(from_task), coraii::async_scope<int>>);
        const auto same = [](int& n) -> coraii::task<int> { co_return n; };
        const int one = co_await coraii::with(std::move(from_callable), same);
        CHECK(one == 1);
        const int two = co_await coraii::with(coraii::scoped(object{}), same);
        CHECK(two == 2);
        const auto tried = co_await coraii::try_with(std::move(from_task), [](int&) -> coraii::task<> { throw 7; });
        CHECK(tried.has_error());
        const int three = co_await coraii::joined([]() -> coraii::task<int> { co_return 3; });
        CHECK(three == 3);
        coraii::exit_stack& stack = co_await coraii::this_stack;
        stack.defer([]() -> coraii::task<> { co_return; });
        stack.adopt(1, [](int&) -> coraii::task<> { co_return; });
    };
    run(work(), s);
    CHECK(log == events{"setup in setup", "cleanup in setup completed", "cleaned in setup", "setup in cleanup",
                        "cleanup in cleanup completed", "cleaned in cleanup", "setup in setup",
                        "cleanup in setup completed", "cleaned in setup"});
}

TEST_CASE("G27: Asio takes a task for an awaitable, and a callable that returns one too", "[task]") {
    using namespace asio::experimental::awaitable_operators;
    static_assert(std::is_base_of_v<awaitable<int>, coraii::task<int>>);
    asio::io_context context;
    const auto number = [](int n) -> coraii::task<int> { co_return n; };
    int first = 0, second = 0;
    asio::co_spawn(context, number(1), [&](const std::exception_ptr&, int n) { first = n; });
    asio::co_spawn(context, [&] { return number(2); }, [&](const std::exception_ptr&, int n) { second = n; });
    const auto work = [&]() -> coraii::task<> {
        const auto [a, b] = co_await (number(3) && number(4));
        CHECK(a + b == 7);
        const auto which = co_await (number(5) || number(6));
        CHECK(which.index() == 0);
        const auto executor = co_await asio::this_coro::executor;
        const int spawned = co_await asio::co_spawn(executor, number(7), asio::use_awaitable);
        CHECK(spawned == 7);
    };
    run(work(), context);
    CHECK(first == 1);
    CHECK(second == 2);
}

TEST_CASE("G27: tasks nest, and each leaves its scopes when it ends", "[task]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto inner = [&](std::string name) -> coraii::task<> {
        co_await coraii::enter(make(form::co_yielded, log, std::move(name), all_suspends));
    };
    const auto work = [&]() -> coraii::task<> {
        co_await coraii::enter(make(form::co_yielded, log, "outer"));
        co_await inner("first");
        co_await inner("second");
    };
    run(work(), s);
    CHECK(log == events{"setup outer", "setup first", "cleanup first completed", "cleaned first", "setup second",
                        "cleanup second completed", "cleaned second", "cleanup outer completed", "cleaned outer"});
}

TEST_CASE("G27, G26: in a region, a task and the guards dropped in it are clean when the region ends",
          "[task][joined]") {
    const auto s = GENERATE(slot::none, slot::connected);
    events log;
    const auto work = [&]() -> awaitable<void> {
        co_await coraii::joined([&]() -> coraii::task<> {
            co_await coraii::enter(make(form::co_yielded, log, "a", all_suspends));
            const auto guard = co_await make(form::co_yielded, log, "dropped", all_suspends);
        });
        log.push_back("joined");
    };
    run(work(), s);
    CHECK(log.front() == "setup a");
    CHECK(log.back() == "joined");
    CHECK(log.size() == 7);
}

TEST_CASE("G27, G22: a scope that was entered already is refused where it is entered again", "[task]") {
    events log;
    const auto work = [&]() -> coraii::task<> {
        coraii::async_scope<item> once = make(form::pair, log, "a");
        co_await coraii::enter(std::move(once));
        co_await coraii::enter(std::move(once));  // NOLINT(bugprone-use-after-move)
    };
    try {
        run(work());
    } catch (const boost::system::system_error& e) { CHECK(e.code() == coraii::errc::already_awaited); }
    CHECK(log == events{"setup a", "cleanup a failed", "cleaned a"});
}
