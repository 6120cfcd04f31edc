// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_SET_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_SET_HPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/suspend_until.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/completion.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>

#include <cstddef>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

namespace coraii::detail {

/// Scopes that are set up together, and then cleaned together, so many at a time. Lives in the coroutine that waits for them.
template <class Executor>
class scope_set {
public:
    scope_set(std::size_t scopes, std::size_t at_once) : at_once_{at_once} { members_.reserve(scopes); }
    scope_set(const scope_set&) = delete;
    scope_set& operator=(const scope_set&) = delete;

    void add(unstarted_scope<Executor> scope) { members_.push_back({std::move(scope), {}, false}); }

    /// Once they are set up.
    void* resource(std::size_t i) const noexcept { return members_[i].use->resource_; }

    /// `co_await set_up(executor)`: all setups. If one fails, the others are cancelled, and no more is begun; the first error is
    /// then in `error_`.
    auto set_up(const Executor& executor) {
        executor_ = &executor;
        registry_ = &registry::of(asio::query(executor, asio::execution::context));
        return run(phase::set_up);
    }

    /// `co_await clean_up(why)`: the cleanups of those that are open, the last one first. Takes no memory. The first error is
    /// then in `error_`, unless `why` carries one; others are reported.
    auto clean_up(exit_status why) {
        status_ = std::move(why);
        cancelled_ = asio::cancellation_type::none;
        return run(phase::clean_up);
    }

    /// Cancels the setups that are under way, or the cleanups, and those that begin later.
    void cancel(asio::cancellation_type_t type) {
        cancelled_ = cancelled_ | type;
        cancel_all(type);
        pump();
    }

    std::exception_ptr error_;

private:
    enum class phase : unsigned char { set_up, clean_up };

    struct member {
        unstarted_scope<Executor> unstarted;
        scope_use<Executor> use;
        bool begun;
    };

    auto run(phase p) {
        const auto start = [this, p] {
            phase_ = p;
            next_ = 0;
            over_ = false;
            when_over_.reset();
            pump();
            return when_over_.is_set();
        };
        const auto wait = [this](auto handler) { resume_when_set(when_over_, *registry_, std::move(handler)); };
        return suspend_until{start, wait};
    }

    /// Waits for one scope. If it is destroyed instead of called, that scope's coroutine is.
    class one_wait {
    public:
        one_wait(scope_set& set, std::size_t i) noexcept : set_{&set}, i_{i} {}
        one_wait(one_wait&& other) noexcept : set_{std::exchange(other.set_, nullptr)}, i_{other.i_} {}
        one_wait& operator=(one_wait&&) = delete;
        ~one_wait() {
            if (set_ != nullptr) {
                set_->lost(i_);
            }
        }
        void operator()(deliver how) { std::exchange(set_, nullptr)->over(i_, how); }

    private:
        scope_set* set_;
        std::size_t i_;
    };
    static_assert(unique_function<deliver>::fits<one_wait>);

    /// Begins as many as may be, and tells when all is over. What is over at once comes back here, and is left to the loop.
    void pump(deliver how = deliver::dispatched) {
        std::unique_lock lock{mutex_};
        if (pumping_) {
            return;
        }
        pumping_ = true;
        while (may_begin()) {
            const std::size_t i = next_++;
            ++running_;
            lock.unlock();
            phase_ == phase::set_up ? begin_setup(i) : begin_cleanup(members_.size() - 1 - i);
            lock.lock();
        }
        pumping_ = false;
        if (running_ != 0 || cancelling_ != 0 || over_) {
            return;
        }
        over_ = true;
        const bool lost = lost_;
        lock.unlock();
        if (lost) {
            when_over_.cancel();  // destroys the coroutine that waits, and so us
        } else {
            when_over_.set(how);
        }
    }

    bool may_begin() const noexcept {
        return next_ != members_.size() && running_ < at_once_ && (phase_ == phase::clean_up || (!error_ && !lost_));
    }

