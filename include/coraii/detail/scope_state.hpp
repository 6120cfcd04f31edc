// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_STATE_HPP
#define CORAII_DETAIL_SCOPE_STATE_HPP

#include "coraii/detail/clock.hpp"
#include "coraii/detail/coroutine_thread.hpp"
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
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <atomic>
#include <concepts>
#include <exception>
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
    // ---- starting

    /// Setup begins, in the caller's own coroutine if not in a keeper.
    void start(const Executor& executor) {
        executor_.emplace(executor);
        registry_ = &registry::of(asio::query(executor, asio::execution::context));
        phase_.store(scope_phase::setting_up, std::memory_order_release);
        if (registry_->tracking()) {
            registry_->add(*this);
        }
    }

    /// Setup in a coroutine thread of its own; one for the cleanup is made before. The caller has set the waiter, or asks
    /// `has_happened()` afterwards.
    void start_kept(const Executor& executor, where_we_are we_are) {
        const bool no_region = we_are == where_we_are::on_it && running_at::now().where == nullptr;
        start(no_region ? executor : code_of(executor, *this));
        try {
            if (guarded_) {
                work_.emplace(asio::prefer(*executor_, asio::execution::outstanding_work.tracked));
            }
            if (timeout_ > timeout_.zero()) {
                deadline_.reset(new deadline{*executor_});
            }
            cleanup_ = clean_up<Executor>(own_frame{}, *this);
            auto main = set_up<Executor>(own_frame{}, kept_scope<Executor>{scope_ptr<Executor>{this}});
            // What reaches us has passed the user's own filter: setup sees it as if it were awaited directly.
            const auto cancel = cancellable_ ? signal_.begin(asio::enable_total_cancellation()) : asio::cancellation_state{};
            if (no_region) {
                run_in_thread(std::move(main), signal_, cancel);
            } else if (we_are == where_we_are::on_it || runs_here(*executor_)) {
                const place inside = place_of(*executor_);
                const running_at there{inside.where != nullptr ? inside : running_at::now()};
                run_in_thread(std::move(main), signal_, cancel);
            } else {
                asio::dispatch(*executor_,
                               [self = scope_ptr<Executor>{this}, main = std::move(main), cancel]() mutable {
                                   self->run_in_thread(std::move(main), self->signal_, cancel);
                               });
                if (thread_.exchange(thread::has_it) == thread::was_dropped) {
                    cut_short();
                }
            }
        } catch (...) {
            error_ = std::current_exception();
            end();  // the coroutine may have been begun: it goes with its thread
            when_opened_.happen();
        }
    }

    bool inline_possible() const noexcept {
        return std::same_as<Executor, asio::any_io_executor> && timeout_ == timeout_.zero();
    }

    /// The coroutine is at its `co_yield`, in the user's own coroutine.
    void opened_inline() noexcept {
        count_opened();
        phase_.store(scope_phase::open, std::memory_order_release);
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
        phase_.store(scope_phase::open);  // before looking who holds it: who drops the last hold looks at the phase then
        if (holds_.load() == 0) {
            begin_cleanup(deliver::dispatched);
        } else {
            when_opened_.happen();
        }
    }

    /// Setup, if it is not over.
    void cancel(asio::cancellation_type_t type) {
        if (phase_.load() != scope_phase::setting_up) {
            return;
        }
        if (runs_here(*executor_)) {
            return signal_.emit(type);
        }
        asio::dispatch(*executor_, [self = scope_ptr<Executor>{this}, type] { self->signal_.emit(type); });
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
                          (we_are == where_we_are::on_it || runs_here(*executor_));
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

    /// True if nobody else holds the scope, and the caller may run the cleanup itself.
    bool leave_inline(exit_status status) noexcept {
        status_ = std::move(status);
        waited_ = true;
        if (!is_only_reference() && !nobody_else_holds()) {
            return false;
        }
        left_ = true;
        phase_.store(scope_phase::closing, std::memory_order_release);
        registry_->counts.left(false);
        return true;
    }

    /// Its cleanup is over, in the user's own coroutine.
    void finish_inline(std::exception_ptr error) {
        end();
        ended(std::move(error));
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

    /// Posts what brings the user the resource, or an error: before it is there, no cleanup needs our memory.
    template <class HandlerExecutor, class F>
    void post_to_user(const HandlerExecutor& executor, F f) {
        if constexpr (sizeof(F) <= 6 * sizeof(void*)) {
            if (phase_.load() == scope_phase::open) {  // then `f` has a part in us
                return execute_reserved(executor, deliver::posted, memory_, std::move(f));
            }
        }
        asio::post(executor, std::move(f));
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

    /// The cleanup is over, in whatever way, and the coroutine with it.
    void finish(std::exception_ptr error, deliver how = deliver::dispatched) {
        if (timed_out_) {
            error = make_error(errc::cleanup_timeout);
        }
        end();
        ended(std::move(error));
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
        if (phase == scope_phase::made || phase == scope_phase::closed) {
            return destroy_coroutine();  // not begun, or over: at the latest since its setup could not begin to wait
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
            registry_->counts.failed();
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
        registry_->counts.left(status_.reason() == exit_reason::abandoned && !released_);
        return true;
    }

    // From when it is begun a coroutine thread answers for the scope. An executor may drop it before it is back from
    // being given it.
    void thread_has_it() noexcept { thread_.store(thread::has_it, std::memory_order_relaxed); }
    void thread_dropped() noexcept {
        if (thread_.exchange(thread::was_dropped) == thread::has_it) {
            cut_short();
        }
    }

    void destroy_coroutine() noexcept { const auto gone = std::move(coroutine_); }

    void start_deadline() noexcept {
        if (!deadline_) {
            return;
        }
        try {
            deadline_->at.expires_after(timeout_);
            deadline_->at.async_wait([self = scope_ptr<Executor>{this}](const boost::system::error_code& cancelled) {
                if (!cancelled && self->phase_.load() == scope_phase::closing) {
                    self->timed_out_ = true;
                    const boost::intrusive_ptr<deadline> alive = self->deadline_;  // its emission may end the cleanup
                    alive->cancel.emit(asio::cancellation_type::terminal);
                }
            });
        } catch (...) {  // no memory for a deadline: the cleanup runs without one
        }
    }

    asio::awaitable<void, Executor> coroutine_;
    bool paused_ = false;  // at its co_yield
    bool yielded_ = false;  // has been there
    bool released_ = false;  // the user took the resource; there is nothing to clean
    bool cancellable_ = false;  // by the user, while it is set up
    bool guarded_ = false;  // not in a `with`: the context is kept running, and knows it
    void* value_ = nullptr;
    clock::duration timeout_{};
    exit_status status_;
    std::exception_ptr error_;  // for the waiter: what setup threw, or cleanup
    waiter when_opened_;  // or setup has failed
    waiter when_cleaned_;
    thread_signal signal_;  // for setup
    boost::intrusive_ptr<scope_record> below_;  // held until this one is clean (exit_stack)

private:
    void run_in_thread(thread_main<Executor> main, thread_signal& signal, asio::cancellation_state cancel) {
        thread_has_it();
        run_thread(std::move(main), *executor_, cancel.slot().is_connected() ? signal.slot() : asio::cancellation_slot{},
                   cancel);
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
        if (released_) {
            destroy_coroutine();
            finish(nullptr);
        } else if (deadline_) {
            run_in_thread(std::move(main), deadline_->cancel, deadline_->state);
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
            if (!work_ && executor_) {
                work_.emplace(asio::prefer(*executor_, asio::execution::outstanding_work.tracked));
            }
        } catch (...) {  // no memory to copy a large executor: what the cleanup waits for keeps the context running
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

    void count_opened() noexcept {
        registry_->count_opened(*this);
        if (guarded_ || registry_->tracking()) {
            registry_->add(*this);
        }
    }

    void ended(std::exception_ptr error) {
        if (released_) {
            registry_->counts.released();
        } else if (error) {
            registry_->counts.failed();
        } else {
            registry_->counts.cleaned();
        }
        if (error && waited_ && !status_.error()) {
            error_ = std::move(error);
        } else if (error && region_) {
            region_->cleanup_failed(*this, std::move(error));
        } else if (error) {
            registry_->report({error, status_.error(), name_, where_});
        }
    }

    void end() noexcept {
        value_ = nullptr;
        deadline_.reset();
        work_.reset();
        executor_.reset();  // a guard or a hold may outlive the context, but an executor must not
        phase_.store(scope_phase::closed, std::memory_order_release);
        registry_->remove(*this);
        const auto not_needed = std::move(cleanup_);  // Asio's assignment does not destroy what was there
        parked_.reset();
        if (cancellable_) {
            signal_.end();
        }
        owner_ = nullptr;
    }

    bool nobody_else_holds() noexcept {
        unsigned only_mine = 1;
        return holds_.compare_exchange_strong(only_mine, 0);
    }

    struct deadline : recycled, boost::intrusive_ref_counter<deadline> {
        explicit deadline(const Executor& executor)
            : at{executor}, state{cancel.begin(asio::enable_terminal_cancellation())} {}
        timer_on<Executor> at;
        thread_signal cancel;
        asio::cancellation_state state;
    };

    std::optional<Executor> executor_;
    std::optional<tracked_t<Executor>> work_;
    registry* registry_ = nullptr;
    thread_main<Executor> cleanup_;  // until it is run
    erased<> parked_;  // what does it instead, or goes on with it
    boost::intrusive_ptr<deadline> deadline_;
    std::atomic<bool> starting_{false};
    enum class thread : unsigned char { none, has_it, was_dropped };
    std::atomic<thread> thread_{thread::none};
    bool left_ = false, waited_ = false;
    bool detached_ = false;  // from the coroutine that awaited it inline
    scope_ptr<Executor> owner_;  // itself, between the user's leaving and the cleanup
    bool last_turn_ = false;
    bool timed_out_ = false;
    reserved_memory memory_;
};

}  // namespace coraii::detail

#endif
