// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_STATE_HPP
#define CORAII_DETAIL_SCOPE_STATE_HPP

#include "coraii/detail/clock.hpp"
#include "coraii/detail/execute.hpp"
#include "coraii/detail/kept_scope.hpp"
#include "coraii/detail/place.hpp"
#include "coraii/detail/region.hpp"
#include "coraii/detail/region_executor.hpp"
#include "coraii/detail/registry.hpp"
#include "coraii/detail/signal.hpp"
#include "coraii/detail/waiter.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// One scope: its coroutine, and where that is. The coroutine runs setup, pauses at its `co_yield`, and when it is let
/// go on, runs the cleanup. Pausing gives control back to whoever awaits it as if it had ended, so that it can be
/// awaited once more, elsewhere if need be.
///
/// Two kinds of coroutine await it. A keeper (`keep_scope`) is spawned: it has a cancellation slot of its own, so a
/// cancel of the user does not reach the cleanup, and while the resource is in use it is parked here. That is what a
/// guard has. Where nobody can cancel the user, `with` does without, and awaits the scope itself ("inline").
template <class Executor>
class scope_state final : public scope_record {
public:
    using timer = asio::basic_waitable_timer<clock, asio::wait_traits<clock>, Executor>;

    // ---- starting

    /// Setup begins, in the caller's own coroutine if not in a keeper.
    void start(const Executor& executor) {
        executor_.emplace(executor);
        registry_ = &registry::of(asio::query(executor, asio::execution::context));
        phase_.store(scope_phase::setting_up);
        if (registry_->tracking()) {
            registry_->add(*this);
        }
    }

    /// Setup in a keeper of its own. The caller has set the waiter, or asks `has_happened()` afterwards.
    void start_keeper(const Executor& executor) {
        start(code_of(executor, *this));
        try {
            if (timeout_ > timeout_.zero()) {
                deadline_ = std::make_unique<timer>(*executor_);
            }
            spawn_keeper(Executor{*executor_}, keep_from::setup);
        } catch (...) {
            error_ = std::current_exception();
            end();
            when_opened_.happen();
        }
    }

    bool inline_possible() const noexcept {
        return std::same_as<Executor, asio::any_io_executor> && timeout_ == timeout_.zero();
    }

    /// The coroutine is at its `co_yield`.
    void opened(bool kept) noexcept {
        registry_->count_opened(*this);
        if (kept || registry_->tracking()) {
            registry_->add(*this);
        }
        phase_.store(scope_phase::open);
    }

    /// The keeper is parked, and `user` may have the resource. If the user is gone already, the cleanup begins.
    template <class Handler>
    void park(Handler handler) {
        static_assert(erased<>::fits<Handler>, "setup is done: there may be no memory left to wait in");
        const scope_ptr<Executor> alive{this};
        parked_ = std::move(handler);
        opened(true);
        if (holds_.load() == 0) {
            begin_cleanup(deliver::dispatched);
        } else {
            when_opened_.happen();
        }
    }

    void setup_failed(std::exception_ptr error) {
        error_ = error ? std::move(error) : make_error(errc::no_value);
        end();
        if (left_) {
            background_ended(deliver::dispatched);
        }
        when_opened_.happen();
    }

    // ---- leaving

    /// The user's last word. Without a waiter the cleanup runs in the background. False if it is over already.
    bool leave(exit_status status, bool waited) noexcept {
        const scope_phase phase = phase_.load();
        if (left_ || phase == scope_phase::made || phase == scope_phase::closed) {
            return false;
        }
        left_ = true;
        status_ = std::move(status);
        waited_ = waited;
        if (!waited) {
            registry_->background_began();
            if (!released_ && !registry_->dying()) {
                region_.reset(region::drop_here(*this, *registry_));
            }
        }
        drop_hold(deliver::dispatched);
        return true;
    }

    /// True if nobody else holds the scope, and the caller may run the cleanup itself.
    bool leave_inline(exit_status status) noexcept {
        status_ = std::move(status);
        waited_ = true;
        unsigned only_mine = 1;
        if (!holds_.compare_exchange_strong(only_mine, 0)) {
            return false;
        }
        left_ = true;
        claim_cleanup();
        return true;
    }

