// SPDX-License-Identifier: BSL-1.0
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>

#include <catch2/matchers/catch_matchers_string.hpp>

#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/file.h>
#include <sys/wait.h>
#include <utility>
#include <vector>

using namespace test;
using coraii::file_lock;
using coraii::lock_file;
using coraii::with;

namespace {

/// A lock that another process has.
class other_process {
public:
    explicit other_process(const fs::path& path) {
        int told[2];
        REQUIRE(::pipe(told) == 0);
        child_ = ::fork();
        REQUIRE(child_ >= 0);
        if (child_ == 0) {
            asio::io_context context;
            asio::co_spawn(
                context,
                [](fs::path p, int tell) -> awaitable<void> {
                    auto lock = co_await lock_file(p);
                    (void)!::write(tell, "!", 1);
                    co_await forever();
                }(path, told[1]),
                asio::detached);
            context.run();
            std::_Exit(1);
        }
        ::close(told[1]);
        char ready = 0;
        REQUIRE(::read(told[0], &ready, 1) == 1);
        ::close(told[0]);
    }
    other_process(const other_process&) = delete;
    other_process& operator=(const other_process&) = delete;
    ~other_process() { kill(); }
    void kill() {
        if (child_ > 0) {
            ::kill(child_, SIGKILL);
            ::waitpid(child_, nullptr, 0);
            child_ = -1;
        }
    }

private:
    pid_t child_ = -1;
};

}  // namespace

TEST_CASE("lock_file: it is held from setup to cleanup, on every way out", "[file][lock]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const auto how = GENERATE(0, 1, 2, 3, 4);
    const scratch dir;
    const fs::path path = dir / "lock";
    {
        asio::io_context context;
        bool held = false;
        const auto body = [&](file_lock& lock) -> awaitable<void> {
            CHECK(lock.path() == path);
            CHECK(is_locked(path));
            held = true;
            if (how == 1) {
                throw std::runtime_error("body");
            }
            if (how == 2 || how == 3) {
                co_await forever();
            }
        };
        const auto work = [&]() -> awaitable<void> {
            if (how == 4) {
                auto g = co_await lock_file(path);
                co_await body(*g);
            } else {
                co_await with(lock_file(path), body);
            }
        };
        task t{context, work(), how == 2 ? slot::connected : s};
        while (!held) {
            context.run_one();
        }
        if (how == 2) {
            t.cancel();
        }
        if (how != 3) {
            finish(context);
            CHECK(!is_locked(path));
        }
    }  // if how == 3, with the scope open
    CHECK(!is_locked(path));
    CHECK(dir.names() == std::vector<std::string>{"lock"});
}

TEST_CASE("lock_file: scopes of one process exclude each other, and all come to it", "[file][lock]") {
    const no_descriptor_left check;
    const scratch dir;
    const fs::path path = dir / "lock";
    {
        asio::io_context context;
        int inside = 0;
        int done = 0;
        std::vector<std::unique_ptr<task>> all;
        const auto work = [&]() -> awaitable<void> {
            for (int round = 0; round < 3; ++round) {
                co_await with(lock_file(path), [&](file_lock&) -> awaitable<void> {
                    CHECK(++inside == 1);
                    co_await turn();
                    co_await turn();
                    --inside;
                });
                ++done;
            }
        };
        for (int i = 0; i < 5; ++i) {
            all.push_back(std::make_unique<task>(context, work(), slot::connected));
        }
        finish(context);
        CHECK(done == 15);
    }
}

TEST_CASE("lock_file: waiting blocks nothing, and can be cancelled", "[file][lock][cancel]") {
    const no_descriptor_left check;
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    const scratch dir;
    const fs::path path = dir / "lock";
    const other_process other{path};
    {
        asio::io_context context;
        std::vector<std::unique_ptr<task>> waiting;
        const auto wait = [](fs::path p) -> awaitable<void> {
            co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
            auto lock = co_await lock_file(p);
        };
        for (int i = 0; i < 20; ++i) {  // more than there are workers
            waiting.push_back(std::make_unique<task>(context, wait(path), slot::connected));
        }
        context.run_for(30ms);
        // Workers and loop are free for others.
        spit(dir / "f", "text");
        task t{context,
               [](fs::path p) -> awaitable<void> {
                   auto f = co_await coraii::open_file(p);
                   const std::string text = co_await f->read_all();
                   CHECK(text == "text");
               }(dir / "f"),
               slot::none};
        while (!t.finished()) {
            context.run_one();
        }
        for (auto& each : waiting) {
            CHECK(!each->finished());
            each->cancel(type);
        }
        finish(context);
        for (auto& each : waiting) {
            CHECK(code(each->error()) == asio::error::operation_aborted);
        }
    }
    CHECK(is_locked(path));
}