    void begin_setup(std::size_t i) noexcept {
        member& m = members_[i];
        try {
            if (cancelled_ != asio::cancellation_type::none) {
                throw_error(asio::error::operation_aborted);
            }
            const scope_ptr<Executor> scope = m.unstarted.claim_or_throw();
            scope->waiter_.complete_with(one_wait{*this, i});
            scope->begin_on_own_thread(*executor_, true);
            m.use = scope_use<Executor>{scope};
        } catch (...) { return setup_failed(std::current_exception(), deliver::dispatched); }
        begun(m);
    }

    void begin_cleanup(std::size_t i) noexcept {
        member& m = members_[i];
        if (!m.use || m.use->state() == scope_state::closed) {
            return over(i, deliver::dispatched);
        }
        m.use->waiter_.complete_with(one_wait{*this, i});
        if (m.use->end_use(status_, true) == use_end::over) {
            m.use->waiter_.set();
        }
        begun(m);
    }

    void begun(member& m) noexcept {
        m.begun = true;
        if (cancelled_ != asio::cancellation_type::none) {
            cancel_one(m, cancelled_);
        }
        try {
            m.use->waiter_.arm();
        } catch (...) {  // we are in `pump`, which tells nobody before that is over
        }
    }

    void cancel_all(asio::cancellation_type_t type) noexcept {
        {
            const std::lock_guard lock{mutex_};
            ++cancelling_;  // what ends meanwhile does not end us
        }
        for (member& m : members_) {
            if (m.use) {
                cancel_one(m, type);
            }
        }
        const std::lock_guard lock{mutex_};
        --cancelling_;
    }

    void cancel_one(member& m, asio::cancellation_type_t type) noexcept {
        const scope_ptr<Executor> scope = m.use.get();
        try {
            phase_ == phase::set_up ? scope->cancel(type) : scope->cancel_cleanup(type);
        } catch (...) {  // an operation that was begun then: its coroutine is destroyed
            registry_->reports.report({std::current_exception(), nullptr, scope->name(), scope->where_});
        }
    }

    void over(std::size_t i, deliver how) {
        const scope_use<Executor>& use = members_[i].use;
        std::exception_ptr error = use ? std::exchange(use->error_, nullptr) : nullptr;
        if (error && phase_ == phase::set_up) {
            return setup_failed(std::move(error), how);
        }
        if (const std::exception_ptr first = keep(error); first && error) {
            registry_->reports.report({error, first, use->name(), use->where_});
        }
        one_less(how);
    }

    void setup_failed(std::exception_ptr error, deliver how) {
        if (!keep(std::move(error))) {
            cancel_all(asio::cancellation_type::terminal);
        }
        one_less(how);
    }

    /// The first error is kept; gives that to those that come later.
    std::exception_ptr keep(std::exception_ptr error) noexcept {
        const std::lock_guard lock{mutex_};
        if (error_) {
            return error_;
        }
        error_ = std::move(error);
        return nullptr;
    }

    void one_less(deliver how) {
        {
            const std::lock_guard lock{mutex_};
            --running_;
        }
        pump(how);
    }

    void lost(std::size_t i) noexcept {
        if (!members_[i].begun) {
            return;  // it could not begin
        }
        {
            const std::lock_guard lock{mutex_};
            lost_ = true;
        }
        try {
            one_less(deliver::posted);
        } catch (...) {  // no memory to tell
        }
    }

    std::vector<member, recycling_allocator<member>> members_;
    const std::size_t at_once_;
    const Executor* executor_ = nullptr;
    registry* registry_ = nullptr;
    exit_status status_;
    asio::cancellation_type_t cancelled_ = asio::cancellation_type::none;  // so far, in this phase
    phase phase_ = phase::set_up;
    waiter when_over_;

    std::mutex mutex_;
    std::size_t next_ = 0;  // of those to begin
    std::size_t running_ = 0;
    unsigned cancelling_ = 0;
    bool pumping_ = false;
    bool lost_ = false;  // the coroutine of one was destroyed
    bool over_ = false;
};

}  // namespace coraii::detail

#endif
