// SPDX-License-Identifier: BSL-1.0
// The README's snippets, compiled and run; and the check that the README shows them as they stand here.
#include "coraii/testing.hpp"
#include "support/scenario.hpp"

#include <boost/asio/thread_pool.hpp>

#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace test;

namespace {

struct connection {
    std::string name;
    coraii::scope_handle scope;
    int rows = 0;
    awaitable<int> count() { co_return rows; }
};

struct transaction {
    std::string name;
    int inserted = 0;
    void insert(int, int) { ++inserted; }
    awaitable<void> commit() { co_return; }
    awaitable<void> rollback() { co_return; }
};

coraii::async_scope<connection> connect(std::string name) {
    coraii::scope_handle self = co_await coraii::this_scope;
    connection c{std::move(name), std::move(self)};
    co_yield c;
}

coraii::async_scope<transaction> begin(std::string name) {
    transaction tx{std::move(name)};
    co_yield tx;
}

struct user {
    std::string name;
    awaitable<void> logout() { co_return; }
};
awaitable<user> login(std::string name) {
    co_return user{std::move(name)};
}

struct distributed_lock {
    std::string name;
    awaitable<int> enter() { co_return 1; }
    awaitable<void> exit(coraii::exit_status) { co_return; }
};

// clang-format off

// [hold]
coraii::async_scope<transaction> begin_in(connection& db) {
    coraii::scope_hold hold = db.scope.hold();  // as `scope_handle self = co_await coraii::this_scope;` gave it
    transaction tx{"in " + db.name};
    coraii::exit_status why = co_yield tx;
    if (why.ok()) {
        co_await tx.commit();
    } else {
        co_await tx.rollback();
    }
}
// [end]

// [task]
coraii::task<int> transfer(std::string name) {
    connection& db = co_await coraii::enter(connect(name));
    transaction& tx = co_await coraii::enter(begin_in(db));
    tx.insert(7, 1250);
    co_return co_await db.count();
}   // here the transaction is committed or rolled back, then the connection is closed, and then the caller goes on
// [end]

using coraii::testing::probe;

// [probes]
coraii::async_scope<probe> open_connection() {
    probe socket{"socket"}, session{"session"};
    co_await socket.set_up();   // connects
    co_await session.set_up();  // logs in
    co_yield session;
    co_await session.clean_up();
    co_await socket.clean_up();
}
// [end]

coraii::testing::sweep_report swept() {
    // [sweep]
    auto report = coraii::testing::sweep([]() -> awaitable<void> {
        co_await coraii::with(open_connection(), [](probe& session) -> awaitable<void> { co_await session.use(); });
    });
    // [end]
    return report;
}

coraii::task<> pooled(std::string name) {
    // [pool]
    auto databases = coraii::open_pool([name] { return connect(name); }, {.max_size = 16});
    coraii::pool<connection>& pool = co_await coraii::enter(std::move(databases));  // is closed, and waited for, at the end

    co_await coraii::with(pool.acquire(), [](connection& db) -> awaitable<void> { co_await db.count(); });

    auto lease = co_await pool.acquire(200ms);  // a guard: dropping it gives the connection back
    lease->rows += 1;
    pool.discard(lease);                        // or, if it is broken, closes it
    // [end]
    CHECK(pool.stats().discarded == 0);
    lease.reset();
    co_await pool.close();
    CHECK(pool.stats().discarded == 1);
    CHECK(pool.stats().size == 0);
}

awaitable<void> snippets(asio::thread_pool& pool) {
    const std::vector<std::string> hosts{"a", "b"};
    CHECK(co_await transfer("db") == 0);
    {
        // [with]
        int rows = co_await coraii::with(connect("db"), begin("orders"),
                                         [](connection& db, transaction& tx) -> awaitable<int> {
                                             tx.insert(7, 1250);
                                             co_return co_await db.count();
                                         });
        // [end]
        CHECK(rows == 0);
    }
    {
        // [guard]
        auto db = co_await connect("db");
        co_await db->count();
        co_await db.close();  // optional: waits for the cleanup, and throws its error here
        // [end]
    }
    {
        // [joined]
        co_await coraii::joined([]() -> awaitable<void> {
            auto db = co_await connect("db");
            auto tx = co_await begin_in(*db);
            tx->insert(7, 1250);
            co_await tx.close();  // commits. On every other way out the destructor rolls back
        });  // here the transaction is rolled back, if need be, and then the connection closed
        // [end]
    }
    {
        // [stack]
        co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> awaitable<void> {
            for (const auto& host : hosts) {
                connection* db = co_await stack.enter(connect(host));
                co_await db->count();
            }
            stack.defer([] { std::puts("cleaned last in, first out"); });
        });
        // [end]
    }
    {
        // [forms]
        coraii::async_scope session{login("ada"), [](user& u) { return u.logout(); }};

        auto lock = coraii::scoped(distributed_lock{"ledger"});

        auto file = coraii::offload(pool, [] { return std::fopen("/dev/null", "r"); },
                                    [](std::FILE*& f) { std::fclose(f); });
        // [end]
        const auto use = [](user& u, int&, std::FILE*& f) -> awaitable<void> {
            CHECK(u.name == "ada");
            CHECK(f != nullptr);
            co_return;
        };
        co_await coraii::with(std::move(session), std::move(lock), std::move(file), use);
    }
    {
        auto db = co_await connect("db").named("db").cleanup_timeout(5s);
        auto tx = co_await begin_in(*db);
        db.reset();
        co_await tx.close();
    }
}

