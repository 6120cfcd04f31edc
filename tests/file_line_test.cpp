// SPDX-License-Identifier: BSL-1.0
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cerrno>
#include <fcntl.h>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
// At -O1, GCC 12 takes the memory of Asio's coroutines for that of another function than the one that frees it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

using namespace test;
using coraii::file;
using coraii::open_file;
using coraii::with;

namespace {

using lines = std::vector<std::string>;

lines read_lines(const fs::path& path, asio::io_context& context) {
    lines all;
    run(
        [](fs::path p, lines& to) -> awaitable<void> {
            co_await with(open_file(std::move(p)), [&to](file& f) -> awaitable<void> {
                for (;;) {
                    std::optional<std::string> line = co_await f.read_line();
                    if (!line) {
                        break;
                    }
                    to.push_back(std::move(*line));
                }
                const std::optional<std::string> still_nothing = co_await f.read_line();
                CHECK(!still_nothing);
                const bool ended = f.line_ended();
                const std::uint64_t whole = co_await f.size();
                if (f.position() == whole && fs::is_regular_file(f.path())) {
                    f.seek(0);
                    lines in_batches;
                    for (auto batch = co_await f.read_lines(); !batch.empty(); batch = co_await f.read_lines()) {
                        for (const std::string_view line : batch) {
                            in_batches.emplace_back(line);
                        }
                    }
                    CHECK(in_batches == to);
                    CHECK(f.line_ended() == ended);
                }
                const std::uint64_t size = co_await f.size();
                CHECK(f.position() == size);
            });
        }(path, all),
        context);
    return all;
}

lines read_lines(const fs::path& path) {
    asio::io_context context;
    return read_lines(path, context);
}

lines lines_of(const scratch& dir, std::string_view text) {
    spit(dir / "lines", text);
    return read_lines(dir / "lines");
}

awaitable<void> mix_ways_to_read(file& f) {
    const std::optional<std::string> first = co_await f.read_line();
    CHECK(first == "0");
    std::size_t batches = 0;
    int next = 1;
    auto batch = co_await f.read_lines();
    CHECK(f.position() > 60'000);
    for (; !batch.empty() && f.line_ended(); batch = co_await f.read_lines()) {
        ++batches;
        for (const std::string_view line : batch) {
            CHECK(line == std::to_string(next++));
        }
    }
    CHECK(next == 20'000);
    CHECK(batches <= 3);
    CHECK(std::vector<std::string_view>(batch.begin(), batch.end()) == std::vector<std::string_view>{"last"});
    const coraii::file_lines none = co_await f.read_lines();
    CHECK(none.empty());
    f.seek(2);
    char byte = 0;
    co_await f.async_read_some(asio::buffer(&byte, 1), asio::use_awaitable);
    CHECK(byte == '1');
    batch = co_await f.read_lines();
    CHECK((*batch.begin()).empty());
    CHECK(*std::next(batch.begin()) == "2");
}

awaitable<void> read_fifo(file& f, int writer) {
    auto batch = co_await f.read_lines();
    CHECK(std::vector<std::string_view>(batch.begin(), batch.end()) == std::vector<std::string_view>{"a", "b"});
    REQUIRE(::write(writer, "d\n", 2) == 2);
    batch = co_await f.read_lines();
    CHECK(std::vector<std::string_view>(batch.begin(), batch.end()) == std::vector<std::string_view>{"cd"});
}

}  // namespace

TEST_CASE("read_line: LF, CRLF, a last line without either, and everything else is text", "[file][lines]") {
    const scratch dir;
    CHECK(lines_of(dir, "").empty());
    CHECK(lines_of(dir, "\n") == lines{""});
    CHECK(lines_of(dir, "\r\n") == lines{""});
    CHECK(lines_of(dir, "a") == lines{"a"});
    CHECK(lines_of(dir, "a\n") == lines{"a"});
    CHECK(lines_of(dir, "a\r\nb\nc") == lines{"a", "b", "c"});
    CHECK(lines_of(dir, "\n\n\r\n\na\n\n") == lines{"", "", "", "", "a", ""});
    CHECK(lines_of(dir, "a\rb\r\r\nc\r") == lines{"a\rb\r", "c\r"});
    using namespace std::string_literals;
    CHECK(lines_of(dir, "a\0b\n\0\nc\0"s) == lines{"a\0b"s, "\0"s, "c\0"s});
}

TEST_CASE("read_line: lines that end anywhere in a block, and lines longer than one", "[file][lines]") {
    const scratch dir;
    const auto end = GENERATE("\n", "\r\n");
    const auto first =
        GENERATE(65'500U, 65'534U, 65'535U, 65'536U, 65'537U, 69'631U, 69'632U, 69'633U, 131'072U, 1'000'003U);
    const lines expected{std::string(first, 'a'), "b", std::string(200'000, 'c'), "", "d"};
    std::string text;
    for (const std::string& line : expected) {
        text += line + end;
    }
    CHECK(lines_of(dir, text) == expected);
    text = text.substr(0, text.size() - std::string_view{end}.size());
    CHECK(lines_of(dir, text) == expected);
}

TEST_CASE("read_line: random texts", "[file][lines]") {
    const scratch dir;
    const auto seed = Catch::getSeed();
    CAPTURE(seed);
    std::mt19937 random{seed};
    for (int round = 0; round < 10; ++round) {
        lines expected;
        std::string text;
        const unsigned longest = 1U << (random() % 18);
        while (text.size() < 300'000) {
            expected.emplace_back(random() % longest, static_cast<char>('a' + random() % 26));
            text += expected.back() + (random() % 2 != 0 ? "\n" : "\r\n");
        }
        CHECK(lines_of(dir, text) == expected);
    }
}

TEST_CASE("read_line: the event loop is gone round once a block, not once a line", "[file][lines]") {
    const scratch dir;
    std::string text;
    while (text.size() < 1'000'000) {
        text += "a line of twenty chars\n";
    }
    spit(dir / "f", text);
    asio::io_context context;
    std::size_t lines_read = 0;
    asio::co_spawn(
        context,
        [](fs::path path, std::size_t& count) -> awaitable<void> {
            auto f = co_await open_file(path);
            for (;;) {
                const std::optional<std::string> line = co_await f->read_line();
                if (!line) {
                    break;
                }
                ++count;
            }
            co_await f.close();
        }(dir / "f", lines_read),
        [](std::exception_ptr e) { CHECK(!e); });
    const std::size_t handlers = context.run();
    CHECK(lines_read == text.size() / 23);
    const std::size_t blocks = text.size() / 65'536 + 2;
    CHECK(handlers <= blocks + 20);  // those of opening and closing
    CHECK(handlers >= blocks - 2);  // others get their turn
}

TEST_CASE("read_line: where the kernel cannot say what it has in memory, workers read", "[file][lines]") {
    const scratch dir;
    lines expected;
    std::string text;
    for (int i = 0; i < 100'000; ++i) {
        expected.push_back(std::to_string(i));
        text += expected.back() + '\n';
    }
    expected.emplace_back(300'000, 'x');
    text += expected.back();
    spit(dir / "f", text);
    lines read;
    where_refused(SYS_preadv2, EOPNOTSUPP, 5, RWF_NOWAIT, [&] { read = read_lines(dir / "f"); });
    CHECK(read == expected);
}

TEST_CASE("read_line: a file that grows is read on", "[file][lines]") {
    const scratch dir;
    spit(dir / "log", "one\ntw");
    run([](fs::path path) -> awaitable<void> {
        auto f = co_await open_file(path);
        const auto one = co_await f->read_line();
        CHECK(one == "one");
        const auto half = co_await f->read_line();
        CHECK(half == "tw");
        const auto end = co_await f->read_line();
        CHECK(!end);
        std::ofstream{path, std::ios::app} << "o\nthree\n";
        const auto rest = co_await f->read_line();
        CHECK(rest == "o");
        f->seek(4);
        const auto again = co_await f->read_line();
        CHECK(again == "two");
        const auto three = co_await f->read_line();
        CHECK(three == "three");
    }(dir / "log"));
}

TEST_CASE("read_lines: a batch is what is in memory; lines, batches and bytes can be mixed", "[file][lines]") {
    const scratch dir;
    std::string text;
    for (int i = 0; i < 20'000; ++i) {
        text += std::to_string(i) + '\n';
    }
    text += "last";
    spit(dir / "f", text);
    run(with(open_file(dir / "f"), mix_ways_to_read));
}

TEST_CASE("read_lines: after the scope, the file is closed; of a FIFO, what has come", "[file][lines]") {
    const scratch dir;
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    const int writer = ::open((dir / "fifo").c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::write(writer, "a\nb\nc", 5) == 5);
    run(with(open_file(dir / "fifo"), [writer](file& f) { return read_fifo(f, writer); }));
    ::close(writer);
}
