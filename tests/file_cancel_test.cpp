// SPDX-License-Identifier: BSL-1.0
#include "coraii/detail/workers/worker_pool.hpp"
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace test;
using coraii::file;
using coraii::open_file;
using coraii::open_mode;

namespace {

fs::path make_fifo(const scratch& dir) {
    fs::path path = dir / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    return path;
}

/// The other end of a FIFO. Opening it lets everybody go who waits for a peer.
class peer {
public:
    explicit peer(const fs::path& fifo) : fd_{::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)} {
        REQUIRE(fd_ >= 0);
    }
    peer(const peer&) = delete;
    peer& operator=(const peer&) = delete;
    ~peer() { ::close(fd_); }
    void send(std::string_view text) const {
        REQUIRE(::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }

private:
    int fd_;
};

/// A file that is open for reading and writing, in a context that has nothing else to do.
coraii::guard<file> opened(asio::io_context& context, const fs::path& path) {
    coraii::guard<file> f;
    const auto open = [&]() -> awaitable<void> { f = co_await open_file(path, open_mode::read_write); };
    task opening{context, open(), slot::none};
    while (!opening.finished()) {
        context.run_one();
    }
    return f;
}

/// Keeps all the workers that a context has for calls of bounded length from doing anything.
class busy_workers {
public:
    explicit busy_workers(asio::io_context& context) {
        const auto workers = coraii::detail::workers_of(context.get_executor());
        std::vector<std::promise<void>> all(coraii::detail::worker_pool::most_working);
        for (auto& started : all) {
            workers.execute([&started, released = released_] {
                started.set_value();
                released.wait();
            });
            started.get_future().wait();
        }
    }
    busy_workers(const busy_workers&) = delete;
    busy_workers& operator=(const busy_workers&) = delete;
    ~busy_workers() { release(); }
    void release() {
        if (!std::exchange(over_, true)) {
            release_.set_value();
        }
    }

private:
    std::promise<void> release_;
    std::shared_future<void> released_{release_.get_future()};
    bool over_ = false;
};

/// A coroutine that lets every type of cancel through.
awaitable<void> cancellable(awaitable<void> work) {
    co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
    co_await std::move(work);
}

bool aborted(const std::exception_ptr& error) {
    return code(error) == asio::error::operation_aborted;
}

void spin(asio::io_context& context) {
    context.restart();
    context.run_for(20ms);
}

}  // namespace

TEST_CASE("file: the open of a FIFO without a peer can be cancelled, and a descriptor that comes late is closed",
          "[file][cancel]") {
    const auto mode = GENERATE(open_mode::read, open_mode::write);
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    const scratch dir;
    const std::size_t before = open_descriptors();
    std::optional<peer> other;
    {
        const fs::path fifo = make_fifo(dir);
        asio::io_context context;
        task t{context, cancellable([](fs::path p, open_mode m) -> awaitable<void> {
                   auto f = co_await open_file(p, m);
               }(fifo, mode)),
               slot::connected};
        spin(context);
        CHECK(!t.finished());
        t.cancel(type);
        finish(context);
        CHECK(aborted(t.error()));
        other.emplace(fifo);
    }
    until([&] { return open_descriptors() <= before + 1; });
}

TEST_CASE("file: a context can go while an open waits for ever", "[file][cancel][lifetime]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const scratch dir;
    const fs::path fifo = make_fifo(dir);
    const std::size_t before = open_descriptors();
    {
        asio::io_context context;
        task t{context, [](fs::path p) -> awaitable<void> { auto f = co_await open_file(p); }(fifo), s};
        spin(context);
        CHECK(!t.finished());
    }
    const peer other{fifo};
    until([&] { return open_descriptors() <= before + 1; });
}

TEST_CASE("file: calls that wait for ever take no place from others", "[file][cancel]") {
    const scratch dir;
    const fs::path fifo = make_fifo(dir);
    spit(dir / "f", "here");
    const std::size_t before = open_descriptors();
    std::optional<peer> other;
    {
        asio::io_context context;
        std::vector<std::unique_ptr<task>> stuck;
        for (int i = 0; i < 10; ++i) {
            stuck.push_back(std::make_unique<task>(
                context, [](fs::path p) -> awaitable<void> { auto f = co_await open_file(p); }(fifo), slot::connected));
        }
        spin(context);
        std::string text;
        task t{context,
               [](fs::path p, std::string& to) -> awaitable<void> {
                   auto f = co_await open_file(p);
                   to = co_await f->read_all();
                   co_await f.close();
               }(dir / "f", text),
               slot::none};
        while (!t.finished()) {
            context.run_one();
        }
        CHECK(text == "here");
        for (auto& each : stuck) {
            each->cancel();
        }
        finish(context);
        for (auto& each : stuck) {
            CHECK(aborted(each->error()));
        }
        other.emplace(fifo);
    }
    until([&] { return open_descriptors() <= before + 1; });
}

