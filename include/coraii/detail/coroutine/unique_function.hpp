// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_UNIQUE_FUNCTION_HPP
#define CORAII_DETAIL_COROUTINE_UNIQUE_FUNCTION_HPP

#include "coraii/detail/coroutine/recycler.hpp"

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// A move-only function that is called once, or destroyed without being called. A small one, such as the handler of a
/// waiting coroutine, is stored in place, others in recycled memory: Asio's own type-erased handlers share two cached
/// blocks with everything else that a thread does.
template <class... Args>
class unique_function {
public:
    /// True if keeping an `F` takes no memory.
    template <class F>
    static constexpr bool fits =
        sizeof(F) <= sizeof(void*) * 4 && alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;

    unique_function() = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, unique_function>)
    unique_function(F&& function) {
        using function_type = std::decay_t<F>;
        if constexpr (fits<function_type>) {
            held_ = ::new (static_cast<void*>(storage_)) placed<function_type>{std::forward<F>(function)};
        } else {
            held_ = new allocated<function_type>{std::forward<F>(function)};
        }
    }
    unique_function(unique_function&& other) noexcept : held_{other.move_to(storage_)} {}
    unique_function& operator=(unique_function&& other) noexcept {
        if (this != &other) {
            reset();
            held_ = other.move_to(storage_);
        }
        return *this;
    }
    ~unique_function() { reset(); }

    explicit operator bool() const noexcept { return held_ != nullptr; }
    void reset() noexcept {
        if (held_ != nullptr) {
            std::exchange(held_, nullptr)->destroy();
        }
    }

    /// Nothing is held any more when the function is called.
    void operator()(Args... args) && {
        unique_function called{std::move(*this)};
        called.held_->call(args...);
    }

private:
    struct holder {
        holder() = default;
        holder(const holder&) = delete;
        holder& operator=(const holder&) = delete;
        virtual void call(Args... args) = 0;
        virtual holder* move_to(void* storage) noexcept = 0;
        virtual void destroy() noexcept = 0;

    protected:
        ~holder() = default;
    };

    template <class F>
    struct placed final : holder {
        explicit placed(F&& f) noexcept : function{std::move(f)} {}
        explicit placed(const F& f) : function{f} {}
        void call(Args... args) override { std::move(function)(args...); }
        holder* move_to(void* storage) noexcept override {
            auto* moved = ::new (storage) placed{std::move(function)};
            destroy();
            return moved;
        }
        void destroy() noexcept override { this->~placed(); }
        F function;
    };

    template <class F>
    struct allocated final : holder, recycled {
        explicit allocated(F&& f) : function{std::move(f)} {}
        explicit allocated(const F& f) : function{f} {}
        void call(Args... args) override { std::move(function)(args...); }
        holder* move_to(void*) noexcept override { return this; }
        void destroy() noexcept override { delete this; }
        F function;
    };

    holder* move_to(void* storage) noexcept {
        return held_ != nullptr ? std::exchange(held_, nullptr)->move_to(storage) : nullptr;
    }

    holder* held_ = nullptr;
    alignas(void*) std::byte storage_[sizeof(void*) * 5];  // and its virtual functions' table
};

}  // namespace coraii::detail

#endif
