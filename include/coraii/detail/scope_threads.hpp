// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_THREADS_HPP
#define CORAII_DETAIL_SCOPE_THREADS_HPP

#include "coraii/detail/frame.hpp"
#include "coraii/detail/kept_scope.hpp"
#include "coraii/detail/scope_state.hpp"

#include <boost/asio/async_result.hpp>

#include <coroutine>
#include <exception>
#include <utility>

namespace coraii::detail {

/// `co_await run_coroutine{state}`: runs the scope's coroutine as a child until it pauses or ends, and gives what it
/// threw. What it makes of `throw_if_cancelled` is its own.
template <class Executor>
struct run_coroutine {
    scope_state<Executor>& state;

    template <class Promise>
    auto await_in(Promise& promise) const {
        struct awaiter {
            scope_state<Executor>& state;
            Promise& promise;
            bool throws_if_cancelled = false;

            bool await_ready() noexcept {
                throws_if_cancelled = promise.throws_if_cancelled();
                return false;
            }
            void await_suspend(std::coroutine_handle<Promise> self) const {
                state.coroutine_.await_suspend(
                    std::coroutine_handle<typename Promise::asio_base>::from_address(self.address()));
            }
            std::exception_ptr await_resume() const {
                promise.throw_if_cancelled(throws_if_cancelled);
                if (!state.paused_) {
                    try {
                        state.coroutine_.await_resume();  // destroys the frame, and rethrows
                    } catch (...) { return std::current_exception(); }
                }
                return nullptr;
            }
        };
        return awaiter{state, promise};
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

/// The coroutine thread of a setup.
template <class Executor>
thread_main<Executor> set_up(own_frame, kept_scope<Executor> kept) {
    std::exception_ptr error = co_await run_coroutine<Executor>{*kept.state};
    const scope_ptr<Executor> state = std::move(kept.state);
    if (state->paused_) {
        const std::exception_ptr thrown = std::exchange(state->error_, nullptr);
        state->kept_opened();
        if (thrown) {  // by an operation that was begun nevertheless
            std::rethrow_exception(thrown);
        }
    } else {
        state->setup_failed(std::move(error));
    }
}

/// The coroutine thread of a cleanup. It is made before setup; until it runs, the scope is not its business.
template <class Executor>
thread_main<Executor> clean_up(own_frame, scope_state<Executor>& scope) {
    kept_scope<Executor> kept{scope_ptr<Executor>{&scope}};
    scope.start_deadline();
    std::exception_ptr error = co_await run_coroutine<Executor>{scope};
    const scope_ptr<Executor> state = std::move(kept.state);
    state->finish(std::move(error));
}

}  // namespace coraii::detail

#endif
