// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_STAGE_HPP
#define CORAII_TESTING_DETAIL_STAGE_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/scopes.hpp"
#include "coraii/testing/allocations.hpp"
#include "coraii/testing/detail/conditions.hpp"
#include "coraii/testing/detail/forwarding_executor.hpp"
#include "coraii/testing/detail/injected_errors.hpp"
#include "coraii/testing/detail/record.hpp"
#include "coraii/testing/detail/situation.hpp"
#include "coraii/testing/fault.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace coraii::testing::detail {

using clock = coraii::detail::clock;

/// One run of one coroutine, on an io_context and in a time of its own. Where faults strike is decided here.
class stage {
public:
    using coroutine = std::function<asio::awaitable<void>()>;

    explicit stage(const conditions& given)
        : given_{given},
          record_{std::make_shared<record>(given.order)},
          outer_time_{std::exchange(clock::of_thread, &time_)},
          outer_{std::exchange(current_, this)} {
        if (given.cleanups_may_be_cancelled) {
            record_->cleanups_may_be_cancelled();
        }
        if (given.injected.kind == fault_kind::no_memory) {
            record_->cleanups_may_break_off();
        }
        context_ = std::make_unique<asio::io_context>(1);
        signal_ = std::make_unique<asio::cancellation_signal>();
        executor_ = make_executor();  // what it needs of the context is older than the scopes, as in most programs
        track_scopes(*context_, given.tracked);
        on_cleanup_error(*context_, [this](const cleanup_failure& failure) { reported(failure); });
    }
    stage(const stage&) = delete;
    stage& operator=(const stage&) = delete;
    ~stage() {
        destroy_context();
        current_ = outer_;
        clock::of_thread = outer_time_;
    }

    /// That of the calling thread, if it is running one.
    static stage* current() noexcept { return current_; }

    /// Runs the coroutine, and whatever it leaves behind, until nothing more can happen.
    void run(coroutine main) {
        const allocations::unobserved quiet;
        main_ = std::move(main);
        start();
        const clock::time_point begun = time_.now;
        while (context_ != nullptr) {
            strike_between_turns();
            if (context_ == nullptr || over()) {
                break;
            }
            if (turns_ >= given_.most_turns || time_.now - begun >= given_.most_time) {
                endless_ = true;
                break;
            }
        }
    }

    /// Destroys the context, as a program's end does, after which nothing can happen any more.
    void destroy_context() {
        const allocations::unobserved quiet;
        kick_.reset();
        executor_ = {};
        signal_.reset();  // what Asio keeps in there has executors, which must not outlive their context
        in_the_run([this] { context_.reset(); });
        main_ = nullptr;
    }

    // ---- what the kit's operations ask

    /// A coroutine is about to wait at a point: what it will be given instead of the end of its wait, if anything.
    std::exception_ptr reach_point(const std::string& where) {
        const allocations::unobserved quiet;
        const std::size_t point = points_++;
        const fault& f = given_.injected;
        if (f.kind != fault_kind::exception || f.strikes(point) == 0) {
            return nullptr;
        }
        struck("an exception at " + where);
        return errors_.make(where);
    }
    /// The same, for what the code may do itself before it waits.
    void before_point() {
        const allocations::unobserved quiet;
        const fault& f = given_.injected;
        if (f.kind == fault_kind::cancel_inside) {
            emit(f.strikes(before_points_++));
        }
    }

    const std::shared_ptr<record>& log() const noexcept { return record_; }

    // ---- what has become of it

    bool ended() const noexcept { return main_ended_; }
    bool stuck() const noexcept { return stuck_; }
    /// The run was broken off: it had gone on for longer than it may.
    bool endless() const noexcept { return endless_; }
    bool torn() const { return record_->is_torn(); }
    bool reached() const noexcept { return struck_ > (given_.injected.again ? 1 : 0); }
    const std::exception_ptr& error() const noexcept { return error_; }
    const injected_errors& errors() const noexcept { return errors_; }
    std::size_t points() const noexcept { return points_; }
    std::size_t turns() const noexcept { return turns_; }
    std::size_t handlers() const noexcept { return handlers_; }
    std::size_t allocations_made() const noexcept { return allocated_; }
    asio::io_context* context() const noexcept { return context_.get(); }

