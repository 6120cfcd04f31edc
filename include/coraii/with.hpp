// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_WITH_HPP
#define CORAII_WITH_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/result.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coraii {
namespace detail {

/// What `with` owes a scope if its own coroutine is destroyed on the way.
template <class Executor>
struct use_in_with {
    scope_core<Executor>& scope;
    bool is_inline;
    bool& suspended;  // since we last knew that we are on the executor
    const bool had_suspended = std::exchange(suspended, false);
    bool over = false;

    ~use_in_with() {
        suspended |= had_suspended;
        if (over) {
            return;
        }
        if (is_inline) {
            scope.abandon_inline();
        } else {
            scope.end_use({}, false);
        }
    }
};

/// `co_await try_begin_inline{scope}`: begins the scope inline, if it may be. False if somebody can
/// cancel the coroutine (then the cleanup has to be shielded), if setup or cleanup has a deadline, or for another Executor.
template <class Executor>
struct try_begin_inline {
    scope_core<Executor>& scope;

    template <class Promise>
    auto await_in(Promise& promise) const {
        struct awaiter {
            scope_core<Executor>& scope;
            typename Promise::asio_base& promise;

            bool await_ready() const noexcept { return true; }
            void await_suspend(std::coroutine_handle<>) const noexcept {}
            bool await_resume() const {
                const auto caller = promise.await_transform(asio::this_coro::cancellation_state).await_resume();
                if (caller.slot().is_connected() || !scope.can_run_inline()) {
                    return false;
                }
                scope.begin_inline(promise.await_transform(asio::this_coro::executor).await_resume());
                return true;
            }
        };
        return awaiter{scope, promise};
    }
};

/// One scope around one body. Everything that `with` promises happens here.
template <class R, class T, class Executor, class Body>
asio::awaitable<R, Executor> with_scope(own_frame, async_scope<T, Executor> unstarted, Body body) {
    const scope_ptr<Executor> scope = scope_access::claim(unstarted);
    const bool is_inline = co_await try_begin_inline<Executor>{*scope};
    use_in_with<Executor> use{*scope, is_inline, co_await watch_suspension{}};
    if (is_inline) {
        co_await go_back(*scope, use.had_suspended);
        co_await run_inline<Executor>{*scope};
        if (scope->state() != scope_state::open) {
            co_await go_back(*scope, use.suspended);
            scope->inline_ended();
            use.over = true;
            scope->rethrow_error();
        }
        co_await go_back(*scope, use.suspended);
    } else {
        const asio::cancellation_state caller = co_await asio::this_coro::cancellation_state;
        const Executor executor = co_await asio::this_coro::executor;
        co_await set_up(*scope, executor, caller);
        scope->rethrow_error();
    }

    pending_result<R> result;
    std::exception_ptr error;
    try {
        if constexpr (std::is_void_v<T> && std::is_void_v<R>) {
            co_await std::invoke(body);
        } else if constexpr (std::is_void_v<T>) {
            result.emplace(co_await std::invoke(body));
        } else if constexpr (std::is_void_v<R>) {
            co_await std::invoke(body, *static_cast<T*>(scope->resource_));
        } else {
            result.emplace(co_await std::invoke(body, *static_cast<T*>(scope->resource_)));
        }
    } catch (...) { error = std::current_exception(); }

    exit_status why{exit_reason::completed};
    if (error) {
        const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
        const bool cancelled = now.cancelled() != asio::cancellation_type::none;
        why = exit_status{cancelled ? exit_reason::cancelled : exit_reason::failed, error};
    }
    if (is_inline) {
        co_await go_back(*scope, use.suspended);
        if (!scope->claim_cleanup_inline(std::move(why))) {
            co_await suspend_until{[] { return false; },
                                   [&scope](auto handler) { scope->wait_until_unheld(std::move(handler)); }};
        }
        co_await run_inline<Executor>{*scope};
        co_await go_back(*scope, use.suspended);
        scope->inline_ended();
    } else {
        co_await end_use_and_wait(*scope, std::move(why));
    }
    use.over = true;

    if (error) {
        std::rethrow_exception(std::move(error));
    }
    scope->rethrow_error();
    if constexpr (!std::is_void_v<R>) {
        co_return std::move(*result);
    }
}

template <class X>
struct scope_traits {
    static constexpr bool is_scope = false;
};
template <class T, class E>
struct scope_traits<async_scope<T, E>> {
    static constexpr bool is_scope = true;
    using executor_type = E;
    using reference = std::conditional_t<std::is_void_v<T>, std::tuple<>, std::tuple<std::add_lvalue_reference_t<T>>>;
};

template <class Body, class Resources>
struct body_result;
template <class Body, class... Resources>
struct body_result<Body, std::tuple<Resources...>> : std::invoke_result<Body&, Resources...> {};

/// What the body of `with` returns, given the resources of all its scopes; `void*` if it cannot be called with them.
template <class Body, class Resources, class = void>
struct with_result {
    using type = void*;
};
template <class Body, class Resources>
struct with_result<Body, Resources, std::void_t<typename body_result<Body, Resources>::type>> {
    using type = typename body_result<Body, Resources>::type;
};

template <std::size_t I, class R, class Scopes, class Body, class... Resources>
auto with_from(Scopes& scopes, Body& body, Resources&... resources) {
    if constexpr (I == std::tuple_size_v<Scopes>) {
        return std::invoke(body, resources...);
    } else {
        return with_scope<R>(own_frame{}, std::move(std::get<I>(scopes)),
                             [&scopes, &body, &resources...](auto&... next) {
                                 return with_from<I + 1, R>(scopes, body, resources..., next...);
                             });
    }
}

template <class R, class First, class Body, class... Rest>
auto with_all(First first, Body body, Rest... rest) {
    if constexpr (sizeof...(Rest) == 0) {
        return with_scope<R>(own_frame{}, std::move(first), std::move(body));
    } else {
        return with_scope<R>(own_frame{}, std::move(first),
                             [rest = std::tuple<Rest...>{std::move(rest)...}, body = std::move(body)](
                                 auto&... resource) mutable { return with_from<0, R>(rest, body, resource...); });
    }
}

template <class Arguments, std::size_t... I>
auto with_tuple(Arguments arguments, std::index_sequence<I...>) {
    constexpr std::size_t last = sizeof...(I);
    using body_type = std::decay_t<std::tuple_element_t<last, Arguments>>;
    constexpr bool scopes_fit =
        (scope_traits<std::remove_cvref_t<std::tuple_element_t<I, Arguments>>>::is_scope && ...);
    static_assert(scopes_fit, "coraii::with: every argument but the last, the body, must be an async_scope");
    constexpr bool all_moved = (!std::is_lvalue_reference_v<std::tuple_element_t<I, Arguments>> && ...);
    static_assert(all_moved, "coraii::with: a scope is used once; pass std::move(scope)");
    if constexpr (scopes_fit && all_moved) {
        using resources = decltype(std::tuple_cat(
            std::declval<typename scope_traits<std::decay_t<std::tuple_element_t<I, Arguments>>>::reference>()...));
        using result = typename with_result<body_type, resources>::type;
        static_assert(awaitable_traits<result>::is_awaitable,
                      "coraii::with: the body must be callable as body(T&...), with one T& for each scope that is not "
                      "of void, and return asio::awaitable<R>");
        constexpr bool one_executor =
            !awaitable_traits<result>::is_awaitable ||
            (std::same_as<typename scope_traits<std::decay_t<std::tuple_element_t<I, Arguments>>>::executor_type,
                          typename awaitable_traits<result>::executor_type> &&
             ...);
        static_assert(one_executor,
                      "coraii::with: the scopes and the awaitable that the body returns must have the same Executor; "
                      "asio::awaitable<R, E> goes with async_scope<T, E>");
        if constexpr (awaitable_traits<result>::is_awaitable && one_executor) {
            using R = typename awaitable_traits<result>::value_type;
            return [&]<std::size_t... J>(std::index_sequence<J...>) {
                return with_all<R>(std::get<0>(std::move(arguments)), body_type(std::get<last>(std::move(arguments))),
                                   std::get<J + 1>(std::move(arguments))...);
            }(std::make_index_sequence<last - 1>{});
        }
    }
}

template <class R, class Executor>
asio::awaitable<boost::system::result<R, std::exception_ptr>, Executor> catch_all(own_frame,
                                                                                  asio::awaitable<R, Executor> work) {
    using outcome = boost::system::result<R, std::exception_ptr>;
    std::exception_ptr error;
    try {
        if constexpr (std::is_void_v<R>) {
            co_await std::move(work);
            co_return outcome{boost::system::in_place_value};
        } else {
            co_return outcome{boost::system::in_place_value, co_await std::move(work)};
        }
    } catch (...) { error = std::current_exception(); }
    co_return outcome{boost::system::in_place_error, std::move(error)};
}

}  // namespace detail

