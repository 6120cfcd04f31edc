// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_JOB_HPP
#define CORAII_POOL_DETAIL_POOL_JOB_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/pool/detail/pool_lease.hpp"
#include "coraii/pool/detail/pool_signal.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace coraii::detail {

/// What the pool does with a place, in a coroutine on its executor. One that is destroyed has failed.
template <class T, class Executor>
class pool_job {
public:
    pool_job(std::shared_ptr<pool_state<T, Executor>> pool, pool_place<T, Executor> place) noexcept
        : pool_{std::move(pool)}, place_{place} {}
    pool_job(pool_job&&) noexcept = default;
    pool_job& operator=(pool_job&&) = delete;
    ~pool_job() {
        if (pool_) {
            failed(nullptr);
        }
    }

    pool_state<T, Executor>& pool() const noexcept { return *pool_; }
    pool_place<T, Executor> place() const noexcept { return place_; }

    void began(shared_signal_ptr stop) const noexcept { pool_->began(place_, std::move(stop)); }
    void opened(guard<T, Executor> resource) noexcept { taken()->opened(place_, std::move(resource)); }
    void passed() noexcept { taken()->passed(place_); }
    void failed(const std::exception_ptr& error) noexcept { taken()->failed(place_, error); }

private:
    std::shared_ptr<pool_state<T, Executor>> taken() noexcept { return std::move(pool_); }

    std::shared_ptr<pool_state<T, Executor>> pool_;
    pool_place<T, Executor> place_;
};

template <class T, class Executor>
asio::awaitable<void, Executor> open_pooled(own_frame, pool_job<T, Executor> job, shared_signal_ptr stop) {
    job.began(std::move(stop));
    std::exception_ptr error;
    try {
        async_scope<T, Executor> scope = job.pool().factory()();
        guard<T, Executor> resource = co_await std::move(scope);
        job.opened(std::move(resource));
        co_return;
    } catch (...) { error = std::current_exception(); }
    job.failed(error);
}

/// Resets it if it was used, else checks it.
template <class T, class Executor>
asio::awaitable<void> try_pooled(own_frame, pool_job<T, Executor> job, shared_signal_ptr stop,
                                 std::optional<exit_status> used) {
    job.began(std::move(stop));
    bool good = false;
    try {
        T& resource = *job.place()->resource;
        if (used) {
            good = co_await job.pool().hooks().reset(resource, *used);
        } else {
            good = co_await job.pool().hooks().check(resource);
        }
    } catch (...) {  // as good as false
    }
    if (good) {
        job.passed();
    } else {
        job.failed(nullptr);
    }
}

}  // namespace coraii::detail

#endif
