// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_IMPL_REGISTRY_IPP
#define CORAII_DETAIL_CONTEXT_IMPL_REGISTRY_IPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/context/thread_slots.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace coraii::detail {

void registry::count_opened(registry_entry& entry, bool listed) noexcept {
    count(&thread_slot::opened);
    if (!listed) {
        entry.opened_as_.store(2 * numbers_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        return;
    }
    const std::lock_guard lock{mutex_};
    const std::uint64_t number = numbers_.load(std::memory_order_relaxed) + 1;
    numbers_.store(number, std::memory_order_relaxed);
    entry.opened_as_.store(2 * number, std::memory_order_relaxed);
    list(entry);
}

void registry::add(registry_entry& entry) noexcept {
    const std::lock_guard lock{mutex_};
    list(entry);
}

void registry::list(registry_entry& entry) noexcept {
    if (tracking() && entry.since_ == clock::time_point{}) {
        entry.since_ = clock::now();
    }
    unlink(entry);
    entry.listed_.store(true, std::memory_order_release);
    ++changes_;
    registry_entry* newer = nullptr;
    registry_entry* older = newest_;
    while (older != nullptr && is_newer(*older, entry)) {
        newer = std::exchange(older, older->older_);
    }
    entry.older_ = older;
    entry.newer_ = newer;
    (older != nullptr ? older->newer_ : oldest_) = &entry;
    (newer != nullptr ? newer->older_ : newest_) = &entry;
}

void registry::remove(registry_entry& entry) noexcept {
    if (entry.listed_.load()) {
        const std::lock_guard lock{mutex_};
        unlink(entry);
    }
}

void registry::background_ended() {
    // The lock only if somebody waits. Who waits says so before it looks at the count, and we look in the other order.
    if (background_.fetch_sub(1) == 1 && somebody_drains_.load()) {
        tell_drained();
    }
}

void registry::wait_for_background(unique_function<> tell) {
    {
        const std::lock_guard lock{mutex_};
        drain_waiters_.push_back(std::move(tell));
        somebody_drains_.store(true);
    }
    tell_drained();
}

void registry::tell_drained() {
    std::vector<unique_function<>> waiters;
    {
        const std::lock_guard lock{mutex_};
        if (background_.load() != 0) {
            return;  // whoever ends last tells
        }
        waiters.swap(drain_waiters_);
        somebody_drains_.store(false);
    }
    for (unique_function<>& tell : waiters) {
        std::move(tell)();
    }
}

thread_slot& registry::remember() noexcept {
    thread_slot& slot = slots_.of_this_thread();
    remembered::last() = {&context(), this, &slot, cached_in_.remember()};
    return slot;
}

void registry::shutdown() {
    dying_.store(true, std::memory_order_release);
    wait_for_users(0, 0);
    waits.forget_all();
    std::vector<unique_function<>> waiters;
    waiters.swap(drain_waiters_);
}

void registry::wait_for_users(std::uint64_t seen, int quiet) noexcept {
    constexpr int long_enough = 1000;  // rounds: coroutines that await one another end one a round
    for (bool goes_on = true; goes_on;) {
        boost::intrusive_ptr<registry_entry> newest;
        std::uint64_t changes = 0;
        {
            const std::lock_guard lock{mutex_};
            newest.reset(newest_);
            changes = changes_;
        }
        quiet = changes == seen ? quiet + 1 : 0;
        if (newest == nullptr) {
            return;
        }
        if (quiet > long_enough) {
            return clean_the_rest();
        }
        seen = changes;
        queueing_ = true;
        came_at_once_ = false;
        try {
            newest->queue_last(place_in_queue{*this, changes, quiet});
        } catch (...) {  // no memory to queue it: then it was destroyed, and that was its turn
        }
        queueing_ = false;
        goes_on = came_at_once_;
    }
}

void registry::clean_the_rest() noexcept {
    for (;;) {
        boost::intrusive_ptr<registry_entry> entry;
        {
            const std::lock_guard lock{mutex_};
            if (newest_ == nullptr) {
                return;
            }
            entry.reset(newest_);
            unlink(*entry);
        }
        entry->context_dies();
    }
}

bool registry::is_newer(const registry_entry& a, const registry_entry& b) noexcept {
    const std::uint64_t n = a.opened_as_.load(), m = b.opened_as_.load();
    return n > m || (n == m && n != registry_entry::not_opened);
}

void registry::unlink(registry_entry& entry) noexcept {
    if (entry.listed_.load(std::memory_order_relaxed)) {
        entry.listed_.store(false, std::memory_order_release);
        ++changes_;
        (entry.older_ != nullptr ? entry.older_->newer_ : oldest_) = entry.newer_;
        (entry.newer_ != nullptr ? entry.newer_->older_ : newest_) = entry.older_;
        entry.older_ = entry.newer_ = nullptr;
    }
}

}  // namespace coraii::detail

#endif
