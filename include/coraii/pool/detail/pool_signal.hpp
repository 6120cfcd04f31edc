// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POOL_DETAIL_POOL_SIGNAL_HPP
#define CORAII_POOL_DETAIL_POOL_SIGNAL_HPP

#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/signal.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <exception>
#include <utility>

namespace coraii::detail {

/// One that is shared by the coroutine that was spawned with it, and those who cancel that. It may stay in a cancellation
/// slot longer than an executor may, so it has none.
struct shared_signal : recycled, boost::intrusive_ref_counter<shared_signal> {
    signal signal_;
};
using shared_signal_ptr = boost::intrusive_ptr<shared_signal>;

/// Calls at once what it is given, and lets through what that throws.
struct inline_executor {
    template <class F>
    void execute(F&& f) const {
        std::forward<F>(f)();
    }
    friend bool operator==(const inline_executor&, const inline_executor&) noexcept = default;
};

/// What a job is spawned with: its cancellation slot, and the owner of the signal, which Asio uses to the very end.
/// It is called where the job ends, which takes no memory.
struct job_end {
    using executor_type = inline_executor;
    using cancellation_slot_type = signal::slot;

    job_end(signal::slot s, shared_signal_ptr o) noexcept : slot{s}, owner{std::move(o)} {}
    job_end(job_end&&) noexcept = default;
    job_end& operator=(job_end&&) = delete;
    ~job_end() {
        if (owner) {
            slot.clear();  // what Asio has in there has an executor, which must not outlive its context
        }
    }

    inline_executor get_executor() const noexcept { return {}; }

    signal::slot get_cancellation_slot() const noexcept { return slot; }
    void operator()(std::exception_ptr thrown_by_a_handler) const {
        if (thrown_by_a_handler) {
            std::rethrow_exception(thrown_by_a_handler);  // out of the event loop, as from any handler
        }
    }

    signal::slot slot;
    shared_signal_ptr owner;
};

}  // namespace coraii::detail

#endif
