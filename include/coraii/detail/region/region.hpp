// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_REGION_HPP
#define CORAII_DETAIL_REGION_REGION_HPP

// Where guards are dropped, and what runs there.

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/waiter.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <exception>
#include <mutex>
#include <utility>

namespace coraii::detail {

/// Where guards that are dropped are cleaned one after another, in the order they were dropped, and waited for. What a
/// cleanup drops itself is a part of it. A scope that is held by another lets those behind it pass.
///
/// Its executor (`region_executor`) tells the code that it runs where it is: so a guard's destructor knows.
class region final : public recycled {
public:
    /// `executor` is no region's.
    explicit region(const asio::any_io_executor& executor)
        : executor_{executor}, registry_{&registry::of(asio::query(executor, asio::execution::context))} {}
    region(const region&) = delete;
    region& operator=(const region&) = delete;

    // ---- guards

    /// The guard of `entry` is dropped by the code that is running. Gives the region that is to clean it, or null.
    static CORAII_DECL region* drop_here(registry_entry& entry, registry& scopes) noexcept;

    /// True if the cleanup of `entry` may begin. If not, `begin_cleanup` is called when it may.
    CORAII_DECL bool is_turn_of(registry_entry& entry) noexcept;

    CORAII_DECL void cleanup_failed(registry_entry& entry, std::exception_ptr error) noexcept;

    /// The cleanup of `entry` is over: the next one begins, or the region is over.
    CORAII_DECL void cleaned(registry_entry& entry, deliver how);

    // ---- the body

    CORAII_DECL void body_ended();

    /// It will not end: its coroutine is destroyed. What was dropped is cleaned as outside of regions; only the region
    /// around this one waits.
    CORAII_DECL void body_destroyed() noexcept;

    /// Takes the first error of a cleanup out.
    CORAII_DECL std::exception_ptr take_error() noexcept;

    /// Reports it: `earlier` is thrown instead.
    CORAII_DECL void report(const std::exception_ptr& earlier) noexcept;

    waiter when_over_;  // the body, and all cleanups

    // ---- what its executor needs

    const asio::any_io_executor& executor() const noexcept { return executor_; }
    registry& scopes() const noexcept { return *registry_; }

    // Copies of its executor. Scopes that are long closed may refer to the region, and must not keep a context's executor.
    CORAII_DECL void executor_copied() noexcept;
    CORAII_DECL void executor_destroyed() noexcept;

    // Outstanding work, for those copies of the executor that track it. A region may live longer than that.
    CORAII_DECL void work_began() noexcept;
    CORAII_DECL void work_ended() noexcept;

private:
    // What is over is not entered any more: a chain of regions that follow one another would never end.
    static CORAII_DECL region* open_around(region* r) noexcept;

    CORAII_DECL bool add(registry_entry& entry, registry_entry* by) noexcept;

    CORAII_DECL void remove(registry_entry& entry) noexcept;

    /// What its cleanup has dropped, and is not clean, comes where it was: so that what is held there lets others pass.
    CORAII_DECL void leave_place_to_dropped(registry_entry& entry) noexcept;

    dropped_scopes& siblings_of(registry_entry& entry) noexcept {
        return entry.dropped_by_ != nullptr ? entry.dropped_by_->dropped_ : dropped_;
    }

    /// Gives the turn to the first that nobody holds, where none has it.
    CORAII_DECL registry_entry* begin_turn() noexcept;

    /// Something has ended: the next cleanup begins, or all is over. Cleanups that do not wait follow one another here,
    /// not one inside another.
    CORAII_DECL void advance(std::unique_lock<std::mutex> lock, deliver how);

    CORAII_DECL bool wait_for_abandoned() noexcept;
    CORAII_DECL void abandoned_is_over();

    friend void intrusive_ptr_add_ref(region* r) noexcept { r->references_.fetch_add(1, std::memory_order_relaxed); }
    friend void intrusive_ptr_release(region* r) noexcept {
        if (r->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            delete r;
        }
    }

    std::atomic<unsigned> references_{0};
    std::atomic<unsigned> executors_{0};
    asio::any_io_executor executor_;
    registry* registry_;
    // Has what is dropped here when this one is over.
    boost::intrusive_ptr<region> outer_{open_around(current_origin::get(*registry_).inside)};

    std::mutex mutex_;
    std::atomic<bool> open_{true};  // to guards; changed under the mutex
    bool body_ended_ = false;
    bool abandoned_ = false;
    bool advancing_ = false;
    dropped_scopes dropped_;  // by the body, and what it calls
    boost::intrusive_ptr<region> outer_waits_;  // an abandoned region
    unsigned abandoned_inside_ = 0;  // regions whose bodies were destroyed, and that are not clean
    std::exception_ptr error_;
    boost::intrusive_ptr<registry_entry> failed_;  // with it

    std::mutex work_mutex_;
    std::atomic<unsigned> work_count_{0};
    asio::any_io_executor work_;
};

}  // namespace coraii::detail

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/region/impl/region.ipp"
#endif

#endif
