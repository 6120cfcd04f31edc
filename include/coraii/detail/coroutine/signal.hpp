// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_SIGNAL_HPP
#define CORAII_DETAIL_COROUTINE_SIGNAL_HPP

#include "coraii/detail/coroutine/recycler.hpp"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
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

/// Cancels a coroutine thread: through the state that it begins with, or through one that its coroutines have set since.
class thread_signal {
public:
    /// The first state. It lets all types of a cancel pass.
    asio::cancellation_state begin() {
        return asio::cancellation_state{signal::slot{first_}, asio::enable_total_cancellation()};
    }
    asio::cancellation_slot slot() noexcept { return later_.slot(); }

    /// True if the coroutines have set a state of their own.
    bool was_replaced() noexcept { return later_.slot().has_handler(); }

    void emit(asio::cancellation_type_t type) {
        const bool was_emitting = std::exchange(emitting_, true);
        if (was_replaced()) {
            later_.emit(type);
        } else {
            first_.emit(type);
        }
        emitting_ = was_emitting;
        if (over_) {
            end();
        }
    }

    /// The thread is over. What is still in the slots may refer to anything.
    void end() {
        over_ = true;
        if (!emitting_) {
            signal::slot{first_}.clear();
            later_.slot().clear();
        }
    }

private:
    signal first_;
    asio::cancellation_signal later_;  // takes no memory until then
    bool emitting_ = false;  // a handler that is running may end the thread
    bool over_ = false;
};

}  // namespace detail
}  // namespace coraii

#endif
