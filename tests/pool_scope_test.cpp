// SPDX-License-Identifier: BSL-1.0
// Making a pool: as a scope, on a context, with a deduced type.
#include "coraii/pool.hpp"
#include "coraii/task.hpp"
#include "coraii/with.hpp"
#include "support/scenario.hpp"

#include <array>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

using namespace test;

namespace {

/// Tells whether each that was made has died once.
class counted {
public:
    counted() { alive().insert(this); }
    counted(const counted&) : counted{} {}
    ~counted() { twice() += alive().erase(this) == 0 ? 1 : 0; }

    static std::set<const void*>& alive() {
        static std::set<const void*> all;
        return all;
    }
    static int& twice() {
        static int count = 0;
        return count;
    }
};

struct server {
    int opened = 0;
    int cleaned = 0;
};

struct connection {
    int number = 0;
};

coraii::async_scope<connection> connect(server& s, counted, std::string) {
    connection c{++s.opened};
    co_yield c;
    co_await turn();
    ++s.cleaned;
}

void check_counted() {
    CHECK(counted::twice() == 0);
    CHECK(counted::alive().empty());
}

}  // namespace

TEST_CASE("open_pool on the scope's executor, with a factory that captures: closed at the end, nothing dies twice",
          "[pool]") {
    server s;
    SECTION("with, the scope named") {
        test::run([](server& to) -> awaitable<void> {
            const counted options;
            auto databases =
                coraii::open_pool([&to, options, path = std::string(100, 'x')] { return connect(to, options, path); },
                                  {.min_size = 2, .max_size = 3});
            co_await coraii::with(std::move(databases), [&to](coraii::pool<connection>& pool) -> awaitable<void> {
                CHECK(pool.stats().idle == 2);
                CHECK(to.opened == 2);
                co_await coraii::with(pool.acquire(), [](connection& c) -> awaitable<void> {
                    CHECK(c.number != 0);
                    co_return;
                });
                CHECK(to.cleaned == 0);
            });
            CHECK(to.cleaned == 2);
        }(s));
    }
    SECTION("enter, the type of the resource given") {
        const auto work = [](server& to) -> coraii::task<void> {
            const counted options;
            auto databases = coraii::open_pool<connection>(
                [&to, options, path = std::string(100, 'x')] { return connect(to, options, path); }, {.min_size = 1});
            coraii::pool<connection>& pool = co_await coraii::enter(std::move(databases));
            CHECK(pool.stats().idle == 1);
        };
        test::run(work(s));
        CHECK(s.cleaned == 1);
    }
    SECTION("enter, the factory named") {
        const auto work = [](server& to) -> coraii::task<void> {
            const counted options;
            const auto factory = [&to, options, path = std::string(100, 'x')] { return connect(to, options, path); };
            auto& pool = co_await coraii::enter(coraii::open_pool(factory, {.min_size = 1}));
            CHECK(pool.stats().idle == 1);
        };
        test::run(work(s));
        CHECK(s.cleaned == 1);
    }
    SECTION("the factory made by a function, in one statement") {
        const auto factory = [](server& to) {
            return [&to, options = counted{}, path = std::string(100, 'x')] { return connect(to, options, path); };
        };
        test::run([](server& to, auto make) -> awaitable<void> {
            co_await coraii::with(coraii::open_pool(make(to), {.min_size = 1}),
                                  [](auto&) -> awaitable<void> { co_return; });
        }(s, factory));
        CHECK(s.cleaned == 1);
    }
    check_counted();
}

TEST_CASE("open_pool on the scope's executor that cannot be warmed up: closed at once, and the setup fails", "[pool]") {
    int tries = 0;
    const auto fails = [&tries]() -> coraii::async_scope<connection> {
        return [](int& count) -> coraii::async_scope<connection> {
            ++count;
            throw std::runtime_error("no answer");
            co_yield *std::make_unique<connection>();
        }(tries);
    };
    test::run([](auto factory) -> awaitable<void> {
        std::string what;
        try {
            co_await coraii::with(
                coraii::open_pool(factory, {.min_size = 1, .acquire_timeout = 50ms, .open_backoff = 10ms}),
                [](auto&) -> awaitable<void> { co_return; });
        } catch (const std::exception& e) { what = e.what(); }
        CHECK(what.find("no answer") != what.npos);
    }(fails));
    CHECK(tries > 0);
    CHECK_THROWS_AS(coraii::open_pool(fails, {.max_size = 0}), std::invalid_argument);
}

TEST_CASE("A pool takes an execution context, and its type follows from the factory", "[pool]") {
    server s;
    asio::io_context context;
    {
        coraii::pool on_context{context, [&s] { return connect(s, {}, {}); }};
        coraii::pool on_executor{context.get_executor(), [&s] { return connect(s, {}, {}); }, {.max_size = 2}};
        coraii::pool<connection> typed{context, [&s] { return connect(s, {}, {}); }, {.max_size = 2}, {}};
        static_assert(std::is_same_v<decltype(on_context), coraii::pool<connection>>);
        static_assert(std::is_same_v<decltype(on_executor), coraii::pool<connection>>);
        test::run(
            [](auto& a, auto& b, auto& c) -> awaitable<void> {
                const std::array all{&a, &b, &c};
                for (auto* pool : all) {
                    co_await coraii::with(pool->acquire(), [](connection&) -> awaitable<void> { co_return; });
                    co_await pool->close();
                }
            }(on_context, on_executor, typed),
            context);
    }
    CHECK(s.opened == 3);
    CHECK(s.cleaned == 3);
    check_counted();
}