    /// Empty if the run has come to its end, and left nothing behind.
    std::string not_over(const std::string& who) const {
        if (context_ == nullptr || torn()) {
            return {};
        }
        const auto situation = [this] { return situation_of(*context_, *record_, time_); };
        if (endless_) {
            const auto hours = std::chrono::duration_cast<std::chrono::hours>(time_.now.time_since_epoch()).count() - 1;
            return (main_ended_ ? who + " has ended, but something goes on" : who + " does not end") + ": after " +
                   std::to_string(turns_) + " turns and " + std::to_string(hours) +
                   " h of virtual time it was broken off" + situation();
        }
        if (!main_ended_) {
            return who + " cannot finish; nothing is left that could wake it" + situation();
        }
        const auto left = stats(*context_);
        return stuck_ || left.open + left.closing != 0
                   ? who + " has finished, but work is left behind that cannot end" + situation()
                   : std::string{};
    }

private:
    using io_executor = asio::io_context::executor_type;

    asio::any_io_executor make_executor() {
        switch (given_.executor) {
            case on_executor::strand: return asio::make_strand(context_->get_executor());
            case on_executor::forwarding:
                return forwarding_executor<io_executor, gate>{context_->get_executor(), gate{this}};
            case on_executor::context: break;
        }
        return context_->get_executor();
    }

    /// Asked before each handler of the forwarding executor: false destroys it.
    struct gate {
        stage* of;
        bool operator()() const {
            const allocations::unobserved quiet;
            const fault& f = of->given_.injected;
            if (f.kind != fault_kind::coroutine_destroyed || f.strikes(of->handlers_++) == 0) {
                return true;
            }
            of->struck("a handler is destroyed");
            of->record_->torn_out_of_order();
            return false;
        }
        friend bool operator==(const gate&, const gate&) noexcept = default;
    };

    void start() {
        in_the_run([&] {
            const auto ended = [](const std::exception_ptr&) {};
            if (given_.slot) {
                asio::co_spawn(executor_, root(), asio::bind_cancellation_slot(signal_->slot(), ended));
            } else {
                asio::co_spawn(executor_, root(), ended);
            }
        });
    }

    asio::awaitable<void> root() {
        // Asio does as much at the end of a coroutine that never waits, and throws there once it is cancelled.
        co_await asio::post(asio::deferred);
        started_ = true;
        co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
        try {
            co_await main_();
        } catch (...) { error_ = std::current_exception(); }
        const bool throws = co_await asio::this_coro::throw_if_cancelled();
        const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
        end_of_main(throws, state.cancelled());
    }

    void end_of_main(bool throws, asio::cancellation_type cancelled) {
        const allocations::unobserved quiet;
        main_ended_ = true;
        record_->main_ended();
        errors_.came_out(error_);
        if (given_.keeps_cancellation_state && !throws) {
            record_->problem("throw_if_cancelled was left false in the caller's coroutine");
        }
        if (given_.keeps_cancellation_state && emitted_ && cancelled == asio::cancellation_type::none) {
            record_->problem("the cancel that was requested is no longer visible in the caller's coroutine");
        }
    }

    // ---- the loop

    /// One turn. True if there can be no more.
    bool over() {
        if (turn([this] { return context_->poll_one(); })) {
            return false;
        }
        if (context_->stopped()) {
            return true;
        }
        if (advance_time()) {
            return false;
        }
        // Whoever waits for a coroutine that was destroyed waits in vain.
        if (!torn() && turn([this] { return context_->run_one_for(given_.patience); })) {
            return false;
        }
        stuck_ = !context_->stopped();
        return true;
    }

    template <class F>
    bool turn(F run_a_handler) {
        std::size_t ran = 0;
        const bool counts = started_;
        in_the_run([&] { ran = run_a_handler(); });
        turns_ += counts ? ran : 0;
        return ran != 0 || std::exchange(threw_, false);
    }