TEST_CASE("file: what has not begun is withdrawn at once, and not done", "[file][cancel]") {
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    const auto which = GENERATE(0, 1, 2, 3, 4, 5);
#if defined(BOOST_ASIO_HAS_FILE)
    if (which == 1) {
        return;  // the kernel's ring may do it, and is not busy
    }
#endif
    const scratch dir;
    spit(dir / "f", "old");
    const no_descriptor_left check;
    {
        asio::io_context context;
        coraii::guard<file> f = opened(context, dir / "f");
        busy_workers busy{context};
        const auto work = [&]() -> awaitable<void> {
            switch (which) {
                case 0: co_await f->write("new"); break;
                case 1: co_await f->async_write_some_at(1, asio::buffer("new", 3), asio::use_awaitable); break;
                case 2: co_await f->sync(); break;
                case 3: co_await f->resize(1); break;
                case 4: (void)co_await f->size(); break;
                default: (void)co_await open_file(dir / "f", open_mode::write);
            }
        };
        task t{context, cancellable(work()), slot::connected};
        spin(context);
        CHECK(!t.finished());
        t.cancel(type);
        while (!t.finished()) {
            context.run_one();
        }
        CHECK(aborted(t.error()));
        CHECK(f->position() == 0);
        busy.release();
        f.reset();
        finish(context);
    }
    CHECK(slurp(dir / "f") == "old");
}

TEST_CASE("file: a context that goes drops what has not begun", "[file][lifetime]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const scratch dir;
    spit(dir / "f", "old");
    const no_descriptor_left check;
    std::optional<busy_workers> busy;
    {
        asio::io_context context;
        const auto work = [&]() -> awaitable<void> {
            auto f = co_await open_file(dir / "f", open_mode::read_write);
            busy.emplace(context);
            co_await f->write("new");
        };
        task t{context, work(), s};
        spin(context);
        CHECK(!t.finished());
        busy.reset();
        // The workers may come to the write before the context is gone: either is right.
    }
    CHECK((slurp(dir / "f") == "old" || slurp(dir / "f") == "new"));
}

TEST_CASE("file: a buffer is not touched after its operation has completed, or its handler is gone",
          "[file][cancel][lifetime]") {
    const bool destroy = GENERATE(false, true);
    const bool write = GENERATE(false, true);
    const scratch dir;
    const no_descriptor_left check;
    constexpr std::size_t size = 8'000'000;
    spit(dir / "f", std::string(size, 'x'));
    for (int round = 0; round < 20; ++round) {
        asio::io_context context;
        asio::cancellation_signal signal;
        coraii::guard<file> f = opened(context, dir / "f");
        auto memory = std::make_unique<std::string>(size, 'y');
        const asio::mutable_buffer buffer{memory->data(), size};
        bool done = false;
        auto handler = asio::bind_cancellation_slot(
            signal.slot(), [&, memory = std::move(memory)](boost::system::error_code ec, std::size_t n) {
                done = true;
                CHECK((ec ? ec == asio::error::operation_aborted && n == 0 : n != 0));
            });  // and with it goes the memory
        if (write) {
            f->async_write_some(buffer, std::move(handler));
        } else {
            f->async_read_some(buffer, std::move(handler));
        }
        for (int i = 0; i < round * 1000; ++i) {
            std::this_thread::yield();
        }
        if (!destroy) {
            signal.emit(asio::cancellation_type::terminal);
            while (!done) {
                context.run_one();
            }
            f.reset();
            finish(context);
        }
    }
}

