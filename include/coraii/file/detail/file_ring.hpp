// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_RING_HPP
#define CORAII_FILE_DETAIL_FILE_RING_HPP

// Asio's own file class where there is one. On Linux that takes io_uring: compiled in, and granted by the kernel.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/detail/config.hpp>  // BOOST_ASIO_HAS_FILE

#if defined(BOOST_ASIO_HAS_FILE)
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/random_access_file.hpp>
#include <boost/system/system_error.hpp>
#endif

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

#if defined(BOOST_ASIO_HAS_FILE)

/// Reads and writes a regular file through the kernel's ring. Does not own the descriptor.
class file_ring {
    /// A context whose kernel has said no once is not asked again.
    struct refusal : asio::execution_context::service {
        using key_type = refusal;
        inline static asio::execution_context::id id;
        explicit refusal(asio::execution_context& context) : service(context) {}
        void shutdown() override {}
        std::atomic<bool> known{false};
    };

public:
    file_ring() = default;
    file_ring(const file_ring&) = delete;
    file_ring& operator=(const file_ring&) = delete;
    ~file_ring() { release(); }

    void open(const asio::any_io_executor& executor, int fd) {
        auto& context = asio::query(executor, asio::execution::context);
        std::atomic<bool>& refused = asio::use_service<refusal>(context).known;
        if (refused.load()) {
            return;
        }
        try {
            file_.emplace(executor);
            file_->assign(fd);
        } catch (const boost::system::system_error&) {
            file_.reset();
            refused.store(true);
        }
    }

    /// Cancels what is under way, and gives the descriptor back to its owner.
    void release() noexcept {
        if (file_) {
            try {
                file_->release();
            } catch (...) {  // not open
            }
            file_.reset();
        }
    }

    explicit operator bool() const noexcept { return file_.has_value(); }

    template <class Buffers, class Handler>
    void read_at(std::uint64_t offset, const Buffers& buffers, Handler&& handler) {
        file_->async_read_some_at(offset, buffers, std::forward<Handler>(handler));
    }
    template <class Buffers, class Handler>
    void write_at(std::uint64_t offset, const Buffers& buffers, Handler&& handler) {
        file_->async_write_some_at(offset, buffers, std::forward<Handler>(handler));
    }

private:
    std::optional<asio::random_access_file> file_;
};

#else

struct file_ring {
    void open(const asio::any_io_executor&, int) noexcept {}
    void release() noexcept {}
    constexpr explicit operator bool() const noexcept { return false; }
    template <class Buffers, class Handler>
    void read_at(std::uint64_t, const Buffers&, Handler&&) {}
    template <class Buffers, class Handler>
    void write_at(std::uint64_t, const Buffers&, Handler&&) {}
};

#endif

}  // namespace detail
}  // namespace coraii

#endif
