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
#include <cstddef>
#include <exception>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace coraii::testing {

/// Inside `run` and `sweep`, virtual time: it stands still while anything can run, and then jumps to the next timer.
/// It does not wait for what takes real time (I/O, an `asio::steady_timer`, a thread_pool): a timeout in virtual time
/// always wins against those. Elsewhere, the steady clock. `cleanup_timeout` goes by it. Needs Asio's epoll reactor.
using clock = detail::clock;

namespace detail {

/// A wait that a run which cannot end tells of.
class listed_delay {
public:
    explicit listed_delay(const std::source_location& where) {
        if (const stage* const here = stage::current()) {
            log_ = here->log();
            listed_ = log_->now_waiting("delay (" + to_string(where) + ")");
        }
    }
    listed_delay(const listed_delay&) = delete;
    listed_delay& operator=(const listed_delay&) = delete;
    ~listed_delay() {
        if (log_) {
            log_->no_longer(listed_);
        }
    }

private:
    std::shared_ptr<record> log_;
    record::wait listed_;
};

}  // namespace detail

/// A timer that goes by virtual time where that exists.
using timer = asio::basic_waitable_timer<clock>;

/// Waits, in virtual time where that exists. Cancellation: as of a timer.
inline asio::awaitable<void> delay(clock::duration duration,
                                   std::source_location where = std::source_location::current()) {
    timer t{co_await asio::this_coro::executor, duration};
    const detail::listed_delay listed{where};
    boost::system::error_code
        error;  // not an exception of Asio's: later versions end the program if it finds no memory
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

/// How `run` runs.
struct run_options {
    /// Whether the coroutine has a cancellation slot, which decides how `with` works.
    bool slot = true;
    on_executor executor = on_executor::context;  ///< that the coroutine runs on
    cleanup_order order = cleanup_order::any;  ///< that is asked for
    /// How long, in real time, what the kit does not know (I/O, real timers, other threads) may keep the run waiting.
    std::chrono::steady_clock::duration patience = std::chrono::seconds{2};
    /// After so many turns of the event loop, or so much virtual time, the run is broken off as one that never ends.
    std::size_t most_turns = 1'000'000;
    std::chrono::steady_clock::duration most_time = std::chrono::hours{10'000};  ///< of virtual time
};

/// Runs a coroutine to its end, on an `io_context` of its own and in virtual time, and gives its result.
///
/// `coroutine` is an `awaitable<T>` or a callable that returns one. What it leaves behind, cleanups of dropped guards for
/// one, is run as well.
///
/// Errors: what the coroutine threw; but `failure`, which tells of that, too, if
///   - it cannot finish: the text names the points that are waited at, and the scopes, with their names and places;
///   - it has finished, but scopes or other work are left that cannot end, or go on and on;
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
                             .patience = options.patience,
                             .most_turns = options.most_turns,
                             .most_time = options.most_time}};
        stage.run([&]() -> asio::awaitable<void> {
            if constexpr (std::is_void_v<T>) {
                co_await coraii::detail::start_setup(coroutine);
            } else {
                result.emplace(co_await coraii::detail::start_setup(coroutine));
            }
        });
        error = stage.error();
        wrong = stage.not_over("the coroutine");
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
