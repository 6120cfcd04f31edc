// SPDX-License-Identifier: BSL-1.0
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_at.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <boost/asio/write_at.hpp>

#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <cerrno>
#include <concepts>
#include <cstdint>
#include <future>
#include <random>
#include <stdexcept>

using namespace test;
using coraii::file;
using coraii::open_file;
using coraii::open_mode;
using coraii::with;

namespace {

// Asio has no checks of its own for these: its documented requirements, spelled out.
struct io_handler {
    void operator()(boost::system::error_code, std::size_t) const {}
};
template <class F>
concept async_read_stream = requires(F& f, asio::mutable_buffer b, std::array<asio::mutable_buffer, 2> bs) {
    { f.get_executor() } -> std::same_as<typename F::executor_type>;
    { f.async_read_some(b, io_handler{}) } -> std::same_as<void>;
    { f.async_read_some(bs, io_handler{}) } -> std::same_as<void>;
};
template <class F>
concept async_write_stream = requires(F& f, asio::const_buffer b, std::array<asio::const_buffer, 2> bs) {
    { f.get_executor() } -> std::same_as<typename F::executor_type>;
    { f.async_write_some(b, io_handler{}) } -> std::same_as<void>;
    { f.async_write_some(bs, io_handler{}) } -> std::same_as<void>;
};
template <class F>
concept async_random_access = requires(F& f, std::uint64_t at, asio::mutable_buffer to, asio::const_buffer from) {
    { f.async_read_some_at(at, to, io_handler{}) } -> std::same_as<void>;
    { f.async_write_some_at(at, from, io_handler{}) } -> std::same_as<void>;
};
static_assert(async_read_stream<file> && async_write_stream<file> && async_random_access<file>);
static_assert(std::movable<file> && !std::copyable<file>);

/// What a setup fails with.
std::exception_ptr failure(coraii::async_scope<file> scope) {
    try {
        run([](coraii::async_scope<file> s) -> awaitable<void> {
            co_await with(std::move(s), [](file&) -> awaitable<void> { co_return; });
        }(std::move(scope)));
    } catch (...) { return std::current_exception(); }
    return nullptr;
}

void check_failure(coraii::async_scope<file> scope, int error, const std::string& start) {
    const std::exception_ptr thrown = failure(std::move(scope));
    CHECK(code(thrown) == boost::system::error_code(error, boost::system::system_category()));
    INFO(what(thrown));
    CHECK(what(thrown).starts_with(start));
}

std::string numbers(std::size_t size) {
    std::string text;
    for (int i = 0; text.size() < size; ++i) {
        text += std::to_string(i) + '\n';
    }
    text.resize(size);
    return text;
}

}  // namespace

