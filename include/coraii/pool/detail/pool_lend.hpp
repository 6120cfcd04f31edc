// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_LEND_HPP
#define CORAII_POOL_DETAIL_POOL_LEND_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_use.hpp"
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
    lease.give_back();
    return true;
}

/// The scope of a lease: of the one that is given, of an idle resource, or of what comes within `timeout`.
template <class T, class Executor>
async_scope<T, Executor> lend(pool_ptr<T, Executor> pool, pool_lease<T, Executor> lease, clock::duration timeout,
                              std::source_location where) {
    if (!lease) {
        lease = pool->take_idle(where);
    }
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
        const auto waiter = std::make_shared<pool_waiter<T, Executor>>(pool, (clock::duration::max)(), where);
        auto begin = [&](const auto& waiting) { pool->reset(std::move(lease), why, waiting); };
        auto reset = wait_told(waiter, begin, asio::deferred);
        co_await std::move(reset);
    }
}

/// A lease that need not be waited for.
template <class T, class Executor>
guard<T, Executor> try_lend(pool_ptr<T, Executor> pool, std::source_location where) {
    std::optional<Executor> executor;
    pool_lease<T, Executor> lease = pool->take_idle(where, executor);
    if (!lease) {
        pool->check_idle();
        return {};
    }
    auto lent = lend<T, Executor>(std::move(pool), std::move(lease), {}, where);
    scope_access::made_at(lent, where, lease_name);
    scope_use<Executor> use{scope_access::claim(lent)};
    use->keeps_context_running_ = true;
    use->setup_is_awaited_ = false;  // it is over when it has begun
    use->begin_at_once(*executor);
    use->rethrow_error();
    return guard_access::make<guard<T, Executor>>(std::move(use));
}

/// Waits in a queue of the pool.
template <class T, class Executor, class Queue>
asio::awaitable<void, Executor> wait_for_pool(own_frame, pool_ptr<T, Executor> pool, clock::duration timeout,
                                              Queue queue) {
    const auto waiter = std::make_shared<pool_waiter<T, Executor>>(pool, timeout, std::source_location::current());
    auto told = wait_told(waiter, queue, asio::deferred);
    co_await std::move(told);
}
template <class T, class Executor, class Queue, class Token>
auto wait_for_pool(pool_ptr<T, Executor> pool, clock::duration timeout, Queue queue, Token&& token) {
    const auto waiter = std::make_shared<pool_waiter<T, Executor>>(pool, timeout, std::source_location::current());
    return wait_told(waiter, [pool, queue](const auto& waiting) { queue(waiting); }, std::forward<Token>(token));
}

}  // namespace coraii::detail

#endif
