// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_STEPS_HPP
#define CORAII_POOL_DETAIL_POOL_STEPS_HPP

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/pool/detail/pool_signal.hpp"
#include "coraii/pool/detail/pool_state.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

// What a pool does, step by step.

namespace coraii::detail {

/// What is done in a step may call `pump` again. That is nothing then: the loop goes round once more.
template <class T, class Executor>
void pool_state<T, Executor>::pump() noexcept {
    const auto alive = self();
    pumping_thread here{std::this_thread::get_id(), nullptr};
    for (bool first = true;; first = false) {
        step next;
        {
            const std::lock_guard lock{mutex_};
            if (first) {
                for (const pumping_thread* t = pumping_; t != nullptr; t = t->next) {
                    if (t->id == here.id) {
                        return;
                    }
                }
                here.next = std::exchange(pumping_, &here);
            }
            next = next_step();
            if (next.what == step::kind::none) {
                pumping_thread** link = &pumping_;
                while (*link != &here) {
                    link = &(*link)->next;
                }
                *link = here.next;
                return;
            }
        }
        perform(std::move(next));
    }
}

template <class T, class Executor>
auto pool_state<T, Executor>::next_step() noexcept -> step {
    if (places& doomed = in(pool_phase::doomed); !doomed.empty()) {
        const place p = doomed.begin();
        move(p, pool_phase::closing);
        return {step::kind::close, p};
    }
    if (places& idle = in(pool_phase::idle); !idle.empty() && (closed_ || lasting() > max_size_)) {
        const place p = idle.begin();
        move(p, pool_phase::closing);
        return {step::kind::close, p};
    }
    const auto resetting = std::ranges::count(in(pool_phase::resetting), false, &pooled<T, Executor>::broken);
    const std::size_t coming =
        in(pool_phase::opening).size() + in(pool_phase::checking).size() + static_cast<std::size_t>(resetting);
    if (!waiting_.empty() && !in(pool_phase::idle).empty()) {
        const place p = next_idle();
        if (!check_is_due(p)) {
            return lend_to_next(p);
        }
        if (coming < waiting_.size()) {
            return begin_check(p);
        }
    }
    const std::size_t open = lasting() - in(pool_phase::opening).size();
    if ((coming < waiting_.size() || lasting() < options_.min_size) && may_open()) {
        try {
            const auto due = later(clock::now(), options_.open_timeout);
            in(pool_phase::opening).emplace_back().due = due;
            arm(due);
            return {step::kind::open, std::prev(in(pool_phase::opening).end())};
        } catch (...) {
            begin_backoff(std::current_exception());
            arm(retry_at_);
        }
    }
    if (!warming_.empty() && open >= options_.min_size) {
        return tell_next(warming_.begin());
    }
    // After its time, an end does not wait for those who have their resources still.
    const std::size_t ours = size() - in(pool_phase::lent).size() - in(pool_phase::resetting).size() -
                             in(pool_phase::checking).size() - in(pool_phase::opening).size();
    for (auto waiter = ending_.begin(); waiter != ending_.end(); ++waiter) {
        if (size() == 0 || (ours == 0 && (*waiter)->deadline_ <= clock::now())) {
            return tell_next(waiter);
        }
    }
    if (size() == 0 && waiting_.empty() && warming_.empty() && timer_ && armed_ != (clock::time_point::max)()) {
        armed_ = (clock::time_point::max)();
        timer_->cancel();  // nothing is left to look after, and a context need not wait for that
    }
    return {};
}

template <class T, class Executor>
void pool_state<T, Executor>::perform(step s) noexcept {
    const current_origin outside{*registry_, {}};  // what a resource's own work drops is no matter of a lease's region
    switch (s.what) {
        case step::kind::none: return;
        case step::kind::close: return clean(s.at);
        case step::kind::lend: return s.waiter->tell(nullptr, lease_type{*this, s.at});
        case step::kind::tell: return s.waiter->tell(nullptr);
        case step::kind::check:
        case step::kind::open: return start(s.at);
    }
}

/// Told of the end of a resource's cleanup, also if the coroutine of that is destroyed.
template <class T, class Executor>
struct cleaned_place {
    std::shared_ptr<pool_state<T, Executor>> pool;
    pool_place<T, Executor> place;
    scope_core<Executor>* scope;  // which has us