/// `co_await with(scope, ..., body)`: sets the scopes up left to right, awaits `body(T&, ...)`, cleans up right to left,
/// and gives the body's result. When it returns, by result or exception, every cleanup is complete.
///
/// A scope of void gives the body no argument. A scope whose turn does not come is never started.
///
/// Cancellation: during setup a cancel reaches the setup; during the body it is the body's, exactly as if it were
///   awaited directly; the cleanup is shielded. Afterwards the caller's cancellation state, its filters and its
///   `throw_if_cancelled` are what they would be without the library.
/// Errors: what setup threw; else what the body threw, the same exception object; else what the cleanup threw. A
///   cleanup's error after an earlier one goes to `on_cleanup_error`.
/// Executor: setup and cleanup run on the awaiting coroutine's executor, where the body begins and `with` returns, even if
///   setup, body or cleanup go to another one and end there.
/// Lifetime: scopes and body are moved into the coroutine that is returned. If that is destroyed while the body is
///   suspended, the resource is cleaned in the background as `abandoned`.
/// Exception safety: if there is no memory to begin with, nothing has been set up; the cleanup needs none of the
///   library's.
template <class... ScopesAndBody>
    requires(sizeof...(ScopesAndBody) >= 2)
[[nodiscard]] auto with(ScopesAndBody&&... scopes_and_body) {
    return detail::with_tuple(std::forward_as_tuple(std::forward<ScopesAndBody>(scopes_and_body)...),
                              std::make_index_sequence<sizeof...(ScopesAndBody) - 1>{});
}

/// As `with`, but what setup, body or cleanup throws is returned: `awaitable<boost::system::result<R, exception_ptr>>`.
template <class... ScopesAndBody>
    requires(sizeof...(ScopesAndBody) >= 2)
[[nodiscard]] auto try_with(ScopesAndBody&&... scopes_and_body) {
    auto work = with(std::forward<ScopesAndBody>(scopes_and_body)...);
    using traits = detail::awaitable_traits<decltype(work)>;
    return detail::catch_all<typename traits::value_type, typename traits::executor_type>(detail::own_frame{},
                                                                                          std::move(work));
}

}  // namespace coraii

#endif
