// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_IO_HPP
#define CORAII_FILE_DETAIL_FILE_IO_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/file/detail/file_call.hpp"
#include "coraii/file/detail/file_state.hpp"

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

using io_signature = void(boost::system::error_code, std::size_t);
using shared_file = std::shared_ptr<file_state>;

/// Reads another block behind what is unread. Completes with the bytes that came.
struct initiate_read_ahead {
    template <class Handler>
    void operator()(Handler&& handler, const shared_file& file) const {
        file_state& f = *file;
        if (!f.positioned && f.take_arrived()) {
            return post_result(std::forward<Handler>(handler), f.executor, {}, f.unread().size());
        }
        block_claim claim = f.claim_room();
        read_block& block = *f.block;
        if (!f.positioned) {
            { const block_claim released = std::move(claim); }
            read_stream_call read{f.handle, f.block};
            return start_call(std::forward<Handler>(handler), f, on_cancel::leave, std::move(read),
                              [file](call_result&) { file->take_arrived(); });
        }
        const asio::mutable_buffer room{block.data.get() + block.end, block.capacity - block.end};
        const io_vectors to{room};
        const std::uint64_t offset = f.position + f.unread().size();
        if (const std::size_t n = f.read_at_once(to, offset); n != 0) {
            block.end += n;
            return post_result(std::forward<Handler>(handler), f.executor, {}, n);
        }
        read_ahead_call read{std::move(claim), {f.handle, to, offset}};
        start_call(std::forward<Handler>(handler), f, on_cancel::leave, std::move(read),
                   [file, into = f.block](call_result& result) {
                       if (file->block == into) {
                           into->end += result.bytes;
                       }
                   });
    }
};

/// `at` is given for a read that leaves the position alone.
struct initiate_read {
    template <class Handler, class Buffers>
    void operator()(Handler&& handler, const shared_file& file, std::optional<std::uint64_t> at,
                    const Buffers& buffers) const {
        file_state& f = *file;
        const io_vectors to{buffers};
        if (to.bytes == 0) {
            return post_result(std::forward<Handler>(handler), f.executor, {}, 0);
        }
        if (!at && !f.positioned) {
            f.take_arrived();
        }
        if (!at && !f.unread().empty()) {
            const std::size_t n = to.assign(f.unread());
            f.consume(n);
            return post_result(std::forward<Handler>(handler), f.executor, {}, n);
        }
        if (!at && !f.positioned) {
            f.claim_room();
            read_stream_call read{f.handle, f.block};
            return start_call(std::forward<Handler>(handler), f, on_cancel::leave, std::move(read),
                              [file, to](call_result& result) {
                                  file->take_arrived();
                                  if (!result.error) {
                                      result.bytes = to.assign(file->unread());
                                      file->consume(result.bytes);
                                  }
                              });
        }
        const std::uint64_t offset = at ? *at : f.position;
        const bool moves = !at;
        if (f.positioned) {
            if (const std::size_t n = f.read_at_once(to, offset); n != 0) {
                f.advance(moves ? n : 0);
                return post_result(std::forward<Handler>(handler), f.executor, {}, n);
            }
        }
        auto finish = [file, moves](call_result& result) { file->advance(moves ? result.bytes : 0); };
        if (f.ring) {
            io_handler<std::decay_t<Handler>, decltype(finish)> done{std::forward<Handler>(handler), f.executor,
                                                                     nullptr, std::move(finish)};
            return f.ring.read_at(offset, buffers, std::move(done));
        }
        start_call(std::forward<Handler>(handler), f, on_cancel::withdraw, read_call{f.handle, to, offset},
                   std::move(finish));
    }
};

