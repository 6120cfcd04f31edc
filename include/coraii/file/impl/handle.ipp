// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_IMPL_HANDLE_IPP
#define CORAII_FILE_IMPL_HANDLE_IPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_io.hpp"
#include "coraii/file/detail/file_state.hpp"
#include "coraii/file/handle.hpp"
#include "coraii/file/lines.hpp"

#include <boost/asio/awaitable.hpp>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace coraii {

file::executor_type file::get_executor() const noexcept {
    return state_->executor;
}

const std::filesystem::path& file::path() const noexcept {
    return state_->path;
}

file::native_handle_type file::native_handle() const noexcept {
    return state_->handle->fd();
}

asio::awaitable<std::string> file::read_all() {
    return detail::read_all(detail::own_frame{}, state_);
}

asio::awaitable<std::optional<std::string>> file::read_line() {
    return detail::read_line(detail::own_frame{}, state_);
}

asio::awaitable<file_lines> file::read_lines() {
    return detail::read_lines(detail::own_frame{}, state_);
}

asio::awaitable<void> file::write(std::string_view text) {
    return detail::write_all(detail::own_frame{}, state_, text);
}

asio::awaitable<void> file::sync() {
    return detail::sync_file(detail::own_frame{}, state_);
}

asio::awaitable<std::uint64_t> file::size() {
    return detail::file_size(detail::own_frame{}, state_);
}

asio::awaitable<void> file::resize(std::uint64_t size) {
    return detail::resize_file(detail::own_frame{}, state_, size);
}

void file::seek(std::uint64_t position) {
    if (!state_->positioned) {
        detail::throw_errno(ESPIPE, "seek", state_->path.native());
    }
    if (position > detail::file_state::most_offset) {
        detail::throw_errno(EINVAL, "seek", state_->path.native());
    }
    state_->seek(position);
}

bool file::line_ended() const noexcept {
    return state_->line_ended;
}

std::uint64_t file::position() const noexcept {
    return state_->position;
}

}  // namespace coraii

#endif
