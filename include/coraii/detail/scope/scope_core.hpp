// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_CORE_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_CORE_HPP

#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/signal.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/detail/region/region.hpp"
#include "coraii/detail/region/region_executor.hpp"
#include "coraii/detail/scope/cleanup_deadline.hpp"
#include "coraii/detail/scope/lifecycle.hpp"
#include "coraii/detail/scope/scope_executor.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/config.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/system/system_error.hpp>

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

namespace coraii::detail {

template <class Executor>
class scope_core;
template <class Executor>
using scope_ptr = boost::intrusive_ptr<scope_core<Executor>>;

/// One scope: its state, its executor, and its coroutine, which runs setup, pauses at its `co_yield`, and runs the
/// cleanup when it is resumed. All in one block of memory, the coroutine's frame last (scope_frame.hpp allocates it).
///
/// The coroutine runs in one of two ways. On a coroutine thread of its own: then a cancel of the user does not reach the
/// cleanup. Or inline: `with` awaits it as a child of its own coroutine, twice; it does so where nobody can cancel that.
/// Setup, body and cleanup may each have gone to another executor; what follows goes back first.
template <class Executor>
class scope_core final : public scope_lifecycle {
public:
    explicit scope_core(std::size_t block_size) noexcept : block_size_{block_size} {}

    // ---- the coroutine, in the same block

    static constexpr std::size_t frame_offset() noexcept {
        constexpr std::size_t alignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
        return (sizeof(scope_core) + alignment - 1) / alignment * alignment;
    }
    static scope_core& of_frame(void* frame) noexcept {
        return *static_cast<scope_core*>(static_cast<void*>(static_cast<std::byte*>(frame) - frame_offset()));
    }
    thread_frame<Executor>& frame() noexcept {
        void* const address = static_cast<std::byte*>(static_cast<void*>(this)) + frame_offset();
        return std::coroutine_handle<thread_frame<Executor>>::from_address(address).promise();
    }

    /// Not inlined: a compiler that sees where a frame is destroyed may put it on the stack, and not ask us for memory.
    BOOST_NOINLINE void destroy_coroutine() noexcept { frame().destroy(); }

    // ---- setup

    /// For the one that is to begin it: false for every other.
    bool claim_setup() noexcept {
        if (unstarted_.load(std::memory_order_acquire) != 1) {
            return moved(scope_state::made, scope_state::setting_up);
        }
        state_.store(scope_state::setting_up, std::memory_order_relaxed);  // nobody else knows of it
        return true;
    }

    /// The coroutine's caller has it now.
    void handed_out() noexcept { unstarted_.store(1, std::memory_order_relaxed); }

    // Of several who could begin it, the last to go without having done so destroys the coroutine.
    void add_unstarted() noexcept { unstarted_.fetch_add(1, std::memory_order_relaxed); }
    void drop_unstarted() noexcept {
        if ((unstarted_.load(std::memory_order_acquire) == 1 || unstarted_.fetch_sub(1, std::memory_order_acq_rel) == 1) &&
            moved(scope_state::made, scope_state::closed)) {
            destroy_coroutine();
        }
    }

    /// Inline. The caller has claimed setup, and awaits the coroutine.
    void begin_inline(const Executor& executor) {
        inline_ = true;
        begin(executor);
    }

    /// On a thread of its own, to which a cancel reaches if it is `cancellable`. The caller has claimed setup, and has set
    /// the waiter's completion, or asks whether the waiter is set afterwards.
    void begin_on_own_thread(const Executor& executor, bool cancellable) {
        begin_thread(executor, cancellable, false);
    }

    /// The same for a setup of the library's own that waits for nothing, and may run here, wherever that is.
    void begin_at_once(const Executor& executor) { begin_thread(executor, false, true); }

    /// Setup was claimed, and there is no memory to begin it.
    void cannot_begin() noexcept {
        state_.store(scope_state::closed);
        destroy_coroutine();
    }

    bool can_run_inline() const noexcept {
        return std::same_as<Executor, asio::any_io_executor> && (!settings_ || settings_->cleanup_timeout.count() == 0);
    }

    /// Cancels setup, if it is not over.
    void cancel(asio::cancellation_type_t type) {
        if (!is_setting_up()) {
            return;
        }
        if (executor_.runs_here()) {
            return signal_.emit(type);
        }
        asio::dispatch(executor_.get(), [self = scope_ptr<Executor>{this}, type] {
            if (self->is_setting_up()) {
                self->signal_.emit(type);
            }
        });
    }

