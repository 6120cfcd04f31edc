// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_AWAITED_HPP
#define CORAII_DETAIL_COROUTINE_AWAITED_HPP

// What a setup, a body and a cleanup may be, and what awaiting them gives.

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// What `co_await std::declval<X>()` gives in an Asio coroutine.
template <class X, class Executor>
using awaited_t =
    decltype(std::declval<asio_promise<void, Executor>&>().await_transform(std::declval<X>()).await_resume());

template <class X, class Executor>
concept awaitable_in = requires { typename awaited_t<X, Executor>; };

template <class T, class Executor>
struct awaitable_parts {
    static constexpr bool is_awaitable = true;
    using value_type = T;
    using executor_type = Executor;
};
template <class T, class Executor>
awaitable_parts<T, Executor> parts_of(const asio::awaitable<T, Executor>&);

/// The parts of an `asio::awaitable`, or of a class derived from one, as a `task` is; of anything else, only the executor
/// it would be awaited on by default.
template <class X>
struct awaitable_traits {
    static constexpr bool is_awaitable = false;
    using executor_type = asio::any_io_executor;
};
template <class X>
    requires requires(const X& x) { parts_of(x); }
struct awaitable_traits<X> : decltype(parts_of(std::declval<const X&>())){};

struct not_a_setup {};

/// What a setup has to be awaited as: itself, or what calling it gives.
template <class Setup>
struct started {
    using type = Setup;
};
template <std::invocable Setup>
struct started<Setup> {
    using type = std::invoke_result_t<Setup&>;
};
template <class Setup>
using started_t = typename started<Setup>::type;

template <class Setup>
using setup_executor_t = typename awaitable_traits<started_t<Setup>>::executor_type;

template <class Setup, class Executor>
struct setup_result {
    using type = not_a_setup;
};
template <class Setup, class Executor>
    requires awaitable_in<started_t<Setup>, Executor>
struct setup_result<Setup, Executor> {
    using type = awaited_t<started_t<Setup>, Executor>;
};
template <class Setup, class Executor = setup_executor_t<Setup>>
using setup_result_t = typename setup_result<Setup, Executor>::type;

template <class Setup>
started_t<Setup> start_setup(Setup& setup) {
    if constexpr (std::invocable<Setup&>) {
        return std::invoke(setup);
    } else {
        return std::move(setup);
    }
}

/// In the place of a value of type void. (`std::monostate` brings the whole of <variant>.)
struct nothing {};

/// A body's result until the cleanups are done; of void, nothing.
template <class R>
using pending_result = std::conditional_t<std::is_void_v<R>, nothing, std::optional<R>>;

/// Calls `cleanup(resource..., why)`, or without `why` where it does not want to know.
template <class Cleanup, class... Resource>
decltype(auto) call_cleanup(Cleanup& cleanup, const exit_status& why, Resource&... resource) {
    if constexpr (std::invocable<Cleanup&, Resource&..., exit_status>) {
        return std::invoke(cleanup, resource..., why);
    } else {
        return std::invoke(cleanup, resource...);
    }
}

template <class Cleanup, class Executor, class... Resource>
concept cleanup_for = (std::invocable<Cleanup&, Resource&...> || std::invocable<Cleanup&, Resource&..., exit_status>) &&
                      requires(Cleanup& cleanup, const exit_status& why, Resource&... resource) {
                          requires std::is_void_v<decltype(call_cleanup(cleanup, why, resource...))> ||
                                       awaitable_in<decltype(call_cleanup(cleanup, why, resource...)), Executor>;
                      };

/// The same for the cleanup of a scope of `T`, which may be void.
template <class Cleanup, class Executor, class T>
inline constexpr bool cleans = cleanup_for<Cleanup, Executor, T>;
template <class Cleanup, class Executor>
inline constexpr bool cleans<Cleanup, Executor, void> = cleanup_for<Cleanup, Executor>;

}  // namespace coraii::detail

#endif
