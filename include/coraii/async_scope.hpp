// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_ASYNC_SCOPE_HPP
#define CORAII_ASYNC_SCOPE_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_frame.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/scope_operation.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <concepts>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace coraii {

template <class T, class Executor = asio::any_io_executor>
class async_scope;

/// What an `async_scope<void>` yields: `exit_status why = co_yield coraii::entered;`
struct entered_t {};
inline constexpr entered_t entered{};  ///< yielded by a scope of void

namespace detail {

struct this_scope_t {};

/// The promise of a scope's coroutine, which pauses once, at its `co_yield`.
template <class T, class Executor>
class scope_promise : public scope_frame<Executor> {
    using base = scope_frame<Executor>;

public:
    async_scope<T, Executor> get_return_object(std::source_location where = std::source_location::current()) {
        static_assert(alignof(scope_promise) == alignof(typename base::asio_base));
        this->set_handle();
        scope_core<Executor>& scope = this->core();
        scope.where_ = where;
        scope.handed_out();
        return async_scope<T, Executor>{unstarted_scope<Executor>{scope_ptr<Executor>{&scope, false}}};
    }

    template <class U>
        requires(!std::is_void_v<T> && std::is_convertible_v<std::remove_reference_t<U>*, T*>)
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
            registry_entry* entry;
            bool await_ready() const noexcept { return true; }
            void await_suspend(std::coroutine_handle<>) const noexcept {}
            scope_handle await_resume() const noexcept { return scope_handle{entry}; }
        };
        return awaiter{&this->core()};
    }

private:
    auto pause_with(void* resource) {
        if (this->core().state() > scope_state::unwanted) {
            throw_error(errc::yielded_twice);
        }
        this->core().resource_ = resource;
        struct pause {
            scope_promise& promise;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept { promise.base::pause(); }
            exit_status await_resume() const noexcept {
                promise.resumed();
                return promise.core().status_;
            }
        };
        return pause{*this};
    }
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
///   A setup that another setup begins runs in place of that one; 32 levels deep it is posted instead.
/// Cancellation: during setup a cancel reaches setup's operations, whatever its type (`terminal`, `partial`, `total`),
///   after the caller's own filters. If setup succeeds nevertheless, the guard is delivered. From the `co_yield` on
///   nothing reaches the scope: the cleanup is shielded, except from its own `cleanup_timeout`. It begins with a cancellation
///   state of its own; what setup made of its own state (filters, `throw_if_cancelled`) ends with setup.
/// Errors: those of setup; `errc::no_value` if the coroutine ends without a `co_yield`; `errc::already_awaited` for a
///   scope that was used or moved from. A second `co_yield` throws `errc::yielded_twice` into the coroutine, which makes
///   it an error of the cleanup.
/// Executor: setup, cleanup and the completion run on the handler's associated executor. If setup or cleanup goes to another
///   one and ends there, the library goes back before anything follows. A handler without an executor is refused at compile
///   time; `on(executor)` gives the scope one. If several threads run the executor (a thread_pool without a strand),
///   cancellation and timeouts need a strand, as everywhere in Asio.
/// Lifetime: while it is being set up, in use or cleaned, the executor has outstanding work: `io_context::run()` does not
///   return. If the context is destroyed, the cleanup of an open scope still runs up to its first suspension, with
///   `exit_status::can_await()` false.
/// Thread safety: distinct objects: safe. Shared objects: unsafe.
template <class T, class Executor>
class [[nodiscard]] async_scope {
    static_assert(std::is_void_v<T> || (std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T>),
                  "coraii::async_scope<T>: T must be an object type or void, not a reference, an array or const");

public:
    using value_type = T;  ///< the type of the resource
    using executor_type = Executor;  ///< of the coroutine that it is
    using guard_type = guard<T, Executor>;  ///< what awaiting it gives
    using promise_type = detail::scope_promise<T, Executor>;  ///< makes it a coroutine's return type

