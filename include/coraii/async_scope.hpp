// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_ASYNC_SCOPE_HPP
#define CORAII_ASYNC_SCOPE_HPP

#include "coraii/detail/awaited.hpp"
#include "coraii/detail/enter.hpp"
#include "coraii/detail/frame.hpp"
#include "coraii/detail/scope_state.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <concepts>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

namespace coraii {

template <class T, class Executor = asio::any_io_executor>
class async_scope;

/// What an `async_scope<void>` yields: `exit_status why = co_yield coraii::entered;`
struct entered_t {};
inline constexpr entered_t entered{};

namespace detail {

struct this_scope_t {};

/// The promise of a scope's coroutine: an Asio coroutine that may pause once, at its `co_yield`.
template <class T, class Executor>
class scope_promise : public frame_promise<void, Executor> {
    using base = frame_promise<void, Executor>;

public:
    async_scope<T, Executor> get_return_object(std::source_location where = std::source_location::current()) {
        static_assert(alignof(scope_promise) == alignof(typename base::asio_base));
        scope_ptr<Executor> state{new scope_state<Executor>, false};
        state->where_ = where;
        state->coroutine_ = base::get_return_object();
        state_ = state.get();
        return async_scope<T, Executor>{std::move(state)};
    }

    template <class U>
        requires(!std::is_void_v<T> && std::is_convertible_v<U*, T*>)
    auto yield_value(U& resource) {
        return pause_with(std::addressof(static_cast<T&>(resource)));
    }
    template <class U>
        requires(!std::is_void_v<T> && !std::is_lvalue_reference_v<U> && std::is_convertible_v<U*, T*>)
    auto yield_value(U&& resource) {
        return pause_with(std::addressof(static_cast<T&>(resource)));
    }
    template <std::same_as<entered_t> U>
        requires std::is_void_v<T>
    auto yield_value(const U&) {
        return pause_with(nullptr);
    }
    template <class U>
    std::suspend_never yield_value(U&&) {
        static_assert(sizeof(U) == 0,
                      "coraii::async_scope<T>: co_yield must be given the T itself (or coraii::entered if T is void)");
        return {};
    }

    using base::await_transform;
    auto await_transform(const this_scope_t&) noexcept {
        struct awaiter {
            scope_record* record;
            bool await_ready() const noexcept { return true; }
            void await_suspend(std::coroutine_handle<>) const noexcept {}
            scope_handle await_resume() const noexcept { return scope_handle{record}; }
        };
        return awaiter{state_};
    }

private:
    auto pause_with(void* resource) {
        if (state_->yielded_) {
            throw_error(errc::yielded_twice);
        }
        state_->value_ = resource;
        struct pause {
            scope_promise& promise;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept {
                promise.state_->yielded_ = promise.state_->paused_ = true;
                promise.give_control_back();
            }
            exit_status await_resume() const noexcept {
                promise.state_->paused_ = false;
                return promise.state_->status_;
            }
        };
        return pause{*this};
    }

    // What the end of a coroutine does: its awaiter goes on. But this one is not at its end, and can be awaited again.
    void give_control_back() noexcept {
        using handle = std::coroutine_handle<typename base::asio_base>;
        base::asio_base::final_suspend().await_suspend(handle::from_promise(*this));
    }

