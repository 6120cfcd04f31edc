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

template <class T>
inline constexpr bool is_tuple_of_references = false;
template <class... T>
inline constexpr bool is_tuple_of_references<std::tuple<T...>> = (std::is_lvalue_reference_v<T> && ...);

/// What `with` gives of a resource: the elements of a tuple of references, and of anything else a reference.
template <class T>
struct given {
    using type = std::tuple<std::add_lvalue_reference_t<T>>;
};
template <>
struct given<void> {
    using type = std::tuple<>;
};
template <class T>
    requires is_tuple_of_references<T>
struct given<T> {
    using type = T;
};

template <class X>
struct scope_traits {
    static constexpr bool is_scope = false;
};
template <class T, class E>
struct scope_traits<async_scope<T, E>> {
    static constexpr bool is_scope = true;
    using value_type = T;
    using executor_type = E;
    using resources = typename given<T>::type;
};

template <class F, class Resources>
struct called_with {};
template <class F, class... Resources>
    requires std::invocable<F&, Resources...>
struct called_with<F, std::tuple<Resources...>> : std::invoke_result<F&, Resources...> {};

struct no_scope {};

/// The scope that an argument of `with` is, or the one that it makes of the resources before it.
template <class Argument, class Resources>
struct made_scope {
    using type = no_scope;
};
template <class T, class E, class Resources>
struct made_scope<async_scope<T, E>, Resources> {
    using type = async_scope<T, E>;
};
template <class Argument, class Resources>
    requires(!scope_traits<Argument>::is_scope &&
             requires { requires scope_traits<typename called_with<Argument, Resources>::type>::is_scope; })
struct made_scope<Argument, Resources> : called_with<Argument, Resources> {};
template <class Argument, class Resources>
using made_scope_t = typename made_scope<Argument, Resources>::type;

/// What `f` returns, given the resource of a scope of T.
template <class T, class F>
decltype(auto) call_with_resource(F& f, void* resource) {
    if constexpr (std::is_void_v<T>) {
        return std::invoke(f);
    } else if constexpr (is_tuple_of_references<T>) {
        return std::apply(f, *static_cast<T*>(resource));
    } else {
        return std::invoke(f, *static_cast<T*>(resource));
    }
}

template <class Source>
auto claim_scope(Source& source) {
    if constexpr (scope_traits<Source>::is_scope) {
        return scope_access::claim(source);
    } else {
        auto scope = std::invoke(source);
        return scope_access::claim(scope);
    }
}

