// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_RUN_HPP
#define CORAII_TESTING_RUN_HPP

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/testing/detail/stage.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace coraii::testing {

/// Inside `run` and `sweep`, virtual time: it stands still while anything can run, and then jumps to the next timer.
/// It does not wait for what takes real time (I/O, an `asio::steady_timer`, a thread_pool): a timeout in virtual time
/// always wins against those. Elsewhere, the steady clock. `cleanup_timeout` goes by it. Needs Asio's epoll reactor.
using clock = detail::clock;

/// A timer that goes by virtual time where that exists.
using timer = asio::basic_waitable_timer<clock>;

/// Waits, in virtual time where that exists. Cancellation: as of a timer.
inline asio::awaitable<void> delay(clock::duration duration) {
    timer t{co_await asio::this_coro::executor, duration};
    boost::system::error_code error;  // not an exception of Asio's: later versions end the program if it finds no memory
    co_await t.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) {
        throw boost::system::system_error(error);
    }
}

/// What `run` throws when a test has gone wrong as a test. Its text says all there is to know.
class failure : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

struct run_options {
    /// Whether the coroutine has a cancellation slot, which decides how `with` works.
    bool slot = true;
    on_executor executor = on_executor::context;
    cleanup_order order = cleanup_order::any;
    /// How long, in real time, what the kit does not know (I/O, real timers, other threads) may keep the run waiting.
    std::chrono::steady_clock::duration patience = std::chrono::seconds{2};
};

/// Runs a coroutine to its end, on an `io_context` of its own and in virtual time, and gives its result.
///
/// `coroutine` is an `awaitable<T>` or a callable that returns one. What it leaves behind, cleanups of dropped guards for
/// one, is run as well.
///
/// Errors: what the coroutine threw; but `failure`, which tells of that, too, if
///   - it cannot finish: the text names the points that are waited at, and the scopes, with their names and places;
///   - it has finished, but scopes or other work are left that cannot end;
///   - a `probe` was not cleaned exactly once, or not in the order asked for, or used too late.
/// Executor: everything runs on the calling thread. Not to be called inside a coroutine.
template <class F>
auto run(F coroutine, const run_options& options = {}) {
    using started = coraii::detail::started_t<F>;
    using traits = coraii::detail::awaitable_traits<started>;
    static_assert(traits::is_awaitable,
                  "coraii::testing::run: give an asio::awaitable<T>, or a callable that returns one");
    using T = typename traits::value_type;
    static_assert(std::is_void_v<T> || std::move_constructible<T>, "coraii::testing::run: the result must be movable");

    coraii::detail::pending_result<T> result;
    std::exception_ptr error;
    std::string wrong;
    {
        detail::stage stage{{.slot = options.slot,
                             .executor = options.executor,
                             .order = options.order,
                             .cleanups_may_be_cancelled = true,
                             .keeps_cancellation_state = false,
                             .patience = options.patience}};
        stage.run([&]() -> asio::awaitable<void> {
            if constexpr (std::is_void_v<T>) {
                co_await coraii::detail::start_setup(coroutine);
            } else {
                result.emplace(co_await coraii::detail::start_setup(coroutine));
            }
        });
        error = stage.error();
        if (!stage.ended()) {
            wrong = "the coroutine cannot finish; nothing is left that could wake it" + stage.situation();
        } else if (const auto left = stats(*stage.context()); stage.stuck() || left.open + left.closing != 0) {
            wrong = "the coroutine has finished, but work is left behind that cannot end" + stage.situation();
        }
        if (wrong.empty()) {
            stage.destroy_context();
            stage.log()->run_ended();
        }
        for (const std::string& problem : stage.log()->problems()) {
            wrong += (wrong.empty() ? "" : "\n  ") + problem;
        }
    }
    if (error && wrong.empty()) {
        std::rethrow_exception(error);
    }
    if (!wrong.empty()) {
        throw failure("coraii::testing::run: " + wrong +
                      (error ? "\n  and the coroutine threw: " + detail::what(error) : std::string{}));
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*result);
    }
}

}  // namespace coraii::testing

#endif
