// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_SIGNAL_HPP
#define CORAII_DETAIL_COROUTINE_SIGNAL_HPP

#include "coraii/detail/coroutine/recycler.hpp"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <cstddef>
#include <new>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// An `asio::cancellation_signal` that takes no memory for a coroutine's cancellation state, and recycled memory for other
/// handlers: Asio caches two blocks for those of a thread.
class signal {
    struct handler_base {
        handler_base() = default;
        handler_base(const handler_base&) = delete;
        handler_base& operator=(const handler_base&) = delete;
        virtual void call(asio::cancellation_type_t type) = 0;
        virtual void destroy() noexcept = 0;

    protected:
        ~handler_base() = default;
    };

    template <class Handler>
    struct placed final : handler_base {
        template <class... Args>
        explicit placed(Args&&... args) : handler(std::forward<Args>(args)...) {}
        void call(asio::cancellation_type_t type) override { handler(type); }
        void destroy() noexcept override { this->~placed(); }
        Handler handler;
    };

    template <class Handler>
    struct allocated final : handler_base, recycled {
        template <class... Args>
        explicit allocated(Args&&... args) : handler(std::forward<Args>(args)...) {}
        void call(asio::cancellation_type_t type) override { handler(type); }
        void destroy() noexcept override { delete this; }
        Handler handler;
    };

public:
    signal() = default;
    signal(const signal&) = delete;
    signal& operator=(const signal&) = delete;
    ~signal() { clear(); }

    /// Models Asio's CancellationSlot.
    class slot {
    public:
        slot() = default;
        explicit slot(signal& s) noexcept : signal_{&s} {}

        bool is_connected() const noexcept { return signal_ != nullptr; }
        bool has_handler() const noexcept { return is_connected() && signal_->handler_ != nullptr; }
        void clear() {
            if (is_connected()) {
                signal_->clear();
            }
        }
        template <class Handler, class... Args>
        Handler& emplace(Args&&... args) {
            clear();
            if constexpr (sizeof(placed<Handler>) <= sizeof(signal::storage_) && alignof(Handler) <= alignof(void*)) {
                auto* made = ::new (static_cast<void*>(signal_->storage_)) placed<Handler>(std::forward<Args>(args)...);
                signal_->handler_ = made;
                return made->handler;
            } else {
                auto* made = new allocated<Handler>(std::forward<Args>(args)...);
                signal_->handler_ = made;
                return made->handler;
            }
        }
        friend bool operator==(const slot&, const slot&) noexcept = default;

    private:
        signal* signal_ = nullptr;
    };

    void emit(asio::cancellation_type_t type) {
        if (handler_ != nullptr) {
            handler_->call(type);
        }
    }

private:
    void clear() noexcept {
        if (handler_ != nullptr) {
            std::exchange(handler_, nullptr)->destroy();
        }
    }

    handler_base* handler_ = nullptr;
    alignas(void*) std::byte storage_[3 * sizeof(void*)];
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
