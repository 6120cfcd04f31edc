// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_ALL_HPP
#define CORAII_ALL_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_deadline.hpp"
#include "coraii/detail/scope/scope_set.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/unlimited.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/this_coro.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coraii {
namespace detail {

/// Sets all up, or throws the first error when what was opened is clean.
template <class Executor>
asio::awaitable<void, Executor> set_up_all(own_frame, scope_set<Executor>& set) {
    const asio::cancellation_state caller = co_await asio::this_coro::cancellation_state;
    const Executor executor = co_await asio::this_coro::executor;
    asio::cancellation_slot slot = caller.slot();
    if (slot.is_connected()) {
        slot.assign([&set](asio::cancellation_type_t type) { set.cancel(type); });
    }
    co_await set.set_up(executor);
    slot.clear();
    if (std::exception_ptr error = set.error_) {
        const bool cancelled = caller.cancelled() != asio::cancellation_type::none;
        co_await set.clean_up(exit_status{cancelled ? exit_reason::cancelled : exit_reason::failed, error});
        std::rethrow_exception(std::move(error));
    }
}

template <class Executor>
using unstarted_scopes = std::vector<unstarted_scope<Executor>, recycling_allocator<unstarted_scope<Executor>>>;

/// `resources(set)` gives the resource, without taking memory: nothing may fail between setup and use.
template <class Resource, class Executor, class Resources>
async_scope<Resource, Executor> scope_of_all(std::size_t at_once, unstarted_scopes<Executor> scopes,
                                             Resources resources) {
    scope_set<Executor> set{scopes.size(), at_once};
    for (unstarted_scope<Executor>& scope : scopes) {
        set.add(std::move(scope));
    }
    co_await set_up_all(own_frame{}, set);
    decltype(auto) all = resources(set);
    const exit_status why = co_yield all;
    const asio::cancellation_state now = co_await asio::this_coro::cancellation_state;
    asio::cancellation_slot timeout =
        call_on_timeout(now.slot(), [&set](asio::cancellation_type_t type) { set.cancel(type); });
    co_await set.clean_up(why);
    timeout.clear();
    if (set.error_) {
        std::rethrow_exception(set.error_);
    }
}

template <class X>
struct scope_in_all {
    static constexpr bool is_scope = false;
    using executor_type = void;
};
template <class T, class Executor>
struct scope_in_all<async_scope<T, Executor>> {
    static constexpr bool is_scope = true;
    using executor_type = Executor;

    static auto reference(const scope_set<Executor>& set, std::size_t i) {
        if constexpr (std::is_void_v<T>) {
            return std::tuple<>{};
        } else {
            return std::tuple<T&>{*static_cast<T*>(set.resource(i))};
        }
    }
};

template <class X>
inline constexpr bool is_vector_of_scopes = false;
template <class T, class Executor>
inline constexpr bool is_vector_of_scopes<std::vector<async_scope<T, Executor>>> = true;

template <class T>
struct vector_resources {
    explicit vector_resources(std::size_t n) : all(n) {}

    template <class Executor>
    std::vector<T*> operator()(const scope_set<Executor>& set) {
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] = static_cast<T*>(set.resource(i));
        }
        return std::move(all);
    }

    std::vector<T*> all;
};
template <>
struct vector_resources<void> {
    explicit vector_resources(std::size_t) noexcept {}

    template <class Executor>
    const entered_t& operator()(const scope_set<Executor>&) const noexcept {
        return entered;
    }
};
template <class T>
using all_resources = std::conditional_t<std::is_void_v<T>, void, std::vector<std::add_pointer_t<T>>>;

