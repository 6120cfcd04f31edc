// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_RECORD_HPP
#define CORAII_DETAIL_SCOPE_RECORD_HPP

#include "coraii/detail/clock.hpp"
#include "coraii/detail/completion.hpp"
#include "coraii/detail/erased.hpp"
#include "coraii/detail/recycler.hpp"
#include "coraii/scope_info.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <source_location>
#include <string>

namespace coraii::detail {

class region;
class registry;
struct scope_record;
void intrusive_ptr_add_ref(region* r) noexcept;
void intrusive_ptr_release(region* r) noexcept;

/// Scopes whose guards were dropped in a region, in that order, and that are not clean.
struct dropped_scopes {
    scope_record* first = nullptr;
    scope_record* last = nullptr;
    scope_record* cleaning = nullptr;  // whose turn it is
};

/// What does not depend on the executor. Reference counted: the guard, the holds and the scope's coroutines share it.
struct scope_record : recycled {
    scope_record() = default;
    scope_record(const scope_record&) = delete;
    scope_record& operator=(const scope_record&) = delete;
    virtual ~scope_record() = default;

    /// The execution context is being destroyed: the last chance to run the cleanup.
    virtual void context_dies() noexcept = 0;

    /// Nobody holds the scope any more: its cleanup may begin.
    virtual void begin_cleanup(deliver how) noexcept = 0;

    /// Queues `f` behind all else that the context has to do.
    virtual void queue_last(erased<> f) = 0;

    void drop_hold(deliver how) noexcept {
        if (holds_.fetch_sub(1) == 1) {
            begin_cleanup(how);
        }
    }

    // The user's own hold is one of those counted, so that "nobody holds it" and "it was left" are one event.
    bool try_hold() noexcept {
        for (unsigned held = holds_.load(); held != 0;) {
            if (holds_.compare_exchange_weak(held, held + 1)) {
                return true;
            }
        }
        return false;
    }

    friend void intrusive_ptr_add_ref(scope_record* record) noexcept {
        record->references_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(scope_record* record) noexcept {
        if (record->is_only_reference() || record->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            delete record;
        }
    }

    /// Nobody but the caller can change that, so it saves the cost of an atomic exchange.
    bool is_only_reference() const noexcept { return references_.load(std::memory_order_acquire) == 1; }

    std::atomic<scope_phase> phase_{scope_phase::made};
    std::atomic<unsigned> holds_{1};
    std::string name_;
    std::source_location where_;

protected:
    /// Where the guard was dropped, if that was in a region.
    boost::intrusive_ptr<region> region_;

private:
    friend class region;
    friend class region_executor;
    boost::intrusive_ptr<scope_record> part_of_;  // the one whose setup or cleanup has set this one up, in a region
    scope_record* dropped_by_ = nullptr;  // the one whose cleanup has dropped it; null: the body, or what it calls
    scope_record* dropped_before_ = nullptr;
    scope_record* dropped_next_ = nullptr;
    dropped_scopes dropped_;  // by its own cleanup
    bool turn_ = false;  // it has or had its turn
    bool over_ = false;  // its own cleanup

    friend class registry;
    std::atomic<unsigned> references_{1};  // its maker's
    std::atomic<bool> listed_{false};
    static constexpr std::uint64_t not_opened = std::numeric_limits<std::uint64_t>::max();
    std::atomic<std::uint64_t> opened_as_{not_opened};  // the n-th of its context, about
    scope_record* older_ = nullptr;
    scope_record* newer_ = nullptr;
    clock::time_point since_;
};

}  // namespace coraii::detail

#endif