TEST_CASE("file: a cancelled read from a FIFO loses nothing", "[file][cancel]") {
    const auto type =
        GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    const bool lines = GENERATE(false, true);
    const scratch dir;
    const fs::path fifo = make_fifo(dir);
    const std::size_t before = open_descriptors();
    {
        const peer other{fifo};
        asio::io_context context;
        coraii::guard<file> f;
        task opening{
            context,
            [](fs::path p, coraii::guard<file>& to) -> awaitable<void> { to = co_await open_file(p); }(fifo, f),
            slot::none};
        while (!opening.finished()) {
            context.run_one();
        }
        char memory[100];
        const auto read = [&]() -> awaitable<void> {
            if (lines) {
                co_await f->read_line();
            } else {
                co_await f->async_read_some(asio::buffer(memory), asio::use_awaitable);
            }
        };
        if (lines) {
            other.send("hal");
        }
        for (int i = 0; i < 100; ++i) {  // more than the threads that there may be
            task t{context, cancellable(read()), slot::connected};
            context.restart();
            context.run_for(1ms);
            CHECK(!t.finished());
            t.cancel(type);
            while (!t.finished()) {
                context.run_one();
            }
            CHECK(aborted(t.error()));
        }
        other.send("f a line\nanother\n");
        task t{context,
               [](file& from, std::string first) -> awaitable<void> {
                   const auto line = co_await from.read_line();
                   CHECK(line == first);
                   const auto next = co_await from.read_line();
                   CHECK(next == "another");
                   CHECK(from.position() == 0);
               }(*f, lines ? "half a line" : "f a line"),
               slot::none};
        while (!t.finished()) {
            context.run_one();
        }
        CHECK(what(t.error()) == "no error");
        f.reset();
        finish(context);
    }
    until([&] { return open_descriptors() <= before; });
}

TEST_CASE("file: a FIFO carries text both ways, and its end", "[file]") {
    const scratch dir;
    const fs::path fifo = make_fifo(dir);
    const no_descriptor_left check;
    const std::string text(300'000, 'x');  // more than a pipe holds
    run([](fs::path path, const std::string& all) -> awaitable<void> {
        std::string got;
        bool read = false;
        asio::co_spawn(
            co_await asio::this_coro::executor,
            [](fs::path p, std::string& to) -> awaitable<void> {
                auto in = co_await open_file(p);
                to = co_await in->read_all();
                co_await in.close();
            }(path, got),
            [&read](std::exception_ptr e) {
                CHECK(!e);
                read = true;
            });
        auto out = co_await open_file(path, open_mode::write);
        co_await out->write(all);
        co_await out.close();
        while (!read) {
            co_await turn();
        }
        CHECK(got == all);
    }(fifo, text));
}

TEST_CASE("file: a scope can be left while a read may wait for ever", "[file][lifetime]") {
    const auto how = GENERATE(0, 1, 2);
    const scratch dir;
    const fs::path fifo = make_fifo(dir);
    const std::size_t before = open_descriptors();
    {
        const peer other{fifo};
        boost::system::error_code result;
        bool called = false;
        char memory[10];
        {
            asio::io_context context;
            const auto work = [&]() -> awaitable<void> {
                auto f = co_await open_file(fifo);
                f->async_read_some(asio::buffer(memory), [&](boost::system::error_code ec, std::size_t) {
                    called = true;
                    result = ec;
                });
                co_await turn();
                if (how == 0) {
                    co_await f.close();
                } else if (how == 1) {
                    co_await forever();
                }
            };
            task t{context, work(), slot::none};
            if (how != 1) {
                finish(context);
                CHECK(result == asio::error::operation_aborted);
            } else {
                spin(context);
            }
            CHECK(called == (how != 1));
        }
        other.send("late");
        until([&] { return open_descriptors() <= before + 1; });
    }
}

TEST_CASE("file: what nobody waits for is done or refused when the scope has been left, and never later",
          "[file][lifetime]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const scratch dir;
    const no_descriptor_left check;
    const std::string text(5'000'000, 'x');
    for (int round = 0; round < 20; ++round) {
        asio::io_context context;
        boost::system::error_code result;
        std::size_t written = 1;
        std::size_t size_at_close = 0;
        const auto work = [&]() -> awaitable<void> {
            auto f = co_await open_file(dir / "f", open_mode::write);
            f->async_write_some(asio::buffer(text), [&](boost::system::error_code ec, std::size_t n) {
                result = ec;
                written = n;
            });
            co_await f.close();
            size_at_close = fs::file_size(dir / "f");
        };
        run(work(), context, s);
        CHECK((result ? result == asio::error::operation_aborted && written == 0 : written == text.size()));
        CHECK(size_at_close == written);
        CHECK(fs::file_size(dir / "f") == written);
    }
}

TEST_CASE("file: a cleanup that is stuck is left at its deadline", "[file][cancel]") {
    const scratch dir;
    spit(dir / "f", "text");
    const no_descriptor_left check;
    asio::io_context context;
    std::optional<busy_workers> busy;
    const auto work = [&]() -> awaitable<void> {
        auto f = co_await open_file(dir / "f").cleanup_timeout(10ms);
        busy.emplace(context);
        co_await f.close();
    };
    task t{context, work(), slot::none};
    finish(context);
    CHECK(code(t.error()) == coraii::errc::cleanup_timeout);
    busy.reset();
}
