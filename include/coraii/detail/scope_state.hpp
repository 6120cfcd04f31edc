// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_STATE_HPP
#define CORAII_DETAIL_SCOPE_STATE_HPP

#include "coraii/detail/cleanup_deadline.hpp"
#include "coraii/detail/clock.hpp"
#include "coraii/detail/completion.hpp"
#include "coraii/detail/coroutine_thread.hpp"
#include "coraii/detail/erased.hpp"
#include "coraii/detail/execute.hpp"
#include "coraii/detail/frame.hpp"
#include "coraii/detail/kept_scope.hpp"
#include "coraii/detail/place.hpp"
#include "coraii/detail/region.hpp"
#include "coraii/detail/region_executor.hpp"
#include "coraii/detail/registry.hpp"
#include "coraii/detail/scope_home.hpp"
#include "coraii/detail/scope_life.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <concepts>
#include <exception>
#include <utility>

namespace coraii::detail {

/// One scope: its coroutine, and where that is. The coroutine runs setup, pauses at its `co_yield`, and when it is let
/// go on, runs the cleanup. Pausing gives control back to whoever awaits it as if it had ended, so that it can be
/// awaited once more, elsewhere if need be.
///
/// A guard's setup and cleanup have a coroutine thread each (`set_up`, `clean_up`): so a cancel of the user does not reach
/// the cleanup. The cleanup's is made before setup, and needs no memory when it is run. Where nobody can cancel the user,
/// `with` does without, and awaits the scope in the user's own ("inline").
template <class Executor>
class scope_state final : public scope_life {
public:
    // ---- starting

    void start(const Executor& executor) {
        home_.begin(executor);
        registry_ = &registry::of(home_.context());
        phase_.store(scope_phase::setting_up, std::memory_order_release);
        if (registry_->tracking()) {
            registry_->add(*this);
        }
    }

    /// Setup in a coroutine thread of its own; one for the cleanup is made before. The caller has set the waiter, or asks
    /// `has_happened()` afterwards.
    void start_kept(const Executor& executor, where_we_are we_are) {
        start(executor);
        const bool outside =
            !home_.may_be_in_a_region() || (we_are == where_we_are::on_it && running_at::now().where == nullptr);
        if (!outside) {
            home_.begin(code_of(executor, *this));
        }
        bool begun = false;
        try {
            if (guarded_) {
                home_.keep_context_running();
            }
            if (timeout_ > timeout_.zero()) {
                deadline_.reset(new cleanup_deadline<Executor>{home_.executor(), timeout_});
            }
            cleanup_ = clean_up<Executor>(own_frame{}, *this);
            auto main = set_up<Executor>(own_frame{}, kept_scope<Executor>{scope_ptr<Executor>{this}});
            begun = true;
            // What reaches us has passed the user's own filter: setup sees it as if it were awaited directly.
            const auto cancel =
                cancellable_ ? signal_.begin(asio::enable_total_cancellation()) : asio::cancellation_state{};
            if (we_are == where_we_are::on_it || home_.runs_here()) {
                const place inside = outside ? place{} : place_of(home_.executor());
                const running_at there{inside.where != nullptr ? inside : running_at::now()};
                run_in_thread(std::move(main), signal_, cancel);
            } else {
                asio::dispatch(home_.executor(),
                               [self = scope_ptr<Executor>{this}, main = std::move(main), cancel]() mutable {
                                   self->run_in_thread(std::move(main), self->signal_, cancel);
                               });
            }
        } catch (...) {
            // Where an operation of setup could not begin, its thread is destroyed by a function that Asio queues, and the
            // user is told then: setup's locals go first.
            error_ = std::current_exception();
        }
        if (thread_.exchange(thread::has_it) == thread::was_dropped || !begun) {
            cut_short();
        }
    }

    bool inline_possible() const noexcept {
        return std::same_as<Executor, asio::any_io_executor> && timeout_ == timeout_.zero();
    }

    /// `cleanup` is what is to be called for it.
    template <class Cleanup>
    void open_with(Cleanup cleanup) {
        static_assert(erased<>::fits<Cleanup>, "setup is done: there may be no memory left to keep it in");
        parked_ = std::move(cleanup);
        guarded_ = true;
        kept_opened();
    }

    /// Setup is done, and the user may have the resource. If the user is gone already, the cleanup begins.
    void kept_opened() {
        count_opened();
        // Before we look who holds it: who drops the last hold looks at the phase then.
        phase_.store(scope_phase::open);
        if (holds_.load() == 0) {
            begin_cleanup(deliver::dispatched);
        } else {
            when_opened_.happen();
        }
    }

    /// Cancels setup, if it is not over.
    void cancel(asio::cancellation_type_t type) {
        if (phase_.load() != scope_phase::setting_up) {
            return;
        }
        if (home_.runs_here()) {
            return signal_.emit(type);
        }
        asio::dispatch(home_.executor(), [self = scope_ptr<Executor>{this}, type] { self->signal_.emit(type); });
    }

    // ---- leaving