    /// Waits, inline, for those who hold the scope.
    template <class Handler>
    void park_until_unheld(Handler handler) {
        static_assert(erased<>::fits<Handler>, "the cleanup is due: there may be no memory left to wait in");
        const scope_ptr<Executor> alive{this};
        parked_ = std::move(handler);
        registry_->add(*this);  // nobody else knows of the parked coroutine if the context dies
        left_ = true;
        drop_hold(deliver::posted);
    }

    /// The coroutine that awaited the scope is gone, and the cleanup has not run.
    void detach() noexcept {
        detached_ = true;
        owner_ = this;
        registry_->add(*this);
        leave({}, false);
    }

    void begin_cleanup(deliver how) noexcept override {
        if (phase_.load() != scope_phase::open || (region_ && !region_->is_turn_of(*this)) ||
            starting_.exchange(true)) {
            return;
        }
        if (registry_->dying()) {
            // What was held goes with the rest: one after another, not one inside another.
            return how == deliver::dispatched ? context_dies() : void();
        }
        try {
            if (how == deliver::dispatched && !detached_ && runs_here(*executor_)) {
                return run_here();  // no handler of the user's runs in here: who waits is still initiating
            }
            const Executor executor = *executor_;  // a copy: the cleanup may be over before execute returns
            execute_reserved(executor, how, memory_, [self = scope_ptr<Executor>{this}] { self->run_cleanup(); });
        } catch (...) {
            // No memory to queue it, on an executor that takes none from us. It stays listed: the context runs it at
            // its end at the latest.
            starting_.store(false);
        }
    }

    void queue_last(erased<> f) override { post_to_context(*executor_, std::move(f)); }

    void context_dies() noexcept override {
        if (phase_.load() != scope_phase::open || (!parked_ && !detached_)) {
            return;  // its coroutine is in the middle of something, and is destroyed with the context
        }
        if (!std::exchange(left_, true)) {
            registry_->background_began();
        }
        status_ = status_.without_await();
        last_turn_ = true;
        run_here();
    }

    /// The cleanup is over, in whatever way, and the coroutine with it.
    void finish(std::exception_ptr error, deliver how = deliver::dispatched) {
        if (timed_out_) {
            error = make_error(errc::cleanup_timeout);
        }
        end();
        if (released_) {
            registry_->count_released();
        } else if (error) {
            registry_->count_failed();
        } else {
            registry_->count_cleaned();
        }
        if (error && waited_ && !status_.error()) {
            error_ = std::move(error);
        } else if (error && region_) {
            region_->cleanup_failed(*this, std::move(error));
        } else if (error) {
            registry_->report({error, status_.error(), name_, where_});
        }
        const auto below = std::exchange(below_, nullptr);
        if (below) {
            below->drop_hold(deliver::posted);
        }
        if (waited_) {
            when_cleaned_.happen(how);
        } else {
            background_ended(how);
        }
    }

    /// The coroutine that awaits the scope's is being destroyed in the middle of setup or cleanup.
    void cut_short() noexcept {
        const scope_phase phase = phase_.load();
        if (phase == scope_phase::made || phase == scope_phase::closed || owner_) {
            return;  // not begun, over, or it is for another keeper to clean
        }
        const scope_ptr<Executor> alive{this};
        destroy_coroutine();
        if (phase == scope_phase::closing && !registry_->dying()) {
            try {
                finish(make_error(errc::cleanup_destroyed), deliver::posted);
            } catch (...) {  // no memory to tell the waiter: it goes the way of a waiter whose operation is destroyed
            }
            return;
        }
        end();
        if (phase == scope_phase::closing) {
            registry_->count_failed();
        }
        when_opened_.forget();
        when_cleaned_.forget();
        if (const auto below = std::exchange(below_, nullptr)) {
            below->drop_hold(deliver::posted);
        }
        if (left_ && !waited_) {
            background_ended(deliver::posted);
        }
    }

    // ---- what the coroutine's promise, its awaiters and its keeper need

    /// True for the one who is to run the cleanup.
    bool claim_cleanup() noexcept {
        scope_phase expected = scope_phase::open;
        if (!phase_.compare_exchange_strong(expected, scope_phase::closing)) {
            return false;
        }
        owner_ = nullptr;
        registry_->count_left(status_.reason() == exit_reason::abandoned && !released_);
        return true;
    }

