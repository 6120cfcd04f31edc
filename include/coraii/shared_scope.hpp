// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SHARED_SCOPE_HPP
#define CORAII_SHARED_SCOPE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/detail/region/listed_wait.hpp"
#include "coraii/error.hpp"
#include "coraii/shared_scope/detail/shared_state.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coraii {

/// How a `shared_scope` works.
struct shared_options {
    /// How long the resource stays open when its last user has left.
    std::chrono::steady_clock::duration linger{};
};

/// The counts of a `shared_scope`.
struct shared_stats {
    std::size_t users = 0;  ///< who use a resource, or wait for it
    std::uint64_t generation = 0;  ///< setups that succeeded
    bool open = false;  ///< there is a resource for who comes now
};

namespace detail {

/// One who uses a generation, or waits for it: whatever happens, it leaves.
template <class T, class Executor>
class shared_user {
public:
    shared_user(shared_ptr_to<T, Executor> state, boost::intrusive_ptr<shared_generation<Executor>> joined,
                bool is_user) noexcept
        : state_{std::move(state)}, joined_{std::move(joined)}, is_user_{is_user} {}
    shared_user(const shared_user&) = delete;
    shared_user& operator=(const shared_user&) = delete;
    ~shared_user() { state_->leave(*joined_, is_user_); }

private:
    const shared_ptr_to<T, Executor> state_;
    const boost::intrusive_ptr<shared_generation<Executor>> joined_;
    const bool is_user_;
};

/// Waits for the end of its setup.
template <class T, class Executor>
asio::awaitable<bool, Executor> setup_over(shared_state<T, Executor>& state, shared_generation<Executor>& joined) {
    return wait_until<Executor>(own_frame{}, state.mutex_, state.changes_,
                                [&joined] { return joined.now != shared_generation<Executor>::phase::setting_up; });
}

/// The setup of `joined` is over: false if it was cancelled before we came. Errors: its own.
template <class T, class Executor>
bool succeeded(shared_state<T, Executor>& state, const shared_generation<Executor>& joined) {
    const std::lock_guard lock{state.mutex_};
    if (joined.error && !joined.setup_cancelled) {
        std::rethrow_exception(joined.error);
    }
    if (!joined.error && joined.now == shared_generation<Executor>::phase::over) {
        throw_error(errc::scope_closed);  // its context has died
    }
    return !joined.error;
}

template <class T, class Executor>
async_scope<T, Executor> shared_use(shared_ptr_to<T, Executor> state) {
    for (;;) {
        const boost::intrusive_ptr<shared_generation<Executor>> joined = state->join();
        const shared_user<T, Executor> user{state, joined, true};
        auto over = setup_over(*state, *joined);
        co_await std::move(over);
        if (succeeded(*state, *joined)) {
            if constexpr (std::is_void_v<T>) {
                co_yield entered;
            } else {
                co_yield *static_cast<T*>(joined->use->resource_);
            }
            co_return;
        }
    }
}

template <class T, class Executor>
asio::awaitable<void, Executor> reload_shared(own_frame, shared_ptr_to<T, Executor> state) {
    const std::uint64_t before = state->last_begun();
    for (;;) {
        const boost::intrusive_ptr<shared_generation<Executor>> joined = state->join_setup_after(before);
        if (!joined) {
            co_return;
        }
        if (joined->number <= before) {  // it may have read what has changed since: another follows
            auto over = setup_over(*state, *joined);
            co_await std::move(over);
            continue;
        }
        const shared_user<T, Executor> waits{state, joined, false};  // before anything that may fail
        auto over = setup_over(*state, *joined);
        co_await std::move(over);
        if (succeeded(*state, *joined)) {
            co_return;
        }
    }
}

template <class T, class Executor>
asio::awaitable<void, Executor> close_shared(own_frame, shared_ptr_to<T, Executor> state) {
    state->close();
    auto over = wait_until<Executor>(own_frame{}, state->mutex_, state->changes_, [&] { return state->is_over(); });
    co_await std::move(over);
}

}  // namespace detail

