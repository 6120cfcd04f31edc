// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_LOCK_FILE_HPP
#define CORAII_FILE_LOCK_FILE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_scope.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <source_location>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace coraii {

class file_lock;

namespace detail {

/// An attempt to lock a file, and the lock. Its methods block for a short time, and are called on a worker.
class lock_attempt {
public:
    explicit lock_attempt(std::filesystem::path path) : path_{std::move(path)} {}
    lock_attempt(const lock_attempt&) = delete;
    lock_attempt& operator=(const lock_attempt&) = delete;

    /// True when the lock is ours.
    bool locked() const noexcept { return locked_; }

    void attempt() {
        if (handle_ == nullptr) {
            auto opened = std::make_shared<descriptor>();
            opened->open(path_, O_RDWR | O_CREAT, 0666);
            handle_ = std::move(opened);
        }
        const int fd = handle_->fd();
        if (uninterrupted([fd] { return ::flock(fd, LOCK_EX | LOCK_NB); }) != 0) {
            if (errno != EWOULDBLOCK) {
                throw_errno(errno, "lock", path_.native());
            }
            return;
        }
        // Whoever has replaced or removed the file meanwhile, and locks the path, would not meet us.
        struct stat now{};
        const struct stat& mine = handle_->info();
        if (::stat(path_.c_str(), &now) == 0 && now.st_dev == mine.st_dev && now.st_ino == mine.st_ino) {
            locked_ = true;
        } else {
            handle_.reset();
        }
    }

    /// As the cleanup of a scope. No effect the second time.
    void close(const exit_status&) {
        if (const std::shared_ptr<descriptor> handle = std::exchange(handle_, nullptr)) {
            ::flock(handle->fd(), LOCK_UN);  // a child that was forked has the descriptor, too
            handle->close();
        }
    }

private:
    std::filesystem::path path_;
    std::shared_ptr<descriptor> handle_;
    bool locked_ = false;
};

inline constexpr std::chrono::steady_clock::duration longest_pause = std::chrono::milliseconds{50};

inline async_scope<file_lock> locked_file(std::filesystem::path path);

}  // namespace detail

/// What `lock_file` gives: the exclusive right to what the path stands for.
class file_lock {
public:
    const std::filesystem::path& path() const noexcept { return path_; }

    file_lock(const file_lock&) = delete;
    file_lock& operator=(const file_lock&) = delete;

private:
    friend async_scope<file_lock> detail::locked_file(std::filesystem::path path);

    explicit file_lock(std::filesystem::path path) : path_{std::move(path)} {}

    std::filesystem::path path_;
};

namespace detail {

inline async_scope<file_lock> locked_file(std::filesystem::path path) {
    using namespace std::chrono_literals;
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const worker_executor workers = workers_of(executor);
    const auto lock = std::make_shared<lock_attempt>(path);
    asio::steady_timer pause{executor};
    for (std::chrono::steady_clock::duration length = 1ms;; length = (std::min)(2 * length, longest_pause)) {
        auto attempt = [lock] { lock->attempt(); };
        co_await on_worker(own_frame{}, workers, std::move(attempt));
        if (lock->locked()) {
            break;
        }
        pause.expires_after(length);
        co_await pause.async_wait(asio::deferred);
    }
    file_lock held{std::move(path)};
    const exit_status why = co_yield held;
    co_await close_on_worker(workers, lock, why);
}

}  // namespace detail

/// An exclusive lock between scopes of this and other processes, by flock(2) on `path`.
///
/// It is advisory: it keeps out those who lock the same path, not those who open it. Lock a file of its own
/// ("orders.lock"), not one that `atomic_file` replaces: a lock is on the file, not on its name. (Should it be replaced
/// while we wait, we wait for the new one.)
///
/// Effects: setup opens the file, which is created (mode 0666 less the umask) if missing and never removed, and tries
///   until it has the lock, with pauses that grow from 1 to 50 ms: no thread waits, but who waits longest is not
///   first. The cleanup unlocks and closes. The kernel does the same when the process ends, however it ends, even if it
///   is killed, as long as no child that it forked, and that did not exec, is left.
/// Preconditions: a path that is not empty, without a NUL, else `std::invalid_argument` from this function.
/// Cancellation: of setup, at once; bound the waiting with it (a lost `||` race, `asio::cancel_after`). A lock that
///   arrives late is released.
/// Errors: `boost::system::system_error` with the errno of open(2) or flock(2), and the path: EACCES, EISDIR, EROFS,
///   ENOLCK and others. The file must be writable for us.
/// Lifetime: in a dying context it is released on the spot. On NFS, flock(2) is between hosts on Linux, elsewhere not.
[[nodiscard]] inline async_scope<file_lock> lock_file(std::filesystem::path path,
                                                      std::source_location where = std::source_location::current()) {
    detail::check_path(path, "lock_file");
    auto scope = detail::locked_file(std::move(path));
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