/// Of `whole`, everything is written unless there is an error.
struct initiate_write {
    template <class Handler, class Buffers>
    void operator()(Handler&& handler, const shared_file& file, std::optional<std::uint64_t> at, const Buffers& buffers,
                    bool whole) const {
        file_state& f = *file;
        const io_vectors from{buffers};
        if (from.bytes == 0) {
            return post_result(std::forward<Handler>(handler), f.executor, {}, 0);
        }
        f.forget_unread();
        if (!at && !f.positioned) {
            write_stream_call write{f.handle, from.joined(whole ? from.bytes : file_state::block_size), whole};
            return start_call(std::forward<Handler>(handler), f, on_cancel::leave, std::move(write),
                              [](call_result&) {});
        }
        const std::uint64_t offset = at ? *at : f.position;
        const bool moves = !at;
        auto finish = [file, moves](call_result& result) {
            file->forget_unread();  // what was read meanwhile may be old
            if (moves) {
                file->position =
                    result.position >= 0 ? static_cast<std::uint64_t>(result.position) : file->position + result.bytes;
            }
        };
        if (f.ring && !whole) {
            io_handler<std::decay_t<Handler>, decltype(finish)> done{std::forward<Handler>(handler), f.executor,
                                                                     nullptr, std::move(finish)};
            return f.ring.write_at(offset, buffers, std::move(done));
        }
        write_call write{f.handle, from, offset, whole, f.append && moves};
        start_call(std::forward<Handler>(handler), f, on_cancel::withdraw, write, std::move(finish));
    }
};

/// A system call on the descriptor that uses no memory of the user's.
struct initiate_plain_call {
    template <class Handler, class Call>
    void operator()(Handler&& handler, const shared_file& file, Call call) const {
        auto job = [handle = file->handle, call = std::move(call)]() -> call_result {
            const descriptor::use use{*handle};
            return use ? call(use.fd()) : call_aborted();
        };
        file_state& f = *file;
        start_call(std::forward<Handler>(handler), f, on_cancel::leave, std::move(job), [file](call_result&) {});
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
    auto operation = asio::async_initiate<decltype(token), io_signature>(initiate, token, file, args...);
    const std::tuple<boost::system::error_code, std::size_t> done = co_await std::move(operation);
    if (std::get<0>(done) && std::get<0>(done) != asio::error::eof) {
        throw_io_error(std::get<0>(done), tried, *file);
    }
    co_return std::get<1>(done);
}

/// The next line is not, or not whole, in memory.
inline asio::awaitable<std::optional<std::string>> read_on_for_line(own_frame, shared_file file) {
    for (std::size_t searched = file->unread().size();;) {
        const std::size_t n = co_await checked_io(own_frame{}, "read", file, initiate_read_ahead{});
        if (const void* end = file->end_of_line(searched)) {
            co_return file->take_line(end);
        }
        searched = file->unread().size();
        if (n == 0) {
            break;
        }
    }
    const std::string_view rest = file->unread();
    if (rest.empty()) {
        co_return std::nullopt;
    }
    file->consume(rest.size());
    co_return rest;
}

/// A line in memory costs no reference count of the file, and is copied once: the result is made where Asio keeps it.
inline asio::awaitable<std::optional<std::string>> read_line(own_frame, const shared_file& file) {
    if (const void* end = file->end_of_line(0)) {
        co_return file->take_line(end);
    }
    co_return co_await read_on_for_line(own_frame{}, file);
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
            const std::size_t n =
                co_await checked_io(own_frame{}, "read", file, initiate_read{}, std::optional<std::uint64_t>{}, to);
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
    co_await checked_io(own_frame{}, "write", file, initiate_write{}, std::optional<std::uint64_t>{},
                        asio::const_buffer{text.data(), text.size()}, true);
}

inline asio::awaitable<void> sync_file(own_frame, shared_file file) {
    const auto call = [](int fd) {
        return uninterrupted([fd] { return ::fsync(fd); }) == 0 ? call_result{} : call_failed();
    };
    co_await checked_io(own_frame{}, "sync", file, initiate_plain_call{}, call);
}

inline asio::awaitable<void> resize_file(own_frame, shared_file file, std::uint64_t size) {
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
