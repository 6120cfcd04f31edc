// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_SCOPE_HPP
#define CORAII_FILE_DETAIL_FILE_SCOPE_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_state.hpp"
#include "coraii/file/handle.hpp"
#include "coraii/offload.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

namespace coraii::detail {

/// Made absolute now: the program may go elsewhere before it is used.
inline std::filesystem::path checked_path(const std::filesystem::path& path, const char* function) {
    if (path.empty() || path.native().find('\0') != std::string::npos) {
        throw std::invalid_argument(std::string{"coraii::"} + function +
                                    (path.empty() ? ": the path is empty" : ": the path contains a NUL"));
    }
    return std::filesystem::absolute(path);
}

/// 16 digits that nobody can guess, for the name of a file that must not be there yet.
inline std::string random_digits() {
    std::random_device random;
    std::string digits;
    for (int i = 0; i < 2; ++i) {
        std::uint32_t bits = random();
        for (int j = 0; j < 8; ++j, bits >>= 4) {
            digits += "0123456789abcdef"[bits & 15];
        }
    }
    return digits;
}

inline constexpr int most_names = 100;  // tried, before EEXIST is an error

/// Awaits `f()` on a worker. Cancelled, it is left alone. Errors: `f`'s own, which know the path; for those of the worker it is
/// given here.
template <class F>
asio::awaitable<void> on_worker(own_frame, worker_executor workers, const std::filesystem::path& path, F f) {
    auto call = offload_call(std::move(workers), std::move(f), asio::deferred, on_cancel::leave);
    boost::system::error_code not_made;
    try {
        co_await std::move(call);
    } catch (const call_not_made& e) { not_made = e.code(); }
    if (not_made) {
        throw boost::system::system_error(not_made, "no thread for " + path.native());
    }
}

/// Awaits `resource->close(why)` on a worker; where nothing can be awaited, it is called on the spot.
template <class Resource>
asio::awaitable<void> close_on_worker(worker_executor workers, std::shared_ptr<Resource> resource, exit_status why) {
    return close_offloaded<asio::any_io_executor>(own_frame{}, std::move(workers), std::move(resource), std::move(why),
                                                  on_cancel::leave);
}

/// For the scopes that make files.
struct file_access {
    static file make(asio::any_io_executor executor, worker_executor workers, std::shared_ptr<descriptor> handle,
                     std::filesystem::path path, bool append = false) {
        return file{std::make_shared<file_state>(std::move(executor), std::move(workers), std::move(handle),
                                                 std::move(path), append)};
    }

    static void leave(const file& f) {
        if (f.state_) {
            f.state_->leave();
        }
    }
};

}  // namespace coraii::detail

#endif
