// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_DESCRIPTOR_HPP
#define CORAII_FILE_DETAIL_DESCRIPTOR_HPP

#if defined(_WIN32)
#error "coraii/file.hpp is for POSIX systems"
#endif

#include "coraii/detail/context/own_process.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace coraii::detail {

inline boost::system::error_code errno_code(int error) noexcept {
    return {error, boost::system::system_category()};
}

[[noreturn]] inline void throw_errno(int error, const char* tried, const std::string& path) {
    throw boost::system::system_error(errno_code(error), std::string{tried} + ' ' + path);
}

/// Calls a system call again until no signal interrupts it.
template <class Call>
auto uninterrupted(Call call) {
    auto result = call();
    while (result < 0 && errno == EINTR) {
        result = call();
    }
    return result;
}

/// A file descriptor that is closed once, and not while a call uses it. Shared by the scope and the calls.
class descriptor {
public:
    enum class kind : bool {
        bounded,
        unbounded,  // may never return; not waited for
    };

    descriptor() = default;
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

    /// The use of the descriptor by a call. False once it is being closed.
    class use {
    public:
        explicit use(descriptor& of, kind k = kind::bounded) : kind_{k} {
            const std::lock_guard lock{of.mutex_};
            if (!of.closing_ && of.fd_ >= 0) {
                of_ = &of;
                ++(k == kind::bounded ? of.bounded_ : of.unbounded_);
            }
        }
        use(const use&) = delete;
        use& operator=(const use&) = delete;
        ~use() {
            if (of_ != nullptr) {
                of_->used(kind_);
            }
        }
        explicit operator bool() const noexcept { return of_ != nullptr; }
        int fd() const noexcept { return of_->fd_; }

    private:
        descriptor* of_ = nullptr;
        kind kind_;
    };

    /// Opens `path` (relative to `directory`), and refuses a directory.
    void open(const std::filesystem::path& path, int flags, mode_t mode) {
        path_ = path.native();
        struct stat info{};
        std::optional<worker_pool::unbounded_call> waits_for_peer;
        if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
            try {
                waits_for_peer.emplace();
            } catch (const boost::system::system_error& e) {
                throw boost::system::system_error(e.code(), "no thread for " + path_);
            }
        }
        const int fd = uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY, mode); });
        const int error = errno;
        waits_for_peer.reset();
        if (fd < 0) {
            throw_errno(error, "open", path_);
        }
        adopt(fd);
    }

    /// Takes a descriptor over, and looks what it is.
    void adopt(int fd, const std::string& path) {
        path_ = path;
        adopt(fd);
    }

    /// Closes, once the bounded calls are over. An unbounded one is left the descriptor. In a child of the process the parent's
    /// calls are in the way: it is closed when nobody knows it any more.
    void close() {
        if (!is_ours()) {
            closing_ = true;
            return;
        }
        std::unique_lock lock{mutex_};
        if (closing_.exchange(true)) {
            return;
        }
        unused_.wait(lock, [this] { return bounded_ == 0; });
        if (unbounded_ == 0 && fd_ >= 0) {
            const int fd = std::exchange(fd_, -1);
            lock.unlock();
            // Whatever close(2) reports, on Linux the descriptor is gone; interrupted, it has lost nothing.
            if (::close(fd) != 0 && errno != EINTR && errno != EINPROGRESS) {
                throw_errno(errno, "close", path_);
            }
        }
    }
    /// As the cleanup of a scope.
    void close(const exit_status&) { close(); }

    /// False in a child of the process in which it was made: what was done with it there is the parent's to undo.
    bool is_ours() const noexcept { return process_.is_this(); }

    bool is_closing() const noexcept { return closing_; }

    /// For those who know that it is open. -1 once it is closed.
    int fd() const {
        const std::lock_guard lock{mutex_};
        return closing_ ? -1 : fd_;
    }
    const std::string& path() const noexcept { return path_; }
    const struct stat& info() const noexcept { return info_; }

private:
    void adopt(int fd) {
        if (::fstat(fd, &info_) != 0 || S_ISDIR(info_.st_mode)) {
            const int error = S_ISDIR(info_.st_mode) ? EISDIR : errno;
            ::close(fd);
            throw_errno(error, "open", path_);
        }
        const std::lock_guard lock{mutex_};
        fd_ = fd;
    }

    void used(kind k) noexcept {
        int last = -1;
        {
            const std::lock_guard lock{mutex_};
            --(k == kind::bounded ? bounded_ : unbounded_);
            if (closing_ && bounded_ == 0) {
                unused_.notify_all();
                if (k == kind::unbounded && unbounded_ == 0) {
                    last = std::exchange(fd_, -1);
                }
            }
        }
        if (last >= 0) {
            ::close(last);
        }
    }

    mutable std::mutex mutex_;
    std::condition_variable unused_;
    int fd_ = -1;
    int bounded_ = 0;
    int unbounded_ = 0;
    std::atomic<bool> closing_ = false;
    own_process process_;
    std::string path_;
    struct stat info_{};
};

}  // namespace coraii::detail

#endif
