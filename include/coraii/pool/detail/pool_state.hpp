// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_STATE_HPP
#define CORAII_POOL_DETAIL_POOL_STATE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/pool/detail/pool_job.hpp"
#include "coraii/pool/detail/pool_lease.hpp"
#include "coraii/pool/detail/pool_waiter.hpp"
#include "coraii/pool/options.hpp"

#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <thread>
#include <utility>

namespace coraii::detail {

/// What a pool is. The pool, its leases, the waiters and the jobs on its executor share it.
///
/// Whatever happens changes the lists under the mutex, and then calls `pump`, which does what is to be done now, one step
/// at a time, outside of the mutex.
template <class T, class Executor>
class pool_state final : public external_wait {
public:
    using place = pool_place<T, Executor>;
    using lease_type = pool_lease<T, Executor>;
    using waiter_type = pool_waiter<T, Executor>;
    using waiter_ptr = std::shared_ptr<waiter_type>;
    using queue_type = pool_queue<T, Executor>;
    using factory_type = std::function<async_scope<T, Executor>()>;

    pool_state(const Executor& executor, factory_type factory, const pool_options& options, pool_hooks<T> hooks)
        : options_{options},
          factory_{std::move(factory)},
          hooks_{std::move(hooks)},
          max_size_{options.max_size},
          executor_{executor},
          registry_{&registry::of(asio::query(executor, asio::execution::context))} {
        timer_.emplace(executor);
    }
    ~pool_state() {
        if (executor_) {
            registry_->waits.remove(*this);
        }
    }

    /// So that it is told when its context dies.
    void enlist() { registry_->waits.add(*this); }

    const pool_options& options() const noexcept { return options_; }
    const factory_type& factory() const noexcept { return factory_; }
    const pool_hooks<T>& hooks() const noexcept { return hooks_; }
    std::optional<Executor> executor() const noexcept {
        const std::lock_guard lock{mutex_};
        return executor_;
    }

    /// Errors: `errc::pool_closed` if the context has died.
    Executor executor_or_throw() const {
        const std::lock_guard lock{mutex_};
        if (!executor_) {
            throw_error(errc::pool_closed);
        }
        return *executor_;
    }

    // ---- leases

    /// An idle resource that needs no check, unless somebody waits for one.
    lease_type take_idle(std::source_location where) noexcept {
        const std::lock_guard lock{mutex_};
        return idle_lease(where);
    }
    /// With the pool's executor.
    lease_type take_idle(std::source_location where, std::optional<Executor>& executor) noexcept {
        const std::lock_guard lock{mutex_};
        executor = executor_;
        return idle_lease(where);
    }

    /// What an acquire that does not wait leaves to the next one.
    void check_idle() noexcept;

    void give_back(place p) noexcept {
        step next;
        {
            const std::lock_guard lock{mutex_};
            next = settle(p);
            if (next.what == step::kind::none && in(pool_phase::doomed).empty()) {
                return;
            }
        }
        perform(std::move(next));
        pump();
    }

    void spoil(place p) noexcept {
        const std::lock_guard lock{mutex_};
        p->broken = true;
    }

    bool spoiled(place p) const noexcept {
        const std::lock_guard lock{mutex_};
        return p->broken;
    }

    /// Finds the lease by its resource.
    bool spoil(const T* resource) noexcept {
        const std::lock_guard lock{mutex_};
        for (auto& lent : in(pool_phase::lent)) {
            if (std::addressof(*lent.resource) == resource) {
                return lent.broken = true;
            }
        }
        return false;
    }

    /// `waiter` is told when the reset is over, or out of time.
    void reset(lease_type lease, exit_status why, const waiter_ptr& waiter) noexcept;

    // ---- waiting

    void wait_for_lease(const waiter_ptr& waiter) noexcept { wait_in(waiting_, waiter); }
    void wait_for_warmth(const waiter_ptr& waiter) noexcept { wait_in(warming_, waiter); }

    /// Takes it out of its queue, if it is in one.
    waiter_ptr withdraw(waiter_type& waiter) noexcept {
        const std::lock_guard lock{mutex_};
        for (auto& resetting : in(pool_phase::resetting)) {
            if (resetting.returning.get() == &waiter) {
                return std::move(resetting.returning);
            }
        }
        return unqueue(waiter);
    }

    /// It was cancelled.
    void give_up(waiter_type& waiter, const std::exception_ptr& error) noexcept;

    // ---- jobs

    /// On the pool's executor: only from there may it be cancelled.
    void began(place p, shared_signal_ptr stop) noexcept;
    void opened(place p, guard<T, Executor> resource) noexcept;
    void passed(place p) noexcept;
    void failed(place p, const std::exception_ptr& error) noexcept;
    void cleaned(place p) noexcept;
    void report(const cleanup_failure& failure) const noexcept { registry_->reports.report(failure); }

    // ---- the pool's own

    void resize(std::size_t max_size) {
        require(max_size > 0, "coraii::pool: max_size must be at least 1");
        require(options_.min_size <= max_size, "coraii::pool: min_size must not be greater than max_size");
        {
            const std::lock_guard lock{mutex_};
            max_size_ = max_size;
        }
        pump();
    }

    void close() noexcept {
        refuse();
        pump();
    }

    void close_and_wait(const waiter_ptr& waiter) noexcept {
        refuse();
        wait_in(ending_, waiter);
    }

    /// The pool's context dies. It destroys the jobs, and cleans the resources in the order that is right.
    void forget() noexcept override {
        {
            const std::lock_guard lock{mutex_};
            timer_.reset();
            executor_.reset();
        }
        refuse();
        queue_type ending;
        {
            const std::lock_guard lock{mutex_};
            ending = unqueue_all(ending_);
        }
        for (const waiter_ptr& waiter : ending) {
            waiter->tell(nullptr);
        }
    }
    void cancel() noexcept override {}

