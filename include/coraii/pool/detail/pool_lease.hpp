// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_LEASE_HPP
#define CORAII_POOL_DETAIL_POOL_LEASE_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/guard.hpp"
#include "coraii/pool/detail/pool_signal.hpp"

#include <cstddef>
#include <list>
#include <memory>
#include <source_location>
#include <utility>

namespace coraii::detail {

template <class T, class Executor>
class pool_state;
template <class T, class Executor>
class pool_waiter;

inline constexpr const char* lease_name = "pool lease";

inline clock::time_point later(clock::time_point from, clock::duration by) noexcept {
    return by < (clock::time_point::max)() - from ? from + by : (clock::time_point::max)();
}

enum class pool_phase : unsigned char { opening, idle, checking, lent, resetting, doomed, closing };
inline constexpr std::size_t pool_phases = 7;

/// One resource, and its place in the pool.
template <class T, class Executor>
struct pooled {
    pool_phase phase = pool_phase::opening;
    bool broken = false;
    guard<T, Executor> resource{};
    clock::time_point idle_since{};
    clock::time_point proven{};  // when it was used or checked last
    clock::time_point expires = (clock::time_point::max)();
    clock::time_point due = (clock::time_point::max)();  // the end of what is done with it, or a leak's warning
    std::source_location lent_at{};
    shared_signal_ptr stop{};  // what is done with it
    std::shared_ptr<pool_waiter<T, Executor>> returning{};  // waits for its reset
};

template <class T, class Executor>
using pool_place = typename std::list<pooled<T, Executor>>::iterator;

/// The right to use a pooled resource, which is given back whatever happens. Whoever has it has a share in the pool, too.
template <class T, class Executor>
class pool_lease {
public:
    pool_lease() = default;
    pool_lease(pool_state<T, Executor>& pool, pool_place<T, Executor> place) noexcept : pool_{&pool}, place_{place} {}
    pool_lease(pool_lease&& other) noexcept : pool_{std::exchange(other.pool_, nullptr)}, place_{other.place_} {}
    pool_lease& operator=(pool_lease&& other) noexcept {
        pool_lease taken{std::move(other)};
        std::swap(pool_, taken.pool_);
        std::swap(place_, taken.place_);
        return *this;
    }
    ~pool_lease() { give_back(); }

    void give_back() noexcept {
        if (pool_state<T, Executor>* const pool = std::exchange(pool_, nullptr)) {
            pool->give_back(place_);
        }
    }

    explicit operator bool() const noexcept { return pool_ != nullptr; }
    T& operator*() const noexcept { return *place_->resource; }
    bool usable() const noexcept { return guard_access::use_of(place_->resource)->resource_ != nullptr; }

    pool_state<T, Executor>& pool() const noexcept { return *pool_; }

    /// Without giving it back.
    pool_place<T, Executor> take() && noexcept {
        pool_ = nullptr;
        return place_;
    }

    bool spoiled() const noexcept { return pool_->spoiled(place_); }

    /// It is not to be used again.
    void spoil() const noexcept { pool_->spoil(place_); }

    /// The user has moved the resource out: there is nothing to clean.
    void taken_out() noexcept {
        guard_access::use_of(place_->resource)->released_ = true;
        spoil();
    }

private:
    pool_state<T, Executor>* pool_ = nullptr;
    pool_place<T, Executor> place_{};
};

}  // namespace coraii::detail

#endif