    bool spawned() const noexcept { return spawned_.load(); }
    void set_spawned() noexcept { spawned_.store(true); }

    void destroy_coroutine() noexcept { const auto gone = std::move(coroutine_); }

    void start_deadline() noexcept {
        if (!deadline_) {
            return;
        }
        try {
            deadline_->expires_after(timeout_);
            deadline_->async_wait([self = scope_ptr<Executor>{this}](const boost::system::error_code& cancelled) {
                if (!cancelled && self->phase_.load() == scope_phase::closing) {
                    self->timed_out_ = true;
                    self->signal_.emit(by_deadline);
                }
            });
        } catch (...) {  // no memory for a deadline: the cleanup runs without one
        }
    }

    asio::awaitable<void, Executor> coroutine_;
    bool paused_ = false;  // at its co_yield
    bool yielded_ = false;  // has been there
    bool released_ = false;  // the user took the resource; there is nothing to clean
    bool cancellable_ = false;
    void* value_ = nullptr;
    clock::duration timeout_{};
    exit_status status_;
    std::exception_ptr error_;  // for the waiter: what setup threw, or cleanup
    waiter when_opened_;  // or setup has failed
    waiter when_cleaned_;
    signal signal_;  // the keeper's
    boost::intrusive_ptr<scope_record> below_;  // held until this one is clean (exit_stack)

private:
    void spawn_keeper(const Executor& executor, keep_from first) {
        const bool needs_slot = cancellable_ || deadline_;
        asio::co_spawn(executor,
                       keep_scope<Executor>(own_frame{}, kept_scope<Executor>{scope_ptr<Executor>{this}}, first),
                       keeper_end<scope_state>{needs_slot ? signal::slot{signal_} : signal::slot{}, this});
        set_spawned();
    }

    void run_cleanup() {
        const scope_ptr<Executor> alive{this};
        const running_at here{region_ ? place{region_.get(), this} : running_at::now()};
        if (detached_) {
            return spawn_cleanup();
        }
        if (!claim_cleanup()) {
            return;
        }
        std::move(parked_)();
    }

    /// In the midst of the user's code, maybe in a destructor.
    void run_here() noexcept {
        const scope_ptr<Executor> alive{this};

        try {
            run_cleanup();
        } catch (...) {
            // An initiating function in the cleanup threw. Asio destroys the coroutine, and would let the error out of
            // its loop.
            registry_->report({std::current_exception(), status_.error(), name_, where_});
        }
    }

    /// The cleanup of a detached scope. Its keeper claims it when it runs: the executor may drop it before.
    void spawn_cleanup() {
        try {
            if constexpr (std::same_as<Executor, asio::any_io_executor>) {
                if (last_turn_) {
                    return spawn_keeper(last_turn_executor{asio::query(*executor_, asio::execution::context)},
                                        keep_from::cleanup);
                }
            }
            spawn_keeper(*executor_, keep_from::cleanup);
        } catch (...) {
            starting_.store(false);
            if (last_turn_ && claim_cleanup()) {
                const std::exception_ptr error = std::current_exception();
                destroy_coroutine();
                finish(error);
            }
        }
    }

    void background_ended(deliver how) {
        try {
            if (region_) {
                region_->cleaned(*this, how);
            }
        } catch (...) {  // no memory to tell who waits
            registry_->background_ended();
            throw;
        }
        registry_->background_ended();
    }

    void end() noexcept {
        value_ = nullptr;
        deadline_.reset();
        executor_.reset();  // a guard or a hold may outlive the context, but an executor must not
        phase_.store(scope_phase::closed);
        registry_->remove(*this);
    }

    std::optional<Executor> executor_;
    registry* registry_ = nullptr;
    erased<> parked_;
    std::unique_ptr<timer> deadline_;
    std::atomic<bool> starting_{false};
    std::atomic<bool> spawned_{false};  // the keeper: from then on it answers for the scope
    bool left_ = false, waited_ = false;
    bool detached_ = false;  // from the coroutine that awaited it inline
    scope_ptr<Executor> owner_;  // itself, then: the executor may drop the cleanup, and the context must find it
    bool last_turn_ = false;
    bool timed_out_ = false;
    reserved_memory memory_;
};

}  // namespace coraii::detail

#endif