    /// To when the next timer expires. The kick makes Asio look at its timers again.
    bool advance_time() {
        if (!time_.next) {
            return false;
        }
        kick();  // the timer that was next may have been cancelled
        if (!time_.next || *time_.next == (clock::time_point::max)()) {
            return false;
        }
        time_.now = *time_.next;
        kick();
        return true;
    }

    void kick() {
        time_.next.reset();
        if (!kick_) {
            kick_ = std::make_unique<asio::basic_waitable_timer<clock>>(*context_);
        }
        bool kicked = false;
        kick_->expires_at((clock::time_point::min)());
        kick_->async_wait([&kicked](const boost::system::error_code&) { kicked = true; });
        while (!kicked && !context_->stopped()) {
            in_the_run([this] { context_->run_one(); });
        }
    }

    /// The only place where the code under test runs: its allocations count, and one of them may fail.
    template <class F>
    void in_the_run(F f) {
        const fault& injected = given_.injected;
        auto& here = allocations_here;
        const int unobserved = std::exchange(here.unobserved, 0);
        const long before = here.made;
        {
            std::optional<allocations::failing> failing;
            if (injected.kind == fault_kind::no_memory && injected.at >= allocated_) {
                failing.emplace(static_cast<long>(injected.at - allocated_) + 1, 1);
            }
            try {
                f();
            } catch (...) {
                const allocations::unobserved quiet;
                threw_ = true;
                left_the_loop();
            }
            struck_ += failing && failing->failed() > 0 ? 1 : 0;
        }
        allocated_ += static_cast<std::size_t>(here.made - before);
        here.unobserved = unobserved;
    }

    /// Where an initiating function has no memory, Asio lets that out of its loop, and the coroutine is gone.
    void left_the_loop() {
        record_->torn();
        const std::exception_ptr thrown = std::current_exception();
        try {
            throw;
        } catch (const std::bad_alloc&) {
            if (given_.injected.kind == fault_kind::no_memory) {
                return;
            }
        } catch (...) {  // told below
        }
        record_->problem("an exception left the event loop: " + what(thrown));
    }

    // ---- faults

    void strike_between_turns() {
        const fault& f = given_.injected;
        if (!started_ || next_turn_ > turns_) {
            return;  // what cancels or destroys it now is Asio's business; or only time has gone on
        }
        next_turn_ = turns_ + 1;
        if (f.kind == fault_kind::context_destroyed && f.strikes(turns_) > 0) {
            struck("the context is destroyed");
            record_->context_dies();
            destroy_context();
        } else if (f.kind == fault_kind::cancel) {
            emit(f.strikes(turns_));
        }
    }

    void emit(int times) {
        for (int i = 0; i < times; ++i) {
            struck(std::string{"cancel "} + testing::to_string(given_.injected.type));
            emitted_ = emitted_ || !main_ended_;
            signal_->emit(given_.injected.type);
        }
    }

    void struck(std::string what) {
        ++struck_;
        record_->note("---- " + std::move(what));
    }

    void reported(const cleanup_failure& failure) {
        const allocations::unobserved quiet;
        record_->note("a cleanup's error is reported");
        errors_.came_out(failure.error);
        if (injected_errors::hides_earlier(failure)) {
            record_->problem("a later error hides an earlier one");
        }
    }

    inline static thread_local constinit stage* current_ = nullptr;

    const conditions given_;
    const std::shared_ptr<record> record_;
    clock::virtual_time time_{clock::time_point{std::chrono::hours{1}}, std::nullopt};
    clock::virtual_time* const outer_time_;
    stage* const outer_;
    std::unique_ptr<asio::cancellation_signal> signal_;
    std::unique_ptr<asio::io_context> context_;
    asio::any_io_executor executor_;
    std::unique_ptr<asio::basic_waitable_timer<clock>> kick_;
    coroutine main_;

    std::size_t points_ = 0, before_points_ = 0, turns_ = 0, handlers_ = 0, allocated_ = 0;
    std::size_t next_turn_ = 0;
    int struck_ = 0;
    bool started_ = false, emitted_ = false, main_ended_ = false, stuck_ = false, threw_ = false, endless_ = false;
    std::exception_ptr error_;
    injected_errors errors_;
};

}  // namespace coraii::testing::detail

#endif
