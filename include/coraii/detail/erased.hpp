// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_ERASED_HPP
#define CORAII_DETAIL_ERASED_HPP

#include "coraii/detail/recycler.hpp"

#include <memory>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// A move-only function that is called once, or destroyed without that. In recycled memory: Asio's own erased handlers
/// share two cached blocks with everything else a thread does.
template <class... Args>
class erased {
public:
    erased() = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, erased>)
    erased(F&& function) : held_{new holder<std::decay_t<F>>{std::forward<F>(function)}} {}

    explicit operator bool() const noexcept { return held_ != nullptr; }

    void operator()(Args... args) && {
        const std::unique_ptr<holder_base> held = std::move(held_);
        held->call(args...);
    }

private:
    struct holder_base : recycled {
        holder_base() = default;
        holder_base(const holder_base&) = delete;
        holder_base& operator=(const holder_base&) = delete;
        virtual ~holder_base() = default;
        virtual void call(Args... args) = 0;
    };

    template <class F>
    struct holder final : holder_base {
        explicit holder(F&& f) : function{std::move(f)} {}
        explicit holder(const F& f) : function{f} {}
        void call(Args... args) override { std::move(function)(args...); }
        F function;
    };

    std::unique_ptr<holder_base> held_;
};

}  // namespace coraii::detail

#endif
