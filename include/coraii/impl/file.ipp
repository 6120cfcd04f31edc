// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_IMPL_FILE_IPP
#define CORAII_IMPL_FILE_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/file.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_scope.hpp"
#include "coraii/file/handle.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/this_coro.hpp>

#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <source_location>
#include <utility>

namespace coraii {
namespace detail {

inline async_scope<file> opened_file(std::filesystem::path path, int flags) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const worker_executor workers = workers_of(executor);
    const auto handle = std::make_shared<descriptor>();
    auto open = [handle, path, flags] { handle->open(path, flags, 0666); };
    co_await on_worker(own_frame{}, workers, path, std::move(open));
    file opened = file_access::make(executor, workers, handle, std::move(path), (flags & O_APPEND) != 0);
    const exit_status why = co_yield opened;
    file_access::leave(opened);
    co_await close_on_worker(workers, handle, why);
}

}  // namespace detail

async_scope<file> open_file(std::filesystem::path path, open_mode mode, std::source_location where) {
    path = detail::checked_path(path, "open_file");
    int flags = O_RDONLY;
    switch (mode) {
        case open_mode::read: break;
        case open_mode::write: flags = O_WRONLY | O_CREAT | O_TRUNC; break;
        case open_mode::append: flags = O_WRONLY | O_CREAT | O_APPEND; break;
        case open_mode::read_write: flags = O_RDWR; break;
        case open_mode::create_new: flags = O_RDWR | O_CREAT | O_EXCL; break;
    }
    auto scope = detail::opened_file(std::move(path), flags);
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
