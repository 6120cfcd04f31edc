// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_HANDLE_HPP
#define CORAII_FILE_HANDLE_HPP

#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/file/detail/file_operation.hpp"
#include "coraii/file/lines.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace coraii {

namespace detail {
struct file_access;
}

/// An open file, as `open_file`, `atomic_file` and `temp_file` give it. Models Asio's AsyncReadStream,
/// AsyncWriteStream, AsyncRandomAccessReadDevice and AsyncRandomAccessWriteDevice, so `asio::async_read`,
/// `async_write`, `async_read_until` and their `_at` forms work on it.
///
/// System calls are made by up to four threads of the context's, except that up to 128 KiB which the kernel has in its
/// page cache are copied at once where it can say so (preadv2(2) with RWF_NOWAIT). Where Asio was compiled with
/// io_uring and the kernel grants it, the `async_` operations on regular files use that; it is not needed, and nothing
/// else differs. Calls on a FIFO or a terminal may never return: they take no place from other calls, but fail with EAGAIN if
/// 60 are blocked.
///
/// There is one position, for reading and writing. It is the file's own, not that of the descriptor: what is read ahead
/// for `read_line` does not count, so all ways to read and write can be mixed. In `open_mode::append` everything is
/// written to the end, as O_APPEND has it, and the position is then behind it. What is no regular file has none.
///
/// Preconditions: not moved from. At a time at most one operation that uses the position (those without `_at`).
/// Cancellation: every type of cancellation (`terminal`, `partial`, `total`) stops an operation with
///   `operation_aborted`. A system call cannot be interrupted. Where it has not begun it is not made. Where it has,
///   an operation that uses your buffer (`async_` operations and `write` on a regular file, and `read_all`, which reads in
///   steps of 4 MiB) completes as usual when it returns; so a buffer is never touched after its operation completed.
///   Everything else (`read_line`, `sync`, `size`, `resize`, all on what is no regular file) completes at once, and the
///   call goes on alone: a `sync` or `resize` may still come about, text for a FIFO may still be written. A cancelled
///   read (except `read_all`) loses nothing: the half line that was there, and the data that a FIFO still gives, are for the
///   next.
/// Errors: the `awaitable` members throw `boost::system::system_error` with the errno in `code()`, and what was tried
///   and the path in `what()`; the `async_` operations complete with the errno alone, `asio::error::eof` at the end.
///   An offset above 2^63-1 is EINVAL. If no thread can be started for a call, it fails with EAGAIN.
///   Leaving the scope cancels: what is begun then fails with EBADF; what was started before and nobody has waited for, with
///   `operation_aborted` unless its system call had begun on a regular file. Its handler may be called after the end.
/// Executor: as for Asio's I/O objects: operations complete on the handler's associated executor, by default on
///   `get_executor()`, never inside the initiating function. Use the file on one strand.
/// Lifetime: ends with its scope, which waits for calls under way on it. It does not wait for a call on a FIFO or a terminal; that
///   one keeps the descriptor. Must not outlive the execution context, whose destructor waits likewise.
/// Fork: tell the context (`notify_fork`), before and after. Then calls are waited for before the fork, except those on a FIFO or
///   a terminal, which fail with `operation_aborted` in the child. Calls that were queued, or are begun in the child, are made
///   in the child, too. Descriptors, and their positions, are shared with the parent. Leaving a scope of the parent's in the
///   child undoes nothing and commits nothing: it closes the descriptor. A child that was not told may only end, or exec.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
class file {
public:
    using executor_type = asio::any_io_executor;  ///< of the file's scope
    using lowest_layer_type = file;  ///< itself
    using native_handle_type = int;  ///< a descriptor

    file(file&&) noexcept = default;  ///< the other one is empty
    file& operator=(file&&) noexcept = default;  ///< the other one is empty

    CORAII_DECL executor_type get_executor() const noexcept;  ///< of its scope
    lowest_layer_type& lowest_layer() noexcept { return *this; }  ///< itself
    const lowest_layer_type& lowest_layer() const noexcept { return *this; }  ///< itself

    /// The path it was opened by; of an `atomic_file`, the one that it will be.
    CORAII_DECL const std::filesystem::path& path() const noexcept;

    /// The descriptor; -1 when the scope has been left. Reading and writing past this object is seen here only where
    /// nothing was read ahead.
    CORAII_DECL native_handle_type native_handle() const noexcept;

    /// Reads what there is, at least one byte, from the position on.
    ///
    /// Handler signature: `void(boost::system::error_code, std::size_t)`.
    template <class MutableBuffers,
              asio::completion_token_for<detail::io_signature> Token = asio::default_completion_token_t<executor_type>>
    auto async_read_some(const MutableBuffers& buffers, Token&& token = Token()) {
        return asio::async_initiate<Token, detail::io_signature>(
            detail::initiation{get_executor(), detail::initiate_read{}}, token, state_, std::optional<std::uint64_t>{},
            buffers);
    }

