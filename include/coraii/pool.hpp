// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_HPP
#define CORAII_POOL_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// A pool of resources: guards of scopes, lent as scopes.

#include "coraii/async_scope.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/pool/detail/pool_lend.hpp"
#include "coraii/pool/detail/pool_state.hpp"
#include "coraii/pool/options.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coraii {

/// Lends resources that are expensive to open, and opens no more of them than `max_size`.
///
///     coraii::pool pool{context, [] { return connect("db"); }, {.max_size = 16}};
///     co_await coraii::with(pool.acquire(), [](connection& c) -> asio::awaitable<void> { ... });
///
/// In a coroutine `open_pool` is better: it also waits for the pool to close.
///
/// A lease is a scope: whatever happens to its user, the resource goes back to the pool. A broken resource is cleaned instead.
/// Waiters are served in the order of coming, by a resource that is given back or by one that is newly opened.
///
/// The pool opens, not the waiter: if a waiter gives up, the opening goes on, and serves the next one. An opening that fails is
/// repeated after `open_backoff` while somebody waits, unless the `retry_opening` hook says otherwise. A resource counts until
/// its cleanup has ended, so there are never more than `max_size`.
///
/// Executor: a lease is acquired and left on the caller's executor. The resource's own work (opening, hooks, cleanup) and the
///   timer run on the pool's. If several threads run that, it must be a strand, as everywhere in Asio.
/// Errors: `std::invalid_argument` from the constructor, for options that make no sense. The exceptions of a factory and of
///   hooks stay in the pool (see `acquire`). The error of a resource's cleanup goes to `on_cleanup_error`.
/// Lifetime: an open resource is outstanding work on the pool's executor: `io_context::run()` returns only after `close`, or
///   when `idle_timeout` has closed all. The maintenance timer does not keep `io_context::run()` from returning, and takes no
///   thread. Destroying the pool is a `close` that does not wait: leases remain good, and their resources are
///   cleaned when they come back. If the pool's context dies, the resources are cleaned as its scopes are (`async_scope`);
///   a lease on another context must not be used then, but can be dropped.
/// Thread safety: safe, except for the destructor.
template <class T, class Executor = asio::any_io_executor>
class pool {
    static_assert(std::is_object_v<T>, "coraii::pool<T>: T must be what the scopes yield, an object");

public:
    using value_type = T;  ///< the type of the resource
    using executor_type = Executor;  ///< that the resources' own work runs on
    using factory_type = std::function<async_scope<T, Executor>()>;  ///< makes a scope for each resource
    using duration = pool_options::duration;  ///< of the steady clock

    /// Opens nothing yet. `factory` makes a new scope for each resource; it and the hooks are called on `executor`.
    pool(Executor executor, factory_type factory, pool_options options = {}, pool_hooks<T> hooks = {}) {
        detail::check_pool(factory, options);
        state_ = std::make_shared<detail::pool_state<T, Executor>>(executor, std::move(factory), options,
                                                                   detail::with_default_hooks<T>(std::move(hooks)));
        state_->enlist();
    }
    /// On the executor of an execution context.
    template <std::derived_from<asio::execution_context> Context>
    explicit pool(Context& context, factory_type factory, pool_options options = {}, pool_hooks<T> hooks = {})
        : pool{Executor{context.get_executor()}, std::move(factory), options, std::move(hooks)} {}
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    ~pool() { state_->close(); }

    /// The use of a resource, as a scope. Its cleanup gives the resource back, after the `reset` hook if there is one.
    ///
    /// Cancellation: while it waits, of any type. A lease that was granted in the same instant goes to the next.
    /// Errors: `errc::pool_timeout` after `timeout`, of which waiting, opening and checking are all part; its `what()` has
    ///   the pool's counts, and what the last opening threw. The error of an opening if the `retry_opening` hook says that
    ///   another one is of no use. `errc::pool_closed`; `errc::pool_exhausted` if `max_waiting` wait already.
    ///   `std::invalid_argument` from this function if `timeout` is negative. Zero takes what is idle.
    /// Effects of `guard::release()`: the resource is out of the pool, which may open another.
    /// Exception safety: on an idle resource, no memory beyond what scopes recycle.
    [[nodiscard]] async_scope<T, Executor> acquire(duration timeout,
                                                   std::source_location where = std::source_location::current()) {
        detail::require(timeout >= timeout.zero(), "coraii::pool: the timeout of acquire must not be negative");
        auto scope = detail::lend<T, Executor>(state_, {}, timeout, where);
        detail::scope_access::made_at(scope, where, detail::lease_name);
        return scope;
    }
    /// Within `acquire_timeout`.
    [[nodiscard]] async_scope<T, Executor> acquire(std::source_location where = std::source_location::current()) {
        return acquire(state_->options().acquire_timeout, where);
    }

