// SPDX-License-Identifier: BSL-1.0
// What reading and replacing files costs beside the plain synchronous way, with the page cache warm. Prints one table
// of ratios: times of one run on one machine can be compared with each other, and with nothing else.
#include "coraii/coraii.hpp"
#include "coraii/file.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::awaitable;
using seconds = std::chrono::duration<double>;

namespace {

constexpr int line_count = 1'000'000;
constexpr std::size_t block = 65'536;  // bytes
constexpr std::size_t block_count = 4096;
constexpr int replace_count = 300;
constexpr int repetitions = 7;

void check(bool ok, const char* what) {
    if (!ok) {
        throw std::runtime_error(what);
    }
}

void run(awaitable<void> work) {
    asio::io_context context{1};
    asio::co_spawn(context, std::move(work), [](std::exception_ptr e) {
        if (e) {
            std::rethrow_exception(e);
        }
    });
    context.run();
}

template <class F>
seconds time_of(F f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::steady_clock::now() - start;
}

// ---- lines

std::size_t lines_by_hand(const fs::path& path) {
    std::ifstream in{path};
    std::size_t bytes = 0;
    for (std::string line; std::getline(in, line);) {
        bytes += line.size();
    }
    return bytes;
}

awaitable<void> lines(fs::path path, std::size_t& bytes) {
    co_await coraii::with(coraii::open_file(path), [&](coraii::file& f) -> awaitable<void> {
        while (std::optional<std::string> line = co_await f.read_line()) {
            bytes += line->size();
        }
    });
}

awaitable<void> lines_in_batches(fs::path path, std::size_t& bytes) {
    co_await coraii::with(coraii::open_file(path), [&](coraii::file& f) -> awaitable<void> {
        for (auto batch = co_await f.read_lines(); !batch.empty(); batch = co_await f.read_lines()) {
            for (const std::string_view line : batch) {
                bytes += line.size();
            }
        }
    });
}

// ---- blocks

std::size_t blocks_by_hand(const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "open");
    std::vector<char> buffer(block);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < block_count; ++i) {
        bytes += static_cast<std::size_t>(::pread(fd, buffer.data(), block, static_cast<off_t>(i * block)));
    }
    ::close(fd);
    return bytes;
}

awaitable<void> blocks(fs::path path, std::size_t& bytes) {
    co_await coraii::with(coraii::open_file(path), [&](coraii::file& f) -> awaitable<void> {
        std::vector<char> buffer(block);
        for (std::size_t i = 0; i < block_count; ++i) {
            bytes += co_await f.async_read_some_at(i * block, asio::buffer(buffer), asio::use_awaitable);
        }
    });
}

// ---- replacing

const std::string content(1000, 'x');

/// The same system calls as the library's.
void replace_by_hand(const fs::path& path, const std::string& text) {
    char link[4096];
    check(::readlink(path.c_str(), link, sizeof link) < 0, "readlink");
    const int directory = ::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(directory >= 0, "open directory");
    struct stat old{};
    const std::string name = path.filename().native();
    const bool exists = ::fstatat(directory, name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
    const int fd = ::openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    check(fd >= 0, "openat");
    const std::string nameless = "/proc/self/fd/" + std::to_string(fd);
    check(::access(nameless.c_str(), F_OK) == 0, "access");
    struct stat made{};
    ::fstat(fd, &made);
    check(::fchmod(fd, exists ? old.st_mode & 07777 : 0644) == 0, "fchmod");
    ::fstat(fd, &made);
    check(::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), "pwrite");
    check(::fsync(fd) == 0, "fsync");
    std::random_device random;
    const std::string temporary = "." + name + "." + std::to_string(random()) + ".tmp";
    check(::linkat(AT_FDCWD, nameless.c_str(), directory, temporary.c_str(), AT_SYMLINK_FOLLOW) == 0, "linkat");
    check(::close(fd) == 0, "close");
    check(::renameat(directory, temporary.c_str(), directory, name.c_str()) == 0, "renameat");
    check(::fsync(directory) == 0, "fsync directory");
    ::close(directory);
}