    /// The user's last word. Without a waiter the cleanup runs in the background. False if it is over already.
    bool leave(exit_status status, bool waited, where_we_are we_are = where_we_are::anywhere) noexcept {
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
                keep_context_running();
                region_.reset(region::drop_here(*this, *registry_));
            }
        }
        const bool here = phase == scope_phase::open && !detached_ && !region_ && !registry_->dying() &&
                          (we_are == where_we_are::on_it || home_.runs_here());
        if (here && nobody_else_holds()) {
            run_here();
            return true;
        }
        // The cleanup may be queued, and dropped by the executor: then it is for the context.
        owner_ = this;
        registry_->list(*this);
        drop_hold(deliver::dispatched);
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
        leave({}, false);
    }

    /// Posts what brings the user the resource, or an error.
    template <class UsersExecutor, class F>
    void post_to_user(const UsersExecutor& executor, F f) {
        if (phase_.load() == scope_phase::open) {
            home_.post_to_user(executor, std::move(f));
        } else {
            asio::post(executor, std::move(f));
        }
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
            if (how == deliver::dispatched && !detached_ && home_.runs_here()) {
                return run_here();  // no handler of the user's runs in here: who waits is still initiating
            }
            home_.queue(how, [self = scope_ptr<Executor>{this}] { self->run_cleanup(); });
        } catch (...) {
            if (phase_.load() != scope_phase::open) {  // the executor has run it at once
                return registry_->report({std::current_exception(), status_.error(), name_, where_});
            }
            // No memory to queue it, on an executor that takes none from us. It stays listed: the context runs it at
            // its end at the latest.
            starting_.store(false);
        }
    }

    void queue_last(erased<> f) override { post_to_context(home_.executor(), std::move(f)); }

    void context_dies() noexcept override {
        if (phase_.load() != scope_phase::open || (!cleanup_.valid() && !parked_ && !detached_)) {
            return;  // its coroutine is in the middle of something, and is destroyed with the context
        }
        if (!std::exchange(left_, true)) {
            registry_->background_began();
        }
        status_ = status_.without_await();
        last_turn_ = true;
        run_here();
    }

    /// The coroutine that awaits the scope's is being destroyed in the middle of setup or cleanup.
    void cut_short() noexcept {
        const scope_phase phase = phase_.load();
        if (phase == scope_phase::made || phase == scope_phase::closed) {
            return;  // not begun, or over
        }
        const scope_ptr<Executor> alive{this};
        destroy_coroutine();
        if (phase == scope_phase::setting_up && error_) {
            setup_failed(nullptr);
        } else {
            destroyed_in(phase);
        }
    }

    // ---- what the coroutine's promise, its awaiters and its threads need

    // A coroutine thread answers for the scope, from when who begins it is done: it may be dropped before that.
    void thread_has_it() noexcept { thread_.store(thread::has_it, std::memory_order_relaxed); }
    void thread_dropped() noexcept {
        thread begun = thread::none;
        if (!thread_.compare_exchange_strong(begun, thread::was_dropped)) {
            cut_short();
        }
    }

    void destroy_coroutine() noexcept { const auto gone = std::move(coroutine_); }

    void start_deadline() noexcept {
        if (deadline_) {
            deadline_->start([self = scope_ptr<Executor>{this}] {
                return self->timed_out_ = self->phase_.load() == scope_phase::closing;
            });
        }
    }

    asio::awaitable<void, Executor> coroutine_;
    bool paused_ = false;  // at its co_yield
    bool yielded_ = false;  // has been there
    bool cancellable_ = false;  // by the user, while it is set up
    clock::duration timeout_{};

private:
    void run_in_thread(thread_main<Executor> main, thread_signal& signal, asio::cancellation_state cancel) {
        run_thread(std::move(main), home_.executor(),
                   cancel.slot().is_connected() ? signal.slot() : asio::cancellation_slot{}, cancel);
    }

    void run_cleanup() {
        const running_at here{region_ ? place{region_.get(), this} : running_at::now()};
        if (detached_ && !cleanup_.valid() && !make_cleanup()) {
            return;
        }
        if (!claim_cleanup()) {
            return;
        }
        if (cleanup_.valid()) {
            clean(std::move(cleanup_));
        } else {
            std::move(parked_)();
        }
    }

    void clean(thread_main<Executor> main) {
        thread_has_it();
        if (released_) {
            destroy_coroutine();
            finish(nullptr);
        } else if (deadline_) {
            run_in_thread(std::move(main), deadline_->signal(), deadline_->state());
        } else {
            run_in_thread(std::move(main), signal_, {});
        }
    }

    /// In the midst of the user's code, maybe in a destructor.
    void run_here() noexcept {
        try {
            run_cleanup();
        } catch (...) {
            // An initiating function in the cleanup threw. Asio destroys the coroutine, and would let the error out of
            // its loop.
            registry_->report({std::current_exception(), status_.error(), name_, where_});
        }
    }

    /// False if there is no memory for the cleanup.
    bool make_cleanup() {
        try {
            cleanup_ = clean_up<Executor>(own_frame{}, *this);
            return true;
        } catch (...) {
            starting_.store(false);
            if (last_turn_ && claim_cleanup()) {
                const std::exception_ptr error = std::current_exception();
                destroy_coroutine();
                finish(error);
            }
            return false;
        }
    }

    void keep_context_running() noexcept {
        try {
            home_.keep_context_running();
        } catch (...) {  // no memory to copy a large executor: what the cleanup waits for keeps the context running
        }
    }

    void end() noexcept override {
        value_ = nullptr;
        if (deadline_) {
            std::exchange(deadline_, nullptr)->end();
        }
        home_.end();
        phase_.store(scope_phase::closed, std::memory_order_release);
        registry_->remove(*this);
        const auto not_needed = std::move(cleanup_);  // Asio's assignment does not destroy what was there
        parked_.reset();
        if (cancellable_) {
            signal_.end();
        }
        owner_ = nullptr;
    }

    scope_home<Executor> home_;
    thread_signal signal_;  // for setup
    thread_main<Executor> cleanup_;  // until it is run
    erased<> parked_;  // what does it instead, or goes on with it
    boost::intrusive_ptr<cleanup_deadline<Executor>> deadline_;
    std::atomic<bool> starting_{false};
    enum class thread : unsigned char { none, has_it, was_dropped };
    std::atomic<thread> thread_{thread::none};
    bool detached_ = false;  // from the coroutine that awaited it inline
    bool last_turn_ = false;
};

}  // namespace coraii::detail

#endif
