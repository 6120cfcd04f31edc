// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_RECYCLER_HPP
#define CORAII_DETAIL_COROUTINE_RECYCLER_HPP

#include "coraii/detail/coroutine/platform.hpp"

#include <cstddef>
#include <new>
#include <utility>

// Recycled memory hides use-after-free and leaks from the sanitizers, so under them every block is the heap's own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CORAII_NO_RECYCLING
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CORAII_NO_RECYCLING
#endif
#endif

namespace coraii::detail {

/// A free list a thread for the frames and control blocks of scopes. Asio's own keeps two blocks of a kind, and nested
/// scopes need more. A block may be freed on another thread than it came from.
class recycler {
public:
    static void* allocate(std::size_t size) {
#ifndef CORAII_NO_RECYCLING
        if (const std::size_t bin = bin_of(size); bin < bins && free_[bin] != nullptr) {
            block* found = free_[bin];
            free_[bin] = found->next;
            --kept_[bin];
            return found;
        }
        return ::operator new(rounded(size));
#else
        return ::operator new(size);
#endif
    }

    static void deallocate(void* memory, std::size_t size) noexcept {
#ifndef CORAII_NO_RECYCLING
        if (const std::size_t bin = bin_of(size); bin < bins && kept_[bin] < most_kept && keeping()) {
            free_[bin] = ::new (memory) block{free_[bin]};
            ++kept_[bin];
            return;
        }
#endif
        (void)size;
        ::operator delete(memory);
    }

    /// Gives back what the calling thread keeps.
    static void trim() noexcept {
#ifndef CORAII_NO_RECYCLING
        keeping();  // glibc takes memory to remember the end of a thread, and ends the program if there is none
        free_all();
#endif
    }

#ifndef CORAII_NO_RECYCLING
private:
    struct block {
        block* next;
    };

    // Gives the thread's blocks back when it ends. The lists themselves are trivially destructible, so a frame that is
    // destroyed after this object still finds them, and goes to the heap.
    struct thread_end {
        ~thread_end() {
            ended_ = true;
            free_all();
        }
    };

    static void free_all() noexcept {
        for (std::size_t bin = 0; bin < bins; ++bin) {
            while (free_[bin] != nullptr) {
                ::operator delete(std::exchange(free_[bin], free_[bin]->next));
            }
            kept_[bin] = 0;
        }
    }

    static constexpr std::size_t granule = 64;  // bytes
    static constexpr std::size_t bins = 32;  // blocks of up to 2 KiB are kept
    static constexpr unsigned char most_kept = 128;  // of each size

    static std::size_t bin_of(std::size_t size) noexcept { return (size - 1) / granule; }
    static std::size_t rounded(std::size_t size) noexcept { return (size + granule - 1) / granule * granule; }

    static bool keeping() noexcept {
        static thread_local const thread_end at_thread_end;
        (void)at_thread_end;
        return !ended_;
    }

    inline static thread_local constinit block* free_[bins] = {};
    inline static thread_local constinit unsigned char kept_[bins] = {};
    inline static thread_local constinit bool ended_ = false;
#endif
};

/// For containers in recycled memory.
template <class T>
struct recycling_allocator {
    using value_type = T;

    recycling_allocator() = default;
    template <class U>
    recycling_allocator(const recycling_allocator<U>&) noexcept {}

    T* allocate(std::size_t n) { return static_cast<T*>(recycler::allocate(n * sizeof(T))); }
    void deallocate(T* memory, std::size_t n) noexcept { recycler::deallocate(memory, n * sizeof(T)); }

    friend bool operator==(recycling_allocator, recycling_allocator) noexcept { return true; }
};

/// Base of what lives in recycled memory.
struct recycled {
    static void* operator new(std::size_t size) { return recycler::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept { recycler::deallocate(memory, size); }
};

}  // namespace coraii::detail

#endif
