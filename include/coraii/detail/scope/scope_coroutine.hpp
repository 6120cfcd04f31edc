// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_COROUTINE_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_COROUTINE_HPP

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/signal.hpp"
#include "coraii/detail/region/execute.hpp"
#include "coraii/detail/region/region_executor.hpp"
#include "coraii/detail/scope/lifecycle.hpp"
#include "coraii/detail/scope/scope_deadline.hpp"
#include "coraii/detail/scope/scope_executor.hpp"
#include "coraii/error.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/config.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <utility>

namespace coraii::detail {

template <class Executor>
class scope_core;
template <class Executor>
using scope_ptr = boost::intrusive_ptr<scope_core<Executor>>;

/// The coroutine of a scope, and where it runs. It runs setup, pauses at its `co_yield`, and runs the cleanup when it is
/// resumed. Its frame is in the same block of memory, behind the scope (scope_frame.hpp allocates both).
///
/// It runs in one of two ways. On a coroutine thread of its own: then a cancel of the user does not reach the cleanup. Or
/// inline: `with` awaits it as a child of its own coroutine, twice; it does so where nobody can cancel that.
/// Setup and cleanup may each go to another executor; what follows goes back first.
template <class Executor>
class scope_coroutine : public scope_lifecycle {
    using core_type = scope_core<Executor>;

public:
    explicit scope_coroutine(std::size_t block_size) noexcept : block_size_{static_cast<std::uint32_t>(block_size)} {}

    // ---- the coroutine, in the same block

    static constexpr std::size_t frame_offset() noexcept {
        constexpr std::size_t alignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
        return (sizeof(scope_core<Executor>) + alignment - 1) / alignment * alignment;
    }
    static scope_core<Executor>& of_frame(void* frame) noexcept {
        return *static_cast<scope_core<Executor>*>(static_cast<void*>(static_cast<std::byte*>(frame) - frame_offset()));
    }
    thread_frame<Executor>& frame() noexcept {
        void* const address = static_cast<std::byte*>(static_cast<void*>(&self())) + frame_offset();
        return std::coroutine_handle<thread_frame<Executor>>::from_address(address).promise();
    }

    /// Not inlined: a compiler that sees where a frame is destroyed may put it on the stack, and not ask us for memory.
    BOOST_NOINLINE void destroy_coroutine() noexcept { frame().destroy(); }

    bool coroutine_is_done() noexcept { return std::coroutine_handle<thread_frame<Executor>>::from_promise(frame()).done(); }

    // ---- who begins it

    /// Inline. The caller has claimed setup, and awaits the coroutine.
    void begin_inline(const Executor& executor) {
        inline_ = true;
        begin(executor);
    }

    /// On a thread of its own, to which a cancel reaches if it is `cancellable`. The caller has claimed setup, and has set
    /// the waiter's completion, or asks whether the waiter is set afterwards.
    /// True if it has begun before this returns: then we are on its executor.
    bool begin_on_own_thread(const Executor& executor, bool cancellable) {
        return begin_thread(executor, cancellable, false);
    }

    /// The same for a setup of the library's own that waits for nothing, and may run here, wherever that is.
    void begin_at_once(const Executor& executor) { begin_thread(executor, false, true); }

    /// Setup was claimed, and there is no memory to begin it.
    void cannot_begin() noexcept {
        state_.store(scope_state::closed);
        waiter_.drop();
        destroy_coroutine();
    }

    bool can_run_inline() const noexcept {
        return std::same_as<Executor, asio::any_io_executor> && (!settings_ || !settings_->has_deadline());
    }

    registry& scopes() const noexcept { return *registry_; }

    /// False if the calling coroutine has gone to another executor, and can go back.
    bool is_where_it_belongs() const noexcept { return executor_.runs_here() || registry_->dying(); }

    /// Its executor while it is not closed.
    Executor get_executor() const { return executor_.get(); }

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

    // ---- what its coroutine tells

    // On a thread of its own, setup or cleanup is over. `stayed`: it ran without suspending, so it ends where it was begun;
    // else it may end anywhere, and what follows is done on the scope's executor.
    void paused(bool stayed) { stayed ? opened() : on_executor([](core_type& scope) { scope.opened(); }); }
    void ended(bool stayed) { stayed ? thread_ended() : on_executor([](core_type& scope) { scope.thread_ended(); }); }

    /// Inline: the caller is a `task_keeper`.
    bool tells_caller_ = false;

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

protected:
    ~scope_coroutine() override = default;

    core_type& self() noexcept { return static_cast<core_type&>(*this); }

    /// Resumes the coroutine at its `co_yield`, on its own thread. The state is `cleaning`.
    void run_cleanup_thread() {
        start_deadline(&scope_settings::cleanup_timeout);  // without memory for it, the cleanup runs without a limit
        coroutine_thread<Executor> thread{std::move(*thread_)};
        thread_.reset();
        make_uncancelled(thread);
        thread.run();
    }

    /// What is inline goes on on a thread of its own: its user is being destroyed.
    void move_to_own_thread() noexcept {
        inline_ = false;
        launched_.store(launch::handed_over);
        thread_.emplace(frame().get_return_object(), executor_.get());
    }

    void thread_ended() {  // whoever calls it has a share in the scope
        const scope_state was = this->close_state();
        thread_->destroy();
        const bool cleaned = was == scope_state::cleaning;
        if (deadline_.stop() && is_only_of_the_cancel(error_)) {
            error_ = make_error(cleaned ? errc::cleanup_timeout : errc::setup_timeout);
        }
        cleaned ? cleanup_ended(std::exchange(error_, nullptr)) : setup_failed(was == scope_state::unwanted);
    }

    void end() noexcept override {
        resource_ = nullptr;
        deadline_.end();
        executor_.end();
        registry_->remove(*this);
        signal_.end();
    }

