// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SCOPE_OPERATION_HPP
#define CORAII_SCOPE_OPERATION_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/guard.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_executor.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace coraii {

template <class T, class Executor>
class async_scope;

/// A scope with an executor, as an async operation with the signature `void(std::exception_ptr, guard<T, Executor>)`. Made by
/// `async_scope::on`.
///
/// Move-only, and good for one use.
/// Errors, Cancellation, Lifetime, Thread safety: as of the scope.
template <class T, class Executor>
class [[nodiscard]] scope_operation {
public:
    using executor_type = Executor;  ///< where the handler has none

    executor_type get_executor() const noexcept { return executor_; }  ///< where the handler has none

    /// Starts it, once. Handler signature: `void(std::exception_ptr, guard)`.
    template <asio::completion_token_for<void(std::exception_ptr, guard<T, Executor>)> Token>
    auto operator()(Token&& token) && {
        auto start = [](auto&& handler, const Executor& executor, detail::unstarted_scope<Executor> scope) {
            using handler_type = std::decay_t<decltype(handler)>;
            using handler_executor = asio::associated_executor_t<handler_type, Executor>;
            using guard_type = guard<T, Executor>;
            if constexpr (!detail::has_executor<handler_type>) {
                auto bound = asio::bind_executor(executor, std::forward<decltype(handler)>(handler));
                detail::start_scope<guard_type, Executor, decltype(bound)>(std::move(bound), executor, std::move(scope));
            } else if constexpr (std::is_convertible_v<handler_executor, Executor>) {
                const auto handlers = static_cast<Executor>(asio::get_associated_executor(handler));
                detail::start_scope<guard_type, Executor, handler_type>(std::forward<decltype(handler)>(handler), handlers,
                                                                        std::move(scope));
            } else {
                detail::start_scope<guard_type, Executor, handler_type>(std::forward<decltype(handler)>(handler), executor,
                                                                        std::move(scope));
            }
        };
        return asio::async_initiate<Token, void(std::exception_ptr, guard<T, Executor>)>(
            detail::initiation{executor_, start}, token, std::move(scope_));
    }

private:
    friend class async_scope<T, Executor>;

    scope_operation(Executor executor, detail::unstarted_scope<Executor> scope) noexcept
        : executor_{std::move(executor)}, scope_{std::move(scope)} {}

    Executor executor_;
    detail::unstarted_scope<Executor> scope_;
};

}  // namespace coraii

#endif
