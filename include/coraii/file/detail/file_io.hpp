// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_IO_HPP
#define CORAII_FILE_DETAIL_FILE_IO_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/file/detail/file_call.hpp"
#include "coraii/file/detail/file_operation.hpp"
#include "coraii/file/detail/file_state.hpp"
#include "coraii/file/lines.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <tuple>
#include <type_traits>
#include <unistd.h>
#include <utility>

namespace coraii::detail {

/// Reads another block behind what is unread. Completes with the bytes that came.
struct initiate_read_ahead {
    void operator()(io_handler handler, const shared_file& file) const {
        file_state& f = *file;
        if (const int refused = f.refused(f.position)) {
            return post_result(std::move(handler), errno_code(refused), 0);
        }
        if (!f.positioned && f.take_arrived()) {
            return post_result(std::move(handler), {}, f.unread().size());
        }
        block_claim claim = f.claim_room();
        read_block& block = *f.block;
        if (!f.positioned) {
            { const block_claim released = std::move(claim); }
            read_stream_call read{f.handle, f.block};
            return start_call(std::move(handler), f, on_cancel::leave, std::move(read),
                              [file](call_result&) { file->take_arrived(); });
        }
        const asio::mutable_buffer room{block.data.get() + block.end, block.capacity - block.end};
        const io_vectors to{room};
        const std::uint64_t offset = f.position + f.unread().size();
        if (const std::size_t n = f.read_at_once(to, offset); n != 0) {
            block.end += n;
            return post_result(std::move(handler), {}, n);
        }
        read_ahead_call read{std::move(claim), {f.handle, to, offset}};
        start_call(std::move(handler), f, on_cancel::leave, std::move(read),
                   [file, into = f.block](call_result& result) {
                       if (file->block == into) {
                           into->end += result.bytes;
                       }
                   });
    }
};

/// A system call on the descriptor that uses no memory of the user's.
struct initiate_plain_call {
    template <class Call>
    void operator()(io_handler handler, const shared_file& file, Call call) const {
        auto job = [handle = file->handle, call = std::move(call)]() -> call_result {
            const descriptor::use use{*handle};
            return use ? call(use.fd()) : call_aborted();
        };
        file_state& f = *file;
        if (const int refused = f.refused()) {
            return post_result(std::move(handler), errno_code(refused), 0);
        }
        start_call(std::move(handler), f, on_cancel::leave, std::move(job), [file](call_result&) {});
    }
};

// ---- the coroutines

[[noreturn]] inline void throw_io_error(const boost::system::error_code& error, const char* tried,
                                        const file_state& file) {
    throw boost::system::system_error(error, std::string{tried} + ' ' + file.path.native());
}

/// Awaits an operation, and throws its error with the path. The end of the file is no error here.
template <class Initiate, class... Args>
asio::awaitable<std::size_t> checked_io(own_frame, const char* tried, shared_file file, Initiate initiate,
                                        Args... args) {
    auto token = asio::as_tuple(asio::deferred);
    auto start = [initiate]<class Handler>(Handler&& handler, const shared_file& f, Args... with) {
        initiate(io_handler{std::forward<Handler>(handler), f->executor}, f, std::move(with)...);
    };
    auto operation = asio::async_initiate<decltype(token), io_signature>(start, token, file, args...);
    const std::tuple<boost::system::error_code, std::size_t> done = co_await std::move(operation);
    if (std::get<0>(done) && std::get<0>(done) != asio::error::eof) {
        throw_io_error(std::get<0>(done), tried, *file);
    }
    co_return std::get<1>(done);
}

/// Nothing in memory ends a line. Reads on until something does: that LF; or null at the end of the file.
inline asio::awaitable<const void*> read_on_for_line(own_frame, shared_file file) {
    for (std::size_t searched = file->unread().size();;) {
        const std::size_t n = co_await checked_io(own_frame{}, "read", file, initiate_read_ahead{});
        if (const void* end = file->end_of_line(searched)) {
            co_return end;
        }
        searched = file->unread().size();
        if (n == 0) {
            co_return nullptr;
        }
    }
}

/// A line in memory costs no reference count of the file, and is copied once: the result is made where Asio keeps it.
inline asio::awaitable<std::optional<std::string>> read_line(own_frame, const shared_file& file) {
    if (const void* end = file->end_of_line(0); end != nullptr && file->refused() == 0) {
        co_return file->take_line(end);
    }
    const shared_file kept = file;
    if (const void* end = co_await read_on_for_line(own_frame{}, kept)) {
        co_return kept->take_line(end);
    }
    const std::string_view rest = kept->take_unended_line();
    co_return rest.empty() ? std::nullopt : std::optional<std::string>{rest};
}

/// All lines that are in memory; more are read only if there is none.
inline asio::awaitable<file_lines> read_lines(own_frame, shared_file file) {
    const bool ready = file->end_of_line(0) != nullptr && file->refused() == 0;
    if (ready || co_await read_on_for_line(own_frame{}, file) != nullptr) {
        co_return file_lines{file->take_lines()};
    }
    co_return file_lines{file->take_unended_line()};
}

inline asio::awaitable<std::string> read_all(own_frame, shared_file file) {
    const std::uint64_t start = file->position;
    std::string all{file->unread()};
    std::size_t used = all.size();
    if (used != 0) {
        file->consume(used);
    }
    try {
        if (file->positioned) {
            const auto size = static_cast<std::uint64_t>(file->handle->info().st_size);
            const std::uint64_t rest = size > file->position ? size - file->position : 0;
            // One more, to see in place that nothing follows. Sizes in /proc are 0.
            all.reserve(rest != 0 ? used + static_cast<std::size_t>(rest) + 1 : file_state::block_size);
        }
        for (;;) {
            constexpr std::size_t most = 64 * file_state::block_size;  // in one call: a cancel is seen between two
            const std::size_t room =
                (std::min)(all.capacity() == used ? file_state::block_size : all.capacity() - used, most);
            all.resize(used + room);
            const asio::mutable_buffer to{all.data() + used, room};
            const std::size_t n = co_await checked_io(own_frame{}, "read", file, start_read,
                                                      std::optional<std::uint64_t>{}, io_vectors{to});
            used += n;
            all.resize(used);
            if (n == 0) {
                co_return all;
            }
        }
    } catch (...) {
        if (file->positioned) {
            file->forget_unread();
            file->position = start;
        }
        throw;
    }
}

inline asio::awaitable<void> write_all(own_frame, shared_file file, std::string_view text) {
    co_await checked_io(own_frame{}, "write", file, start_write, std::optional<std::uint64_t>{},
                        io_vectors{asio::const_buffer{text.data(), text.size()}}, true);
}

inline asio::awaitable<void> sync_file(own_frame, shared_file file) {
    const auto call = [](int fd) {
        return uninterrupted([fd] { return ::fsync(fd); }) == 0 ? call_result{} : call_failed();
    };
    co_await checked_io(own_frame{}, "sync", file, initiate_plain_call{}, call);
}

inline asio::awaitable<void> resize_file(own_frame, shared_file file, std::uint64_t size) {
    if (size > file_state::most_offset) {
        throw_io_error(errno_code(EINVAL), "resize", *file);
    }
    file->forget_unread();
    const auto call = [size](int fd) {
        return uninterrupted([&] { return ::ftruncate(fd, static_cast<off_t>(size)); }) == 0 ? call_result{}
                                                                                             : call_failed();
    };
    co_await checked_io(own_frame{}, "resize", file, initiate_plain_call{}, call);
    file->forget_unread();
}

inline asio::awaitable<std::uint64_t> file_size(own_frame, shared_file file) {
    static_assert(sizeof(std::size_t) >= sizeof(off_t), "coraii::file needs a 64-bit system");
    const auto call = [](int fd) -> call_result {
        struct stat info{};
        if (::fstat(fd, &info) != 0) {
            return call_failed();
        }
        return {{}, static_cast<std::size_t>(info.st_size)};
    };
    const std::size_t size = co_await checked_io(own_frame{}, "size", file, initiate_plain_call{}, call);
    co_return size;
}

}  // namespace coraii::detail

#endif
