// SPDX-License-Identifier: BSL-1.0
// Copies itself line by line: under a lock, so that two of us do not mix, and atomically, so that nobody ever sees half
// a copy. The second copy fails half way, and leaves the first as it was.
// Prints:
//   copied all lines
//   the copy failed: that is enough
//   the first copy is still there, whole
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
asio::awaitable<void> copy_lines(fs::path from, fs::path to, int limit) {
    co_await coraii::with(coraii::lock_file(to.native() + ".lock"), coraii::open_file(from), coraii::atomic_file(to),
                          [&](coraii::file_lock&, file& in, file& out) -> asio::awaitable<void> {
                              while (std::optional<std::string> line = co_await in.read_line()) {
                                  if (limit-- == 0) {
                                      throw std::runtime_error("that is enough");
                                  }
                                  *line += '\n';
                                  co_await out.write(*line);
                              }
                          });
}
// [end]

asio::awaitable<std::string> text_of(fs::path path) {
    co_return co_await coraii::with(coraii::open_file(path), [](file& f) { return f.read_all(); });
}

asio::awaitable<void> run() {
    const fs::path source = __FILE__;
    co_await coraii::with(coraii::temp_directory(), [&](fs::path& directory) -> asio::awaitable<void> {
        const fs::path copy = directory / "copy.cpp";
        co_await copy_lines(source, copy, 1'000'000);
        std::cout << "copied all lines\n";
        try {
            co_await copy_lines(source, copy, 10);
        } catch (const std::runtime_error& e) { std::cout << "the copy failed: " << e.what() << '\n'; }
        const std::string original = co_await text_of(source);
        const std::string copied = co_await text_of(copy);
        std::cout << (copied == original ? "the first copy is still there, whole\n" : "the copy differs\n");
    });
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