template <class Executor, class... Scopes, std::size_t... I>
auto all_of(std::index_sequence<I...>, Scopes... scopes) {
    const auto references = [](const scope_set<Executor>& set) {
        return std::tuple_cat(scope_in_all<Scopes>::reference(set, I)...);
    };
    using resource = std::invoke_result_t<decltype(references), const scope_set<Executor>&>;
    unstarted_scopes<Executor> unstarted;
    unstarted.reserve(sizeof...(Scopes));
    (unstarted.push_back(scope_access::take(scopes)), ...);
    return scope_of_all<resource, Executor>(unlimited, std::move(unstarted), references);
}

}  // namespace detail

/// Several scopes as one, set up at the same time, and cleaned at the same time: `async_scope<std::tuple<T&...>>`. Scopes of void
/// add nothing to the tuple.
///
///     auto [users, orders] = *(co_await coraii::all(connect("users"), connect("orders")));
///
/// Effects: a resource is told how the use of all ended. If a setup fails, the others are cancelled. When all setups have ended,
///   what was opened is cleaned, and is told `failed` (`cancelled` after a cancel of the user) with that error; then the setup of
///   all fails. `guard::release()` gives the references; the scopes are then cleaned as those of dropped guards.
/// Cancellation: during setup a cancel reaches all setups. A cleanup is shielded; when the `cleanup_timeout` of all fires, the
///   cleanups are cancelled. Each scope can have timeouts of its own.
/// Errors: the first error of a setup; errors that other setups end with, as a rule because they are cancelled, are dropped.
///   The first error of a cleanup; others are reported to `on_cleanup_error`.
/// Executor: all run on the scope's executor. If several threads run it, it must be a strand, as for every scope that can be
///   cancelled.
/// Exception safety: cleaning up takes no memory.
template <class... Scopes>
    requires(sizeof...(Scopes) > 0 && !(detail::is_vector_of_scopes<std::remove_cvref_t<Scopes>> || ...))
[[nodiscard]] auto all(Scopes&&... scopes) {
    constexpr bool are_scopes = (detail::scope_in_all<std::remove_cvref_t<Scopes>>::is_scope && ...);
    static_assert(are_scopes, "coraii::all: every argument must be an async_scope; or give a std::vector of them");
    constexpr bool all_moved = (!std::is_lvalue_reference_v<Scopes> && ...);
    static_assert(all_moved, "coraii::all: a scope is used once; pass std::move(scope)");
    using first = std::tuple_element_t<0, std::tuple<std::remove_cvref_t<Scopes>...>>;
    using executor = typename detail::scope_in_all<first>::executor_type;
    constexpr bool one_executor =
        (std::same_as<executor, typename detail::scope_in_all<std::remove_cvref_t<Scopes>>::executor_type> && ...);
    static_assert(one_executor || !are_scopes, "coraii::all: the scopes must have the same Executor");
    if constexpr (are_scopes && all_moved && one_executor) {
        return detail::all_of<executor, Scopes...>(std::index_sequence_for<Scopes...>{}, std::move(scopes)...);
    }
}

/// The same for any number of scopes, of which at most `at_once` are set up, and cleaned, at a time: the resource is a
/// `std::vector<T*>` in their order. Scopes of void give an `async_scope<void>`.
///
/// Errors: `std::invalid_argument` if `at_once` is zero.
template <class T, class Executor>
[[nodiscard]] auto all(std::vector<async_scope<T, Executor>> scopes, std::size_t at_once = unlimited,
                       std::source_location where = std::source_location::current()) {
    if (at_once == 0) {
        throw std::invalid_argument("coraii::all: at_once must be at least 1");
    }
    detail::unstarted_scopes<Executor> unstarted;
    unstarted.reserve(scopes.size());
    for (async_scope<T, Executor>& scope : scopes) {
        unstarted.push_back(detail::scope_access::take(scope));
    }
    detail::vector_resources<T> resources{scopes.size()};
    auto scope =
        detail::scope_of_all<detail::all_resources<T>, Executor>(at_once, std::move(unstarted), std::move(resources));
    detail::scope_access::made_at(scope, where);
    return scope;
}

}  // namespace coraii

#endif
