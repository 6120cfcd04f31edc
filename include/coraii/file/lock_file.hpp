// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_LOCK_FILE_HPP
#define CORAII_FILE_LOCK_FILE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/platform.hpp"

#include <filesystem>
#include <source_location>
#include <utility>

namespace coraii {

namespace detail {
struct file_locks;
}

/// What `lock_file` gives: the exclusive right to what the path stands for.
class file_lock {
public:
    const std::filesystem::path& path() const noexcept { return path_; }  ///< of the file that is locked

    file_lock(const file_lock&) = delete;
    file_lock& operator=(const file_lock&) = delete;

private:
    friend struct detail::file_locks;

    explicit file_lock(std::filesystem::path path) : path_{std::move(path)} {}

    std::filesystem::path path_;
};

/// An exclusive lock between scopes of this and other processes, by flock(2) on `path`.
///
/// It is advisory: it keeps out those who lock the same path, not those who open it. Lock a file of its own
/// ("orders.lock"), not one that `atomic_file` replaces: a lock is on the file, not on its name. (Should it be replaced
/// while we wait, we wait for the new one. If somebody removes it while it is held, the next one makes and locks another: do
/// not remove lock files.)
///
/// Effects: setup opens the file, which is created (mode 0666 less the umask) if missing and never removed, and tries
///   until it has the lock, with pauses that grow from 1 to 50 ms: no thread waits, but who waits longest is not
///   first. The cleanup unlocks and closes. The kernel does the same when the process ends, however it ends, even if it
///   is killed, as long as no child that it forked, and that did not exec, is left.
/// Preconditions: a path that is not empty, without a NUL, else `std::invalid_argument` from this function. A relative one is
///   made absolute at once.
/// Cancellation: of setup, at once; bound the waiting with it (a lost `||` race, `asio::cancel_after`). A lock that
///   arrives late is released.
/// Errors: `boost::system::system_error` with the errno of open(2) or flock(2), and the path: EACCES, EISDIR, EROFS,
///   ENOLCK and others. The file must be writable for us.
/// Lifetime: in a dying context it is released on the spot. A child of the process (fork) does not release it. On NFS, flock(2) is between hosts on Linux, elsewhere not.
[[nodiscard]] CORAII_DECL async_scope<file_lock> lock_file(
    std::filesystem::path path, std::source_location where = std::source_location::current());

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/file/impl/lock_file.ipp"
#endif

#endif
