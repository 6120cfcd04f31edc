// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_ALLOCATIONS_HPP
#define CORAII_TESTING_ALLOCATIONS_HPP

#include <atomic>
#include <limits>

namespace coraii::testing {

namespace detail {

/// The accounts that the replaced allocation functions keep: one for each thread, and one of the blocks that are alive.
struct allocation_counts {
    long made = 0;
    long refuse_from = (std::numeric_limits<long>::max)();
    long refuse_to = (std::numeric_limits<long>::max)();
    long refused = 0;
    int unobserved = 0;

    inline static std::atomic<bool> replaced{false};
    inline static std::atomic<long> live{0};
    inline static long (*live_bytes)() = nullptr;  // where the allocator can tell, better than our counting

    /// Called for each allocation. False: it has to fail.
    bool allow() noexcept {
        if (unobserved > 0) {
            return true;
        }
        ++made;
        if (made < refuse_from || made > refuse_to) {
            return true;
        }
        ++refused;
        return false;
    }
};

inline thread_local constinit allocation_counts allocations_here;

}  // namespace detail

/// Counts heap allocations, and lets them fail. Works in programs one of whose source files includes
/// `coraii/testing/replace_allocation.hpp`; in others nothing is counted, and nothing fails.
namespace allocations {

/// True where allocations are counted.
[[nodiscard]] inline bool counted() noexcept {
    return detail::allocation_counts::replaced.load(std::memory_order_relaxed);
}

/// How many the calling thread has made, in its life.
[[nodiscard]] inline long made() noexcept {
    return detail::allocations_here.made;
}

/// What all threads have allocated and not freed: blocks, or bytes where a sanitizer's allocator counts them.
[[nodiscard]] inline long live() noexcept {
    return detail::allocation_counts::live_bytes != nullptr ? detail::allocation_counts::live_bytes()
                                                            : detail::allocation_counts::live.load();
}

/// While it exists, the calling thread's allocations fail from the `first`-th on, counted from here and from 1, and
/// `how_many` of them.
class failing {
public:
    /// From the `first` allocation from now on, `how_many` of the calling thread's fail.
    explicit failing(long first = 1, long how_many = (std::numeric_limits<long>::max)() / 2) noexcept
        : before_{detail::allocations_here} {
        auto& here = detail::allocations_here;
        here.refuse_from = here.made + first;
        here.refuse_to = here.refuse_from + how_many - 1;
        here.refused = 0;
    }
    failing(const failing&) = delete;
    failing& operator=(const failing&) = delete;
    ~failing() {
        auto& here = detail::allocations_here;
        here.refuse_from = before_.refuse_from;
        here.refuse_to = before_.refuse_to;
        here.refused = before_.refused;
    }

    /// How many have failed so far.
    [[nodiscard]] long failed() const noexcept { return detail::allocations_here.refused; }

private:
    detail::allocation_counts before_;
};

/// While it exists, the calling thread's allocations are neither counted nor made to fail.
class unobserved {
public:
    unobserved() noexcept { ++detail::allocations_here.unobserved; }
    unobserved(const unobserved&) = delete;
    unobserved& operator=(const unobserved&) = delete;
    ~unobserved() { --detail::allocations_here.unobserved; }
};

}  // namespace allocations
}  // namespace coraii::testing

#endif