    /// Writes some of the buffers, at least one byte, at the position.
    ///
    /// Handler signature: `void(boost::system::error_code, std::size_t)`.
    template <class ConstBuffers,
              asio::completion_token_for<detail::io_signature> Token = asio::default_completion_token_t<executor_type>>
    auto async_write_some(const ConstBuffers& buffers, Token&& token = Token()) {
        return asio::async_initiate<Token, detail::io_signature>(
            detail::initiation{get_executor(), detail::initiate_write{}}, token, state_, std::optional<std::uint64_t>{},
            buffers, false);
    }

    /// Reads at `offset` (bytes from the beginning). Leaves the position alone; any number may be under way at a time.
    ///
    /// Handler signature: `void(boost::system::error_code, std::size_t)`.
    template <class MutableBuffers,
              asio::completion_token_for<detail::io_signature> Token = asio::default_completion_token_t<executor_type>>
    auto async_read_some_at(std::uint64_t offset, const MutableBuffers& buffers, Token&& token = Token()) {
        return asio::async_initiate<Token, detail::io_signature>(
            detail::initiation{get_executor(), detail::initiate_read{}}, token, state_, std::optional{offset}, buffers);
    }

    /// Writes at `offset` (bytes from the beginning). Leaves the position alone; any number may be under way at a time.
    /// In `open_mode::append` Linux writes to the end all the same (pwrite(2)).
    ///
    /// Handler signature: `void(boost::system::error_code, std::size_t)`.
    template <class ConstBuffers,
              asio::completion_token_for<detail::io_signature> Token = asio::default_completion_token_t<executor_type>>
    auto async_write_some_at(std::uint64_t offset, const ConstBuffers& buffers, Token&& token = Token()) {
        return asio::async_initiate<Token, detail::io_signature>(
            detail::initiation{get_executor(), detail::initiate_write{}}, token, state_, std::optional{offset}, buffers,
            false);
    }

    /// Everything from the position to the end. If it fails, the position of a regular file is what it was; of what is
    /// no regular file, that which was read is lost.
    [[nodiscard]] CORAII_DECL asio::awaitable<std::string> read_all();

    /// The next line, without its LF or CRLF, or nothing at the end. A last line may lack its end; a CR anywhere else
    /// is text, and so is a NUL.
    ///
    /// Effects: reads ahead in blocks of 64 KiB or more, and suspends once a block. A line takes as much memory as it
    ///   is long. If it fails, nothing of the line is lost.
    [[nodiscard]] CORAII_DECL asio::awaitable<std::optional<std::string>> read_line();

    /// The next lines, as many as are in memory and at least one; none at the end. For many short lines: one `co_await` a
    /// block, and no copy.
    ///
    ///     for (auto lines = co_await f.read_lines(); !lines.empty(); lines = co_await f.read_lines())
    ///         for (std::string_view line : lines) { ... }
    ///
    /// Effects: as of `read_line`, with which it can be mixed. The position is behind all of them.
    /// Lifetime: the lines are good until the next operation on the file.
    [[nodiscard]] CORAII_DECL asio::awaitable<file_lines> read_lines();

    /// False if the last line that `read_line` or `read_lines` gave had no LF: the file's last one, of which more may be
    /// written.
    CORAII_DECL bool line_ended() const noexcept;

    /// Writes all of `text` at the position. When it completes, the kernel has it; `sync` is for the disk.
    ///
    /// Errors: ENOSPC, EDQUOT, EFBIG, EIO and others of write(2). The position is then behind what was written.
    /// Lifetime: `text` until it completes.
    [[nodiscard]] CORAII_DECL asio::awaitable<void> write(std::string_view text);

    /// fsync(2): when it completes, the file's content is on the disk. For its name, the directory has to be, too.
    [[nodiscard]] CORAII_DECL asio::awaitable<void> sync();

    /// In bytes, as the kernel has it now.
    [[nodiscard]] CORAII_DECL asio::awaitable<std::uint64_t> size();

    /// Cuts the file to `size` bytes, or appends zeros. Leaves the position alone.
    [[nodiscard]] CORAII_DECL asio::awaitable<void> resize(std::uint64_t size);

    /// Sets the position, in bytes from the beginning; behind the end is allowed. Makes no system call.
    ///
    /// Errors: ESPIPE for what is no regular file; EINVAL above 2^63-1.
    CORAII_DECL void seek(std::uint64_t position);

    /// The position of the next byte to be read or written; 0 for what is no regular file.
    CORAII_DECL std::uint64_t position() const noexcept;

private:
    friend struct detail::file_access;

    explicit file(detail::shared_file state) noexcept : state_{std::move(state)} {}

    detail::shared_file state_;
};

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/file/impl/handle.ipp"
#endif

#endif
