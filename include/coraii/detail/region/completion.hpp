// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_COMPLETION_HPP
#define CORAII_DETAIL_REGION_COMPLETION_HPP

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/execute.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <concepts>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// True for a handler that has an executor of its own.
template <class Handler>
inline constexpr bool has_executor = !std::is_same_v<asio::associated_executor_t<Handler, nothing>, nothing>;

/// An initiating function that has its object's executor, as those of Asio's I/O objects have: where the handler has
/// none of its own, the operation completes there, and what composes operations (`asio::cancel_after`) finds it.
template <class Executor, class Initiate>
class initiation {
public:
    using executor_type = Executor;

    initiation(Executor executor, Initiate initiate)
        : executor_{std::move(executor)}, initiate_{std::move(initiate)} {}

    // Copied where it could be moved, so that an operation that is started once more still has an executor.
    initiation(const initiation&) = default;
    initiation& operator=(const initiation&) = delete;

    executor_type get_executor() const noexcept { return executor_; }

    template <class Handler, class... Args>
    void operator()(Handler&& handler, Args&&... args) const {
        if constexpr (std::invocable<const Initiate&, Handler, const Executor&, Args...>) {
            initiate_(std::forward<Handler>(handler), executor_, std::forward<Args>(args)...);
        } else {
            initiate_(std::forward<Handler>(handler), std::forward<Args>(args)...);
        }
    }

private:
    Executor executor_;
    Initiate initiate_;
};

/// The handler of an operation of an object whose executor is `Executor`, and outstanding work of the handler's.
template <class Handler, class Executor>
class completion {
    using handler_executor = asio::associated_executor_t<Handler, Executor>;
    using tracked_executor =
        std::decay_t<typename asio::prefer_result<handler_executor, asio::execution::outstanding_work_t::tracked_t>::type>;

public:
    completion(Handler handler, const Executor& executor)
        : executor_{asio::get_associated_executor(handler, executor)},
          work_{asio::prefer(executor_, asio::execution::outstanding_work.tracked)},
          handler_{std::move(handler)} {
        if constexpr (!can_post<handler_executor>) {
            objects_.emplace(executor);  // it posts for the handler's
        }
    }

    const handler_executor& get_executor() const noexcept { return executor_; }

    /// On its executor already.
    template <class... Args>
    void here(Args&&... args) && {
        [[maybe_unused]] const auto work = std::move(work_);
        std::move(handler_)(std::forward<Args>(args)...);
    }

    void post(std::exception_ptr error) && {
        const handler_executor executor = executor_;
        if constexpr (can_post<handler_executor>) {
            asio::post(executor, call_with(std::move(error)));
        } else {
            asio::post(*objects_, asio::bind_executor(executor, call_with(std::move(error))));
        }
    }

    void dispatch(registry& scopes, std::exception_ptr error) && {
        const handler_executor executor = executor_;
        const current_origin there{scopes, origin_of(executor)};
        asio::dispatch(executor, call_with(std::move(error)));
    }

private:
    auto call_with(std::exception_ptr error) {
        return [handler = std::move(handler_), error = std::move(error), work = std::move(work_)]() mutable {
            std::move(handler)(std::move(error));
        };
    }

    handler_executor executor_;
    tracked_executor work_;
    Handler handler_;
    [[no_unique_address]] std::conditional_t<can_post<handler_executor>, nothing, std::optional<Executor>> objects_;
};

/// What is called when a waiting coroutine may go on.
template <class Handler>
auto resume(registry& scopes, Handler handler) {
    return [&scopes, handler = std::move(handler)](deliver how) mutable {
        const auto executor = asio::get_associated_executor(handler);
        if (how == deliver::posted) {
            asio::post(executor, std::move(handler));
        } else {
            dispatch_on(scopes, executor, std::move(handler));
        }
    };
}

/// Resumes `handler` when `event` is set. For cleanups, when there may be no memory left: it takes none to wait.
template <class Handler>
void resume_when_set(waiter& event, registry& scopes, Handler handler) {
    auto go_on = resume(scopes, std::move(handler));
    static_assert(unique_function<deliver>::fits<decltype(go_on)>, "a cleanup must not take memory to be waited for");
    event.complete_with(std::move(go_on));
    event.arm();
}

}  // namespace coraii::detail

#endif