TEST_CASE("lock_file: a context can go while it waits", "[file][lock][lifetime]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const scratch dir;
    const other_process other{dir / "lock"};
    {
        asio::io_context context;
        task t{context, [](fs::path p) -> awaitable<void> { auto lock = co_await lock_file(p); }(dir / "lock"), s};
        context.run_for(20ms);
        CHECK(!t.finished());
    }
}

TEST_CASE("lock_file: a process that is killed lets go", "[file][lock][processes]") {
    const no_descriptor_left check;
    const scratch dir;
    const fs::path path = dir / "lock";
    other_process other{path};
    {
        asio::io_context context;
        task t{context,
               [](fs::path p) -> awaitable<void> {
                   auto lock = co_await lock_file(p);
                   CHECK(is_locked(p));
               }(path),
               slot::connected};
        context.run_for(20ms);
        CHECK(!t.finished());
        other.kill();
        finish(context);
        CHECK(what(t.error()) == "no error");
    }
}

TEST_CASE("lock_file: processes that count together lose nothing", "[file][lock][processes]") {
    const scratch dir;
    spit(dir / "counter", "0");
    static constexpr int rounds = sanitized ? 20 : 100;
    constexpr int processes = 3;
    const auto count = [](fs::path d) -> awaitable<void> {
        for (int i = 0; i < rounds; ++i) {
            co_await with(lock_file(d / "lock"), [&](file_lock&) -> awaitable<void> {
                int n = 0;
                co_await with(coraii::open_file(d / "counter"), [&](coraii::file& f) -> awaitable<void> {
                    const std::string text = co_await f.read_all();
                    n = std::stoi(text);
                });
                co_await with(coraii::open_file(d / "counter", coraii::open_mode::write),
                              [&](coraii::file& f) -> awaitable<void> { co_await f.write(std::to_string(n + 1)); });
            });
        }
    };
    std::vector<pid_t> children;
    for (int i = 0; i < processes; ++i) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            bool failed = true;
            asio::io_context context;
            asio::co_spawn(context, count(dir.path()), [&](std::exception_ptr e) { failed = e != nullptr; });
            context.run();
            std::_Exit(failed ? 1 : 0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(status == 0);
    }
    CHECK(slurp(dir / "counter") == std::to_string(rounds * processes));
}

TEST_CASE("lock_file: who waits for a file that is replaced meanwhile, waits for the new one", "[file][lock]") {
    const no_descriptor_left check;
    const scratch dir;
    const fs::path path = dir / "lock";
    {
        asio::io_context context;
        coraii::guard<file_lock> first;
        task t1{context,
                [](fs::path p, coraii::guard<file_lock>& to) -> awaitable<void> { to = co_await lock_file(p); }(path,
                                                                                                                first),
                slot::none};
        while (!t1.finished()) {
            context.run_one();
        }
        bool second = false;
        task t2{context,
                [](fs::path p, bool& got) -> awaitable<void> {
                    auto lock = co_await lock_file(p);
                    CHECK(is_locked(p));
                    got = true;
                }(path, second),
                slot::none};
        context.run_for(20ms);
        CHECK(!second);
        fs::remove(path);
        spit(path, "");
        first.reset();
        finish(context);
        CHECK(second);
    }
}

TEST_CASE("lock_file: errors tell the path", "[file][lock][errors]") {
    const scratch dir;
    const auto lock = [](fs::path path) -> awaitable<void> {
        co_await with(lock_file(std::move(path)), [](file_lock&) -> awaitable<void> { co_return; });
    };
    using Catch::Matchers::StartsWith;
    CHECK_THROWS_WITH(run(lock(dir / "no/such")), StartsWith("open " + (dir / "no/such").native() + ": No such file"));
    CHECK_THROWS_WITH(run(lock(dir.path())), StartsWith("open " + dir.path().native() + ": Is a directory"));
}
