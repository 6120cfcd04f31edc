// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_GUARD_HPP
#define CORAII_GUARD_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstdio>
#include <exception>
#include <type_traits>
#include <utility>

namespace coraii {

namespace detail {
struct guard_access;
template <class T, class Executor>
class scope_promise;
}  // namespace detail

/// Keeps a scope from beginning its cleanup while it exists: what depends on a resource (a transaction on its session)
/// keeps one, and so is completely cleaned before it.
///
/// Copying and moving cost what they do for a `std::shared_ptr`. A default-constructed or moved-from hold holds nothing.
/// Effects of the destructor: if it was the last and the scope has been left, the cleanup is posted to its executor.
/// Thread safety: distinct holds may be used from different threads.
class scope_hold {
public:
    scope_hold() = default;
    /// One more hold of the same scope.
    scope_hold(const scope_hold& other) noexcept : entry_{other.entry_} {
        if (entry_) {
            entry_->holds_.fetch_add(1, std::memory_order_relaxed);
        }
    }
    scope_hold(scope_hold&& other) noexcept : entry_{std::move(other.entry_)} {}  ///< the other one is empty
    /// Lets its own go.
    scope_hold& operator=(scope_hold other) noexcept {
        entry_.swap(other.entry_);
        return *this;
    }
    ~scope_hold() {
        if (entry_) {
            entry_->drop_hold(detail::deliver::posted);
        }
    }

    explicit operator bool() const noexcept { return entry_ != nullptr; }  ///< true if it holds a scope

private:
    friend class scope_handle;

    explicit scope_hold(boost::intrusive_ptr<detail::registry_entry> entry) noexcept : entry_{std::move(entry)} {}

    boost::intrusive_ptr<detail::registry_entry> entry_;
};

/// Names a scope without holding it. `co_await this_scope` gives it to the scope's own coroutine, so that a resource can
/// hand out holds of its scope. May outlive the scope.
class scope_handle {
public:
    scope_handle() = default;

    /// Errors: `errc::scope_closed` if the cleanup has begun; `errc::empty_guard` if default-constructed.
    /// Thread safety: safe.
    [[nodiscard]] scope_hold hold() const {
        if (!entry_) {
            detail::throw_error(errc::empty_guard);
        }
        if (entry_->phase() > scope_phase::open || !entry_->try_hold()) {
            detail::throw_error(errc::scope_closed);
        }
        return scope_hold{entry_};
    }

private:
    template <class, class>
    friend class guard;
    friend struct detail::guard_access;
    template <class, class>
    friend class detail::scope_promise;

    explicit scope_handle(boost::intrusive_ptr<detail::registry_entry> entry) noexcept : entry_{std::move(entry)} {}

    boost::intrusive_ptr<detail::registry_entry> entry_;
};

namespace detail {

[[noreturn]] inline void terminate_on_empty_guard() noexcept {
    std::fputs("coraii: a guard was dereferenced that holds no resource (closed, released, reset or moved from)\n",
               stderr);
    std::terminate();
}

}  // namespace detail

/// The use of a resource that an `async_scope` has set up. Dropping it starts the cleanup; `close()` waits for it.
///
/// Move-only. A default-constructed, moved-from, closed or released guard is inert.
///
/// A dropped guard never commits: its cleanup is told `exit_reason::abandoned`. Call `close()` to commit.
///
/// Effects of the destructor, of `reset()` and of assigning over an open guard: they start the cleanup. If they are called on
///   the scope's executor, it begins before they return; else it is posted there. (In cleanups that drop guards, 32 deep, it is
///   posted as well.) A guard that is assigned to itself stays as it is. They never throw. An error of such a cleanup
///   goes to `on_cleanup_error`. Guards that are dropped together are cleaned concurrently, unless one scope holds the other.
/// Memory: on an io_context or a thread_pool they take none. On another executor, from another thread, Asio's queue may take
///   some. If there is none, the cleanup runs when the context is destroyed.
/// Lifetime: the resource lives until the cleanup ends. A guard may outlive the execution context. Then the context has
///   cleaned the scope when it was destroyed, up to the first suspension, and the guard must not be dereferenced.
/// Thread safety: as a `std::unique_ptr`. It may be dropped or closed on any thread, except while the execution context
///   is being destroyed on another.
template <class T, class Executor = asio::any_io_executor>
class [[nodiscard]] guard {
public:
    using value_type = T;  ///< the type of the resource
    using executor_type = Executor;  ///< that its cleanup runs on

