// SPDX-License-Identifier: BSL-1.0
// Uses of guards and tasks: what must be found, and what looks alike.
#include <coraii/coraii.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;

struct connection {
    awaitable<int> count();
};
struct transaction {
    awaitable<void> insert(int row);
};
struct web_session {
    awaitable<void> get(std::string path);
};
coraii::async_scope<connection> connect(std::string name);
coraii::async_scope<transaction> begin(connection& db);
coraii::async_scope<web_session> log_in(std::string user);
coraii::async_scope<void> lock();

// ---- coraii-discarded-guard: found

awaitable<void> discards(bool wanted) {
    co_await connect("db");  // FINDS: coraii-discarded-guard
    co_await lock();  // FINDS: coraii-discarded-guard
    (void)co_await connect("db");  // FINDS: coraii-discarded-guard
    static_cast<void>(co_await lock());  // FINDS: coraii-discarded-guard
    std::ignore = co_await lock();  // FINDS: coraii-discarded-guard
    if (wanted)
        co_await lock();  // FINDS: coraii-discarded-guard
    auto _ = co_await lock();  // FINDS: coraii-discarded-guard
    co_await asio::post(use_awaitable);
}

// ---- coraii-discarded-guard: looks alike

coraii::task<int> keeps() {
    co_await coraii::enter(lock());
    auto db = co_await connect("db");
    [[maybe_unused]] auto locked = co_await lock();
    db = co_await connect("other");
    co_await locked.close();
    int _ = co_await db->count();
    co_await db->count();
    co_await coraii::with(lock(), []() -> awaitable<void> { co_await asio::post(use_awaitable); });
    std::move(db).release();
    co_return _;
}

// ---- coraii-enter-in-loop: found

coraii::task<> enters_in_loops(std::vector<std::string> names) {
    for (const std::string& name : names) {
        connection& db = co_await coraii::enter(connect(name));  // FINDS: coraii-enter-in-loop
        co_await db.count();
    }
    for (int i = 0; i < 3; ++i) {
        if (i == 1) {
            co_await coraii::enter(lock());  // FINDS: coraii-enter-in-loop
        }
    }
    while (true) {
        co_await coraii::enter(lock());  // FINDS: coraii-enter-in-loop
        if (names.empty()) {
            break;
        }
    }
}

// ---- coraii-enter-in-loop: looks alike

coraii::task<> enters_once(std::vector<std::string> names) {
    connection& first = co_await coraii::enter(connect("db"));
    for (const std::string& name : names) {
        const auto one = [name]() -> coraii::task<> {
            connection& db = co_await coraii::enter(connect(name));
            co_await db.count();
        };
        co_await one();
    }
    for (const std::string& name : names) {
        co_await coraii::with(connect(name), [](connection& db) -> awaitable<void> { co_await db.count(); });
    }
    for (const std::string& name : names) {
        try {
            co_await coraii::enter(connect(name));
            break;
        } catch (const std::exception& e) { std::cout << e.what(); }
    }
    co_await first.count();
}

// ---- coraii-unclosed-guard: found

awaitable<void> never_closed(connection& db) {
    auto tx = co_await begin(db);  // FINDS: coraii-unclosed-guard
    co_await tx->insert(1);
}
awaitable<void> closed_for_an_error_only(connection& db) {
    auto change = co_await begin(db);  // FINDS: coraii-unclosed-guard
    try {
        co_await change->insert(1);
    } catch (const std::exception&) { change.reset(); }
}
awaitable<void> a_session() {
    auto session = co_await log_in("ada");  // FINDS: coraii-unclosed-guard
    co_await (*session).get("/");
}
awaitable<void> of_two_one_is_forgotten(connection& db) {
    coraii::guard<transaction> outer = co_await begin(db);  // FINDS: coraii-unclosed-guard
    coraii::guard<transaction> inner = co_await begin(db);
    co_await inner->insert(1);
    co_await outer->insert(2);
    co_await inner.close();
}

// ---- coraii-unclosed-guard: looks alike

struct holder {
    coraii::guard<transaction> tx;
};
awaitable<void> use(coraii::guard<transaction>& tx);
awaitable<void> closed(connection& db) {
    auto tx = co_await begin(db);
    co_await tx->insert(1);
    co_await tx.close();
}
awaitable<bool> closed_if_it_went_well(connection& db, bool well) {
    auto tx = co_await begin(db);
    co_await tx->insert(1);
    if (well) {
        co_await tx.close();
        co_return true;
    }
    co_return false;
}
awaitable<coraii::guard<transaction>> returned(connection& db) {
    auto tx = co_await begin(db);
    co_await tx->insert(1);
    co_return tx;
}
awaitable<void> moved(connection& db, holder& owner) {
    auto tx = co_await begin(db);
    owner.tx = std::move(tx);
}
awaitable<void> given(connection& db) {
    auto tx = co_await begin(db);
    co_await use(tx);
}
awaitable<void> of_something_else() {
    auto db = co_await connect("db");
    auto locked = co_await lock();
    co_await db->count();
}
awaitable<void> never_goes_well(connection& db) {
    auto tx = co_await begin(db);
    co_await tx->insert(1);
    throw std::runtime_error("not supported");
}
awaitable<void> goes_on_until_it_is_cancelled() {
    auto session = co_await log_in("ada");
    for (;;) {
        co_await session->get("/");
    }
}
awaitable<void> in_a_region(connection& db) {
    co_await coraii::joined([&]() -> awaitable<void> {
        auto session = co_await log_in("ada");
        auto tx = co_await begin(db);
        co_await tx->insert(1);
        co_await tx.close();
    });
}