// clang-format on

std::vector<std::string> lines_of(const std::filesystem::path& path) {
    std::ifstream in{path};
    INFO(path);
    REQUIRE(in);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

/// The lines from `// [name]` to `// [end]`, less the indentation of the first; of a file, those after its comments.
std::vector<std::string> snippet(const std::vector<std::string>& lines, const std::string& name) {
    std::vector<std::string> found;
    std::size_t indent = 0;
    bool inside = false;
    for (const std::string& line : lines) {
        if (name.empty() && !inside) {
            inside = !line.starts_with("//");
        }
        if (inside && !name.empty() && line.find("// [end]") != std::string::npos) {
            break;
        }
        if (inside) {
            found.push_back(line.size() >= indent ? line.substr(indent) : line);
        }
        if (!name.empty() && line.find("// [" + name + "]") != std::string::npos) {
            inside = true;
            indent = line.find_first_not_of(' ');
        }
    }
    return found;
}

}  // namespace

TEST_CASE("README: the pool's snippet runs", "[readme]") {
    coraii::testing::run(pooled("db"));
}

TEST_CASE("README: the snippets run", "[readme]") {
    const auto s = GENERATE(slot::none, slot::connected);
    asio::thread_pool pool{1};
    run(snippets(pool), s);
}

TEST_CASE("README: the sweep finds what README says", "[readme]") {
    const auto report = swept();
    REQUIRE_FALSE(report.ok());
    const auto& first = report.failed.front();
    std::ostringstream fault;
    fault << first.tried;
    CHECK(fault.str() == "{.injected = {.kind = fault_kind::exception, .at = 1}}");
    CHECK_THAT(first.problems.front(), Catch::Matchers::EndsWith("was set up and never cleaned"));
}

TEST_CASE("README and guide: every C++ block stands in a compiled file, as it is", "[readme]") {
    const auto root = std::filesystem::path{__FILE__}.parent_path().parent_path();
    const auto [page, expected] = GENERATE(std::pair{"README.md", 1}, std::pair{"examples/GUIDE.md", 12});
    const auto text = lines_of(root / page);
    int blocks = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != "```cpp") {
            continue;
        }
        ++blocks;
        INFO(page << ", line " << i + 1);
        REQUIRE(i > 0);
        std::istringstream marker{text[i - 1]};
        std::string word;
        std::string file;
        std::string name;
        marker >> word >> word >> file >> name;
        REQUIRE(word == "from");
        if (name.starts_with('[')) {
            name = name.substr(1, name.size() - 2);
        } else {
            name.clear();
        }
        std::vector<std::string> shown;
        for (std::size_t j = i + 1; j < text.size() && text[j] != "```"; ++j) {
            shown.push_back(text[j]);
        }
        CHECK(shown == snippet(lines_of(root / file), name));
    }
    CHECK(blocks == expected);
}

TEST_CASE("README: 200 lines, the first example by line 25, and each guarantee once", "[readme]") {
    const auto text = lines_of(std::filesystem::path{__FILE__}.parent_path().parent_path() / "README.md");
    CHECK(text.size() <= 200);
    const auto first_end = std::find(text.begin(), text.end(), "```");
    CHECK(first_end - text.begin() <= 25);  // lines before it
    for (int number = 1; number <= 33; ++number) {
        const std::string head = "- **G" + std::to_string(number) + "** ";
        CAPTURE(head);
        CHECK(std::count_if(text.begin(), text.end(), [&](const std::string& line) { return line.starts_with(head); }) == 1);
    }
}