    pool_stats stats() const noexcept {
        const std::lock_guard lock{mutex_};
        pool_stats s = counts_;
        s.size = size();
        s.idle = in(pool_phase::idle).size();
        s.in_use = in(pool_phase::lent).size() + in(pool_phase::checking).size() + in(pool_phase::resetting).size();
        s.opening = in(pool_phase::opening).size();
        s.waiting = waiting_.size();
        return s;
    }

private:
    struct step {
        enum class kind : unsigned char { none, close, lend, check, open, tell } what = kind::none;
        place at{};
        waiter_ptr waiter{};
    };
    struct overdue {
        shared_signal_ptr stop;
        waiter_ptr returning;
    };

    void pump() noexcept;
    step next_step() noexcept;
    void perform(step s) noexcept;
    void clean(place p) noexcept;
    void start(place p, std::optional<exit_status> used = {}) noexcept;
    bool is_final(const std::exception_ptr& error) const noexcept;
    void refuse() noexcept;
    void on_time() noexcept;

    std::shared_ptr<pool_state> self() noexcept {
        return std::static_pointer_cast<pool_state>(this->shared_from_this());
    }

    // ---- under the mutex

    using places = std::list<pooled<T, Executor>>;

    places& in(pool_phase phase) noexcept { return places_[static_cast<std::size_t>(phase)]; }
    const places& in(pool_phase phase) const noexcept { return places_[static_cast<std::size_t>(phase)]; }

    std::size_t size() const noexcept {
        std::size_t n = 0;
        for (const places& each : places_) {
            n += each.size();
        }
        return n;
    }

    /// Those that are not about to go.
    std::size_t lasting() const noexcept {
        return size() - in(pool_phase::doomed).size() - in(pool_phase::closing).size();
    }

    void move(place p, pool_phase to) noexcept {
        in(to).splice(in(to).end(), in(p->phase), p);
        p->phase = to;
    }

    place next_idle() noexcept {
        places& idle = in(pool_phase::idle);
        return options_.reuse == pool_order::lifo ? std::prev(idle.end()) : idle.begin();
    }

    bool check_is_due(place p) const noexcept {
        return hooks_.check && clock::now() >= later(p->proven, options_.check_after_idle);
    }

    lease_type idle_lease(std::source_location where) noexcept {
        if (closed_ || !waiting_.empty() || in(pool_phase::idle).empty()) {
            return {};
        }
        const place p = next_idle();
        if (check_is_due(p)) {
            return {};
        }
        lend(p, where);
        return {*this, p};
    }

    void lend(place p, std::source_location where) noexcept {
        move(p, pool_phase::lent);
        ++counts_.acquired;
        if (options_.leak_warning > options_.leak_warning.zero()) {
            p->lent_at = where;
            p->due = later(clock::now(), options_.leak_warning);
            arm(p->due);
        }
    }

    step settle(place p) noexcept;
    step begin_check(place p) noexcept;
    step lend_to_next(place p) noexcept;
    bool may_open() noexcept;
    step tell_next(typename queue_type::iterator waiter) noexcept;
    void wait_in(queue_type& queue, const waiter_ptr& waiter) noexcept;
    waiter_ptr unqueue(waiter_type& waiter) noexcept;
    queue_type unqueue_all(queue_type& queue) noexcept;
    void take_late(queue_type& queue, clock::time_point now, queue_type& late) noexcept;
    overdue take_overdue(clock::time_point now) noexcept;
    std::optional<std::source_location> take_leak(clock::time_point now) noexcept;
    void begin_backoff(const std::exception_ptr& error) noexcept;
    void arm(clock::time_point at) noexcept;
    void expire(clock::time_point now) noexcept;
    clock::time_point next_time() const noexcept;
    std::exception_ptr timeout_error() const noexcept;

    clock::time_point idle_until(const pooled<T, Executor>& p) const noexcept {
        return options_.idle_timeout > options_.idle_timeout.zero() ? later(p.idle_since, options_.idle_timeout)
                                                                    : (clock::time_point::max)();
    }

    /// Shorter by up to `part` of it. The same sequence for each pool; <random> would cost more to compile than all of this.
    pool_options::duration scaled(pool_options::duration full, double part) noexcept {
        constexpr std::uint64_t modulus = 2'147'483'647;
        random_ = random_ * 48'271 % modulus;
        const double lost = part * static_cast<double>(random_) / static_cast<double>(modulus);
        return full - std::chrono::duration_cast<pool_options::duration>(full * lost);
    }

    const pool_options options_;
    const factory_type factory_;
    const pool_hooks<T> hooks_;

    mutable std::mutex mutex_;
    std::array<places, pool_phases> places_;
    queue_type waiting_;  // for a lease
    queue_type warming_;
    queue_type ending_;
    pool_stats counts_;
    std::size_t max_size_;
    bool closed_ = false;
    unsigned failures_ = 0;  // of opening, since the last success
    std::exception_ptr open_error_;
    clock::time_point retry_at_{};
    std::uint64_t random_ = 1;
    std::optional<Executor> executor_;  // none when the context is dead
    std::optional<timer_on<Executor>> timer_;
    clock::time_point armed_ = (clock::time_point::max)();
    registry* registry_;

    // Those in `pump`, each on its own stack.
    struct pumping_thread {
        std::thread::id id;
        pumping_thread* next;
    };
    pumping_thread* pumping_ = nullptr;
};

}  // namespace coraii::detail

#include "coraii/pool/detail/pool_queues.hpp"
#include "coraii/pool/detail/pool_signal.hpp"
#include "coraii/pool/detail/pool_steps.hpp"
#include "coraii/pool/detail/pool_time.hpp"

#endif
