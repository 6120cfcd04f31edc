// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SIGNAL_HPP
#define CORAII_DETAIL_SIGNAL_HPP

#include "coraii/detail/recycler.hpp"

#include <boost/asio/cancellation_type.hpp>

#include <memory>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// An `asio::cancellation_signal` whose handler is in recycled memory: Asio caches two blocks for those of a thread.
class signal {
    struct handler_base : recycled {
        handler_base() = default;
        handler_base(const handler_base&) = delete;
        handler_base& operator=(const handler_base&) = delete;
        virtual ~handler_base() = default;
        virtual void call(asio::cancellation_type_t type) = 0;
    };

    template <class Handler>
    struct holder final : handler_base {
        template <class... Args>
        explicit holder(Args&&... args) : handler(std::forward<Args>(args)...) {}
        void call(asio::cancellation_type_t type) override { handler(type); }
        Handler handler;
    };

public:
    /// Models Asio's CancellationSlot.
    class slot {
    public:
        slot() = default;
        explicit slot(signal& s) noexcept : signal_{&s} {}

        bool is_connected() const noexcept { return signal_ != nullptr; }
        bool has_handler() const noexcept { return is_connected() && signal_->handler_ != nullptr; }
        void clear() {
            if (is_connected()) {
                signal_->handler_.reset();
            }
        }
        template <class Handler, class... Args>
        Handler& emplace(Args&&... args) {
            auto* made = new holder<Handler>(std::forward<Args>(args)...);
            signal_->handler_.reset(made);
            return made->handler;
        }
        friend bool operator==(const slot&, const slot&) noexcept = default;

    private:
        signal* signal_ = nullptr;
    };

    void emit(asio::cancellation_type_t type) {
        if (handler_) {
            handler_->call(type);
        }
    }

private:
    std::unique_ptr<handler_base> handler_;
};

}  // namespace detail
}  // namespace coraii

#endif