/// One resource for many users: set up when the first comes, cleaned when the last has left, and replaced while it is in use.
///
///     coraii::shared_scope<tls_context> tls{executor, [] { return load_certificates("server.pem"); }};
///     co_await coraii::with(tls.use(), [](tls_context& context) -> asio::awaitable<void> { ... });
///     co_await tls.reload();  // after a SIGHUP: who comes now uses the new one, the others go on with theirs
///
/// While a resource is in use, those who come use the same one. While one is being set up, they wait for it. If that setup
/// fails, all of them get its error, and the next one to come tries anew. A new resource may be set up while an old one is
/// still being cleaned. After a `reload` there may be several: an old one is cleaned when its last user has left; the newest
/// stays while anybody uses any.
///
/// Executor: the factory is called, and the resource is set up and cleaned, on the shared scope's executor. A user waits and
///   goes on on its own. If several threads run the shared scope's, it must be a strand.
/// Errors: the resource is always told `completed`, as no use decides for the others. The error of its cleanup goes to
///   `on_cleanup_error`.
/// Lifetime: destroying it is a `close` that does not wait: its users stay valid. A resource that is open has outstanding work,
///   also while it lingers: `io_context::run()` does not return. If the context of the shared scope dies, the resource is cleaned
///   as its scopes are; users on other contexts must not use it then.
/// Thread safety: safe, except the destructor. Users may be on any executor of any context.
template <class T, class Executor = asio::any_io_executor>
class shared_scope {
public:
    using value_type = T;  ///< the type of the resource
    using executor_type = Executor;  ///< that the resource's setup and cleanup run on
    using factory_type = std::function<async_scope<T, Executor>()>;  ///< makes a scope for each generation

    /// Sets nothing up yet. Errors: `std::invalid_argument` for an empty factory or a negative `linger`.
    shared_scope(Executor executor, factory_type factory, shared_options options = {}) {
        if (!factory) {
            throw std::invalid_argument("coraii::shared_scope: the factory is empty");
        }
        if (options.linger < options.linger.zero()) {
            throw std::invalid_argument("coraii::shared_scope: linger must not be negative");
        }
        state_ = std::make_shared<detail::shared_state<T, Executor>>(executor, std::move(factory), options.linger);
        state_->enlist();
    }
    shared_scope(const shared_scope&) = delete;
    shared_scope& operator=(const shared_scope&) = delete;
    ~shared_scope() { state_->close(); }

    /// The use of the resource, as a scope. Its cleanup waits for nothing, even that of the last use.
    ///
    /// Cancellation: of the waiting, of any type. If nobody else waits, the setup is cancelled; who comes before that has ended
    ///   waits for it, and tries anew if it has failed.
    /// Errors: those of the setup; `errc::scope_closed`.
    /// Effects of `guard::release()`: the resource is moved from, for all who use it.
    [[nodiscard]] async_scope<T, Executor> use(std::source_location where = std::source_location::current()) {
        auto scope = detail::shared_use<T, Executor>(state_);
        detail::scope_access::made_at(scope, where);
        return scope;
    }

    /// Sets a new resource up, which those use who come from then on. If a setup is under way, waits for it first. Does nothing
    /// if none is open, or after `close`. Of several at a time, those that come before a setup begins share it.
    ///
    /// Cancellation: of any type. It cancels the setup, if nobody else waits for that.
    /// Errors: those of the setup; then the old resource stays.
    [[nodiscard]] asio::awaitable<void, Executor> reload() {
        return detail::reload_shared<T, Executor>(detail::own_frame{}, state_);
    }

    /// Nobody can come any more: they get `errc::scope_closed`. Completes when those who are there, or wait, have left and all is
    /// clean. A linger ends at once. May be called more than once.
    ///
    /// Cancellation: of the waiting only, of any type.
    [[nodiscard]] asio::awaitable<void, Executor> close() {
        return detail::close_shared<T, Executor>(detail::own_frame{}, state_);
    }

    /// A snapshot while others run.
    [[nodiscard]] shared_stats stats() const { return state_->template stats<shared_stats>(); }

private:
    detail::shared_ptr_to<T, Executor> state_;
};

}  // namespace coraii

#endif
