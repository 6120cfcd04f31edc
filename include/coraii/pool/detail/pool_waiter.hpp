// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_WAITER_HPP
#define CORAII_POOL_DETAIL_POOL_WAITER_HPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/error.hpp"
#include "coraii/pool/detail/pool_lease.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>

#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <utility>

namespace coraii::detail {

template <class T, class Executor>
class pool_waiter;

template <class T, class Executor>
using pool_queue = std::list<std::shared_ptr<pool_waiter<T, Executor>>>;

/// One wait for a pool, on any executor: for a lease, or for the end of something. What it is granted it owns, until the
/// coroutine that waits takes it: whatever happens to that, the lease is given back.
template <class T, class Executor>
class pool_waiter final : public external_wait {
public:
    using lease_type = pool_lease<T, Executor>;
    using queue_type = pool_queue<T, Executor>;

    pool_waiter(std::shared_ptr<pool_state<T, Executor>> pool, clock::duration timeout, std::source_location where)
        : deadline_{later(clock::now(), timeout)}, where_{where}, pool_{std::move(pool)} {}

    /// `handler(std::exception_ptr)` is called on its executor, once we have been told; on `own` if it has none.
    template <class Handler>
    void start(Handler handler, const Executor& own) {
        using handler_executor = asio::associated_executor_t<Handler, Executor>;
        constexpr bool is_ours = std::is_convertible_v<handler_executor, Executor>;
        const Executor executor = [&] {
            if constexpr (is_ours) {
                return static_cast<Executor>(asio::get_associated_executor(handler, own));
            } else {
                return own;  // on the way to the handler's
            }
        }();
        registry_ = &registry::of(asio::query(executor, asio::execution::context));
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected()) {
            // Not cleared when the wait ends, which may be on any thread.
            slot.assign([weak = this->weak_from_this()](asio::cancellation_type_t type) {
                const std::shared_ptr<external_wait> waiting = weak.lock();
                if (waiting && type != asio::cancellation_type::none) {
                    waiting->cancel();
                }
            });
        }
        completion<Handler, Executor> completed{std::move(handler), own};
        if constexpr (is_ours) {
            done_ = [done = std::move(completed)](std::exception_ptr error) mutable {
                std::move(done).here(std::move(error));
            };
        } else {
            done_ = [done = std::move(completed), scopes = registry_](std::exception_ptr error) mutable {
                std::move(done).dispatch(*scopes, std::move(error));
            };
        }
        executor_.emplace(executor);
        registry_->waits.add(*this);
    }

    /// It is in no queue any more. `lease` goes back if nobody waits.
    void tell(std::exception_ptr error, lease_type lease = {}) noexcept {
        const std::lock_guard lock{mutex_};
        if (!done_) {
            return;
        }
        error_ = std::move(error);
        lease_ = std::move(lease);
        try {
            // While we are listed, the handler's context cannot go: it would have to forget us, and we have the mutex.
            execute_reserved(*executor_, deliver::posted, memory_,
                             delivery{std::static_pointer_cast<pool_waiter>(this->shared_from_this())});
        } catch (...) {  // no memory, on an executor that takes none from us: the delivery has dropped all
        }
        registry_->waits.remove(*this);
    }

    /// It was granted a lease a moment ago, and is cancelled: the next one may have it.
    bool pass_on(std::exception_ptr error) noexcept {
        lease_type passed;
        const std::lock_guard lock{mutex_};
        if (!done_ || !lease_) {
            return false;
        }
        passed = std::move(lease_);
        error_ = std::move(error);
        return true;
    }

    Executor pool_executor() const { return pool_->executor_or_throw(); }

    lease_type take() noexcept { return std::move(lease_); }

    void cancel() noexcept override { pool_->give_up(*this, make_error(asio::error::operation_aborted)); }

    void forget() noexcept override {
        const auto queued = pool_->withdraw(*this);
        std::unique_lock lock{mutex_};
        const parts gone = take_parts();
        lock.unlock();
    }

    const clock::time_point deadline_;
    const std::source_location where_;

    // The pool's, under its mutex.
    queue_type* queue_ = nullptr;
    bool for_lease_ = false;
    typename queue_type::iterator place_{};
    clock::time_point since_{};

private:
    /// What goes with the waiter's context.
    struct parts {
        unique_function<std::exception_ptr> done{};
        std::optional<Executor> executor{};
        lease_type lease{};
    };

    parts take_parts() noexcept {
        return {std::move(done_), std::exchange(executor_, std::nullopt), std::move(lease_)};
    }

    /// What is queued on the waiter's executor. Dropped there, it ends the wait: the coroutine that waits has a share in
    /// us, so it would stay for ever.
    class delivery {
    public:
        explicit delivery(std::shared_ptr<pool_waiter> to) noexcept : to_{std::move(to)} {}
        delivery(delivery&&) noexcept = default;
        delivery& operator=(delivery&&) = delete;
        ~delivery() {
            if (to_) {
                const parts gone = to_->take_parts();  // maybe inside of tell: it has the mutex
            }
        }

        void operator()() {
            const std::shared_ptr<pool_waiter> to = std::move(to_);
            std::unique_lock lock{to->mutex_};
            auto done = std::move(to->done_);
            to->executor_.reset();
            lock.unlock();
            if (done) {
                std::move(done)(std::move(to->error_));
            }
        }

    private:
        std::shared_ptr<pool_waiter> to_;
    };

    std::mutex mutex_;
    const std::shared_ptr<pool_state<T, Executor>> pool_;
    registry* registry_ = nullptr;
    unique_function<std::exception_ptr> done_;
    std::optional<Executor> executor_;
    std::exception_ptr error_;
    lease_type lease_;
    reserved_memory memory_;
};

/// Waits until `waiter` is told, once `begin(waiter)` has put it where it will be.
template <class T, class Executor, class Begin, class Token>
auto wait_told(std::shared_ptr<pool_waiter<T, Executor>> waiter, Begin begin, Token&& token) {
    return asio::async_initiate<Token, void(std::exception_ptr)>(
        initiation{waiter->pool_executor(),
                   [](auto handler, const Executor& own, std::shared_ptr<pool_waiter<T, Executor>> waiting, Begin queue) {
                       waiting->start(std::move(handler), own);
                       queue(waiting);
                   }},
        token, std::move(waiter), std::move(begin));
}

}  // namespace coraii::detail

#endif
