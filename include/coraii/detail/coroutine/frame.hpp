// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_FRAME_HPP
#define CORAII_DETAIL_COROUTINE_FRAME_HPP

#include "coraii/detail/coroutine/recycler.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <coroutine>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// The promise that Asio gives a coroutine returning `awaitable<R, Executor>`.
template <class R, class Executor>
using asio_promise = typename std::coroutine_traits<asio::awaitable<R, Executor>>::promise_type;

/// What an Asio awaiter returns, awaited in a coroutine whose promise derives from Asio's: both name the same frame.
template <class Awaiter, class AsioPromise>
struct rebound_awaiter {
    Awaiter inner;

    bool await_ready() { return inner.await_ready(); }
    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> self) {
        return inner.await_suspend(std::coroutine_handle<AsioPromise>::from_address(self.address()));
    }
    decltype(auto) await_resume() { return inner.await_resume(); }
};

template <class T, class Executor>
std::type_identity<Executor> executor_awaited_on(const asio::awaitable<T, Executor>&);

/// False for an awaitable that Asio would refuse in a coroutine of `Executor`.
template <class X, class Executor>
inline constexpr bool may_await = true;
template <class X, class Executor>
    requires requires(const X& x) { executor_awaited_on(x); }
inline constexpr bool may_await<X, Executor> =
    std::is_same_v<decltype(executor_awaited_on(std::declval<const X&>())), std::type_identity<Executor>>;

/// The promise of the library's own coroutines: Asio's, with recycled frames, and able to await what the library
/// needs beside what Asio offers. To Asio they are awaitables like any other.
template <class R, class Executor>
class frame_promise : public asio_promise<R, Executor> {
public:
    using asio_base = asio_promise<R, Executor>;

    static void* operator new(std::size_t size) { return recycler::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept { recycler::deallocate(memory, size); }

    template <class X>
    auto await_transform(X&& x) {
        if constexpr (requires { std::forward<X>(x).await_in(*this); }) {
            return std::forward<X>(x).await_in(*this);
        } else {
            static_assert(may_await<std::remove_cvref_t<X>, Executor>,
                          "coraii: an awaitable of one Executor is awaited in a coroutine of another; asio::awaitable<R, E> "
                          "is awaited in a coroutine, or a scope's coroutine, of the same E");
            using awaiter = decltype(this->asio_base::await_transform(std::forward<X>(x)));
            return rebound_awaiter<awaiter, asio_base>{this->asio_base::await_transform(std::forward<X>(x))};
        }
    }

    bool throws_if_cancelled() {
        return this->asio_base::await_transform(asio::this_coro::throw_if_cancelled()).await_resume();
    }
    void throw_if_cancelled(bool value) {
        this->asio_base::await_transform(asio::this_coro::throw_if_cancelled(value)).await_resume();
    }

    /// `asio_base::await_transform(op)`, also where a cancel was latched: then Asio would throw instead of awaiting.
    template <class Op>
    auto shielded_transform(Op& op) {
        struct restore {
            frame_promise& promise;
            bool value;
            ~restore() { promise.throw_if_cancelled(value); }
        };
        const restore at_return{*this, throws_if_cancelled()};
        throw_if_cancelled(false);
        return this->asio_base::await_transform(std::move(op));
    }
};

/// First parameter of the library's own coroutines: it selects `frame_promise`.
struct own_frame {};

}  // namespace detail
}  // namespace coraii

template <class R, class Executor, class... Args>
struct std::coroutine_traits<boost::asio::awaitable<R, Executor>, coraii::detail::own_frame, Args...> {
    using promise_type = coraii::detail::frame_promise<R, Executor>;
    static_assert(alignof(promise_type) == alignof(typename promise_type::asio_base));
};

#endif