    /// Posts what brings the user the resource, or an error.
    template <class UsersExecutor, class F>
    void post_to_user(const UsersExecutor& executor, F f) {
        if (state() == scope_state::open) {
            executor_.post_to_user(executor, std::move(f));
        } else {
            asio::post(executor, std::move(f));
        }
    }

    registry& scopes() const noexcept { return *registry_; }

    /// False if the calling coroutine has gone to another executor, and can go back.
    bool is_where_it_belongs() const noexcept { return executor_.runs_here() || registry_->dying(); }

    /// Its executor while it is not closed.
    Executor get_executor() const { return executor_.get(); }

    // ---- the end of the use

    /// The user's last word. Unless `waited`, the cleanup runs in the background. False if it is over already.
    bool end_use(exit_status status, bool waited) noexcept {
        const scope_state now = state();
        if (now == scope_state::made || now >= scope_state::cleaning) {
            return false;
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
        if (now == scope_state::setting_up && moved(scope_state::setting_up, scope_state::unwanted)) {
            drop_hold(deliver::dispatched);
            return true;
        }
        if (!region_ && may_clean_here() && drop_only_hold()) {
            run_cleanup_here();
            return true;
        }
        state_.store(scope_state::ended);
        registry_->add_if_unlisted(*this);  // the cleanup may be queued, and dropped by the executor: then it is for the context
        drop_hold(deliver::dispatched);
        return true;
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
        drop_hold(deliver::posted);
    }

    /// Inline: the user's coroutine is being destroyed. The scope goes on without it, on a thread of its own.
    void abandon_inline() noexcept {
        const scope_state now = state();
        if (!is_paused()) {
            return destroy_inline(now);
        }
        waiter_.cancel();
        inline_ = false;
        launched_.store(launch::handed_over);
        thread_.emplace(frame().get_return_object(), executor_.get());
        if (now == scope_state::open) {
            end_use({}, false);
        } else {
            waited_ = false;  // what held it is still there
            registry_->background_began();
        }
    }

    /// Inline: the coroutine has ended, or its cleanup has.
    void inline_ended() noexcept {
        const bool cleaned = state() == scope_state::cleaning;
        state_.store(scope_state::closed, std::memory_order_release);
        std::exception_ptr error = std::exchange(error_, nullptr);
        destroy_coroutine();
        if (cleaned) {
            inline_cleanup_ended(std::move(error));
        } else {
            end();
            error_ = error ? std::move(error) : make_error(errc::no_value);
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
        if (!moved(scope_state::ended, scope_state::queued)) {
            return;
        }
        if (how == deliver::dispatched && may_clean_here()) {
            return run_cleanup_here();
        }
        try {
            executor_.queue(how, [self = scope_ptr<Executor>{this}] { self->run_cleanup(); });
        } catch (...) {
            // No memory to queue it, on an executor that takes none from us. It stays listed: the context runs it at
            // its end at the latest.
            if (!moved(scope_state::queued, scope_state::ended)) {  // or the executor has run it at once, and it threw
                report(std::current_exception());
            }
        }
    }

    void queue_last(unique_function<> f) override { post_to_context(executor_.get(), std::move(f)); }

    void context_dies() noexcept override {
        if (!is_paused() || (inline_ && state() == scope_state::open)) {
            return;  // its coroutine is in the middle of something, or is awaited: it is destroyed with the context
        }
        if (state() == scope_state::open) {
            registry_->background_began();
        }
        status_ = status_.without_await();
        run_cleanup_here();
    }

    // ---- what its coroutine tells

    // On a thread of its own, setup or cleanup is over. `stayed`: it ran without suspending, so it ends where it was begun;
    // else it may end anywhere, and what follows is done on the scope's executor.
    void paused(bool stayed) { stayed ? opened() : on_executor([](scope_core& scope) { scope.opened(); }); }
    void ended(bool stayed) { stayed ? thread_ended() : on_executor([](scope_core& scope) { scope.thread_ended(); }); }

    void paused_inline() noexcept {
        count_opened();
        state_.store(scope_state::open, std::memory_order_release);
    }

    /// Its frame is gone. The memory is ours still.
    void frame_destroyed() noexcept {
        const scope_state now = state();
        if (now == scope_state::made) {
            drop_reference_unshared();  // its caller's: there was no memory for a parameter
        }
        if (!inline_ && (is_setting_up() || now == scope_state::cleaning)) {
            launch starting = launch::starting;
            if (!launched_.compare_exchange_strong(starting, launch::dropped)) {
                destroyed_on_the_way();
            }
        }
        if (inline_ && has_references(2)) {
            drop_reference_unshared();  // nobody else can change a count of two: the other is the user's coroutine's
        } else {
            intrusive_ptr_release(static_cast<registry_entry*>(this));
        }
    }

    bool is_inline() const noexcept { return inline_; }
    std::optional<coroutine_thread<Executor>> thread_;  // while it is paused, or has ended

private:
    enum class launch : unsigned char { starting, handed_over, dropped };

    bool is_setting_up() const noexcept {
        return state() == scope_state::setting_up || state() == scope_state::unwanted;
    }

    void begin(const Executor& executor) {
        try {
            executor_.begin(executor);
            registry_ = &registry::of(executor_.context());
        } catch (...) {
            cannot_begin();
            throw;
        }
        if (registry_->tracking()) {
            registry_->add(*this);
        }
    }

    /// What its thread begins with. Dropped before that, it destroys the coroutine.
    class thread_start {
    public:
        thread_start(scope_core& core, const Executor& executor, asio::cancellation_state cancel)
            : core_{&core}, executor_{executor}, cancel_{cancel} {}
        thread_start(thread_start&&) noexcept = default;
        thread_start& operator=(thread_start&&) = delete;
        ~thread_start() {
            if (core_) {
                core_->destroy_coroutine();
            }
        }
        void operator()() {
            const scope_ptr<Executor> core = std::move(core_);
            core->run_setup(executor_, cancel_);
        }

    private:
        scope_ptr<Executor> core_;
        Executor executor_;
        asio::cancellation_state cancel_;
    };

    void begin_thread(const Executor& executor, bool cancellable, bool at_once) {
        begin(executor);
        if (executor_.may_be_in_a_region()) {
            const Executor inside = for_scope(executor, *this);
            executor_.begin(inside);
            start_thread(inside, cancellable, at_once);
        } else {
            start_thread(executor, cancellable, at_once);
        }
    }

    void start_thread(const Executor& executor, bool cancellable, bool at_once) {
        bool coroutine_is_ours = true;
        try {
            if (settings_ && settings_->cleanup_timeout.count() != 0) {
                deadline_.reset(new cleanup_deadline<Executor>{executor, settings_->cleanup_timeout});
            }
            // What reaches us has passed the user's own filter: setup sees it as if it were awaited directly.
            const auto cancel = cancellable || deadline_ ? signal_.begin() : asio::cancellation_state{};
            if (keeps_context_running_) {
                executor_.track_work();
            }
            if (at_once || (executor_.runs_here() && !in_place::too_deep())) {
                coroutine_is_ours = false;
                run_setup(executor, cancel);
            } else {
                thread_start start{*this, executor, cancel};
                coroutine_is_ours = false;
                if (in_place::too_deep()) {
                    asio::post(executor, std::move(start));
                } else {
                    asio::dispatch(executor, std::move(start));
                }
            }
        } catch (...) {
            // Where an operation of setup could not begin, its thread is destroyed by a function that Asio queues, and the
            // user is told then: setup's locals go first.
            error_ = std::current_exception();
        }
        if (coroutine_is_ours) {
            destroy_coroutine();
        }
        if (launched_.exchange(launch::handed_over) == launch::dropped) {
            destroyed_on_the_way();
        }
    }

    void run_setup(const Executor& executor, asio::cancellation_state cancel) {
        const bool connected = cancel.slot().is_connected();
        coroutine_thread<Executor> thread{frame().get_return_object(), executor,
                                          connected ? signal_.slot() : asio::cancellation_slot{}, cancel};
        const current_region_origin here{*registry_,
                                         executor_.may_be_in_a_region() ? origin_of(executor) : code_origin{}};
        const in_place level;
        thread.run();
    }

    /// Calls `f` on the scope's executor; if that drops it, where it is dropped.
    void on_executor(void (*f)(scope_core&)) {
        if (executor_.runs_here() || registry_->dying()) {
            return f(*this);
        }
        executor_.queue(deliver::dispatched, moved_on{scope_ptr<Executor>{this}, f});
    }

    class moved_on {
    public:
        moved_on(scope_ptr<Executor> scope, void (*f)(scope_core&)) noexcept : scope_{std::move(scope)}, f_{f} {}
        moved_on(moved_on&&) noexcept = default;
        moved_on& operator=(moved_on&&) = delete;
        ~moved_on() {
            if (scope_) {
                try {
                    f_(*scope_);
                } catch (...) { scope_->report(std::current_exception()); }
            }
        }
        void operator()() { f_(*scope_ptr<Executor>{std::move(scope_)}); }

    private:
        scope_ptr<Executor> scope_;
        void (*f_)(scope_core&);
    };

    void opened() {
        const std::exception_ptr thrown = std::exchange(error_, nullptr);  // by an operation that was begun nevertheless
        count_opened();
        if (moved(scope_state::setting_up, scope_state::open)) {
            tell_of_setup(in_place::too_deep() ? deliver::posted : deliver::dispatched);
        } else {
            // Before we look who holds it: who drops the last hold looks at the state then.
            state_.store(scope_state::ended);
            if (holds_.load() == 0) {
                begin_cleanup(deliver::dispatched);
            }
        }
        if (thrown) {
            std::rethrow_exception(thrown);
        }
    }

    void thread_ended() {
        const scope_ptr<Executor> alive{this};
        const scope_state was = state_.exchange(scope_state::closed);
        thread_->destroy();
        if (was != scope_state::cleaning) {
            return setup_failed(was == scope_state::unwanted);
        }
        std::exception_ptr error = std::exchange(error_, nullptr);
        if (deadline_ && deadline_->expired() && is_no_error_of_its_own(error)) {
            error = make_error(errc::cleanup_timeout);
        }
        cleanup_ended(std::move(error));
    }

    static bool is_no_error_of_its_own(const std::exception_ptr& error) noexcept {
        if (!error) {
            return true;
        }
        try {
            std::rethrow_exception(error);
        } catch (const boost::system::system_error& e) {
            return e.code() == asio::error::operation_aborted;
        } catch (...) { return false; }
    }

    void destroyed_on_the_way() noexcept {
        const scope_state was = state_.exchange(scope_state::closed);
        if (was != scope_state::cleaning && error_) {
            try {
                setup_failed(was == scope_state::unwanted);
            } catch (...) {  // no memory to tell the waiter
            }
        } else {
            destroyed(was);
        }
    }

    void destroy_inline(scope_state was) noexcept {
        if (was == scope_state::made || was == scope_state::closed) {
            return;  // not begun, or over
        }
        const scope_ptr<Executor> alive{this};
        state_.store(scope_state::closed);
        destroy_coroutine();
        destroyed(was);
    }

    bool may_clean_here() const noexcept {
        return !registry_->dying() && !in_place::too_deep() && executor_.runs_here();
    }

    void run_cleanup() {
        const current_region_origin here{*registry_, {region_.get(), this}};
        for (scope_state from = state(); !moved(from, scope_state::cleaning); from = state()) {
            if (from < scope_state::open || from >= scope_state::cleaning) {
                return;  // the context was faster
            }
        }
        count_ended();
        const in_place level;
        if (inline_) {
            return waiter_.set();
        }
        if (released_) {
            return thread_ended();
        }
        if (deadline_) {
            deadline_->start([self = scope_ptr<Executor>{this}] {
                self->signal_.emit(asio::cancellation_type::terminal);
            });
        }
        coroutine_thread<Executor> thread{std::move(*thread_)};
        thread_.reset();
        make_uncancelled(thread);
        thread.run();
    }

    /// What setup made of its cancellation state, and what it was told, ends with setup.
    void make_uncancelled(coroutine_thread<Executor>& thread) {
        thread.throw_if_cancelled(true);
        if (signal_.was_replaced()) {
            thread.reset_cancellation_state(asio::enable_total_cancellation());
        } else {
            thread.get_cancellation_state().clear();
        }
    }

    /// In the midst of the user's code, maybe in a destructor.
    void run_cleanup_here() noexcept {
        const scope_ptr<Executor> alive{this};
        try {
            run_cleanup();
        } catch (...) {
            // An initiating function in the cleanup threw. Asio destroys the coroutine, and would let the error out of
            // its loop.
            report(std::current_exception());
        }
    }

    void keep_context_running() noexcept {
        try {
            executor_.track_work();
        } catch (...) {  // no memory to copy a large executor: what the cleanup waits for keeps the context running
        }
    }

    void end() noexcept override {
        resource_ = nullptr;
        if (deadline_) {
            std::exchange(deadline_, nullptr)->end();
        }
        executor_.end();
        registry_->remove(*this);
        signal_.end();
    }

    void destroy() noexcept override {
        const std::size_t size = block_size_;
        this->~scope_core();
        recycler::deallocate(this, size);
    }

    scope_executor<Executor> executor_;
    thread_signal signal_;
    boost::intrusive_ptr<cleanup_deadline<Executor>> deadline_;
    std::size_t block_size_;
    std::atomic<unsigned> unstarted_{0};
    std::atomic<launch> launched_{launch::starting};
    bool inline_ = false;
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

private:
    scope_ptr<Executor> core_;
};

}  // namespace coraii::detail

#endif
