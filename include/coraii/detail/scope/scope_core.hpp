// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_CORE_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_CORE_HPP

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/detail/region/region.hpp"
#include "coraii/detail/scope/scope_coroutine.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <atomic>
#include <exception>
#include <utility>

namespace coraii::detail {

/// Where the cleanup runs that the end of a use leads to.
enum class use_end : unsigned char {
    over,       // it is over already
    here,       // it was begun, on its executor, by who ended the use
    elsewhere,  // or maybe here, later
};

/// One scope: its state, its executor and its coroutine, and how its use ends.
template <class Executor>
class scope_core final : public scope_coroutine<Executor> {
    using base = scope_coroutine<Executor>;
    using base::executor_;
    using base::region_;
    using base::registry_;
    using base::state_;
    using base::unstarted_;
    using base::waited_;

public:
    using base::base;
    using base::released_;
    using base::state;
    using base::status_;
    using base::waiter_;

    // ---- until it is open

    /// For the one that is to begin it: false for every other.
    bool claim_setup() noexcept {
        if (unstarted_.load(std::memory_order_acquire) != 1) {
            return this->move_state(scope_state::made, scope_state::setting_up);
        }
        state_.store(scope_state::setting_up, std::memory_order_relaxed);  // nobody else knows of it
        return true;
    }

    /// The coroutine's caller has it now.
    void handed_out() noexcept { unstarted_.store(1, std::memory_order_relaxed); }

    // Of several who could begin it, the last to go without having done so destroys the coroutine.
    void add_unstarted() noexcept { unstarted_.fetch_add(1, std::memory_order_relaxed); }
    void drop_unstarted() noexcept {
        const bool is_last = unstarted_.load(std::memory_order_acquire) == 1 ||
                             unstarted_.fetch_sub(1, std::memory_order_acq_rel) == 1;
        if (is_last && this->move_state(scope_state::made, scope_state::closed)) {
            this->destroy_coroutine();
        }
    }

    /// Cancels setup, if it is not over.
    void cancel(asio::cancellation_type_t type) { cancel_while(type, &scope_core::is_setting_up); }

    /// Cancels the cleanup, if it has begun. Setup was `cancellable`.
    void cancel_cleanup(asio::cancellation_type_t type) { cancel_while(type, &scope_core::is_cleaning); }

    /// Posts what brings the user the resource, or an error.
    template <class UsersExecutor, class F>
    void post_to_user(const UsersExecutor& executor, F f) {
        if (state() == scope_state::open) {
            executor_.post_to_user(executor, std::move(f));
        } else {
            asio::post(executor, std::move(f));
        }
    }

    // ---- the end of the use

    /// The user's last word; the caller has a share in the scope. Unless `waited`, the cleanup runs in the background.
    use_end end_use(exit_status status, bool waited) noexcept {
        const scope_state now = state();
        if (now != scope_state::setting_up && now != scope_state::open) {
            return use_end::over;
        }
        status_ = std::move(status);
        waited_ = waited;
        if (waited) {
            waiter_.reset();
        } else {
            registry_->background_began();
            if (!released_ && !registry_->dying()) {
                keep_context_running();
                region_.reset(region::drop_here(*this, *registry_));
            }
        }
        if (now == scope_state::setting_up && this->move_state(scope_state::setting_up, scope_state::unwanted)) {
            this->drop_hold(deliver::dispatched);
            return use_end::elsewhere;
        }
        if (!region_ && may_clean_here() && this->drop_only_hold()) {
            run_cleanup_here();
            return use_end::here;
        }
        state_.store(scope_state::ended);
        registry_->add_if_unlisted(*this);  // if the executor drops the cleanup, that is for the context
        this->drop_hold(deliver::dispatched);
        return use_end::elsewhere;
    }

    /// Inline: calls `handler` when nobody else holds the scope, and the cleanup is claimed.
    template <class Handler>
    void wait_until_unheld(Handler handler) {
        auto go_on = [handler = std::move(handler)](deliver how) mutable {
            if (how == deliver::posted) {
                asio::post(std::move(handler));
            } else {
                std::move(handler)();  // we are on its executor, or that is no more
            }
        };
        static_assert(unique_function<deliver>::fits<decltype(go_on)>,
                      "the cleanup is due: there may be no memory left to wait in");
        const scope_ptr<Executor> alive{this};
        waiter_.complete_with(std::move(go_on));
        waiter_.arm();
        state_.store(scope_state::ended);
        registry_->add_if_unlisted(*this);  // nobody else knows of the waiting coroutine if the context dies
        this->drop_hold(deliver::posted);
    }

    /// Inline: the user's coroutine is being destroyed. The scope goes on without it, on a thread of its own.
    void abandon_inline() noexcept {
        const scope_state now = state();
        if (!this->is_paused()) {
            return destroy_inline(now);
        }
        waiter_.cancel();
        this->move_to_own_thread();
        if (now == scope_state::open) {
            end_use({}, false);
        } else {
            waited_ = false;  // what held it is still there
            registry_->background_began();
        }
    }

    /// Inline or not, whoever keeps the scope need no longer be the coroutine that has set it up.
    void outlive_coroutine() noexcept {
        if (state() != scope_state::open) {
            return;  // the context is being destroyed, and has cleaned it
        }
        if (this->is_inline()) {
            this->move_to_own_thread();
        }
        if (!this->keeps_context_running_) {
            this->keeps_context_running_ = true;
            if (!registry_->dying()) {
                keep_context_running();
            }
            registry_->add_if_unlisted(*this);
        }
    }