    /// From a setup and a cleanup.
    ///
    /// `setup` is an `awaitable<T>`, a callable returning one, or an async operation completing with a T. `cleanup` takes
    /// `(T&)` or `(T&, exit_status)`, for void `()` or `(exit_status)`, and returns `awaitable<void>`, an async
    /// operation, or void. Both are kept until the cleanup is done.
    template <class Setup, class Cleanup>
        requires(!std::same_as<std::remove_cvref_t<Setup>, async_scope>)
    async_scope(Setup setup, Cleanup cleanup, std::source_location where = std::source_location::current())
        : async_scope{from_pair(std::move(setup), std::move(cleanup), where)} {}

    async_scope(async_scope&&) noexcept = default;  ///< the other one is empty
    async_scope& operator=(async_scope&&) noexcept = default;  ///< drops what is not awaited

    /// Bounds the cleanup: when it has run for `limit`, it is cancelled (`cancellation_type::terminal`), and once it has
    /// ended, `close` and `with` fail with `errc::cleanup_timeout`, unless it ended with an error of its own
    /// (`operation_aborted` is none).
    /// Preconditions: limit > 0, else `std::invalid_argument`.
    /// Exception safety: if there is no memory for the wait when the cleanup begins, it runs without a limit.
    [[nodiscard]] async_scope cleanup_timeout(std::chrono::steady_clock::duration limit) && {
        detail::require_positive(limit, "coraii: a cleanup_timeout must be greater than zero");
        checked().settings().cleanup_timeout = limit;
        return std::move(*this);
    }

    template <class Unsaid = void>
    async_scope cleanup_timeout(std::chrono::steady_clock::duration) & {
        static_assert(sizeof(Unsaid*) == 0,
                      "coraii::async_scope: a scope is used once; say std::move(scope).cleanup_timeout(limit)");
        return std::move(*this);
    }

    /// Bounds the setup: when it has run for `limit`, it is cancelled (`cancellation_type::terminal`), and once it has ended, the
    /// awaiter gets `errc::setup_timeout`, unless it ended with an error of its own (`operation_aborted` is none, whoever
    /// cancelled). A resource that it produced nevertheless is cleaned first, as `exit_reason::cancelled`.
    /// Preconditions: limit > 0, else `std::invalid_argument`.
    /// Exception safety: if there is no memory for the wait, the setup fails.
    [[nodiscard]] async_scope setup_timeout(std::chrono::steady_clock::duration limit) && {
        detail::require_positive(limit, "coraii: a setup_timeout must be greater than zero");
        checked().settings().setup_timeout = limit;
        return std::move(*this);
    }

    template <class Unsaid = void>
    async_scope setup_timeout(std::chrono::steady_clock::duration) & {
        static_assert(sizeof(Unsaid*) == 0,
                      "coraii::async_scope: a scope is used once; say std::move(scope).setup_timeout(limit)");
        return std::move(*this);
    }

    /// A name for reports. It is copied; more than 15 characters take an allocation.
    [[nodiscard]] async_scope named(std::string_view name) && {
        checked().settings().name = name;
        return std::move(*this);
    }

    template <class Unsaid = void>
    async_scope named(std::string_view) & {
        static_assert(sizeof(Unsaid*) == 0, "coraii::async_scope: a scope is used once; say std::move(scope).named(name)");
        return std::move(*this);
    }

