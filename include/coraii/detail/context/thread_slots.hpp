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
    CORAII_DECL thread_slot& of_this_thread() noexcept;

    /// Each number is right by itself, and together they are once nothing runs.
    CORAII_DECL scope_stats stats() const noexcept;

private:
    CORAII_DECL std::uint64_t sum(thread_slot::number thread_slot::* which) const noexcept;

    mutable std::mutex mutex_;
    more_slots first_;
    thread_slot shared_;
};

}  // namespace coraii::detail

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/context/impl/thread_slots.ipp"
#endif

#endif