    // ---- what moves it on

    void begin_cleanup(deliver how) noexcept override {
        if (state() != scope_state::ended || (region_ && !region_->is_turn_of(*this))) {
            return;
        }
        if (registry_->dying()) {
            // What was held goes with the rest: one after another, not one inside another.
            return how == deliver::dispatched ? context_dies() : void();
        }
        if (!this->move_state(scope_state::ended, scope_state::queued)) {
            return;
        }
        if (how == deliver::dispatched && may_clean_here()) {
            const scope_ptr<Executor> alive{this};
            return run_cleanup_here();
        }
        try {
            executor_.queue(how, [self = scope_ptr<Executor>{this}] { self->run_cleanup(); });
        } catch (...) {
            // No memory to queue it, on an executor that takes none from us. It stays listed: the context runs it at
            // its end at the latest.
            if (!this->move_state(scope_state::queued, scope_state::ended)) {  // or the executor has run it at once, and it threw
                this->report(std::current_exception());
            }
        }
    }

    void queue_last(unique_function<> f) override { post_to_context(executor_.get(), std::move(f)); }

    void context_dies() noexcept override {
        if (!this->is_paused() || (this->is_inline() && state() == scope_state::open)) {
            return;  // its coroutine is in the middle of something, or is awaited: it is destroyed with the context
        }
        if (state() == scope_state::open) {
            registry_->background_began();
        }
        const scope_ptr<Executor> alive{this};
        status_ = status_.without_await();
        run_cleanup_here();
    }

private:
    bool is_cleaning() const noexcept { return state() == scope_state::cleaning; }

    void cancel_while(asio::cancellation_type_t type, bool (scope_core::*under_way)() const noexcept) {
        if (!(this->*under_way)()) {
            return;
        }
        if (executor_.runs_here()) {
            return this->signal_.emit(type);
        }
        asio::dispatch(executor_.get(), [self = scope_ptr<Executor>{this}, type, under_way] {
            if ((self.get()->*under_way)()) {
                self->signal_.emit(type);
            }
        });
    }

    void destroy_inline(scope_state was) noexcept {
        if (was == scope_state::made || was == scope_state::closed) {
            return;  // not begun, or over
        }
        const scope_ptr<Executor> alive{this};
        if (was == scope_state::cleaning && this->coroutine_is_done()) {  // on its way back from another executor
            waited_ = false;
            return this->inline_ended();
        }
        state_.store(scope_state::closed);
        this->destroy_coroutine();
        this->destroyed(was);
    }

    bool may_clean_here() const noexcept {
        return !registry_->dying() && !nesting_level::too_deep() && executor_.runs_here();
    }

    void run_cleanup() {
        const current_region_origin here{*registry_, {region_.get(), this}};
        for (scope_state from = state(); !this->move_state(from, scope_state::cleaning); from = state()) {
            if (from < scope_state::open || from >= scope_state::cleaning) {
                return;  // the context was faster
            }
        }
        this->count_ended();
        const nesting_level level;
        if (this->is_inline()) {
            return waiter_.set();
        }
        if (released_) {
            return this->thread_ended();
        }
        this->run_cleanup_thread();
    }

    /// In the midst of the user's code, maybe in a destructor. Whoever calls it has a share in the scope.
    void run_cleanup_here() noexcept {
        try {
            run_cleanup();
        } catch (...) {
            // An initiating function in the cleanup threw. Asio destroys the coroutine, and would let the error out of
            // its loop.
            this->report(std::current_exception());
        }
    }

    void keep_context_running() noexcept {
        try {
            executor_.track_work();
        } catch (...) {  // no memory to copy a large executor: what the cleanup waits for keeps the context running
        }
    }
};

/// A scope that may not have begun yet. Copies share it: one of them begins it.
template <class Executor>
class unstarted_scope {
public:
    unstarted_scope() = default;
    explicit unstarted_scope(scope_ptr<Executor> core) noexcept : core_{std::move(core)} {}
    unstarted_scope(const unstarted_scope& other) noexcept : core_{other.core_} {
        if (core_) {
            core_->add_unstarted();
        }
    }
    unstarted_scope(unstarted_scope&&) noexcept = default;
    unstarted_scope& operator=(unstarted_scope other) noexcept {
        core_.swap(other.core_);
        return *this;
    }
    ~unstarted_scope() {
        if (core_) {
            core_->drop_unstarted();
        }
    }

    explicit operator bool() const noexcept { return core_ != nullptr; }
    scope_core<Executor>* operator->() const noexcept { return core_.get(); }

    /// The scope, for the one that begins it; null for others.
    scope_ptr<Executor> claim() noexcept {
        return core_ && core_->claim_setup() ? std::move(core_) : nullptr;
    }
    scope_ptr<Executor> claim_or_throw() {
        scope_ptr<Executor> claimed = claim();
        if (!claimed) {
            throw_error(errc::already_awaited);
        }
        return claimed;
    }

private:
    scope_ptr<Executor> core_;
};

#if defined(CORAII_SEPARATE_COMPILATION)
extern template class scope_coroutine<asio::any_io_executor>;
extern template class scope_core<asio::any_io_executor>;
extern template class unstarted_scope<asio::any_io_executor>;
#endif

}  // namespace coraii::detail

#endif
