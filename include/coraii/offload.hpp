// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_OFFLOAD_HPP
#define CORAII_OFFLOAD_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing
#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/deferred.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>

#include <concepts>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace coraii {
namespace detail {

/// A resource opened and closed by blocking calls. It is closed once, at the latest when the last who knows it is gone:
/// the pool may be working on it when the coroutine is destroyed, or be stopped when it should be closed.
template <class T, class Open, class Close>
class blocking_resource {
public:
    using stored = std::conditional_t<std::is_void_v<T>, nothing, T>;

    blocking_resource(Open open, Close close) : open_{std::move(open)}, close_{std::move(close)} {}
    blocking_resource(const blocking_resource&) = delete;
    blocking_resource& operator=(const blocking_resource&) = delete;
    ~blocking_resource() {
        try {
            close(exit_status{}.without_await());
        } catch (...) {  // the last resort has nobody to tell
        }
    }

    void open() {
        if constexpr (std::is_void_v<T>) {
            open_();
            resource_.emplace();
        } else {
            resource_.emplace(open_());
        }
    }

    void close(const exit_status& why) {
        if (resource_ && !std::exchange(closed_, true)) {
            if constexpr (std::is_void_v<T>) {
                call_cleanup(close_, why);
            } else {
                call_cleanup(close_, why, *resource_);
            }
        }
    }

    stored& get() noexcept { return *resource_; }

private:
    Open open_;
    Close close_;
    std::optional<stored> resource_;
    bool closed_ = false;
};

template <class Executor, class PoolExecutor, class Resource>
asio::awaitable<void, Executor> close_offloaded(own_frame, PoolExecutor pool, std::shared_ptr<Resource> resource,
                                                exit_status why, on_cancel policy = on_cancel::nothing) {
    if (why.can_await()) {
        try {
            // Named, because g++ 12 destroys a closure that is a temporary of a co_await expression twice.
            auto close = [resource, why] { resource->close(why); };
            auto closing = offload_call(pool, std::move(close), asio::deferred, policy);
            co_await std::move(closing);
        } catch (const call_not_made&) {
        } catch (const std::bad_alloc&) {}
    }
    resource->close(why);  // if the pool could not; else no effect
}

template <class T, class Executor, class PoolExecutor, class Resource>
async_scope<T, Executor> offloaded_scope(PoolExecutor pool, std::shared_ptr<Resource> resource) {
    auto open = [resource] { resource->open(); };  // named: as above
    auto opening = offload_call(pool, std::move(open), asio::deferred);
    co_await std::move(opening);
    if constexpr (std::is_void_v<T>) {
        const exit_status why = co_yield entered;
        co_await close_offloaded<Executor>(own_frame{}, pool, resource, why);
    } else {
        const exit_status why = co_yield resource->get();
        co_await close_offloaded<Executor>(own_frame{}, pool, resource, why);
    }
}

}  // namespace detail

/// A blocking open/close pair as a scope: both are called on `pool`, never on the event loop.
///
/// `open()` returns the resource (or void); `close(T&)` or `close(T&, exit_status)` returns void. The coroutine waits on
/// its own executor meanwhile.
///
/// Cancellation: a blocking call cannot be interrupted: a cancel is seen when `open` has returned.
/// Errors: an exception of `open` is the setup's error, one of `close` the cleanup's. `errc::offload_stopped` if the pool was
///   stopped before it called `open`. If the pool cannot take the call of `open`, that error.
/// Effects of the cleanup: a resource that was opened is always closed, once. If the pool does not take the call of `close`, or
///   the context of the coroutine is being destroyed, `close` is called in the thread that finds that out.
/// Lifetime: `open`, `close` and the resource live until neither side needs them. The pool must outlive the call.
/// Thread safety: `open` and `close` run on the pool's threads, never both at a time.
template <class Executor = asio::any_io_executor, class PoolExecutor, class Open, class Close>
    requires asio::execution::is_executor<PoolExecutor>::value
[[nodiscard]] auto offload(PoolExecutor pool, Open open, Close close,
                           std::source_location where = std::source_location::current()) {
    static_assert(std::invocable<Open&>, "coraii::offload: open must be callable without arguments");
    if constexpr (std::invocable<Open&>) {
        using opened = std::invoke_result_t<Open&>;
        static_assert(
            !std::is_reference_v<opened>,
            "coraii::offload: open returns a reference, and the resource is kept; return a value or a pointer");
        using T = std::remove_cvref_t<opened>;
        constexpr bool close_fits = [] {
            if constexpr (std::is_void_v<T>) {
                return std::invocable<Close&> || std::invocable<Close&, exit_status>;
            } else {
                return std::invocable<Close&, T&> || std::invocable<Close&, T&, exit_status>;
            }
        }();
        static_assert(close_fits,
                      "coraii::offload: close must be callable as close(T&) or close(T&, coraii::exit_status), without "
                      "the T& if open returns void");
        if constexpr (close_fits) {
            using resource = detail::blocking_resource<T, Open, Close>;
            auto scope = detail::offloaded_scope<T, Executor>(
                std::move(pool), std::make_shared<resource>(std::move(open), std::move(close)));
            detail::scope_access::made_at(scope, where);
            return scope;
        }
    }
}

/// The same on a context's own executor, an `asio::thread_pool` for one.
template <class Executor = asio::any_io_executor, class Context, class Open, class Close>
    requires std::derived_from<Context, asio::execution_context>
[[nodiscard]] auto offload(Context& pool, Open open, Close close,
                           std::source_location where = std::source_location::current()) {
    return offload<Executor>(pool.get_executor(), std::move(open), std::move(close), where);
}

}  // namespace coraii

#endif
