// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_IMPL_TEMP_FILE_IPP
#define CORAII_FILE_IMPL_TEMP_FILE_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_scope.hpp"
#include "coraii/file/detail/tree_removal.hpp"
#include "coraii/file/handle.hpp"
#include "coraii/file/temp_file.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/this_coro.hpp>

#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <source_location>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace coraii {

namespace detail {

/// A file or directory of ours that is removed once, at the latest when nobody knows it any more. Its methods block,
/// and are called on a worker.
class temporary {
public:
    explicit temporary(std::filesystem::path parent) : parent_{std::move(parent)} {}
    temporary(const temporary&) = delete;
    temporary& operator=(const temporary&) = delete;
    ~temporary() {
        try {
            remove();
        } catch (...) {  // the last resort has nobody to tell
        }
    }

    const std::filesystem::path& parent() const noexcept { return parent_; }
    const std::filesystem::path& path() const noexcept { return path_; }
    const std::shared_ptr<descriptor>& handle() const noexcept { return handle_; }

    void make_file() {
        is_directory_ = false;
        const int fd = make(
            [](const char* path) { return ::open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600); });
        handle_->adopt(fd, path_.native());
    }

    void make_directory() {
        make([](const char* path) { return ::mkdir(path, 0700); });
    }

    /// As the cleanup of a scope: whatever of it fails, the rest is done. No effect the second time.
    void close(const exit_status&) {
        std::exception_ptr error;
        try {
            handle_->close();
        } catch (...) { error = std::current_exception(); }
        remove();
        if (error) {
            std::rethrow_exception(error);
        }
    }

private:
    template <class Make>
    int make(Make attempt) {
        for (int i = 0;; ++i) {
            std::filesystem::path path = parent_ / ("coraii-" + random_digits());
            const int made = uninterrupted([&] { return attempt(path.c_str()); });
            if (made >= 0) {
                path_ = std::move(path);
                return made;
            }
            if (errno != EEXIST || i == most_names) {
                throw_errno(errno, "make a temporary in", parent_.native());
            }
        }
    }

    void remove() {
        const std::filesystem::path path = std::exchange(path_, {});
        if (path.empty() || !handle_->is_ours()) {
            return;
        }
        tree_removal removal;
        if (is_directory_) {
            removal.remove_directory(AT_FDCWD, path);
        } else {  // should it be a directory by now, that is somebody else's
            removal.remove_entry(AT_FDCWD, path, path);
        }
        removal.throw_first_error();
    }

    std::filesystem::path parent_;
    std::filesystem::path path_;  // while there is something to remove
    bool is_directory_ = true;
    std::shared_ptr<descriptor> handle_ = std::make_shared<descriptor>();
};

inline async_scope<file> temporary_file(std::filesystem::path directory) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const worker_executor workers = workers_of(executor);
    const auto made = std::make_shared<temporary>(std::move(directory));
    auto make = [made] { made->make_file(); };
    co_await on_worker(own_frame{}, workers, made->parent(), std::move(make));
    file opened = file_access::make(executor, workers, made->handle(), made->path());
    const exit_status why = co_yield opened;
    file_access::leave(opened);
    co_await close_on_worker(workers, made, why);
}

inline async_scope<std::filesystem::path> temporary_directory(std::filesystem::path parent) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const worker_executor workers = workers_of(executor);
    const auto made = std::make_shared<temporary>(std::move(parent));
    auto make = [made] { made->make_directory(); };
    co_await on_worker(own_frame{}, workers, made->parent(), std::move(make));
    std::filesystem::path path = made->path();
    const exit_status why = co_yield path;
    co_await close_on_worker(workers, made, why);
}

}  // namespace detail

async_scope<file> temp_file(std::filesystem::path directory, std::source_location where) {
    auto scope = detail::temporary_file(detail::checked_path(directory, "temp_file"));
    detail::scope_access::made_at(scope, where);
    return scope;
}

async_scope<std::filesystem::path> temp_directory(std::filesystem::path parent, std::source_location where) {
    auto scope = detail::temporary_directory(detail::checked_path(parent, "temp_directory"));
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
