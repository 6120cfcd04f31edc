// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_LEND_HPP
#define CORAII_POOL_DETAIL_POOL_LEND_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/clock.hpp"
#include "coraii/detail/frame.hpp"
#include "coraii/detail/kept_scope.hpp"
#include "coraii/detail/scope_state.hpp"
#include "coraii/detail/scope_use.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/pool/detail/pool_lease.hpp"
#include "coraii/pool/detail/pool_state.hpp"
#include "coraii/pool/detail/pool_waiter.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/deferred.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <utility>

namespace coraii::detail {

template <class T, class Executor>
using pool_ptr = std::shared_ptr<pool_state<T, Executor>>;

/// False if it has to be reset first, and the lease is still held.
template <class T, class Executor>
bool give_back_at_once(pool_lease<T, Executor>& lease, const exit_status& why) noexcept {
    if (lease.pool().hooks().reset && !lease.spoiled()) {
        if (why.can_await()) {
            return false;
        }
        lease.spoil();
    }
    lease = {};
    return true;
}

/// The scope of a lease.
template <class T, class Executor>
async_scope<T, Executor> lend(pool_ptr<T, Executor> pool, clock::duration timeout, std::source_location where) {
    pool_lease<T, Executor> lease = pool->take_idle(pool, where);
    if (!lease) {
        const auto waiter = std::make_shared<pool_waiter<T, Executor>>(pool, timeout, where);
        auto queue = [&pool](const auto& waiting) { pool->wait_for_lease(waiting); };
        auto lent = wait_told(waiter, queue, asio::deferred);
        co_await std::move(lent);
        lease = waiter->take();
        if (!lease.usable()) {
            throw_error(errc::pool_closed);  // its context has died while the lease was on its way
        }
    }
    struct use {
        pool_lease<T, Executor>& lease;
        bool left = false;

        ~use() {
            if (!left) {
                lease.taken_out();  // only `guard::release()` destroys us at the co_yield
            } else if (lease) {
                lease.spoil();  // no memory to reset it
            }
        }
    };
    use in_use{lease};
    const exit_status why = co_yield *lease;
    in_use.left = true;
    if (!give_back_at_once(lease, why)) {
        const pool_ptr<T, Executor> owner = lease.owner();
        const auto waiter = std::make_shared<pool_waiter<T, Executor>>(owner, clock::duration::max(), where);
        auto begin = [&](const auto& waiting) { owner->reset(std::move(lease), why, waiting); };
        auto reset = wait_told(waiter, begin, asio::deferred);
        co_await std::move(reset);
    }
}

/// The cleanup of a lease that has no coroutine. Parked in its scope.
template <class T, class Executor>
class lease_return {
public:
    lease_return(scope_ptr<Executor> scope, pool_lease<T, Executor> lease) noexcept
        : scope_{std::move(scope)}, lease_{std::move(lease)} {}

    void operator()() && {
        if (scope_.state->released_) {
            lease_.taken_out();
            lease_ = {};
        } else if (!give_back_at_once(lease_, scope_.state->status_)) {
            return reset();
        }
        std::exchange(scope_.state, nullptr)->finish(nullptr);
    }

private:
    void reset() {
        const pool_ptr<T, Executor> pool = lease_.owner();
        exit_status why = scope_.state->status_;
        try {
            const auto waiter =
                std::make_shared<pool_waiter<T, Executor>>(pool, clock::duration::max(), scope_.state->where_);
            auto finish = [scope = std::move(scope_)](const std::exception_ptr&) mutable {
                std::exchange(scope.state, nullptr)->finish(nullptr);
            };
            waiter->start(asio::bind_executor(pool->executor().value(), std::move(finish)));
            pool->reset(std::move(lease_), std::move(why), waiter);
        } catch (...) {  // no memory to reset it; what is left of the scope ends with us
            lease_.spoil();
        }
    }

    kept_scope<Executor> scope_;
    pool_lease<T, Executor> lease_;
};

/// A lease that need not be waited for.
template <class T, class Executor>
guard<T, Executor> try_lend(pool_ptr<T, Executor> pool, std::source_location where) {
    const std::optional<Executor> executor = pool->executor();
    pool_lease<T, Executor> lease = pool->take_idle(pool, where);
    if (!lease) {
        pool->check_idle();
        return {};
    }
    const scope_ptr<Executor> scope{new scope_state<Executor>, false};
    scope->name_ = lease_name;
    scope->where_ = where;
    scope->start(*executor);
    scope->thread_has_it();
    scope->value_ = std::addressof(*lease);
    scope->open_with(lease_return<T, Executor>{scope, std::move(lease)});
    return guard_access::make<guard<T, Executor>>(scope_use<Executor>{scope});
}

/// Waits in a queue of the pool.
template <class T, class Executor, class Queue>
asio::awaitable<void, Executor> wait_for_pool(own_frame, pool_ptr<T, Executor> pool, clock::duration timeout,
                                              Queue queue) {
    const auto waiter = std::make_shared<pool_waiter<T, Executor>>(pool, timeout, std::source_location::current());
    auto told = wait_told(waiter, queue, asio::deferred);
    co_await std::move(told);
}

}  // namespace coraii::detail

#endif
