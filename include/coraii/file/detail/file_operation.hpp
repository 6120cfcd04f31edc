// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_OPERATION_HPP
#define CORAII_FILE_DETAIL_FILE_OPERATION_HPP

#if defined(_WIN32)
#error "coraii/file.hpp is for POSIX systems"
#endif

#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/region/execute.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/uio.h>
#include <type_traits>
#include <utility>

namespace coraii::detail {

class file_state;
using shared_file = std::shared_ptr<file_state>;
using io_signature = void(boost::system::error_code, std::size_t);

/// The first buffers of a sequence, as a system call takes them.
struct io_vectors {
    static constexpr std::size_t most = 16;

    io_vectors() = default;
    template <class Buffers>
    explicit io_vectors(const Buffers& buffers) {
        const auto end = asio::buffer_sequence_end(buffers);
        for (auto i = asio::buffer_sequence_begin(buffers); i != end && count < most; ++i) {
            const asio::const_buffer b{*i};
            if (b.size() != 0) {
                // One type for both directions: a read is only started with mutable buffers.
                all[count++] = {const_cast<void*>(b.data()), b.size()};
                bytes += b.size();
            }
        }
    }

    /// Copies as much as fits.
    std::size_t assign(std::string_view from) const noexcept {
        std::size_t copied = 0;
        for (std::size_t i = 0; i < count && copied < from.size(); ++i) {
            const std::size_t n = (std::min)(all[i].iov_len, from.size() - copied);
            std::memcpy(all[i].iov_base, from.data() + copied, n);
            copied += n;
        }
        return copied;
    }

    std::string joined(std::size_t limit) const {
        std::string text;
        for (std::size_t i = 0; i < count && text.size() < limit; ++i) {
            text.append(static_cast<const char*>(all[i].iov_base), (std::min)(all[i].iov_len, limit - text.size()));
        }
        return text;
    }

    /// As Asio takes them.
    template <class Buffer>
    std::array<Buffer, most> as_buffers() const noexcept {
        std::array<Buffer, most> buffers;
        for (std::size_t i = 0; i < count; ++i) {
            buffers[i] = Buffer{all[i].iov_base, all[i].iov_len};
        }
        return buffers;
    }

    std::array<iovec, most> all{};
    std::size_t count = 0;
    std::size_t bytes = 0;
};

/// The handler of a file's operation, whatever its type: where it is called, what cancels it, and the call.
class io_handler {
public:
    using executor_type = asio::any_io_executor;
    using cancellation_slot_type = asio::cancellation_slot;

    template <class Handler>
    io_handler(Handler handler, const asio::any_io_executor& files) : executor_{files} {
        using handler_executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
        auto slot = asio::get_associated_cancellation_slot(handler);
        if constexpr (std::is_convertible_v<decltype(slot), asio::cancellation_slot>) {
            slot_ = std::move(slot);
        } else if (slot.is_connected()) {
            const auto signal = std::make_shared<asio::cancellation_signal>();
            slot_ = signal->slot();
            slot.assign([signal](asio::cancellation_type_t type) { signal->emit(type); });
        }
        if constexpr (can_post<handler_executor>) {
            executor_ = asio::get_associated_executor(handler, files);
            call_ = [handler = std::move(handler)](const boost::system::error_code& error, std::size_t bytes) mutable {
                std::move(handler)(error, bytes);
            };
        } else {
            // An `asio::any_completion_executor` has no context to ask for: we are told on the file's.
            call_ = [handler = std::move(handler), files](const boost::system::error_code& error,
                                                          std::size_t bytes) mutable {
                const auto there = asio::get_associated_executor(handler, files);
                asio::dispatch(there, asio::append(std::move(handler), error, bytes));
            };
        }
    }

    executor_type get_executor() const noexcept { return executor_; }
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot_; }

    void operator()(const boost::system::error_code& error, std::size_t bytes) { std::move(call_)(error, bytes); }

private:
    asio::any_io_executor executor_;
    asio::cancellation_slot slot_;
    unique_function<const boost::system::error_code&, std::size_t> call_;
};

/// `at` is given for a read that leaves the position alone.
CORAII_DECL void start_read(io_handler handler, const shared_file& file, std::optional<std::uint64_t> at,
                            const io_vectors& to);
/// Of `whole`, everything is written unless there is an error.
CORAII_DECL void start_write(io_handler handler, const shared_file& file, std::optional<std::uint64_t> at,
                             const io_vectors& from, bool whole);

struct initiate_read {
    template <class Handler, class Buffers>
    void operator()(Handler&& handler, const asio::any_io_executor& files, const shared_file& file,
                    std::optional<std::uint64_t> at, const Buffers& buffers) const {
        start_read(io_handler{std::forward<Handler>(handler), files}, file, at, io_vectors{buffers});
    }
};

struct initiate_write {
    template <class Handler, class Buffers>
    void operator()(Handler&& handler, const asio::any_io_executor& files, const shared_file& file,
                    std::optional<std::uint64_t> at, const Buffers& buffers, bool whole) const {
        start_write(io_handler{std::forward<Handler>(handler), files}, file, at, io_vectors{buffers}, whole);
    }
};

}  // namespace coraii::detail

#if defined(CORAII_HEADER_ONLY)
#include "coraii/file/detail/impl/file_operation.ipp"
#endif

#endif
