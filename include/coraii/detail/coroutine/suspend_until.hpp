// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_SUSPEND_UNTIL_HPP
#define CORAII_DETAIL_COROUTINE_SUSPEND_UNTIL_HPP

#include "coraii/detail/coroutine/frame.hpp"

#include <boost/asio/async_result.hpp>

#include <coroutine>
#include <optional>
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
            Promise& promise;
            Ready ready;
            operation op;  // Asio's awaiter refers to it, so neither may move
            std::optional<asio_awaiter> inner{};  // made only if it has to be

            bool await_ready() { return ready(); }
            void await_suspend(std::coroutine_handle<> self) {
                make_inner();
                inner->await_suspend(std::coroutine_handle<typename Promise::asio_base>::from_address(self.address()));
            }
            void await_resume() {
                if (inner) {
                    inner->await_resume();
                }
            }

            void make_inner() {
                struct made_in_place {
                    awaiter& self;
                    operator asio_awaiter() const { return self.promise.shielded_transform(self.op); }
                };
                inner.emplace(made_in_place{*this});
            }

            awaiter(Promise& p, Ready&& r, Initiate&& i) : promise{p}, ready{std::move(r)}, op{std::move(i)} {}
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
