// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_THREAD_SLOTS_HPP
#define CORAII_DETAIL_CONTEXT_THREAD_SLOTS_HPP

#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/scope_info.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

namespace coraii::detail {

class region;
struct registry_entry;

/// What code belongs to.
struct code_origin {
    region* inside = nullptr;  // null: it runs outside of regions
    registry_entry* scope = nullptr;  // whose setup or cleanup it is; null: the body's, or what that calls
};

/// What one context keeps for one thread. Threads that share a counter spend more time on it than on the scope, so each
/// counts for itself.
///
/// A slot is found by the thread's own id, not by something thread_local: a program and its plug-ins have those apart.
struct alignas(64) thread_slot {  // cache lines of its own
    using number = std::atomic<std::uint64_t>;

    std::atomic<std::thread::id> thread{};  // it, or an earlier one of that id
    const code_origin* origin = nullptr;  // of the code that it runs; null: outside of regions
    number opened{0}, ended{0}, abandoned{0}, cleaned{0}, failed{0}, released{0};
    bool shared = false;  // else nobody else writes it

    void count(number thread_slot::* which) noexcept {
        number& n = this->*which;
        if (shared) {
            n.fetch_add(1, std::memory_order_release);
        } else {
            n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_release);
        }
    }
};

/// The slots of a context.
class thread_slots {
    static constexpr std::size_t in_place = 8;

    struct more_slots {
        std::array<thread_slot, in_place> slots;
        std::unique_ptr<more_slots> next;
    };

public:
    thread_slots() { shared_.shared = true; }

    /// Threads for whose slots there is no memory share one.
    thread_slot& of_this_thread() noexcept {
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

    /// Each number is right by itself, and together they are once nothing runs.
    scope_stats stats() const noexcept {
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

private:
    std::uint64_t sum(thread_slot::number thread_slot::* which) const noexcept {
        std::uint64_t all = (shared_.*which).load(std::memory_order_acquire);
        for (const more_slots* some = &first_; some != nullptr; some = some->next.get()) {
            for (const thread_slot& slot : some->slots) {
                all += (slot.*which).load(std::memory_order_acquire);
            }
        }
        return all;
    }

    mutable std::mutex mutex_;
    more_slots first_;
    thread_slot shared_;
};

}  // namespace coraii::detail

#endif