TEST_CASE("file: what was written is read again, and the descriptor is closed", "[file]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const scratch dir;
    run(
        [](fs::path path) -> awaitable<void> {
            co_await with(open_file(path, open_mode::write), [&](file& f) -> awaitable<void> {
                CHECK(f.path() == path);
                CHECK((::fcntl(f.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
                CHECK(f.position() == 0);
                co_await f.write("Hello, ");
                co_await f.write("");
                co_await f.write("world\n");
                CHECK(f.position() == 13);
                CHECK(slurp(path) == "Hello, world\n");  // the kernel has it already
                const std::uint64_t size = co_await f.size();
                CHECK(size == 13);
            });
            co_await with(open_file(path), [](file& f) -> awaitable<void> {
                const std::string all = co_await f.read_all();
                CHECK(all == "Hello, world\n");
                const std::string nothing = co_await f.read_all();
                CHECK(nothing.empty());
                CHECK(f.position() == 13);
            });
        }(dir / "greeting"),
        s);
}

TEST_CASE("file: the modes create, empty, append to and refuse files", "[file]") {
    const scratch dir;
    const fs::path path = dir / "f";
    const auto write = [](fs::path p, open_mode mode, std::string text) -> awaitable<void> {
        co_await with(open_file(std::move(p), mode), [&text](file& f) -> awaitable<void> { co_await f.write(text); });
    };
    check_failure(open_file(path, open_mode::read), ENOENT, "open " + path.native() + ": No such file");
    check_failure(open_file(path, open_mode::read_write), ENOENT, "open " + path.native());
    run(write(path, open_mode::create_new, "new"));
    CHECK(slurp(path) == "new");
    check_failure(open_file(path, open_mode::create_new), EEXIST, "open " + path.native() + ": File exists");
    run(write(path, open_mode::append, " and more"));
    CHECK(slurp(path) == "new and more");
    run(write(path, open_mode::read_write, "NEW"));
    CHECK(slurp(path) == "NEW and more");
    run(write(path, open_mode::write, "short"));
    CHECK(slurp(path) == "short");
    run(write(dir / "g", open_mode::append, "made"));
    CHECK(slurp(dir / "g") == "made");
    run(write(dir / "h", open_mode::write, "made"));
    CHECK(slurp(dir / "h") == "made");
}

TEST_CASE("file: append goes to the end, and the position follows", "[file]") {
    const scratch dir;
    spit(dir / "f", "12345");
    run([](fs::path path) -> awaitable<void> {
        auto f = co_await open_file(path, open_mode::append);
        CHECK(f->position() == 5);
        {
            std::ofstream other{path, std::ios::app};
            other << "678";
        }
        co_await f->write("90");
        CHECK(f->position() == 10);
        f->seek(0);
        co_await f->write("!");
        CHECK(f->position() == 11);
        co_await f.close();
        CHECK(slurp(path) == "1234567890!");
    }(dir / "f"));
}

TEST_CASE("file: errors tell the errno, what was tried, and the path", "[file][errors]") {
    const no_descriptor_left check;
    const scratch dir;
    SECTION("missing") {
        check_failure(open_file(dir / "no/such"), ENOENT,
                      "open " + (dir / "no/such").native() + ": No such file or directory");
    }
    SECTION("a directory") {
        const auto mode = GENERATE(open_mode::read, open_mode::write, open_mode::append, open_mode::read_write);
        check_failure(open_file(dir.path(), mode), EISDIR, "open " + dir.path().native() + ": Is a directory");
    }
    SECTION("no permission") {
        spit(dir / "secret", "");
        fs::permissions(dir / "secret", fs::perms::none);
        fs::permissions(dir.path(), fs::perms::all);
        const uid_t me = ::geteuid();
        if (me == 0) {
            REQUIRE(::seteuid(65534) == 0);
        }
        const std::exception_ptr thrown = failure(open_file(dir / "secret"));
        if (me == 0) {
            REQUIRE(::seteuid(me) == 0);
        }
        CHECK(code(thrown).value() == EACCES);
        CHECK(what(thrown).starts_with("open " + (dir / "secret").native() + ": Permission denied"));
    }
    SECTION("too many open files") {
        spit(dir / "f", "");
        asio::io_context context;
        task warm_up{context, [](fs::path p) -> awaitable<void> { auto f = co_await open_file(p); }(dir / "f"),
                     slot::none};
        finish(context);
        task t{context, [](fs::path p) -> awaitable<void> { auto f = co_await open_file(p); }(dir / "f"), slot::none};
        {
            const limit none_left{RLIMIT_NOFILE, 3};
            finish(context);
        }
        CHECK(code(t.error()).value() == EMFILE);
        CHECK(what(t.error()).starts_with("open " + (dir / "f").native() + ": Too many open files"));
    }
    SECTION("a read-only file system") {
        const small_disk disk{dir / "disk", true};
        if (!disk) {
            SKIP("mounting is not permitted");
        }
        check_failure(open_file(dir / "disk/f", open_mode::write), EROFS,
                      "open " + (dir / "disk/f").native() + ": Read-only file system");
        check_failure(coraii::atomic_file(dir / "disk/f"), EROFS, "create a temporary file beside ");
        check_failure(coraii::temp_file(dir / "disk"), EROFS, "make a temporary in ");
    }
    SECTION("reading what is open for writing, and the reverse") {
        run([](fs::path path) -> awaitable<void> {
            std::exception_ptr error;
            auto out = co_await open_file(path, open_mode::write);
            try {
                co_await out->read_all();
            } catch (...) { error = std::current_exception(); }
            CHECK(code(error).value() == EBADF);
            CHECK(what(error).starts_with("read " + path.native()));
            auto in = co_await open_file(path);
            try {
                co_await in->write("x");
            } catch (...) { error = std::current_exception(); }
            CHECK(code(error).value() == EBADF);
            CHECK(what(error).starts_with("write " + path.native()));
            try {
                co_await in->resize(1);
            } catch (...) { error = std::current_exception(); }
            CHECK(code(error).value() == EINVAL);
            CHECK(what(error).starts_with("resize " + path.native()));
        }(dir / "f"));
    }
}

TEST_CASE("file: bad paths are refused before anything is begun", "[file][errors]") {
    const std::string nul{"a\0b", 3};
    const auto bad = GENERATE_COPY(fs::path{}, fs::path{nul});
    CHECK_THROWS_AS(open_file(bad), std::invalid_argument);
    CHECK_THROWS_AS(coraii::atomic_file(bad), std::invalid_argument);
    CHECK_THROWS_AS(coraii::temp_file(bad), std::invalid_argument);
    CHECK_THROWS_AS(coraii::temp_directory(bad), std::invalid_argument);
    CHECK_THROWS_AS(coraii::lock_file(bad), std::invalid_argument);
}

TEST_CASE("file: a full disk is not silent", "[file][errors]") {
    const no_descriptor_left check;
    const scratch dir;
    const std::string text = numbers(200'000);
    std::exception_ptr error;
    std::uint64_t position = 0;
    const auto fill = [&](fs::path path) -> awaitable<void> {
        co_await with(open_file(std::move(path), open_mode::write), [&](file& f) -> awaitable<void> {
            try {
                co_await f.write(text);
            } catch (...) { error = std::current_exception(); }
            position = f.position();
        });
    };
    SECTION("a small file system") {
        const small_disk disk{dir / "disk"};
        if (!disk) {
            SKIP("mounting is not permitted");
        }
        run(fill(dir / "disk/f"));
        CHECK(code(error).value() == ENOSPC);
        CHECK(what(error).starts_with("write " + (dir / "disk/f").native() + ": No space left on device"));
        CHECK(position == fs::file_size(dir / "disk/f"));
        CHECK(slurp(dir / "disk/f") == text.substr(0, position));
    }
    SECTION("a limit") {
        const auto before = std::signal(SIGXFSZ, SIG_IGN);
        {
            const limit small{RLIMIT_FSIZE, 100'000};
            run(fill(dir / "f"));
        }
        std::signal(SIGXFSZ, before);
        CHECK(code(error).value() == EFBIG);
        CHECK(position == 100'000);
        CHECK(slurp(dir / "f") == text.substr(0, position));
    }
    SECTION("a device") {
        run(fill("/dev/full"));
        CHECK(code(error).value() == ENOSPC);
    }
}

TEST_CASE("file: a close that fails is an error of the cleanup", "[file][errors]") {
    const auto s = GENERATE(slot::none, slot::connected);
    const auto how = GENERATE(0, 1, 2);
    const scratch dir;
    asio::io_context context;
    reports reported{context};
    const fs::path path = dir / "f";
    const auto sabotaged = [&](bool wait) -> awaitable<void> {
        auto f = co_await open_file(path, open_mode::write);
        ::close(f->native_handle());  // behind the library's back: its own close(2) fails
        if (wait) {
            co_await f.close();
        }
    };
    if (how == 0) {
        CHECK_THROWS_WITH(run(sabotaged(true), context, s),
                          Catch::Matchers::StartsWith("close " + path.native() + ": Bad file descriptor"));
    } else if (how == 1) {
        run(sabotaged(false), context, s);
        REQUIRE(reported.all.size() == 1);
        CHECK(code(reported.all[0].error).value() == EBADF);
    } else {
        const auto work = [&]() -> awaitable<void> {
            co_await with(open_file(path, open_mode::write), [](file& f) -> awaitable<void> {
                ::close(f.native_handle());
                co_return;
            });
        };
        CHECK_THROWS_WITH(run(work(), context, s), Catch::Matchers::StartsWith("close "));
    }
}

TEST_CASE("file: Asio's composed operations work on it", "[file][asio]") {
    const scratch dir;
    const std::string text = numbers(500'000);
    run([](fs::path path, const std::string& all) -> awaitable<void> {
        auto f = co_await open_file(path, open_mode::create_new);
        const std::size_t written = co_await asio::async_write(*f, asio::buffer(all), asio::use_awaitable);
        CHECK(written == all.size());
        CHECK(f->position() == all.size());
        CHECK(slurp(path) == all);

        f->seek(0);
        std::string whole(all.size(), '\0');
        const std::size_t read = co_await asio::async_read(*f, asio::buffer(whole), asio::use_awaitable);
        CHECK(read == all.size());
        CHECK(whole == all);

        boost::system::error_code ec;
        char c = 0;
        co_await asio::async_read(*f, asio::buffer(&c, 1), asio::redirect_error(asio::use_awaitable, ec));
        CHECK(ec == asio::error::eof);

        f->seek(0);
        std::string line;
        for (int i = 0; i < 1000; ++i) {
            const std::size_t size =
                co_await asio::async_read_until(*f, asio::dynamic_buffer(line), '\n', asio::use_awaitable);
            REQUIRE(line.substr(0, size) == std::to_string(i) + '\n');
            line.erase(0, size);
        }

        std::string part(100'000, '\0');
        co_await asio::async_read_at(*f, 123'456, asio::buffer(part), asio::use_awaitable);
        CHECK(part == all.substr(123'456, part.size()));
        co_await asio::async_write_at(*f, 10, asio::buffer("MARK", 4), asio::use_awaitable);
        CHECK(slurp(path).substr(8, 8) == all.substr(8, 2) + "MARK" + all.substr(14, 2));

        const std::array<asio::const_buffer, 3> many{asio::buffer("a", 1), asio::buffer("", 0), asio::buffer("bc", 2)};
        f->seek(3);
        const std::size_t some = co_await f->async_write_some(many, asio::use_awaitable);
        CHECK(some == 3);
        char x[2];
        char y[3];
        const std::array<asio::mutable_buffer, 2> parts{asio::buffer(x), asio::buffer(y)};
        f->seek(2);
        const std::size_t got = co_await f->async_read_some(parts, asio::use_awaitable);
        CHECK(got == 5);
        CHECK(std::string(x, 2) + std::string(y, 3) == all.substr(2, 1) + "abc" + all.substr(6, 1));
        const std::size_t none = co_await f->async_read_some(asio::mutable_buffer{}, asio::use_awaitable);
        CHECK(none == 0);
        co_await f.close();
    }(dir / "f", text));
}

TEST_CASE("file: operations never complete inside their initiating function, and on the file's executor",
          "[file][asio]") {
    const scratch dir;
    spit(dir / "f", "some text");
    asio::io_context context;
    events log;
    char buffer[4];
    const auto work = [&]() -> awaitable<void> {
        auto f = co_await open_file(dir / "f", open_mode::read_write);
        CHECK(f->get_executor() == asio::any_io_executor{context.get_executor()});
        const auto note = [&log, &context](const char* name) {
            return [&log, &context, name](boost::system::error_code ec, std::size_t n) {
                CHECK(context.get_executor().running_in_this_thread());
                log.push_back(name + std::to_string(n) + (ec ? " error" : ""));
            };
        };
        f->async_read_some(asio::buffer(buffer), note("read "));
        log.push_back("started");
        while (log.size() < 2) {
            co_await turn();
        }
        f->async_write_some_at(0, asio::buffer("S", 1), note("write "));
        log.push_back("started");
        while (log.size() < 4) {
            co_await turn();
        }
        f->async_read_some_at(100, asio::buffer(buffer), note("read "));
        log.push_back("started");
        while (log.size() < 6) {
            co_await turn();
        }
        co_await f.close();
    };
    run(work(), context);
    CHECK(log == events{"started", "read 4", "started", "write 1", "started", "read 0 error"});
}

TEST_CASE("file: seek, lines, blocks and writes can be mixed", "[file]") {
    const scratch dir;
    const std::string original = numbers(300'000);
    std::string model = original;
    spit(dir / "f", original);
    const auto seed = Catch::getSeed();
    CAPTURE(seed);
    run([](fs::path path, std::string& content, unsigned long random_seed) -> awaitable<void> {
        std::mt19937 random{static_cast<std::mt19937::result_type>(random_seed)};
        const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>{0, n - 1}(random); };
        auto f = co_await open_file(path, open_mode::read_write);
        std::size_t at = 0;
        for (int i = 0; i < 2000; ++i) {
            const std::size_t what_next = below(12);
            if (what_next < 5) {
                const std::optional<std::string> line = co_await f->read_line();
                const std::size_t end = content.find('\n', at);
                if (at >= content.size()) {
                    REQUIRE(!line);
                } else {
                    REQUIRE(line == content.substr(at, end - at));
                    at = end == std::string::npos ? content.size() : end + 1;
                }
            } else if (what_next < 7) {
                std::string got(1 + below(5000), '\0');
                boost::system::error_code ec;
                auto token = asio::redirect_error(asio::use_awaitable, ec);
                const std::size_t n = co_await f->async_read_some(asio::buffer(got), token);
                got.resize(n);
                REQUIRE((n != 0) == (at < content.size()));
                REQUIRE(got == content.substr(std::min(at, content.size()), n));
                at += n;
            } else if (what_next < 8) {
                const std::string text(1 + below(100), static_cast<char>('A' + below(26)));
                co_await f->write(text);
                content.resize(std::max(content.size(), at + text.size()));
                content.replace(at, text.size(), text);
                at += text.size();
            } else if (what_next < 9) {
                const std::size_t there = below(content.size());
                co_await f->async_write_some_at(there, asio::buffer("*\n", 2), asio::use_awaitable);
                content.resize(std::max(content.size(), there + 2));
                content.replace(there, 2, "*\n");
            } else if (what_next < 11) {
                at = std::min(content.size(), (below(2) != 0 ? at + below(200) : below(content.size() + 1)));
                f->seek(at);
            } else {
                const std::size_t size = content.size() - below(500);
                co_await f->resize(size);
                content.resize(size);
                at = std::min(at, size);
                f->seek(at);
            }
            REQUIRE(f->position() == at);
        }
        co_await f.close();
    }(dir / "f", model, seed));
    CHECK(slurp(dir / "f") == model);
}

TEST_CASE("file: sync, size, resize, and files that claim to be empty", "[file]") {
    const scratch dir;
    run([](fs::path path) -> awaitable<void> {
        auto f = co_await open_file(path, open_mode::create_new);
        co_await f->write("123456");
        co_await f->sync();
        co_await f->resize(3);
        CHECK(slurp(path) == "123");
        CHECK(f->position() == 6);
        co_await f->resize(5);
        CHECK(slurp(path) == std::string("123\0\0", 5));
        f->seek(1);
        const std::string rest = co_await f->read_all();
        CHECK(rest == std::string("23\0\0", 4));
        auto status = co_await open_file("/proc/self/status");
        const std::string text = co_await status->read_all();
        CHECK(text.find("Pid:") != std::string::npos);
        auto null = co_await open_file("/dev/null");
        const std::string nothing = co_await null->read_all();
        CHECK(nothing.empty());
        CHECK_THROWS_WITH(null->seek(1), Catch::Matchers::StartsWith("seek /dev/null: Illegal seek"));
    }(dir / "f"));
}

TEST_CASE("file: a released file is a value of its own", "[file]") {
    const no_descriptor_left check;
    const scratch dir;
    spit(dir / "f", "text");
    run([](fs::path path) -> awaitable<void> {
        auto g = co_await open_file(path);
        file f = g.release();
        const std::string all = co_await f.read_all();
        CHECK(all == "text");
    }(dir / "f"));
}

TEST_CASE("file: many files on many threads", "[file][threads]") {
    const no_descriptor_left check;
    const scratch dir;
    {
        asio::thread_pool pool{3};
        std::vector<std::future<void>> all;
        for (int i = 0; i < 24; ++i) {
            const auto work = [](fs::path path, int number) -> awaitable<void> {
                const std::string text = numbers(10'000) + std::to_string(number);
                for (int round = 0; round < 5; ++round) {
                    auto f = co_await open_file(path, open_mode::write);
                    co_await f->write(text);
                    co_await f.close();
                    auto again = co_await open_file(path);
                    std::string read;
                    for (;;) {
                        const auto line = co_await again->read_line();
                        if (!line) {
                            break;
                        }
                        read += (read.empty() ? "" : "\n") + *line;
                    }
                    if (read != text) {
                        throw std::runtime_error("read something else");
                    }
                }
            };
            all.push_back(asio::co_spawn(asio::make_strand(pool), work(dir / std::to_string(i), i), asio::use_future));
        }
        for (auto& done : all) {
            CHECK_NOTHROW(done.get());
        }
        pool.join();
    }
}
