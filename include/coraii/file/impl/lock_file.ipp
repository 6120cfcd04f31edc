// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_IMPL_LOCK_FILE_IPP
#define CORAII_FILE_IMPL_LOCK_FILE_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_scope.hpp"
#include "coraii/file/lock_file.hpp"

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
            handle_ = open_or_create();
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
            if (handle->is_ours()) {
                ::flock(handle->fd(), LOCK_UN);  // a child that was forked has the descriptor, too
            }
            handle->close();
        }
    }

private:
    /// Where everybody may make files, the kernel refuses O_CREAT for one that is there and another's (fs.protected_regular).
    std::shared_ptr<descriptor> open_or_create() const {
        for (int create : {0, O_CREAT | O_EXCL, 0, O_CREAT}) {  // the last for a symlink that leads nowhere
            auto opened = std::make_shared<descriptor>();
            try {
                opened->open(path_, O_RDWR | create, 0666);
                return opened;
            } catch (const boost::system::system_error& e) {
                if (create == O_CREAT || (e.code().value() != ENOENT && e.code().value() != EEXIST)) {
                    throw;
                }
            }
        }
        return nullptr;  // not reached
    }

    std::filesystem::path path_;
    std::shared_ptr<descriptor> handle_;
    bool locked_ = false;
};

inline constexpr std::chrono::steady_clock::duration longest_pause = std::chrono::milliseconds{50};

struct file_locks {
    static async_scope<file_lock> open(std::filesystem::path path) {
        using namespace std::chrono_literals;
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        const worker_executor workers = workers_of(executor);
        const auto lock = std::make_shared<lock_attempt>(path);
        asio::steady_timer pause{executor};
        for (std::chrono::steady_clock::duration length = 1ms;; length = (std::min)(2 * length, longest_pause)) {
            auto attempt = [lock] { lock->attempt(); };
            co_await on_worker(own_frame{}, workers, path, std::move(attempt));
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
};

}  // namespace detail

async_scope<file_lock> lock_file(std::filesystem::path path, std::source_location where) {
    auto scope = detail::file_locks::open(detail::checked_path(path, "lock_file"));
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
