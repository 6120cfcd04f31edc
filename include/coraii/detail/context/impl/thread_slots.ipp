// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_IMPL_THREAD_SLOTS_IPP
#define CORAII_DETAIL_CONTEXT_IMPL_THREAD_SLOTS_IPP

#include "coraii/detail/context/thread_slots.hpp"
#include "coraii/scope_info.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>

namespace coraii::detail {

thread_slot& thread_slots::of_this_thread() noexcept {
    const std::thread::id self = std::this_thread::get_id();
    const std::lock_guard lock{mutex_};
    for (more_slots* some = &first_;; some = some->next.get()) {
        for (thread_slot& slot : some->slots) {
            const std::thread::id owner = slot.thread.load(std::memory_order_relaxed);
            if (owner == self || owner == std::thread::id{}) {
                slot.thread.store(self, std::memory_order_relaxed);
                return slot;
            }
        }
        if (!some->next) {
            some->next.reset(new (std::nothrow) more_slots);
            if (!some->next) {
                return shared_;
            }
        }
    }
}

scope_stats thread_slots::stats() const noexcept {
    const std::lock_guard lock{mutex_};
    scope_stats s;
    // In this order, what has ended is never more than what had begun.
    s.cleaned = sum(&thread_slot::cleaned);
    s.failed = sum(&thread_slot::failed);
    const std::uint64_t closed = s.cleaned + s.failed + sum(&thread_slot::released);
    s.abandoned = sum(&thread_slot::abandoned);
    const std::uint64_t ended = sum(&thread_slot::ended);
    s.opened = sum(&thread_slot::opened);
    s.closing = static_cast<std::size_t>(ended - closed);
    s.open = static_cast<std::size_t>(s.opened - ended);
    return s;
}

std::uint64_t thread_slots::sum(thread_slot::number thread_slot::* which) const noexcept {
    std::uint64_t all = (shared_.*which).load(std::memory_order_acquire);
    for (const more_slots* some = &first_; some != nullptr; some = some->next.get()) {
        for (const thread_slot& slot : some->slots) {
            all += (slot.*which).load(std::memory_order_acquire);
        }
    }
    return all;
}

}  // namespace coraii::detail

#endif
