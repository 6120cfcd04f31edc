// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_CALL_HPP
#define CORAII_FILE_DETAIL_FILE_CALL_HPP

#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/error.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_operation.hpp"
#include "coraii/file/detail/file_state.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace coraii::detail {

/// What a system call gave.
struct call_result {
    boost::system::error_code error;
    std::size_t bytes = 0;
    std::int64_t position = -1;  // after it, where only the call can know
};

inline call_result call_failed(std::size_t bytes = 0) noexcept {
    return {errno_code(errno), bytes};
}
inline call_result call_aborted() noexcept {
    return {boost::system::error_code{asio::error::operation_aborted}};
}

/// Why a call was not made or not waited for.
inline boost::system::error_code why_stopped(const std::exception_ptr& stopped) noexcept {
    try {
        std::rethrow_exception(stopped);
    } catch (const boost::system::system_error& e) {
        return e.code() == errc::offload_stopped ? boost::system::error_code{asio::error::operation_aborted} : e.code();
    } catch (const std::bad_alloc&) { return errno_code(ENOMEM); } catch (...) {
        return boost::system::error_code{asio::error::fault};
    }
}

/// Does what is left to do when a call has ended, and calls the handler.
template <class Finish>
class finishing_handler {
public:
    using executor_type = asio::any_io_executor;
    using cancellation_slot_type = asio::cancellation_slot;

    finishing_handler(io_handler handler, std::shared_ptr<call_result> result, Finish finish)
        : handler_{std::move(handler)}, result_{std::move(result)}, finish_{std::move(finish)} {}

    executor_type get_executor() const noexcept { return handler_.get_executor(); }
    cancellation_slot_type get_cancellation_slot() const noexcept { return handler_.get_cancellation_slot(); }

    void operator()(const std::exception_ptr& stopped) {
        handler_.get_cancellation_slot().clear();
        call_result result = stopped ? call_result{why_stopped(stopped)} : *result_;
        if (!stopped) {
            finish_(result);
        }
        std::move(handler_)(result.error, result.bytes);
    }
    void operator()(const boost::system::error_code& error, std::size_t bytes) {
        call_result result{error, bytes};
        finish_(result);
        std::move(handler_)(result.error, result.bytes);
    }

private:
    io_handler handler_;
    std::shared_ptr<call_result> result_;
    Finish finish_;
};

inline void post_result(io_handler handler, const boost::system::error_code& error, std::size_t bytes) {
    const asio::any_io_executor executor = handler.get_executor();
    asio::post(executor, [handler = std::move(handler), error, bytes]() mutable { std::move(handler)(error, bytes); });
}

/// Makes `call()`, which returns a `call_result`, on a worker; then `finish(result)` and the handler on its executor.
template <class Call, class Finish>
void start_call(io_handler handler, file_state& file, on_cancel policy, Call call, Finish finish) {
    auto result = std::make_shared<call_result>();
    auto job = [result, call = std::move(call)]() mutable { *result = call(); };
    finishing_handler<Finish> done{std::move(handler), std::move(result), std::move(finish)};
    offload_call(file.workers, std::move(job), std::move(done), policy, file.positioned ? nullptr : &file.stream_call);
}

// ---- what workers do

struct read_call {
    std::shared_ptr<descriptor> handle;
    io_vectors to;
    std::uint64_t offset;

    call_result operator()() const {
        const descriptor::use use{*handle};
        if (!use) {
            return call_aborted();
        }
        const ssize_t n = uninterrupted(
            [&] { return ::preadv(use.fd(), to.all.data(), static_cast<int>(to.count), static_cast<off_t>(offset)); });
        if (n < 0) {
            return call_failed();
        }
        if (n == 0) {
            return {boost::system::error_code{asio::error::eof}};
        }
        return {{}, static_cast<std::size_t>(n)};
    }
};

/// Reads ahead in a regular file: into a block that it has claimed.
struct read_ahead_call {
    block_claim claim;
    read_call read;

    call_result operator()() const { return read(); }
};

/// Reads ahead in a stream. What arrives is left in the block, whether or not anybody waits for it any more.
struct read_stream_call {
    std::shared_ptr<descriptor> handle;
    std::shared_ptr<read_block> block;
    unsigned number = block_claim::announce(*block);

    call_result operator()() const {
        const worker_pool::unbounded_call may_block;
        const block_claim claim = block_claim::wait(block, number);
        if (!claim || block->retired) {
            return call_aborted();
        }
        if (block->arrived != 0) {
            return {{}, block->arrived};
        }
        const descriptor::use use{*handle, descriptor::kind::unbounded};
        if (!use) {
            return call_aborted();
        }
        const ssize_t n = uninterrupted(
            [&] { return ::read(use.fd(), block->data.get() + block->end, block->capacity - block->end); });
        if (n < 0) {
            return call_failed();
        }
        if (n == 0) {
            return {boost::system::error_code{asio::error::eof}};
        }
        block->arrived = static_cast<std::size_t>(n);
        return {{}, block->arrived};
    }
};

/// Writes what it is given, all of it if `whole`.
struct write_call {
    std::shared_ptr<descriptor> handle;
    io_vectors from;
    std::uint64_t offset;
    bool whole;
    bool append;

    call_result operator()() {
        const descriptor::use use{*handle};
        if (!use) {
            return call_aborted();
        }
        call_result result;
        do {
            const int count = static_cast<int>(from.count);
            const ssize_t n = uninterrupted([&] {
                return append ? ::writev(use.fd(), from.all.data(), count)
                              : ::pwritev(use.fd(), from.all.data(), count, static_cast<off_t>(offset + result.bytes));
            });
            if (n < 0) {
                result.error = errno_code(errno);
                break;
            }
            result.bytes += static_cast<std::size_t>(n);
            skip(static_cast<std::size_t>(n));
        } while (whole && from.count != 0);
        if (append) {
            result.position = ::lseek(use.fd(), 0, SEEK_CUR);
        }
        return result;
    }

private:
    void skip(std::size_t n) noexcept {
        std::size_t gone = 0;
        for (; gone < from.count && n >= from.all[gone].iov_len; ++gone) {
            n -= from.all[gone].iov_len;
        }
        for (std::size_t i = gone; i < from.count; ++i) {
            from.all[i - gone] = from.all[i];
        }
        from.count -= gone;
        if (n != 0) {
            from.all[0] = {static_cast<char*>(from.all[0].iov_base) + n, from.all[0].iov_len - n};
        }
    }
};

/// Writes to a stream, which may block: from memory of its own.
struct write_stream_call {
    std::shared_ptr<descriptor> handle;
    std::string text;
    bool whole;

    call_result operator()() const {
        const descriptor::use use{*handle, descriptor::kind::unbounded};
        if (!use) {
            return call_aborted();
        }
        const worker_pool::unbounded_call may_block;
        std::size_t written = 0;
        do {
            const ssize_t n =
                uninterrupted([&] { return ::write(use.fd(), text.data() + written, text.size() - written); });
            if (n < 0) {
                return call_failed(written);
            }
            written += static_cast<std::size_t>(n);
        } while (whole && written != text.size());
        return {{}, written};
    }
};

}  // namespace coraii::detail

#endif
