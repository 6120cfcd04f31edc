// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_IMPL_ATOMIC_FILE_IPP
#define CORAII_FILE_IMPL_ATOMIC_FILE_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/file/atomic_file.hpp"
#include "coraii/file/detail/file_scope.hpp"
#include "coraii/file/detail/replacement.hpp"
#include "coraii/file/handle.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/this_coro.hpp>

#include <filesystem>
#include <memory>
#include <source_location>
#include <utility>

namespace coraii {

namespace detail {

inline async_scope<file> replaced_file(std::filesystem::path path, atomic_file_options options) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const worker_executor workers = workers_of(executor);
    const auto next = std::make_shared<replacement>(path, options.mode);
    auto begin = [next] { next->begin(); };
    co_await on_worker(own_frame{}, workers, path, std::move(begin));
    file opened = file_access::make(executor, workers, next->handle(), std::move(path));
    const exit_status why = co_yield opened;
    file_access::leave(opened);
    co_await close_on_worker(workers, next, why);
}

}  // namespace detail

async_scope<file> atomic_file(std::filesystem::path path, atomic_file_options options, std::source_location where) {
    auto scope = detail::replaced_file(detail::checked_path(std::move(path), "atomic_file"), options);
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