    guard() = default;
    guard(guard&&) noexcept = default;  ///< the other one is empty
    guard& operator=(guard&&) noexcept = default;  ///< drops its own, if it has one

    /// Preconditions: not inert. An inert guard terminates the program with a message.
    [[nodiscard]] std::add_lvalue_reference_t<T> operator*() const noexcept
        requires(!std::is_void_v<T>)
    {
        return *checked();
    }
    /// The resource. Preconditions: not empty.
    [[nodiscard]] T* operator->() const noexcept
        requires(!std::is_void_v<T>)
    {
        return checked();
    }

    /// True while the guard has the use of the resource.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(use_); }

    /// The use went well: cleans up with `exit_reason::completed`, and completes when the cleanup is done.
    ///
    /// Without a token it gives an awaitable for the coroutines of `Executor`, which does not suspend if the cleanup does
    /// not. With one it is an async operation. Handler signature: `void(std::exception_ptr)`.
    /// Effects: the guard is inert from this call on. If the operation is never started, it counts as dropped. On an
    ///   inert guard it completes at once, without error.
    /// Errors: what the cleanup threw, or `errc::cleanup_timeout`.
    /// Cancellation: none. (A coroutine that has been cancelled throws at `co_await` before the operation starts; the
    ///   guard then counts as dropped. `with` waits in that case too.)
    /// Executor: completes on the handler's associated executor, or the scope's if it has none; never inside the initiating
    ///   function. (An inert guard has the system executor.)
    /// Exception safety: if there is no memory for the operation, the guard counts as dropped.
    [[nodiscard]] asio::awaitable<void, Executor> close() { return close(exit_status{exit_reason::completed}); }
    /// The same with a completion token.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    [[nodiscard]] auto close(Token&& token) {
        return close(exit_status{exit_reason::completed}, std::forward<Token>(token));
    }

    /// The use ended as `status` says. If that carries an error, an error of the cleanup does not hide it: it goes to
    /// `on_cleanup_error`, and the operation completes without one. Otherwise as above.
    [[nodiscard]] asio::awaitable<void, Executor> close(exit_status status) {
        return detail::close_use(detail::own_frame{}, std::move(use_), std::move(status));
    }
    /// The same with a completion token.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    [[nodiscard]] auto close(exit_status status, Token&& token) {
        auto close_and_tell = [](auto&& handler, const Executor& executor, detail::scope_use<Executor> use,
                                 exit_status why) {
            detail::close_use_and_tell<Executor>(std::forward<decltype(handler)>(handler), executor, std::move(use),
                                                 std::move(why));
        };
        return asio::async_initiate<Token, void(std::exception_ptr)>(
            detail::initiation{detail::executor_of(use_), close_and_tell}, token, std::move(use_), std::move(status));
    }

    /// Starts the cleanup, and does not wait. No effect on an inert guard.
    void reset() noexcept { use_ = {}; }

    /// Takes the resource out: no cleanup runs, and the rest of the scope's coroutine is destroyed at its `co_yield`.
    ///
    /// Errors: `errc::empty_guard` on an inert guard; what T's move constructor throws (the guard keeps the resource).
    [[nodiscard]] T release()
        requires std::move_constructible<T>
    {
        if (!use_ || use_->resource_ == nullptr) {
            detail::throw_error(errc::empty_guard);
        }
        T resource(std::move(*checked()));
        use_->released_ = true;
        use_.take()->end_use({}, false);
        return resource;
    }

    /// Keeps the scope from beginning its cleanup. `close()` waits for those who hold it.
    /// Errors: `errc::empty_guard` on an inert guard.
    [[nodiscard]] scope_hold hold() const { return scope_handle{use_.get()}.hold(); }

private:
    friend struct detail::guard_access;

    explicit guard(detail::scope_use<Executor> use) noexcept : use_{std::move(use)} {}

    T* checked() const noexcept {
        if (!use_ || use_->resource_ == nullptr) [[unlikely]] {
            detail::terminate_on_empty_guard();
        }
        return static_cast<T*>(use_->resource_);
    }

    detail::scope_use<Executor> use_;
};

}  // namespace coraii

#endif