    void destroy() noexcept override {
        const std::size_t size = block_size_;
        core_type* const gone = &self();
        gone->~core_type();
        recycler::deallocate(gone, size);
    }

    bool is_setting_up() const noexcept {
        return state() == scope_state::setting_up || state() == scope_state::unwanted;
    }

    scope_executor<Executor> executor_;
    thread_signal signal_;  // cancels setup; and the cleanup, when its time is up
    std::atomic<unsigned> unstarted_{0};  // who could begin it

private:
    /// Who answers for the coroutine while its thread is begun: it may be dropped before we know why.
    enum class launch : unsigned char { starting, handed_over, dropped };

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
        thread_start(core_type& core, const Executor& executor, asio::cancellation_state cancel)
            : core_{&core}, executor_{executor}, cancel_{cancel} {}
        thread_start(thread_start&&) noexcept = default;
        thread_start& operator=(thread_start&&) = delete;
        ~thread_start() {
            if (core_) {
                core_->destroy_coroutine();
            }
        }
        void operator()() { scope_ptr<Executor>{std::move(core_)}->run_setup(executor_, cancel_); }

    private:
        scope_ptr<Executor> core_;
        Executor executor_;
        asio::cancellation_state cancel_;
    };

    /// True if setup was begun here.
    bool begin_thread(const Executor& executor, bool cancellable, bool at_once) {
        begin(executor);
        bool here = at_once;
        bool coroutine_is_ours = true;
        try {
            if (executor_.may_be_in_a_region()) {
                const Executor inside = for_scope(executor, *this);
                executor_.replace(inside);
                start_thread(inside, cancellable, here, coroutine_is_ours);
            } else {
                start_thread(executor, cancellable, here, coroutine_is_ours);
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
        return here;
    }

    void start_thread(const Executor& executor, bool cancellable, bool& here, bool& coroutine_is_ours) {
        if (settings_ && settings_->has_deadline()) {
            deadline_.reserve(executor);
        }
        // What reaches us has passed the user's own filter: setup sees it as if it were awaited directly.
        const auto cancel = cancellable || deadline_ ? signal_.begin() : asio::cancellation_state{};
        if (keeps_context_running_) {
            executor_.track_work();
        }
        if (!start_deadline(&scope_settings::setup_timeout)) {
            throw std::bad_alloc{};
        }
        here = here || (executor_.runs_here() && !nesting_level::too_deep());
        if (here) {
            coroutine_is_ours = false;
            return run_setup(executor, cancel);
        }
        thread_start start{self(), executor, cancel};
        coroutine_is_ours = false;
        nesting_level::too_deep() ? asio::post(executor, std::move(start)) : asio::dispatch(executor, std::move(start));
    }

    bool start_deadline(clock::duration scope_settings::* limit) noexcept {
        if (!settings_ || (settings_.get()->*limit).count() == 0) {
            return true;
        }
        auto expire = [scope = scope_ptr<Executor>{&self()}] { scope->signal_.emit(asio::cancellation_type::terminal); };
        return deadline_.start(settings_.get()->*limit, std::move(expire));
    }

    void run_setup(const Executor& executor, asio::cancellation_state cancel) {
        const asio::cancellation_slot slot = cancel.slot().is_connected() ? signal_.slot() : asio::cancellation_slot{};
        coroutine_thread<Executor> thread{frame().get_return_object(), executor, slot, cancel};
        const current_region_origin here{*registry_, executor_.may_be_in_a_region() ? origin_of(executor) : code_origin{}};
        const nesting_level level;
        thread.run();
    }

    /// Calls `f` on the scope's executor; if that drops it, where it is dropped.
    void on_executor(void (*f)(core_type&)) {
        scope_ptr<Executor> alive{&self()};
        if (executor_.runs_here() || registry_->dying()) {
            return f(*alive);
        }
        executor_.queue(deliver::dispatched, moved_on{std::move(alive), f});
    }

    class moved_on {
    public:
        moved_on(scope_ptr<Executor> scope, void (*f)(core_type&)) noexcept : scope_{std::move(scope)}, f_{f} {}
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
        void (*f_)(core_type&);
    };

    void opened() {
        const std::exception_ptr thrown = std::exchange(error_, nullptr);  // by an operation that was begun nevertheless
        count_opened();
        if (deadline_.stop() && move_state(scope_state::setting_up, scope_state::ended)) {
            status_ = exit_status{exit_reason::cancelled, make_error(errc::setup_timeout)};
            setup_timed_out_ = waited_ = true;
            registry_->add_if_unlisted(*this);  // if the executor drops the cleanup, that is for the context
            drop_hold(deliver::dispatched);
        } else if (move_state(scope_state::setting_up, scope_state::open)) {
            tell_of_setup(nesting_level::too_deep() ? deliver::posted : deliver::dispatched);
        } else {
            const scope_ptr<Executor> alive{&self()};
            // Unwanted. Before we look who holds it: who drops the last hold looks at the state then.
            state_.store(scope_state::ended);
            if (holds_.load() == 0) {
                begin_cleanup(deliver::dispatched);
            }
        }
        if (thrown) {
            std::rethrow_exception(thrown);
        }
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

    /// What setup made of its cancellation state, and what it was told, ends with setup.
    void make_uncancelled(coroutine_thread<Executor>& thread) {
        thread.throw_if_cancelled(true);
        if (signal_.was_replaced()) {
            thread.reset_cancellation_state(asio::enable_total_cancellation());
        } else {
            thread.get_cancellation_state().clear();
        }
    }

    scope_deadline<Executor> deadline_;
    std::uint32_t block_size_;
    std::atomic<launch> launched_{launch::starting};
    bool inline_ = false;
};

}  // namespace coraii::detail

#endif
