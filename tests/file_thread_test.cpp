// SPDX-License-Identifier: BSL-1.0
// What a program meets that may have no more threads.
#include "coraii/testing/threads.hpp"
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>

#include <catch2/matchers/catch_matchers_string.hpp>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

using namespace test;
namespace threads = coraii::testing::threads;

namespace {

bool is_eagain(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const boost::system::system_error& e) { return e.code().value() == EAGAIN; }
}

/// Opens of FIFOs without a peer, each in a thread: calls that never return.
class stuck_calls {
public:
    stuck_calls(asio::io_context& context, const scratch& dir, int how_many) : context_{context} {
        for (int i = 0; i < how_many; ++i) {
            const fs::path fifo = dir / ("fifo" + std::to_string(i));
            REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
            fifos_.push_back(fifo);
            asio::co_spawn(context, open(fifo), asio::detached);
        }
        context.poll();
    }
    /// Lets them return.
    void release() {
        for (const fs::path& fifo : fifos_) {
            const int fd = ::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
            until([&] { return context_.restart(), context_.poll(), opened_ != before_; });
            before_ = opened_;
            ::close(fd);
        }
    }

private:
    awaitable<void> open(fs::path fifo) {
        auto f = co_await coraii::open_file(fifo);
        ++opened_;
    }

    asio::io_context& context_;
    std::vector<fs::path> fifos_;
    int opened_ = 0, before_ = 0;
};

}  // namespace

TEST_CASE("file: if no thread can be started, that is the operation's error, with the path", "[file][threads]") {
    if (!threads::can_be_refused()) {
        SKIP("threads cannot be refused here");
    }
    const scratch dir;
    spit(dir / "f", "text");
    asio::io_context context;
    std::vector<std::string> errors;
    const auto attempt = [&](auto make) -> awaitable<void> {
        try {
            auto g = co_await make();
        } catch (const boost::system::system_error& e) {
            CHECK(e.code().value() == EAGAIN);
            errors.emplace_back(e.what());
        }
    };
    std::string text;
    const auto use = [&]() -> awaitable<void> {
        {
            const threads::failing none;
            const auto open = [&] { return coraii::open_file(dir / "f"); };
            const auto replace = [&] { return coraii::atomic_file(dir / "f"); };
            const auto temporary = [&] { return coraii::temp_file(dir.path()); };
            const auto directory = [&] { return coraii::temp_directory(dir.path()); };
            const auto lock = [&] { return coraii::lock_file(dir / "f"); };
            co_await attempt(open);
            co_await attempt(replace);
            co_await attempt(temporary);
            co_await attempt(directory);
            co_await attempt(lock);
            CHECK(none.failed() == 5);
        }
        auto f = co_await coraii::open_file(dir / "f");
        text = co_await f->read_all();
    };
    run(use());
    REQUIRE(errors.size() == 5);
    for (const std::string& error : errors) {
        CHECK_THAT(error, Catch::Matchers::ContainsSubstring(dir.path().native()));
    }
    CHECK(text == "text");
    CHECK(dir.names() == std::vector<std::string>{"f"});
}

TEST_CASE("file: a call that no thread is left for fails, and does not wait for ever", "[file][threads]") {
    if (!threads::can_be_refused()) {
        SKIP("threads cannot be refused here");
    }
    const int stuck = GENERATE(1, 4);
    const scratch dir;
    spit(dir / "f", "text");
    asio::io_context context;
    std::exception_ptr error;
    std::string text;
    const auto read = [&]() -> awaitable<void> {
        auto f = co_await coraii::open_file(dir / "f");
        text = co_await f->read_all();
    };
    stuck_calls calls{context, dir, stuck};
    std::this_thread::sleep_for(50ms);  // they are stuck by now; if not, the test is easier
    {
        const threads::failing none;
        task t{context, read(), slot::none};
        until([&] { return context.restart(), context.poll(), t.finished(); });
        // Where a worker had been started beside the stuck ones, it serves.
        CHECK((!t.error() || is_eagain(t.error())));
    }
    task t{context, read(), slot::none};
    until([&] { return context.restart(), context.poll(), t.finished(); });
    CHECK(what(t.error()) == "no error");
    CHECK(text == "text");
    calls.release();
    finish(context);
}

TEST_CASE("file: a call that may block for ever is refused if others wait behind it, and no thread can be started",
          "[file][threads]") {
    if (!threads::can_be_refused()) {
        SKIP("threads cannot be refused here");
    }
    const scratch dir;
    spit(dir / "f", "text");
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    asio::io_context context;
    // One worker.
    const auto sync = [&]() -> awaitable<void> {
        auto f = co_await coraii::open_file(dir / "f");
        co_await f->sync();
    };
    task first{context, sync(), slot::none};
    until([&] { return context.restart(), context.poll(), first.finished(); });
    const threads::failing none;
    const auto open = [&](fs::path path) -> awaitable<void> { (void)co_await coraii::open_file(path); };
    int refused = 0;
    for (int round = 0; round < 200; ++round) {
        task stuck{context, open(dir / "fifo"), slot::connected};
        task behind{context, sync(), slot::none};
        until([&] { return context.restart(), context.poll(), behind.finished(); });
        CHECK((!behind.error() || is_eagain(behind.error())));
        if (stuck.finished() && stuck.error()) {
            CHECK(is_eagain(stuck.error()));
            ++refused;
        } else {  // it had the only worker: nothing else can be done until it returns
            const int peer = ::open((dir / "fifo").c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
            until([&] { return context.restart(), context.poll(), stuck.finished(); });
            ::close(peer);
        }
    }
    INFO(refused);
    task last{context, sync(), slot::none};
    until([&] { return context.restart(), context.poll(), last.finished(); });
    CHECK(what(last.error()) == "no error");
}
