// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_KEEPER_HPP
#define CORAII_DETAIL_KEEPER_HPP

#include "coraii/detail/frame.hpp"
#include "coraii/detail/scope_state.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>

#include <coroutine>
#include <exception>
#include <utility>

namespace coraii::detail {

/// `co_await run_coroutine{state}`: runs the scope's coroutine as a child until it pauses or ends. What it threw is
/// thrown here.
template <class Executor>
struct run_coroutine {
    scope_state<Executor>& state;

    template <class Promise>
    auto await_in(Promise&) const {
        struct awaiter {
            scope_state<Executor>& state;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<Promise> self) const {
                state.coroutine_.await_suspend(
                    std::coroutine_handle<typename Promise::asio_base>::from_address(self.address()));
            }
            void await_resume() const {
                if (!state.paused_) {
                    state.coroutine_.await_resume();  // destroys the frame, and rethrows
                }
            }
        };
        return awaiter{state};
    }
};

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

/// `co_await until{ready, initiate}`: does not suspend if `ready()`; else awaits the operation that `initiate(handler)`
/// starts. A cancel neither stops the waiting nor throws here.
template <class Ready, class Initiate>
struct until {
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
until(Ready, Initiate) -> until<Ready, Initiate>;

/// The cancellation filter of a cleanup. It has no state, as Asio's own: a coroutine that changes its filter for one of
/// the same size takes no memory for that, and could not be told if there were none.
struct only_the_deadline {
    asio::cancellation_type operator()(asio::cancellation_type type) const noexcept {
        return (type & by_deadline) == by_deadline ? asio::cancellation_type::terminal : asio::cancellation_type::none;
    }
};
static_assert(std::is_empty_v<only_the_deadline>);

/// The coroutine that keeps a scope: it awaits setup, is parked while the resource is in use, and awaits the cleanup.
template <class Executor>
asio::awaitable<void, Executor> keep_scope(own_frame, kept_scope<Executor> kept, keep_from first) {
    const scope_ptr<Executor> state = kept.state;
    state->set_spawned();  // in a context's last turn, it may be over before it is back from being spawned
    std::exception_ptr error;
    if (first == keep_from::setup) {
        if (state->cancellable_) {
            // What reaches us has passed the user's own filter: setup sees it as if it were awaited directly.
            co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
        }
        try {
            co_await run_coroutine<Executor>{*state};
        } catch (...) { error = std::current_exception(); }
        if (!state->paused_) {
            // Asio lets a coroutine that has not waited for anything wait before it ends, and a cancel would throw there.
            co_await asio::this_coro::throw_if_cancelled(false);
            kept.state = nullptr;
            state->setup_failed(std::move(error));
            co_return;
        }
        if (state->cancellable_) {
            // Forget a cancel that came too late, also if it is still on its way here: it would stop the cleanup.
            co_await asio::this_coro::reset_cancellation_state(only_the_deadline{},
                                                               asio::enable_terminal_cancellation());
        }
        co_await until{[] { return false; }, [&state](auto handler) { state->park(std::move(handler)); }};
    } else if (!state->claim_cleanup()) {
        kept.state = nullptr;
        co_return;
    }
    if (state->released_) {
        state->destroy_coroutine();
    } else {
        state->start_deadline();
        try {
            co_await run_coroutine<Executor>{*state};
        } catch (...) { error = std::current_exception(); }
    }
    kept.state = nullptr;
    state->finish(std::move(error));
}

}  // namespace coraii::detail

#endif
