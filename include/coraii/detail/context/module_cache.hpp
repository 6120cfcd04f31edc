// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_MODULE_CACHE_HPP
#define CORAII_DETAIL_CONTEXT_MODULE_CACHE_HPP

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace coraii::detail {

/// Lets the modules of a program (itself, and its shared libraries) remember an object in variables of their own, and
/// know when that object is gone. Each module has one counter, which the objects that it remembers raise as they are
/// destroyed, in whichever module that happens.
class module_cache {
    using counter = std::atomic<std::uint64_t>;

public:
    /// What a module keeps beside a pointer to the object.
    class epoch {
    public:
        constexpr epoch() = default;
        bool is_now() const noexcept { return counter_->load(std::memory_order_acquire) == at_; }

    private:
        friend class module_cache;
        explicit epoch(const counter& c) noexcept : counter_{&c}, at_{c.load(std::memory_order_acquire)} {}

        inline static constexpr counter never{0};

        const counter* counter_ = &never;
        std::uint64_t at_ = 1;
    };

    /// The calling module will remember the object. An epoch that is never now, if there is no memory for that.
    epoch remember() noexcept {
        counter* const mine = of_module();
        if (mine == nullptr) {
            return {};
        }
        const std::lock_guard lock{mutex_};
        if (std::ranges::find(counters_, mine) == counters_.end()) {
            try {
                counters_.push_back(mine);
            } catch (...) { return {}; }
        }
        return epoch{*mine};
    }

    /// The object is being destroyed.
    void invalidate() noexcept {
        for (counter* c : counters_) {
            c->fetch_add(1, std::memory_order_release);
        }
    }

private:
    // Never freed, and no variable of the module's: the object may be destroyed after the module is unloaded, or after
    // its variables are destroyed.
    static counter* of_module() noexcept {
        static counter* const made = new (std::nothrow) counter{1};
        return made;
    }

    std::mutex mutex_;
    std::vector<counter*> counters_;
};

}  // namespace coraii::detail

#endif
