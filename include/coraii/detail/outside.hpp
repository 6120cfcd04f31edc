// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_OUTSIDE_HPP
#define CORAII_DETAIL_OUTSIDE_HPP

#include "coraii/detail/completion.hpp"
#include "coraii/detail/execute.hpp"
#include "coraii/detail/registry.hpp"
#include "coraii/error.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// The wait of a handler for a call on another executor. Either side may be destroyed first.
template <class Handler>
class outside_call final : public outside_wait {
public:
    explicit outside_call(Handler handler)
        : registry_{&registry::of(asio::query(asio::get_associated_executor(handler), asio::execution::context))},
          done_{std::make_unique<completion<Handler>>(std::move(handler))} {
        registry_->add(*this);
    }

    void complete(std::exception_ptr error) noexcept {
        const std::lock_guard lock{mutex_};
        if (!done_) {
            return;
        }
        error_ = std::move(error);
        try {
            // While we are listed, the handler's context cannot go: it would have to forget us, and we have the mutex.
            execute_reserved(done_->get_executor(), deliver::posted, memory_, [self = shared_from_this()] {
                auto& call = static_cast<outside_call&>(*self);
                const std::unique_ptr<completion<Handler>> done = std::move(call.done_);
                std::move(*done).here(std::move(call.error_));
            });
        } catch (...) {
            done_.reset();  // no memory, on an executor that takes none from us: the waiter is destroyed
        }
        registry_->remove(*this);
    }

    void forget() noexcept override {
        std::unique_ptr<completion<Handler>> unused;
        const std::lock_guard lock{mutex_};
        unused.swap(done_);
    }

private:
    std::mutex mutex_;
    registry* registry_;
    std::unique_ptr<completion<Handler>> done_;
    std::exception_ptr error_;
    reserved_memory memory_;
};

/// What is queued on the other executor. Destroyed without having run, it says so.
template <class Handler, class F>
class outside_task {
public:
    outside_task(std::shared_ptr<outside_call<Handler>> call, F f) : call_{std::move(call)}, f_{std::move(f)} {}
    outside_task(outside_task&&) noexcept = default;
    outside_task& operator=(outside_task&&) = delete;
    ~outside_task() {
        if (call_) {
            f_.reset();
            call_->complete(make_error(errc::offload_stopped));
        }
    }

    void operator()() {
        std::exception_ptr error;
        try {
            F f = std::move(*f_);
            f_.reset();
            f();
        } catch (...) { error = std::current_exception(); }
        std::exchange(call_, nullptr)->complete(std::move(error));
    }

private:
    std::shared_ptr<outside_call<Handler>> call_;
    std::optional<F> f_;  // gone before the waiter goes on: what it owns is the waiter's
};

/// Calls `f()` on `executor`, and completes with what it threw. `f` may outlive the waiting coroutine: it must own what
/// it uses. `errc::offload_stopped` if it was not called.
template <class Executor, class F, class Token>
auto call_outside(Executor executor, F f, Token&& token) {
    return asio::async_initiate<Token, void(std::exception_ptr)>(
        []<class Handler>(Handler&& handler, Executor elsewhere, F function) {
            using handler_type = std::decay_t<Handler>;
            auto call = std::make_shared<outside_call<handler_type>>(std::forward<Handler>(handler));
            asio::post(elsewhere, outside_task<handler_type, F>{std::move(call), std::move(function)});
        },
        token, std::move(executor), std::move(f));
}

}  // namespace coraii::detail

#endif
