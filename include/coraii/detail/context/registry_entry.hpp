// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_REGISTRY_ENTRY_HPP
#define CORAII_DETAIL_CONTEXT_REGISTRY_ENTRY_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/scope_info.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <source_location>
#include <string_view>

namespace coraii::detail {

class region;
class registry;
struct registry_entry;
void intrusive_ptr_add_ref(region* r) noexcept;
void intrusive_ptr_release(region* r) noexcept;

/// Scopes whose guards were dropped in a region, in that order, and that are not clean.
struct dropped_scopes {
    registry_entry* first = nullptr;
    registry_entry* last = nullptr;
    registry_entry* cleaning = nullptr;  // whose turn it is
};

/// A scope, as the context and the regions see it. Reference counted: the guard, the holds and the scope's coroutine
/// share it.
struct registry_entry {
    registry_entry() = default;
    registry_entry(const registry_entry&) = delete;
    registry_entry& operator=(const registry_entry&) = delete;

    virtual scope_phase phase() const noexcept = 0;
    virtual std::string_view name() const noexcept = 0;

    /// The execution context is being destroyed: the last chance to run the cleanup.
    virtual void context_dies() noexcept = 0;

    /// Nobody holds the scope any more: its cleanup may begin.
    virtual void begin_cleanup(deliver how) noexcept = 0;

    /// Queues `f` behind all else that the context has to do.
    virtual void queue_last(unique_function<> f) = 0;

    void drop_hold(deliver how) noexcept {
        if (holds_.fetch_sub(1) == 1) {
            begin_cleanup(how);
        }
    }

    // The user's own hold is one of those counted, so that "nobody holds it" and "its use has ended" are one event.
    bool try_hold() noexcept {
        for (unsigned held = holds_.load(); held != 0;) {
            if (holds_.compare_exchange_weak(held, held + 1)) {
                return true;
            }
        }
        return false;
    }

    /// True if the caller had the last hold, and has given it up.
    bool drop_only_hold() noexcept {
        if (has_references(2)) {  // the coroutine's own, and the caller's: there is nobody else who could hold it
            holds_.store(0, std::memory_order_relaxed);
            return true;
        }
        unsigned only_mine = 1;
        return holds_.compare_exchange_strong(only_mine, 0);
    }

    friend void intrusive_ptr_add_ref(registry_entry* entry) noexcept {
        entry->references_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(registry_entry* entry) noexcept {
        // Nobody else can change a count of one, so that saves the cost of an atomic exchange.
        if (entry->has_references(1) || entry->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            entry->destroy();
        }
    }

    /// For who knows that nobody else can change the count.
    void drop_reference_unshared() noexcept {
        references_.store(references_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }

    bool has_references(unsigned n) const noexcept { return references_.load(std::memory_order_acquire) == n; }

    std::atomic<unsigned> holds_{1};
    std::source_location where_;

protected:
    virtual ~registry_entry() = default;
    virtual void destroy() noexcept = 0;

    /// Where the guard was dropped, if that was in a region.
    boost::intrusive_ptr<region> region_;

private:
    friend class region;
    friend class region_executor;
    boost::intrusive_ptr<registry_entry> parent_scope_;  // its setup or cleanup has set this one up, in a region
    registry_entry* dropped_by_ = nullptr;  // the scope whose cleanup has dropped it; null: the body, or what that calls
    registry_entry* dropped_before_ = nullptr;
    registry_entry* dropped_next_ = nullptr;
    dropped_scopes dropped_;  // by its own cleanup
    bool has_turn_ = false;  // or has had it
    bool clean_ = false;  // as far as the region is concerned

    friend class registry;
    std::atomic<unsigned> references_{2};  // its coroutine's, and that of who has called the coroutine
    std::atomic<bool> listed_{false};
    static constexpr std::uint64_t not_opened = (std::numeric_limits<std::uint64_t>::max)();
    std::atomic<std::uint64_t> opened_as_{not_opened};  // the n-th of its context, about
    registry_entry* older_ = nullptr;
    registry_entry* newer_ = nullptr;
    clock::time_point since_;
};

}  // namespace coraii::detail

#endif