    scope_state<Executor>* state_ = nullptr;
};

/// The scope that is written by the library for a setup and a cleanup.
template <class T, class Executor, class Setup, class Cleanup>
async_scope<T, Executor> scope_from_pair(Setup setup, Cleanup cleanup) {
    if constexpr (std::is_void_v<T>) {
        co_await start_setup(setup);
        const exit_status why = co_yield entered;
        if constexpr (std::is_void_v<decltype(call_cleanup(cleanup, why))>) {
            call_cleanup(cleanup, why);
        } else {
            co_await call_cleanup(cleanup, why);
        }
    } else {
        T resource = co_await start_setup(setup);
        const exit_status why = co_yield resource;
        if constexpr (std::is_void_v<decltype(call_cleanup(cleanup, why, resource))>) {
            call_cleanup(cleanup, why, resource);
        } else {
            co_await call_cleanup(cleanup, why, resource);
        }
    }
}

struct scope_access;

}  // namespace detail

/// Inside a scope's coroutine, `scope_handle self = co_await coraii::this_scope;` names that scope, so that its resource
/// can hand out holds of it to those that depend on it.
inline constexpr detail::this_scope_t this_scope{};

/// A resource with asynchronous setup and cleanup, not set up yet. Awaiting it runs setup and gives a guard.
///
/// Write one as a coroutine that yields the resource exactly once. `co_yield` pauses it while the resource is in use,
/// and returns how the use ended; it does not throw. The resource lives in the coroutine and need not be movable:
///
///     coraii::async_scope<session> open_session(driver& d) {
///         session s = co_await d.connect();             // setup
///         coraii::exit_status why = co_yield s;         // in use
///         co_await s.close();                           // cleanup: always reached
///     }
///
/// or make one from a setup and a cleanup: `coraii::async_scope scope{open(), [](session& s) { return s.close(); }};`
///
/// Move-only, and good for one use. Never awaited, it runs nothing. Check arguments in a plain function that then
/// returns the coroutine, and bad input fails before anything is begun.
///
/// Effects of awaiting: runs the coroutine to its `co_yield`, as a coroutine thread of its own on the handler's associated
///   executor. If setup throws, that exception is the result, nothing is cleaned, and the body never starts.
/// Cancellation: during setup a cancel reaches setup's operations, whatever its type (`terminal`, `partial`, `total`),
///   after the caller's own filters. If setup succeeds nevertheless, the guard is delivered. From the `co_yield` on
///   nothing reaches the scope: the cleanup is shielded, but for its own `cleanup_timeout`. It begins with a cancellation
///   state of its own; what setup made of its own state (filters, `throw_if_cancelled`) ends with setup.
/// Errors: those of setup; `errc::no_value` if the coroutine ends without a `co_yield`; `errc::already_awaited` for a
///   scope that was used or moved from. A second `co_yield` throws `errc::yielded_twice` into the coroutine, which makes
///   it an error of the cleanup.
/// Executor: setup, cleanup and the completion run on the handler's associated executor. If several threads run it
///   (a thread_pool without a strand), cancellation and `cleanup_timeout` need a strand, as everywhere in Asio.
/// Lifetime: while it is being set up, in use or cleaned, the executor has outstanding work: `io_context::run()` does not
///   return. If the context is destroyed, the cleanup of an open scope still runs up to its first suspension, with
///   `exit_status::can_await()` false.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
template <class T, class Executor>
class [[nodiscard]] async_scope {
    static_assert(std::is_void_v<T> || (std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T>),
                  "coraii::async_scope<T>: T must be an object type or void, not a reference, an array or const");

public:
    using value_type = T;
    using executor_type = Executor;
    using guard_type = guard<T, Executor>;
    using promise_type = detail::scope_promise<T, Executor>;

    /// From a setup and a cleanup.
    ///
    /// `setup` is an `awaitable<T>`, a callable returning one, or an async operation completing with a T. `cleanup` takes
    /// `(T&)` or `(T&, exit_status)`, for void `()` or `(exit_status)`, and returns `awaitable<void>`, an async
    /// operation, or void. Both are kept until the cleanup is done.
    template <class Setup, class Cleanup>
        requires(!std::same_as<std::remove_cvref_t<Setup>, async_scope>)
    async_scope(Setup setup, Cleanup cleanup, std::source_location where = std::source_location::current())
        : async_scope{from_pair(std::move(setup), std::move(cleanup), where)} {}

    async_scope(async_scope&&) noexcept = default;
    async_scope& operator=(async_scope&&) noexcept = default;

    /// Bounds the cleanup: when it has run for `limit`, it is cancelled (`cancellation_type::terminal`), and once it has
    /// ended, `close` and `with` fail with `errc::cleanup_timeout`.
    /// Preconditions: limit > 0, else `std::invalid_argument`.
    /// Exception safety: if there is no memory for the wait when the cleanup begins, it runs without a limit.
    [[nodiscard]] async_scope cleanup_timeout(std::chrono::steady_clock::duration limit) && {
        if (limit <= limit.zero()) {
            throw std::invalid_argument("coraii: a cleanup_timeout must be greater than zero");
        }
        checked().timeout_ = limit;
        return std::move(*this);
    }

    /// A name for reports. It is copied; more than 15 characters may take an allocation.
    [[nodiscard]] async_scope named(std::string_view name) && {
        checked().name_ = name;
        return std::move(*this);
    }

    /// Starts the scope: an async operation with the signature `void(std::exception_ptr, guard<T, Executor>)`.
    template <asio::completion_token_for<void(std::exception_ptr, guard<T, Executor>)> Token>
    auto operator()(Token&& token) && {
        return asio::async_initiate<Token, void(std::exception_ptr, guard_type)>(
            detail::initiate_enter<guard_type, Executor>{}, token, std::move(state_));
    }

private:
    friend promise_type;
    friend struct detail::scope_access;