    /// Starts the scope: an async operation with the signature `void(std::exception_ptr, guard<T, Executor>)`.
    ///
    /// Preconditions: the handler has an executor of its own, as a coroutine has. For one that has none there is `on`.
    template <asio::completion_token_for<void(std::exception_ptr, guard<T, Executor>)> Token>
    auto operator()(Token&& token) && {
        auto start = [](auto&& handler, detail::unstarted_scope<Executor> scope) {
            using handler_type = std::decay_t<decltype(handler)>;
            using handler_executor = asio::associated_executor_t<handler_type>;
            constexpr bool has_executor = detail::has_executor<handler_type>;
            static_assert(has_executor,
                          "coraii::async_scope: the completion handler has no executor, so there is none to run setup and "
                          "cleanup on; give it one with asio::bind_executor, or the scope with std::move(scope).on(executor)");
            constexpr bool converts = !has_executor || std::is_convertible_v<handler_executor, Executor>;
            static_assert(converts,
                          "coraii::async_scope: the handler's associated executor must convert to the scope's Executor; "
                          "std::move(scope).on(executor) gives the scope one");
            if constexpr (has_executor && converts) {
                const auto executor = static_cast<Executor>(asio::get_associated_executor(handler));
                detail::start_scope<guard_type, Executor, handler_type>(std::forward<decltype(handler)>(handler), executor,
                                                                        std::move(scope));
            }
        };
        return asio::async_initiate<Token, void(std::exception_ptr, guard_type)>(start, token, std::move(scope_));
    }

    template <class Token>
    auto operator()(Token&&) & {
        static_assert(sizeof(Token) == 0, "coraii::async_scope: a scope is used once; say co_await std::move(scope)");
    }

    /// The scope as an async operation of an object that has this executor, as an I/O object's operations have one: setup and
    /// cleanup run on the handler's executor if it has one, else on `executor`. Same signature.
    ///
    /// For handlers without an executor, such as those of `asio::experimental::make_parallel_group`. `with` and the like take
    /// the scope itself.
    [[nodiscard]] scope_operation<T, Executor> on(Executor executor) && {
        return scope_operation<T, Executor>{std::move(executor), std::move(scope_)};
    }

    template <class Unsaid = void>
    scope_operation<T, Executor> on(Executor executor) & {
        static_assert(sizeof(Unsaid*) == 0, "coraii::async_scope: a scope is used once; say std::move(scope).on(executor)");
        return std::move(*this).on(std::move(executor));
    }

private:
    friend promise_type;
    friend struct detail::scope_access;

    explicit async_scope(detail::unstarted_scope<Executor> scope) noexcept : scope_{std::move(scope)} {}

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
        constexpr bool cleanup_fits = detail::cleans<Cleanup, Executor, T>;
        static_assert(cleanup_fits || !setup_fits,
                      "coraii::async_scope: the cleanup must be callable as cleanup(T&) or cleanup(T&, "
                      "coraii::exit_status), without the T& if T is void, and return asio::awaitable<void>, an async "
                      "operation, or void");
        if constexpr (setup_fits && result_fits && cleanup_fits) {
            auto scope = detail::scope_from_pair<T, Executor>(std::move(setup), std::move(cleanup));
            scope.scope_->where_ = where;
            return scope;
        }
    }

    detail::scope_core<Executor>& checked() const {
        if (!scope_) {
            detail::throw_error(errc::already_awaited);
        }
        return *scope_.operator->();
    }
    detail::unstarted_scope<Executor> scope_;
};

/// Deduces the resource and the executor.
template <class Setup, class Cleanup>
async_scope(Setup, Cleanup) -> async_scope<detail::setup_result_t<Setup>, detail::setup_executor_t<Setup>>;

namespace detail {

/// For the headers built on `async_scope`.
struct scope_access {
    template <class T, class Executor>
    static scope_ptr<Executor> claim(async_scope<T, Executor>& scope) {
        return scope.scope_.claim_or_throw();
    }

    template <class T, class Executor>
    static unstarted_scope<Executor> take(async_scope<T, Executor>& scope) noexcept {
        return std::move(scope.scope_);
    }

    template <class T, class Executor>
    static void made_at(async_scope<T, Executor>& scope, std::source_location where, const char* default_name = "") {
        scope.scope_->where_ = where;
        scope.scope_->default_name_ = default_name;
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