    /// A lease of an idle resource; an empty guard when none is idle, others wait, or the pool is closed.
    ///
    /// Effects: if the idle resource is due for a check, the guard is empty, but the check begins.
    /// Executor: the guard's cleanup runs on the pool's executor.
    [[nodiscard]] guard<T, Executor> try_acquire(std::source_location where = std::source_location::current()) {
        return detail::try_lend<T, Executor>(state_, where);
    }

    /// The resource is broken: when the lease ends it is cleaned, with `exit_reason::failed`, instead of given back.
    /// Errors: `errc::empty_guard`; `std::invalid_argument` if it is not lent by this pool.
    void discard(guard<T, Executor>& lease) {
        if (!lease) {
            detail::throw_error(errc::empty_guard);
        }
        discard(*lease);
    }
    /// For the body of a `with`, which has the resource only.
    void discard(T& resource) {
        detail::require(state_->spoil(std::addressof(resource)),
                        "coraii::pool::discard: the resource is not lent by this pool");
    }

    /// Waits until `min_size` resources are open.
    ///
    /// Without a token it gives an awaitable. Handler signature: `void(std::exception_ptr)`.
    /// Cancellation: of the waiting, not of the opening.
    /// Errors: what an opening threw; `errc::pool_timeout` after `acquire_timeout`; `errc::pool_closed`.
    /// Executor: completes on the handler's associated executor, or the pool's if it has none.
    [[nodiscard]] asio::awaitable<void, Executor> warm_up() {
        return detail::wait_for_pool<T, Executor>(detail::own_frame{}, state_, state_->options().acquire_timeout,
                                                  warm_up_waiter());
    }
    /// The same with a completion token.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    auto warm_up(Token&& token) {
        return detail::wait_for_pool<T, Executor>(state_, state_->options().acquire_timeout, warm_up_waiter(),
                                                  std::forward<Token>(token));
    }

    /// What there is beyond `max_size` is cleaned as soon as it is idle. Errors: `std::invalid_argument` for zero, or less
    /// than `min_size`.
    void resize(std::size_t max_size) { state_->resize(max_size); }

    /// Closes the pool: who waits gets `errc::pool_closed` at once, openings are cancelled, and what is idle or comes back
    /// is cleaned.
    ///
    /// Effects: completes when nothing is left; or, after `drain`, without what is still lent or being opened. Those are
    ///   cleaned when they come. May be called more than once.
    /// Cancellation: of the waiting only.
    /// Executor, Handler signature: as `warm_up`.
    [[nodiscard]] asio::awaitable<void, Executor> close(duration drain = std::chrono::seconds{10}) {
        return detail::wait_for_pool<T, Executor>(detail::own_frame{}, state_, checked_drain(drain), close_waiter());
    }
    /// The same with a completion token.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    auto close(duration drain, Token&& token) {
        return detail::wait_for_pool<T, Executor>(state_, checked_drain(drain), close_waiter(),
                                                  std::forward<Token>(token));
    }
    /// The same with a `drain` of ten seconds.
    template <asio::completion_token_for<void(std::exception_ptr)> Token>
    auto close(Token&& token) {
        return close(std::chrono::seconds{10}, std::forward<Token>(token));
    }

    /// Where T is a connection to a database: one statement, in a session of its own. Needs <coraii/session/execute_once.hpp>.
    template <class... Arguments>
    [[nodiscard]] auto execute(Arguments&&... arguments) {
        return execute_in_pool(*this, std::forward<Arguments>(arguments)...);
    }

    /// A snapshot while others run.
    [[nodiscard]] pool_stats stats() const { return state_->stats(); }

private:
    auto warm_up_waiter() const noexcept {
        return [state = state_.get()](const auto& waiter) { state->wait_for_warmth(waiter); };
    }
    auto close_waiter() const noexcept {
        return [state = state_.get()](const auto& waiter) { state->close_and_wait(waiter); };
    }
    static duration checked_drain(duration drain) {
        detail::require(drain >= drain.zero(), "coraii::pool: the drain of close must not be negative");
        return drain;
    }

    std::shared_ptr<detail::pool_state<T, Executor>> state_;
};