    explicit async_scope(detail::scope_ptr<Executor> state) noexcept : state_{std::move(state)} {}

    template <class Setup, class Cleanup>
    static async_scope from_pair(Setup setup, Cleanup cleanup, std::source_location where) {
        using result = detail::setup_result_t<Setup, Executor>;
        constexpr bool setup_fits = !std::same_as<result, detail::not_a_setup>;
        static_assert(
            setup_fits,
            "coraii::async_scope: the setup must be an asio::awaitable<T>, a callable that returns one, or an "
            "async operation that completes with a T");
        constexpr bool result_fits =
            !setup_fits || (std::is_void_v<T> ? std::is_void_v<result> : std::is_convertible_v<result, T>);
        static_assert(result_fits, "coraii::async_scope<T>: the setup does not give a T");
        constexpr bool cleanup_fits = [] {
            if constexpr (std::is_void_v<T>) {
                return detail::cleanup_for<Cleanup, Executor>;
            } else {
                return detail::cleanup_for<Cleanup, Executor, T>;
            }
        }();
        static_assert(cleanup_fits || !setup_fits,
                      "coraii::async_scope: the cleanup must be callable as cleanup(T&) or cleanup(T&, "
                      "coraii::exit_status), without the T& if T is void, and return asio::awaitable<void>, an async "
                      "operation, or void");
        if constexpr (setup_fits && result_fits && cleanup_fits) {
            auto scope = detail::scope_from_pair<T, Executor>(std::move(setup), std::move(cleanup));
            scope.state_->where_ = where;
            return scope;
        }
    }

    detail::scope_state<Executor>& checked() const {
        if (!state_) {
            detail::throw_error(errc::already_awaited);
        }
        return *state_;
    }

    detail::scope_ptr<Executor> state_;
};

template <class Setup, class Cleanup>
async_scope(Setup, Cleanup) -> async_scope<detail::setup_result_t<Setup>, detail::setup_executor_t<Setup>>;

namespace detail {

/// For the headers built on `async_scope`.
struct scope_access {
    template <class T, class Executor>
    static scope_ptr<Executor> take(async_scope<T, Executor>& scope) {
        if (!scope.state_) {
            throw_error(errc::already_awaited);
        }
        return std::move(scope.state_);
    }

    template <class T, class Executor>
    static void made_at(async_scope<T, Executor>& scope, std::source_location where) {
        scope.state_->where_ = where;
    }
};

template <class Object>
using entered_by_t = awaited_t<decltype(std::declval<Object&>().enter()),
                               typename awaitable_traits<decltype(std::declval<Object&>().enter())>::executor_type>;

template <class T, class Object>
async_scope<T, typename awaitable_traits<decltype(std::declval<Object&>().enter())>::executor_type> scope_from_object(
    Object object) {
    const auto leave = [&object](const exit_status& why) {
        if constexpr (requires { object.exit(why); }) {
            return object.exit(why);
        } else {
            return object.exit();
        }
    };
    if constexpr (std::is_void_v<T>) {
        co_await object.enter();
        const exit_status why = co_yield entered;
        co_await leave(why);
    } else {
        T resource = co_await object.enter();
        const exit_status why = co_yield resource;
        co_await leave(why);
    }
}

}  // namespace detail

/// The class form: an object with `awaitable<X> enter()` and `awaitable<void> exit(exit_status)` (or `exit()`) becomes an
/// `async_scope<X>`. The object is kept in the scope; move it in, or give a copy.
template <class Object>
auto scoped(Object object, std::source_location where = std::source_location::current()) {
    constexpr bool has_enter = requires { typename detail::entered_by_t<Object>; };
    constexpr bool has_exit =
        requires(Object& o, exit_status why) { o.exit(why); } || requires(Object& o) { o.exit(); };
    static_assert(has_enter, "coraii::scoped: the object needs a member asio::awaitable<X> enter()");
    static_assert(has_exit,
                  "coraii::scoped: the object needs a member asio::awaitable<void> exit(coraii::exit_status)");
    if constexpr (has_enter && has_exit) {
        auto scope = detail::scope_from_object<detail::entered_by_t<Object>>(std::move(object));
        detail::scope_access::made_at(scope, where);
        return scope;
    }
}

}  // namespace coraii

#endif