    cleaned_place(std::shared_ptr<pool_state<T, Executor>> owner, pool_place<T, Executor> p,
                  scope_core<Executor>* cleaned) noexcept
        : pool{std::move(owner)}, place{p}, scope{cleaned} {}
    cleaned_place(cleaned_place&&) noexcept = default;
    cleaned_place& operator=(cleaned_place&&) = delete;
    ~cleaned_place() {
        if (pool) {
            pool->cleaned(place);
        }
    }

    void operator()(deliver) const {
        if (const std::exception_ptr error = std::exchange(scope->error_, nullptr)) {
            pool->report({error, nullptr, scope->name(), scope->where_});
        }
    }
};

template <class T, class Executor>
void pool_state<T, Executor>::clean(place p) noexcept {
    const scope_ptr<Executor> scope = guard_access::use_of(p->resource).take();
    using told = cleaned_place<T, Executor>;
    static_assert(unique_function<deliver>::fits<told>, "there may be no memory left to wait in");
    scope->waiter_.complete_with(told{self(), p, scope.get()});
    if (scope->end_use({p->broken ? exit_reason::failed : exit_reason::completed}, true) == use_end::over) {
        scope->waiter_.set();  // the context has cleaned it
    }
    scope->waiter_.arm();
}

template <class T, class Executor>
void pool_state<T, Executor>::start(place p, std::optional<exit_status> used) noexcept {
    const bool opens = p->phase == pool_phase::opening;
    pool_job<T, Executor> job{self(), p};
    try {
        const std::optional<Executor> home = executor();
        if (!home) {
            return;
        }
        const shared_signal_ptr stop{new shared_signal};
        if (opens) {
            asio::co_spawn(*home, open_pooled<T, Executor>(own_frame{}, std::move(job), stop),
                           job_end{signal::slot{stop->signal_}, stop});
        } else {
            asio::co_spawn(asio::any_io_executor{*home},
                           try_pooled<T, Executor>(own_frame{}, std::move(job), stop, std::move(used)),
                           job_end{signal::slot{stop->signal_}, stop});
        }
    } catch (...) {  // no memory: the job has failed
    }
}

template <class T, class Executor>
void pool_state<T, Executor>::began(place p, shared_signal_ptr stop) noexcept {
    const std::lock_guard lock{mutex_};
    p->stop = std::move(stop);
    arm(p->due);
}

template <class T, class Executor>
bool pool_state<T, Executor>::may_open() noexcept {
    if (closed_ || size() >= max_size_ || in(pool_phase::opening).size() >= options_.max_opening) {
        return false;
    }
    if (failures_ != 0 && clock::now() < retry_at_) {
        if (size() != 0 || !waiting_.empty() || !warming_.empty()) {
            arm(retry_at_);
        }
        return false;
    }
    return true;
}

template <class T, class Executor>
auto pool_state<T, Executor>::begin_check(place p) noexcept -> step {
    move(p, pool_phase::checking);
    p->due = later(clock::now(), options_.check_timeout);
    arm(p->due);
    return {step::kind::check, p};
}

template <class T, class Executor>
auto pool_state<T, Executor>::lend_to_next(place p) noexcept -> step {
    waiter_type& next = *waiting_.front();
    counts_.wait_time += clock::now() - next.since_;
    lend(p, next.where_);
    return {step::kind::lend, p, unqueue(next)};
}

template <class T, class Executor>
auto pool_state<T, Executor>::tell_next(typename queue_type::iterator waiter) noexcept -> step {
    return {step::kind::tell, {}, unqueue(**waiter)};
}

template <class T, class Executor>
void pool_state<T, Executor>::check_idle() noexcept {
    step check;
    {
        const std::lock_guard lock{mutex_};
        if (!closed_ && waiting_.empty() && !in(pool_phase::idle).empty() && check_is_due(next_idle())) {
            check = begin_check(next_idle());
        }
    }
    perform(std::move(check));
}

template <class T, class Executor>
void pool_state<T, Executor>::reset(lease_type lease, exit_status why, const waiter_ptr& waiter) noexcept {
    const place p = std::move(lease).take();
    {
        const std::lock_guard lock{mutex_};
        move(p, pool_phase::resetting);
        p->returning = waiter;
        p->due = later(clock::now(), options_.reset_timeout);
        arm(p->due);
    }
    start(p, std::move(why));
}

/// After an opening, a lease, a check or a reset: for the next, if it is still good and wanted, or idle.
template <class T, class Executor>
auto pool_state<T, Executor>::settle(place p) noexcept -> step {
    const auto now = clock::now();
    p->due = (clock::time_point::max)();
    p->stop = nullptr;
    counts_.discarded += p->broken ? 1U : 0U;
    if (p->broken || closed_ || now >= p->expires || lasting() > max_size_) {
        move(p, pool_phase::doomed);
        return {};
    }
    p->proven = now;
    if (p->phase != pool_phase::checking) {
        p->idle_since = now;
    }
    if (!waiting_.empty()) {
        return lend_to_next(p);
    }
    move(p, pool_phase::idle);
    arm((std::min)(p->expires, idle_until(*p)));
    return {};
}

template <class T, class Executor>
void pool_state<T, Executor>::opened(place p, guard<T, Executor> resource) noexcept {
    step next;
    {
        const std::lock_guard lock{mutex_};
        p->resource = std::move(resource);
        failures_ = 0;
        open_error_ = nullptr;
        ++counts_.opened;
        if (options_.max_lifetime > options_.max_lifetime.zero()) {
            p->expires = later(clock::now(), scaled(options_.max_lifetime, options_.lifetime_jitter));
        }
        next = settle(p);
    }
    perform(std::move(next));
    pump();
}

template <class T, class Executor>
void pool_state<T, Executor>::passed(place p) noexcept {
    waiter_ptr returning;
    step next;
    {
        const std::lock_guard lock{mutex_};
        returning = std::move(p->returning);
        next = settle(p);
    }
    if (returning) {
        returning->tell(nullptr);
    }
    perform(std::move(next));
    pump();
}

/// True if another opening is not to be tried because of this one's error.
template <class T, class Executor>
bool pool_state<T, Executor>::is_final(const std::exception_ptr& error) const noexcept {
    try {
        return error && hooks_.retry_opening && !hooks_.retry_opening(error);
    } catch (...) { return false; }
}

template <class T, class Executor>
void pool_state<T, Executor>::failed(place p, const std::exception_ptr& error) noexcept {
    queue_type told;
    waiter_ptr returning;
    places gone;
    const bool final = is_final(error);
    {
        const std::lock_guard lock{mutex_};
        if (p->phase == pool_phase::opening) {
            gone.splice(gone.end(), in(pool_phase::opening), p);
            begin_backoff(error);
            told = unqueue_all(warming_);
            if (final) {
                told.splice(told.end(), unqueue_all(waiting_));
            }
        } else {
            p->broken = true;
            returning = std::move(p->returning);
            settle(p);
        }
    }
    for (const waiter_ptr& waiter : told) {
        waiter->tell(error ? error : make_error(errc::cleanup_destroyed));
    }
    if (returning) {
        returning->tell(nullptr);
    }
    pump();
}

template <class T, class Executor>
void pool_state<T, Executor>::cleaned(place p) noexcept {
    places gone;
    {
        const std::lock_guard lock{mutex_};
        gone.splice(gone.end(), in(pool_phase::closing), p);
        ++counts_.closed;
    }
    pump();
}

}  // namespace coraii::detail

#endif
