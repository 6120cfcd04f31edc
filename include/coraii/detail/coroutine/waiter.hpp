// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_WAITER_HPP
#define CORAII_DETAIL_COROUTINE_WAITER_HPP

#include "coraii/detail/coroutine/unique_function.hpp"

#include <atomic>
#include <utility>

namespace coraii::detail {

/// How a completion handler may be called.
enum class deliver : bool {
    dispatched,  // at once, if we are on its executor
    posted,      // never from here: we may still be inside the initiating function
};

/// One party waits for an event that another sets. Either may be first, on any thread. A completion must not be called
/// inside its own initiating function, so when the event comes first it is the one who arms that posts it.
class waiter {
public:
    /// Before `arm`, which is the waiting party's last step.
    template <class Completion>
    void complete_with(Completion&& completion) {
        completion_ = std::forward<Completion>(completion);
    }

    void arm() {
        state expected = state::idle;
        if (!state_.compare_exchange_strong(expected, state::armed, std::memory_order_acq_rel)) {
            auto completion = take();
            if (expected == state::set) {
                std::move(completion)(deliver::posted);
            }
        }
    }

    bool is_set() const noexcept { return state_.load(std::memory_order_acquire) == state::set; }

    void set(deliver how = deliver::dispatched) {
        if (state_.exchange(state::set, std::memory_order_acq_rel) == state::armed) {
            take()(how);
        }
    }

    /// The event will not come. Destroys the completion, even one that is not armed yet.
    void cancel() noexcept {
        if (state_.exchange(state::cancelled, std::memory_order_acq_rel) == state::armed) {
            const auto unused = take();
        }
    }

    /// Destroys the completion that is not to be armed: its initiating function fails.
    void drop() noexcept { completion_.reset(); }

    /// For the next event. Nobody is waiting, and nobody sets it before we say so.
    void reset() noexcept { state_.store(state::idle, std::memory_order_relaxed); }

private:
    unique_function<deliver> take() noexcept { return std::move(completion_); }

    enum class state : unsigned char { idle, armed, set, cancelled };
    std::atomic<state> state_{state::idle};
    unique_function<deliver> completion_;
};

}  // namespace coraii::detail

#endif
