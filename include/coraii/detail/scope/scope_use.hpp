// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_USE_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_USE_HPP

#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/scope/scope_core.hpp"

#include <utility>

namespace coraii {

template <class T, class Executor>
class guard;

namespace detail {

/// The right to use a scope, which has been begun: whatever happens to it, the use ends.
template <class Executor>
class scope_use {
public:
    scope_use() = default;
    explicit scope_use(scope_ptr<Executor> scope) noexcept : scope_{std::move(scope)} {}
    scope_use(scope_use&& other) noexcept = default;
    scope_use& operator=(scope_use&& other) noexcept {
        scope_use taken{std::move(other)};  // first: it may be ourselves
        scope_.swap(taken.scope_);
        return *this;
    }
    ~scope_use() {
        if (scope_) {
            scope_->end_use({}, false);
        }
    }

    explicit operator bool() const noexcept { return scope_ != nullptr; }
    scope_core<Executor>* operator->() const noexcept { return scope_.get(); }
    const scope_ptr<Executor>& get() const noexcept { return scope_; }
    scope_ptr<Executor> take() noexcept { return std::move(scope_); }

private:
    scope_ptr<Executor> scope_;
};

/// For those who make guards, or look into them.
struct guard_access {
    template <class Guard>
    static Guard make(scope_use<typename Guard::executor_type> use) noexcept {
        return Guard{std::move(use)};
    }

    template <class T, class Executor>
    static scope_use<Executor>& use_of(guard<T, Executor>& from) noexcept {
        return from.use_;
    }

    template <class Handle>
    static registry_entry& entry_of(const Handle& scope) noexcept {
        return *scope.entry_;
    }
};

}  // namespace detail
#if defined(CORAII_SEPARATE_COMPILATION)
extern template class detail::scope_use<asio::any_io_executor>;
#endif

}  // namespace coraii

#endif
