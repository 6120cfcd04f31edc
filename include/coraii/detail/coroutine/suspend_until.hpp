// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_SUSPEND_UNTIL_HPP
#define CORAII_DETAIL_COROUTINE_SUSPEND_UNTIL_HPP

#include "coraii/detail/coroutine/frame.hpp"

#include <boost/asio/async_result.hpp>

#include <coroutine>
#include <utility>

namespace coraii::detail {

/// An async operation with the signature `void()` made of a function that is given the handler.
template <class Initiate>
struct simple_operation {
    Initiate initiate;

    template <asio::completion_token_for<void()> Token>
    auto operator()(Token&& token) {
        return asio::async_initiate<Token, void()>(initiate, token);
    }
};

template <class Initiate>
simple_operation(Initiate) -> simple_operation<Initiate>;

/// `co_await suspend_until{ready, initiate}`: does not suspend if `ready()`; else awaits the operation that
/// `initiate(handler)` starts. A cancel neither stops the waiting nor throws here.
template <class Ready, class Initiate>
struct suspend_until {
    Ready ready;
    Initiate initiate;

    template <class Promise>
    auto await_in(Promise& promise) && {
        using operation = simple_operation<Initiate>;
        using asio_awaiter = decltype(promise.shielded_transform(std::declval<operation&>()));
        struct awaiter {
            Ready ready;
            operation op;  // Asio's awaiter refers to it, so neither may move
            asio_awaiter inner;
            bool suspended = false;

            bool await_ready() { return ready(); }
            void await_suspend(std::coroutine_handle<Promise> self) {
                suspended = true;
                inner.await_suspend(std::coroutine_handle<typename Promise::asio_base>::from_address(self.address()));
            }
            void await_resume() {
                if (suspended) {
                    inner.await_resume();
                }
            }

            awaiter(Promise& p, Ready&& r, Initiate&& i)
                : ready{std::move(r)}, op{std::move(i)}, inner{p.shielded_transform(op)} {}
            awaiter(const awaiter&) = delete;
            awaiter& operator=(const awaiter&) = delete;
        };
        return awaiter{promise, std::move(ready), std::move(initiate)};
    }
};

template <class Ready, class Initiate>
suspend_until(Ready, Initiate) -> suspend_until<Ready, Initiate>;

}  // namespace coraii::detail

#endif
