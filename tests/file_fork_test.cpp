// SPDX-License-Identifier: BSL-1.0
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <sys/file.h>
#include <sys/wait.h>
#include <utility>

using namespace test;

namespace {

/// Runs `f` in a child of the process, which then ends: with what it returns, or 99 for an exception.
template <class F>
int in_child(F f) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::alarm(60);  // one that hangs
        int status = 99;
        try {
            status = f();
        } catch (...) {  // told by the status
        }
        std::_Exit(status);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/// The same, and the context is told of it.
template <class F>
int in_told_child(asio::io_context& context, F f) {
    context.notify_fork(asio::execution_context::fork_prepare);
    const int status = in_child([&] {
        context.notify_fork(asio::execution_context::fork_child);
        return f();
    });
    context.notify_fork(asio::execution_context::fork_parent);
    return status;
}

/// Leaves a file as it is when `leave` is opened.
struct held_files {
    explicit held_files(asio::io_context& context) : leave{context} {}

    gate leave;
    fs::path file, directory;
    bool ready = false;

    awaitable<void> hold(const scratch& dir) {
        auto lock = co_await coraii::lock_file(dir / "lock");
        auto temporary = co_await coraii::temp_file(dir.path());
        auto temporary_directory = co_await coraii::temp_directory(dir.path());
        auto replaced = co_await coraii::atomic_file(dir / "replaced");
        file = temporary->path();
        directory = *temporary_directory;
        spit(directory / "kept", "text");
        co_await temporary->write("text");
        co_await replaced->write("new");
        ready = true;
        co_await leave.wait();
        co_await replaced.close();
        co_await temporary_directory.close();
        co_await temporary.close();
        co_await lock.close();
    }
};

}  // namespace

TEST_CASE("fork: a child that only ends leaves the locks and files of the parent alone", "[file][fork]") {
    if (!can_fork) {
        SKIP("a child could start no threads");
    }
    const bool told = GENERATE(false, true);
    CAPTURE(told);
    const scratch dir;
    spit(dir / "replaced", "old");
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    auto context = std::make_unique<asio::io_context>();
    auto held = std::make_unique<held_files>(*context);
    std::string got;
    const auto read_fifo = [&]() -> awaitable<void> {
        auto fifo = co_await coraii::open_file(dir / "fifo");  // a call that may never return
        got = co_await fifo->read_all();
    };
    std::exception_ptr error;
    const auto keep_error = [&](std::exception_ptr e) { error = error ? error : std::move(e); };
    asio::co_spawn(*context, held->hold(dir), keep_error);
    asio::co_spawn(*context, read_fifo(), keep_error);
    while (!held->ready) {
        context->run_one();
    }
    if (told) {
        context->notify_fork(asio::execution_context::fork_prepare);
    }
    const int status = in_child([&] {
        if (told) {
            context->notify_fork(asio::execution_context::fork_child);
        }
        context.reset();
        return 0;
    });
    if (told) {
        context->notify_fork(asio::execution_context::fork_parent);
    }
    CHECK(status == 0);
    CHECK(is_locked(dir / "lock"));
    CHECK(slurp(held->file) == "text");
    CHECK(slurp(held->directory / "kept") == "text");
    CHECK(slurp(dir / "replaced") == "old");
    held->leave.open();
    spit(dir / "fifo", "at last");
    finish(*context);
    CHECK(what(error) == "no error");
    CHECK(got == "at last");
    CHECK(!is_locked(dir / "lock"));
    CHECK(!fs::exists(held->file));
    CHECK(!fs::exists(held->directory));
    CHECK(slurp(dir / "replaced") == "new");
}

