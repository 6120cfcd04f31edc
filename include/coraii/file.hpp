// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_HPP
#define CORAII_FILE_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Files that are closed, replaced and locked properly. For POSIX systems.

#include "coraii/async_scope.hpp"
#include "coraii/file/atomic_file.hpp"
#include "coraii/file/handle.hpp"
#include "coraii/file/lock_file.hpp"
#include "coraii/file/temp_file.hpp"

#include <filesystem>
#include <source_location>

namespace coraii {

/// How `open_file` opens, in terms of open(2).
enum class open_mode {
    /// O_RDONLY: the file must exist.
    read,
    /// O_WRONLY, O_CREAT, O_TRUNC: creates the file, or empties it.
    write,
    /// O_WRONLY, O_CREAT, O_APPEND: creates the file, or goes on at its end.
    append,
    /// O_RDWR: the file must exist, and is left as it is.
    read_write,
    /// O_RDWR, O_CREAT, O_EXCL: fails with EEXIST if there is anything of that name.
    create_new,
};

/// An open file. The cleanup closes it.
///
///     co_await coraii::with(coraii::open_file("orders.csv"), [](coraii::file& f) -> asio::awaitable<void> {
///         while (std::optional<std::string> line = co_await f.read_line()) { ... }
///     });
///
/// A new file has the mode 0666 less the umask. Not inherited over an exec (O_CLOEXEC).
///
/// Preconditions: a path that is not empty, without a NUL, else `std::invalid_argument` from this function. A relative one is
///   made absolute at once.
/// Cancellation: of setup, at once (a FIFO without a peer is waited for until then); if the kernel opens the file
///   nevertheless, it is closed. An open that should create or empty a file may still do so.
/// Errors: `boost::system::system_error` with the errno of open(2) or close(2), and the path: ENOENT, EISDIR (also
///   for reading), EACCES, EMFILE, EROFS and others. A close that fails is the cleanup's error: `with`
///   and `close()` throw it, that of a dropped guard goes to `on_cleanup_error`. The descriptor is closed all the same.
/// Lifetime: the cleanup waits for what is under way on the file (see `file`); in a dying context it is done on the
///   spot.
[[nodiscard]] CORAII_DECL async_scope<file> open_file(std::filesystem::path path, open_mode mode = open_mode::read,
                                                      std::source_location where = std::source_location::current());

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/impl/file.ipp"
#endif

#endif
