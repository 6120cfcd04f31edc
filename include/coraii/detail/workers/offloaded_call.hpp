// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_WORKERS_OFFLOADED_CALL_HPP
#define CORAII_DETAIL_WORKERS_OFFLOADED_CALL_HPP

#include "coraii/detail/context/external_wait.hpp"
#include "coraii/detail/context/own_process.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/error.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/system/system_error.hpp>

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// What a cancel does to a call on another executor, and what the call may use.
enum class on_cancel : unsigned char {
    nothing,  // the call is waited for; it owns what it uses
    withdraw,  // it is not made unless it has begun; it may use the waiter's memory
    leave,  // nor is it waited for if it has begun: it owns what it uses
};

/// The call was not made: its executor has ended (`errc::offload_stopped`), or did not take it.
struct call_not_made : boost::system::system_error {
    using system_error::system_error;
};

/// The wait of a handler for a call on another executor. Either side may be destroyed first.
template <class Handler>
class offloaded_call final : public external_wait {
    using done_type = completion<Handler, asio::system_executor>;

public:
    offloaded_call(Handler handler, on_cancel policy)
        : registry_{&registry::of(asio::query(asio::get_associated_executor(handler), asio::execution::context))},
          policy_{policy},
          done_{std::make_unique<done_type>(std::move(handler), asio::system_executor{})} {
        registry_->waits.add(*this);
    }

    /// False if the call need not be made any more.
    bool begin() {
        const std::lock_guard lock{mutex_};
        return running_ = done_ || policy_ == on_cancel::nothing;
    }

    /// Makes it known to the other executor: `post()`. If that throws, or drops the call, this is the call's outcome.
    template <class Post>
    void queue(Post post) {
        std::exception_ptr error;
        try {
            post();
        } catch (const boost::system::system_error& e) {
            error = std::make_exception_ptr(call_not_made{e.code(), e.what()});
        } catch (...) { error = std::current_exception(); }
        const std::lock_guard lock{mutex_};
        queued_ = true;
        if (dropped_) {
            tell(error ? std::move(error) : stopped());
        }
    }

    /// It was destroyed before it began.
    void drop() noexcept {
        {
            const std::lock_guard lock{mutex_};
            dropped_ = true;
            if (!queued_) {
                return;
            }
        }
        complete(stopped());
    }

    void complete(std::exception_ptr error) noexcept {
        const std::lock_guard lock{mutex_};
        running_ = false;
        ended_.notify_all();
        tell(std::move(error));
    }

    void cancel() noexcept override {
        const std::lock_guard lock{mutex_};
        if (!running_ || policy_ == on_cancel::leave) {
            tell(make_error(asio::error::operation_aborted));
        }
    }

    void forget() noexcept override {
        std::unique_ptr<done_type> unused;
        std::unique_lock lock = process_.lock(mutex_);
        unused.swap(done_);
        if (lock) {  // the waiter's memory goes with its handler
            ended_.wait(lock, [this] { return !running_ || policy_ != on_cancel::withdraw; });
        }
    }

    void thread_is_lost() noexcept override {
        process_ = {};
        if (running_) {
            running_ = false;
            tell(make_error(asio::error::operation_aborted));
        }
    }

private:
    static std::exception_ptr stopped() {
        return std::make_exception_ptr(call_not_made{make_error_code(errc::offload_stopped)});
    }

    void tell(std::exception_ptr error) noexcept {
        if (!done_) {
            return;
        }
        told_ = std::move(done_);
        error_ = std::move(error);
        try {
            // While we are listed, the handler's context cannot go: it would have to forget us, and we have the mutex.
            execute_reserved(told_->get_executor(), deliver::posted, memory_, [self = this->shared_from_this()] {
                auto& call = static_cast<offloaded_call&>(*self);
                const std::unique_ptr<done_type> done = std::move(call.told_);
                std::move(*done).here(std::move(call.error_));
            });
        } catch (...) {
            told_.reset();  // no memory, on an executor that takes none from us: the waiter is destroyed
        }
        registry_->waits.remove(*this);
    }

    std::mutex mutex_;
    std::condition_variable ended_;
    registry* registry_;
    on_cancel policy_;
    own_process process_;
    bool queued_ = false;
    bool dropped_ = false;
    bool running_ = false;
    std::unique_ptr<done_type> done_;
    std::unique_ptr<done_type> told_;  // on its way
    std::exception_ptr error_;
    reserved_memory memory_;
};

/// What is queued on the other executor. Destroyed without having run, it says so.
template <class Handler, class F>
class offloaded_task {
public:
    offloaded_task(std::shared_ptr<offloaded_call<Handler>> call, F f) : call_{std::move(call)}, f_{std::move(f)} {}
    offloaded_task(offloaded_task&&) noexcept = default;
    offloaded_task& operator=(offloaded_task&&) = delete;
    ~offloaded_task() {
        if (call_) {
            f_.reset();
            call_->drop();
        }
    }

    void operator()() {
        if (!call_->begin()) {
            f_.reset();
            call_.reset();
            return;
        }
        std::exception_ptr error;
        try {
            F f = std::move(*f_);
            f_.reset();
            f();
        } catch (...) { error = std::current_exception(); }
        std::exchange(call_, nullptr)->complete(std::move(error));
    }

private:
    std::shared_ptr<offloaded_call<Handler>> call_;
    std::optional<F> f_;  // gone before the waiter goes on: what it owns is the waiter's
};

/// Calls `f()` on `executor`, and completes with what it threw. `f` may outlive the waiting coroutine: it must own what
/// it uses, unless `policy` says otherwise. Or with `call_not_made`; or what made `post` throw. `waits` is set at its start.
template <class Executor, class F, class Token>
auto offload_call(Executor executor, F f, Token&& token, on_cancel policy = on_cancel::nothing,
                  std::weak_ptr<external_wait>* waits = nullptr) {
    return asio::async_initiate<Token, void(std::exception_ptr)>(
        [policy, waits]<class Handler>(Handler&& handler, Executor elsewhere, F function) {
            using handler_type = std::decay_t<Handler>;
            auto slot = asio::get_associated_cancellation_slot(handler);
            auto call = std::make_shared<offloaded_call<handler_type>>(std::forward<Handler>(handler), policy);
            const std::weak_ptr<external_wait> weak{call};
            if (waits != nullptr) {
                *waits = weak;
            }
            if (policy != on_cancel::nothing && slot.is_connected()) {
                // Not cleared when the call ends, which may be on any thread.
                slot.assign([weak](asio::cancellation_type_t type) {
                    const std::shared_ptr<external_wait> waiting = weak.lock();
                    if (waiting && type != asio::cancellation_type::none) {
                        waiting->cancel();
                    }
                });
            }
            call->queue([&] { asio::post(elsewhere, offloaded_task<handler_type, F>{call, std::move(function)}); });
        },
        token, std::move(executor), std::move(f));
}

}  // namespace coraii::detail

#endif