/// With the type of the resource from the factory.
template <class Where, std::invocable Factory, class Scope = std::invoke_result_t<Factory&>>
pool(Where&&, Factory, pool_options = {}, pool_hooks<typename Scope::value_type> = {})
    -> pool<typename Scope::value_type, typename Scope::executor_type>;

namespace detail {

/// Without an executor: on the scope's.
template <class T, class Executor>
async_scope<pool<T, Executor>, Executor> opened_pool(std::optional<Executor> executor,
                                                     std::function<async_scope<T, Executor>()> factory,
                                                     pool_options options, pool_hooks<T> hooks) {
    if (!executor) {
        executor = co_await asio::this_coro::executor;
    }
    pool<T, Executor> opened{*std::move(executor), std::move(factory), options, std::move(hooks)};
    std::exception_ptr error;
    try {
        co_await opened.warm_up();
    } catch (...) { error = std::current_exception(); }
    if (error) {
        const bool throws = co_await asio::this_coro::throw_if_cancelled();
        co_await asio::this_coro::throw_if_cancelled(false);  // a cancel of the setup is no reason not to wait
        co_await opened.close();
        co_await asio::this_coro::throw_if_cancelled(throws);
        std::rethrow_exception(error);
    }
    const exit_status why = co_yield opened;
    if (why.can_await()) {
        co_await opened.close();
    }
}

}  // namespace detail

/// A pool as a scope: warmed up by the setup, closed by the cleanup. If it cannot be warmed up, it is closed at once, and
/// the setup fails. The arguments are those of `pool`; without an executor it is on the scope's.
///
///     auto databases = coraii::open_pool([options] { return connect(options); }, {.max_size = 16});
///     co_await coraii::with(std::move(databases), [](auto& pool) -> asio::awaitable<void> { ... });
///
/// The scope has a name there because of g++ 12. It destroys a lambda twice, with what that has captured, if it stands in
/// the same statement as a `co_await`; so do not write it in a `co_await` yourself, as a factory or as anything else,
/// unless it captures nothing, or by reference. Later compilers do not.
template <class T, class Executor = asio::any_io_executor>
[[nodiscard]] async_scope<pool<T, Executor>, Executor> open_pool(
    std::type_identity_t<Executor> executor, std::type_identity_t<std::function<async_scope<T, Executor>()>> factory,
    pool_options options = {}, pool_hooks<T> hooks = {}, std::source_location where = std::source_location::current()) {
    detail::check_pool(factory, options);
    auto scope = detail::opened_pool<T, Executor>(std::optional{std::move(executor)}, std::move(factory), options,
                                                  std::move(hooks));
    detail::scope_access::made_at(scope, where);
    return scope;
}
/// On the scope's executor.
template <class T, class Executor = asio::any_io_executor>
[[nodiscard]] async_scope<pool<T, Executor>, Executor> open_pool(
    std::type_identity_t<std::function<async_scope<T, Executor>()>> factory, pool_options options = {},
    pool_hooks<T> hooks = {}, std::source_location where = std::source_location::current()) {
    detail::check_pool(factory, options);
    auto scope =
        detail::opened_pool<T, Executor>(std::optional<Executor>{}, std::move(factory), options, std::move(hooks));
    detail::scope_access::made_at(scope, where);
    return scope;
}

/// The same, with the type of the resource from the factory.
template <std::invocable Factory, class Scope = std::invoke_result_t<Factory&>, class T = typename Scope::value_type>
[[nodiscard]] auto open_pool(typename Scope::executor_type executor, Factory factory, pool_options options = {},
                             pool_hooks<T> hooks = {}, std::source_location where = std::source_location::current()) {
    return open_pool<T, typename Scope::executor_type>(std::move(executor), std::move(factory), options,
                                                       std::move(hooks), where);
}
/// On the scope's executor, with the type of the resource from the factory.
template <std::invocable Factory, class Scope = std::invoke_result_t<Factory&>, class T = typename Scope::value_type>
[[nodiscard]] auto open_pool(Factory factory, pool_options options = {}, pool_hooks<T> hooks = {},
                             std::source_location where = std::source_location::current()) {
    return open_pool<T, typename Scope::executor_type>(std::move(factory), options, std::move(hooks), where);
}

}  // namespace coraii

#endif
