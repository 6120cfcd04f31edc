// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_USE_HPP
#define CORAII_DETAIL_SCOPE_USE_HPP

#include "coraii/detail/completion.hpp"
#include "coraii/detail/scope_state.hpp"
#include "coraii/exit_status.hpp"

#include <utility>

namespace coraii {

template <class T, class Executor>
class guard;

namespace detail {

/// Owns the user's part in a scope: whatever happens to it, the scope is left.
template <class Executor>
class scope_use {
public:
    scope_use() = default;
    explicit scope_use(scope_ptr<Executor> state) noexcept : state_{std::move(state)} {}
    scope_use(scope_use&& other) noexcept = default;
    scope_use& operator=(scope_use&& other) noexcept {
        scope_use old{std::move(*this)};
        state_ = std::move(other.state_);
        return *this;
    }
    ~scope_use() {
        if (state_) {
            state_->leave({}, false);
        }
    }

    explicit operator bool() const noexcept { return state_ != nullptr; }
    scope_state<Executor>* operator->() const noexcept { return state_.get(); }
    const scope_ptr<Executor>& get() const noexcept { return state_; }
    scope_ptr<Executor> take() noexcept { return std::move(state_); }

private:
    scope_ptr<Executor> state_;
};

/// Leaves a scope and tells `handler` when the cleanup is done.
template <class Handler, class Executor>
void leave_and_notify(Handler handler, scope_use<Executor> use, exit_status status) {
    completion<Handler> done{std::move(handler)};
    if (!use) {
        return std::move(done)(deliver::posted);
    }
    use->when_cleaned_.set([done = std::move(done), scope = use.get().get()](deliver how) mutable {
        std::move(done)(how, std::exchange(scope->error_, nullptr));
    });
    const scope_ptr<Executor> state = use.take();  // not before: what threw so far has dropped the guard
    if (!state->leave(std::move(status), true)) {
        state->when_cleaned_.happen();
    }
    state->when_cleaned_.asked();
}

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
};

}  // namespace detail
}  // namespace coraii

#endif