/// One scope around one body. Everything that `with` promises happens here. `source` is the scope, or it makes it.
template <class R, class Executor, class Source, class Body>
asio::awaitable<R, Executor> with_scope(own_frame, Source source, Body body) {
    using T = typename scope_traits<made_scope_t<Source, std::tuple<>>>::value_type;
    const scope_ptr<Executor> scope = claim_scope(source);
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
        if constexpr (std::is_void_v<R>) {
            co_await call_with_resource<T>(body, scope->resource_);
        } else {
            result.emplace(co_await call_with_resource<T>(body, scope->resource_));
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

/// All that `with` finds out about its arguments. `Resources`: of the scopes before these.
template <class Resources, class... Arguments>
struct with_arguments {
    static constexpr bool fit = true;
    using resources = Resources;
    template <class Executor>
    static constexpr bool all_on = true;
};
template <class Resources, class First, class... Rest>
struct with_arguments<Resources, First, Rest...> {
    static constexpr bool fit = false;
    using resources = Resources;
};
template <class Resources, class First, class... Rest>
    requires scope_traits<made_scope_t<First, Resources>>::is_scope
struct with_arguments<Resources, First, Rest...> {
    using scope = scope_traits<made_scope_t<First, Resources>>;
    using rest = with_arguments<decltype(std::tuple_cat(std::declval<Resources>(),
                                                        std::declval<typename scope::resources>())),
                                Rest...>;
    static constexpr bool fit = rest::fit;
    using resources = typename rest::resources;
    template <class Executor>
    static constexpr bool all_on =
        std::same_as<typename scope::executor_type, Executor> && rest::template all_on<Executor>;
};

/// What the body of `with` returns, given the resources of all its scopes; `void*` if it cannot be called with them.
template <class Body, class Resources>
struct with_result {
    using type = void*;
};
template <class Body, class Resources>
    requires requires { typename called_with<Body, Resources>::type; }
struct with_result<Body, Resources> : called_with<Body, Resources> {};

template <std::size_t I, class R, class Executor, class Arguments, class Body, class... Resources>
auto with_from(Arguments& arguments, Body& body, Resources&... resources) {
    if constexpr (I == std::tuple_size_v<Arguments>) {
        return std::invoke(body, resources...);
    } else {
        auto& argument = std::get<I>(arguments);
        auto inside = [&arguments, &body, &resources...](auto&... next) {
            return with_from<I + 1, R, Executor>(arguments, body, resources..., next...);
        };
        if constexpr (scope_traits<std::remove_cvref_t<decltype(argument)>>::is_scope) {
            return with_scope<R, Executor>(own_frame{}, std::move(argument), std::move(inside));
        } else {
            return with_scope<R, Executor>(
                own_frame{}, [&argument, &resources...] { return std::invoke(argument, resources...); },
                std::move(inside));
        }
    }
}

template <class R, class Executor, class First, class Body, class... Rest>
auto with_all(First first, Body body, Rest... rest) {
    if constexpr (sizeof...(Rest) == 0) {
        return with_scope<R, Executor>(own_frame{}, std::move(first), std::move(body));
    } else {
        return with_scope<R, Executor>(
            own_frame{}, std::move(first),
            [rest = std::tuple<Rest...>{std::move(rest)...}, body = std::move(body)](auto&... resource) mutable {
                return with_from<0, R, Executor>(rest, body, resource...);
            });
    }
}

template <class Arguments, std::size_t... I>
auto with_tuple(Arguments arguments, std::index_sequence<I...>) {
    constexpr std::size_t last = sizeof...(I);
    using body_type = std::decay_t<std::tuple_element_t<last, Arguments>>;
    using scopes = with_arguments<std::tuple<>, std::decay_t<std::tuple_element_t<I, Arguments>>...>;
    static_assert(scopes::fit,
                  "coraii::with: every argument but the last, the body, must be an async_scope, or a callable that is "
                  "given the resources before it (a T& for each scope that is not of void) and returns an async_scope");
    constexpr bool all_moved =
        ((!std::is_lvalue_reference_v<std::tuple_element_t<I, Arguments>> ||
          !scope_traits<std::decay_t<std::tuple_element_t<I, Arguments>>>::is_scope) &&
         ...);
    static_assert(all_moved, "coraii::with: a scope is used once; pass std::move(scope)");
    if constexpr (scopes::fit && all_moved) {
        using traits = awaitable_traits<typename with_result<body_type, typename scopes::resources>::type>;
        static_assert(traits::is_awaitable,
                      "coraii::with: the body must be callable as body(T&...), with a T& for each scope that is not "
                      "of void (of a tuple of references, its elements), and return asio::awaitable<R>");
        using executor_type = typename traits::executor_type;
        constexpr bool one_executor = !traits::is_awaitable || scopes::template all_on<executor_type>;
        static_assert(one_executor,
                      "coraii::with: the scopes and the awaitable that the body returns must have the same Executor; "
                      "asio::awaitable<R, E> goes with async_scope<T, E>");
        if constexpr (traits::is_awaitable && one_executor) {
            using R = typename traits::value_type;
            return [&]<std::size_t... J>(std::index_sequence<J...>) {
                return with_all<R, executor_type, std::decay_t<std::tuple_element_t<0, Arguments>>, body_type,
                                std::decay_t<std::tuple_element_t<J + 1, Arguments>>...>(
                    std::get<0>(std::move(arguments)), std::get<last>(std::move(arguments)),
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
/// A scope of void gives the body no argument; a resource that is a tuple of references gives its elements. A scope whose
/// turn does not come is never started.
///
/// For a scope that depends on those before it, an argument may be a callable that is given the resources so far, as the
/// body is, and returns a scope. One that throws counts as a setup that failed.
///
///     co_await with(connect("db"), [](connection& db) { return begin(db); },
///                   [](connection& db, transaction& tx) -> awaitable<void> { ... });
///
/// Cancellation: during setup a cancel reaches the setup; during the body it is the body's, exactly as if it were
///   awaited directly; the cleanup is shielded. Afterwards the caller's cancellation state, its filters and its
///   `throw_if_cancelled` are what they would be without the library.
/// Errors: what setup threw; else what the body threw, the same exception object; else what the cleanup threw. A
///   cleanup's error after an earlier one goes to `on_cleanup_error`.
/// Executor: setup and cleanup run on the awaiting coroutine's executor, where the body begins and `with` returns, even if
///   setup, body or cleanup go to another one and end there.
/// Lifetime: scopes, callables and body are moved into the coroutine that is returned, and live until all is clean. If it is
///   destroyed while the body is suspended, the resource is cleaned in the background as `abandoned`.
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
