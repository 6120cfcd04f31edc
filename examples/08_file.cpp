// SPDX-License-Identifier: BSL-1.0
// Copies itself line by line: under a lock, so that two of us do not mix, and atomically, so that nobody ever sees half
// a copy. The second copy fails half way, and leaves the first as it was.
// Prints:
//   copied all lines
//   the copy failed: that is enough
//   the first copy is still there, whole
//   only we may read the token
#include <coraii/coraii.hpp>
#include <coraii/file.hpp>

#include <boost/asio.hpp>

#include <filesystem>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
namespace fs = std::filesystem;
using coraii::file;

// [copy]
coraii::task<> copy_lines(fs::path from, fs::path to, int limit) {
    co_await coraii::enter(coraii::lock_file(to.native() + ".lock"));
    file& in = co_await coraii::enter(coraii::open_file(from));
    file& out = co_await coraii::enter(coraii::atomic_file(to));
    while (std::optional<std::string> line = co_await in.read_line()) {
        if (limit-- == 0) {
            throw std::runtime_error("that is enough");
        }
        *line += '\n';
        co_await out.write(*line);
    }
}
// [end]

// Nobody else may read it, from its first byte on, whatever the umask is.
coraii::task<> write_secret(fs::path path, std::string secret) {
    file& out = co_await coraii::enter(coraii::atomic_file(path, {.mode = 0600}));
    co_await out.write(secret);
}

coraii::task<std::string> text_of(fs::path path) {
    file& in = co_await coraii::enter(coraii::open_file(path));
    co_return co_await in.read_all();
}

coraii::task<> run() {
    const fs::path source = __FILE__;
    fs::path& directory = co_await coraii::enter(coraii::temp_directory());
    const fs::path copy = directory / "copy.cpp";
    co_await copy_lines(source, copy, 1'000'000);
    std::cout << "copied all lines\n";
    try {
        co_await copy_lines(source, copy, 10);
    } catch (const std::runtime_error& e) { std::cout << "the copy failed: " << e.what() << '\n'; }
    const std::string original = co_await text_of(source);
    const std::string copied = co_await text_of(copy);
    std::cout << (copied == original ? "the first copy is still there, whole\n" : "the copy differs\n");
    co_await write_secret(directory / "token", "s3cret");
    const bool only_ours =
        fs::status(directory / "token").permissions() == (fs::perms::owner_read | fs::perms::owner_write);
    std::cout << (only_ours ? "only we may read the token\n" : "others may read the token\n");
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, run(), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