TEST_CASE("fork: a child that is told goes on; what blocks for ever in the parent is cancelled in it", "[file][fork]") {
    if (!can_fork) {
        SKIP("a child could start no threads");
    }
    const scratch dir;
    spit(dir / "f", "text");
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    asio::io_context context;
    boost::system::error_code fifo_error;
    std::string got;
    bool is_over = false;
    gate go_on{context};
    const auto read_fifo = [&]() -> awaitable<void> {
        try {
            auto fifo = co_await coraii::open_file(dir / "fifo");
            got = co_await fifo->read_all();
        } catch (const boost::system::system_error& e) { fifo_error = e.code(); }
    };
    const auto use_file = [&]() -> awaitable<void> {
        auto before = co_await coraii::open_file(dir / "f", coraii::open_mode::read_write);
        co_await before->sync();  // on a worker
        co_await go_on.wait();
        co_await before->write("TEXT");
        co_await before->sync();
        auto after = co_await coraii::open_file(dir / "f");
        got += co_await after->read_all();
        co_await after.close();
        is_over = true;
    };
    asio::co_spawn(context, read_fifo(), asio::detached);
    asio::co_spawn(context, use_file(), asio::detached);
    context.run_for(50ms);
    const auto rest = [&] {
        go_on.open();
        context.restart();
        context.run();
    };
    const int status = in_told_child(context, [&] {
        rest();
        const bool right = is_over && got == "TEXT" && fifo_error == asio::error::operation_aborted;
        return right ? 0 : 1;
    });
    CHECK(status == 0);
    CHECK(slurp(dir / "f") == "TEXT");
    std::thread writer{[&] { spit(dir / "fifo", "at last "); }};
    rest();
    writer.join();
    CHECK(!fifo_error);
    CHECK(is_over);
    CHECK((got == "at last TEXT" || got == "at last "));
}

TEST_CASE("fork: what is under way and queued goes on in the parent, and what was queued in the child, too",
          "[file][fork]") {
    if (!can_fork) {
        SKIP("a child could start no threads");
    }
    const scratch dir;
    asio::io_context context;
    int written = 0;
    static constexpr int writers = 20;
    const auto write = [&](int i) -> awaitable<void> {
        auto f = co_await coraii::open_file(dir / std::to_string(i), coraii::open_mode::append);
        for (int n = 0; n < 3; ++n) {
            co_await f->write("x");
        }
        co_await f.close();
        ++written;
    };
    std::string errors;
    for (int i = 0; i < writers; ++i) {
        asio::co_spawn(context, write(i), [&](std::exception_ptr e) { errors += e ? what(e) + "\n" : ""; });
    }
    context.poll();
    for (int round = 0; round < 5; ++round) {
        const int status = in_told_child(context, [&] {
            context.restart();
            context.run();
            std::fputs(errors.c_str(), stderr);
            return written == writers ? 0 : errors.empty() ? 1 : 2;
        });
        CHECK(status == 0);
        context.poll();
    }
    context.restart();
    context.run();
    CHECK(errors.empty());
    CHECK(written == writers);
}

TEST_CASE("fork: a child that ends a use well is told that nothing was replaced", "[file][fork][atomic]") {
    if (!can_fork) {
        SKIP("a child could start no threads");
    }
    const scratch dir;
    spit(dir / "f", "old");
    asio::io_context context;
    std::string error;
    gate go_on{context};
    const auto replace = [&]() -> awaitable<void> {
        auto f = co_await coraii::atomic_file(dir / "f");
        co_await f->write("new");
        co_await go_on.wait();
        try {
            co_await f.close();
        } catch (const std::exception& e) { error = e.what(); }
    };
    asio::co_spawn(context, replace(), asio::detached);
    context.run_for(100ms);
    const auto rest = [&] {
        go_on.open();
        context.restart();
        context.run();
    };
    const int status = in_told_child(context, [&] {
        rest();
        return error.find("in a child of the process") != std::string::npos ? 0 : 1;
    });
    CHECK(status == 0);
    CHECK(slurp(dir / "f") == "old");
    rest();
    CHECK(error.empty());
    CHECK(slurp(dir / "f") == "new");
    CHECK(dir.names() == std::vector<std::string>{"f"});
}
