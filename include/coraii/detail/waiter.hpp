// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_WAITER_HPP
#define CORAII_DETAIL_WAITER_HPP

#include "coraii/detail/completion.hpp"
#include "coraii/detail/erased.hpp"

#include <atomic>
#include <utility>

namespace coraii::detail {

/// One party asks to be told of an event. Either may be first, on any thread. A completion must not be called inside
/// its own initiating function, so when the event comes first it is the asker who posts it.
class waiter {
public:
    template <class Completion>
    void set(Completion&& completion) {
        completion_ = std::forward<Completion>(completion);
    }

    /// The asker's last step.
    void asked() {
        state expected = state::asking;
        if (!state_.compare_exchange_strong(expected, state::waiting, std::memory_order_acq_rel)) {
            auto completion = take();
            if (expected == state::happened) {
                std::move(completion)(deliver::posted);
            }
        }
    }

    bool has_happened() const noexcept { return state_.load(std::memory_order_acquire) == state::happened; }

    void happen(deliver how = deliver::dispatched) {
        if (state_.exchange(state::happened, std::memory_order_acq_rel) == state::waiting) {
            take()(how);
        }
    }

    /// The event will not come. Destroys the completion, also one that is only about to be set.
    void forget() noexcept {
        if (state_.exchange(state::forgotten, std::memory_order_acq_rel) == state::waiting) {
            const auto unused = take();
        }
    }

private:
    erased<deliver> take() noexcept { return std::move(completion_); }

    enum class state : unsigned char { asking, waiting, happened, forgotten };
    std::atomic<state> state_{state::asking};
    erased<deliver> completion_;
};

}  // namespace coraii::detail

#endif