awaitable<void> replace(fs::path path, int count) {
    for (int i = 0; i < count; ++i) {
        co_await coraii::with(coraii::atomic_file(path), [](coraii::file& f) { return f.write(content); });
    }
}

// ---- measuring

struct row {
    const char* name;
    double target;
    double by_hand = 1e300;
    double coraii = 1e300;
    double ratio = 1e300;  // the best of a pair that was measured side by side
};

template <class ByHand, class Coraii>
row measure(const char* name, double target, ByHand by_hand, Coraii with_coraii) {
    row r{name, target};
    std::vector<double> ratios;
    for (int i = 0; i < repetitions; ++i) {
        const double hand = time_of(by_hand).count();
        const double mine = time_of(with_coraii).count();
        r.by_hand = std::min(r.by_hand, hand);
        r.coraii = std::min(r.coraii, mine);
        ratios.push_back(mine / hand);
    }
    std::nth_element(ratios.begin(), ratios.begin() + repetitions / 2, ratios.end());
    r.ratio = ratios[repetitions / 2];
    return r;
}

template <class Lines>
row measure_lines(const fs::path& path, const char* name, std::size_t shortest, std::size_t longest, Lines lines_of) {
    std::mt19937 random{1};
    {
        std::ofstream out{path};
        for (int i = 0; i < line_count; ++i) {
            out << std::string(std::uniform_int_distribution{shortest, longest}(random), 'x') << '\n';
        }
    }
    const std::size_t expected = lines_by_hand(path);
    return measure(
        name, 1.3, [&] { check(lines_by_hand(path) == expected, "lines"); },
        [&] {
            std::size_t bytes = 0;
            run(lines_of(path, bytes));
            check(bytes == expected, "lines");
        });
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const fs::path directory = fs::path{argc > 1 ? argv[1] : fs::temp_directory_path().native()} / "coraii-bench";
        fs::create_directories(directory);
        std::vector<row> rows;
        const fs::path text = directory / "lines";
        rows.push_back(measure_lines(text, "1,000,000 lines of 5 to 15", 5, 15, lines_in_batches));
        rows.push_back(measure_lines(text, "the same, read_line", 5, 15, lines));
        rows.push_back(measure_lines(text, "1,000,000 lines of 20 to 100", 20, 100, lines_in_batches));
        rows.push_back(measure_lines(text, "the same, read_line", 20, 100, lines));
        rows.push_back(measure_lines(text, "1,000,000 lines of 100 to 300", 100, 300, lines_in_batches));
        rows.push_back(measure_lines(text, "the same, read_line", 100, 300, lines));

        std::ofstream{directory / "blocks"} << std::string(block * block_count, 'x');
        rows.push_back(measure(
            "64 KiB blocks, pread", 2.0,
            [&] { check(blocks_by_hand(directory / "blocks") == block * block_count, "blocks"); },
            [&] {
                std::size_t bytes = 0;
                run(blocks(directory / "blocks", bytes));
                check(bytes == block * block_count, "blocks");
            }));
        rows.push_back(measure(
            "1 KB atomic replaces", 1.2,
            [&] {
                for (int i = 0; i < replace_count; ++i) {
                    replace_by_hand(directory / "replaced", content);
                }
            },
            [&] { run(replace(directory / "replaced", replace_count)); }));
        fs::remove_all(directory);

        std::printf("Files, as a ratio to the plain synchronous way; fastest times, median ratio of %d\n", repetitions);
        std::printf("%-32s %10s %10s %8s %8s\n", "case", "by hand", "coraii", "ratio", "target");
        for (const row& r : rows) {
            std::printf("%-32s %8.1fms %8.1fms %8.2f %8.2f%s\n", r.name, r.by_hand * 1e3, r.coraii * 1e3, r.ratio,
                        r.target, r.ratio > r.target ? "  over" : "");
        }
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
