// SPDX-License-Identifier: BSL-1.0
// Include this in exactly one source file of a test program. It replaces the program's allocation functions by ones that
// count, and can be made to fail: `coraii::testing::sweep` then also tries every allocation that a scenario makes.
//
// With glibc they stand for malloc and its kin, as glibc's manual allows ("Replacing malloc"). Under a sanitizer, and with
// other C libraries, for operator new, and for aligned_alloc, where Asio takes the memory of coroutines from.
#ifndef CORAII_TESTING_REPLACE_ALLOCATION_HPP
#define CORAII_TESTING_REPLACE_ALLOCATION_HPP

#include "coraii/testing/allocations.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CORAII_TESTING_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CORAII_TESTING_SANITIZED
#endif
#endif

// NOLINTBEGIN: the C library's names, in the C library's ways

// Clang's ThreadSanitizer and MemorySanitizer have allocation functions that cannot be replaced. Define
// CORAII_TESTING_KEEP_ALLOCATION where there are others such (-fsanitize=leak, a static C library).
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CORAII_TESTING_KEEP_ALLOCATION
#endif
#endif

#if defined(CORAII_TESTING_KEEP_ALLOCATION)

#elif defined(__GLIBC__) && !defined(CORAII_TESTING_SANITIZED)

extern "C" {

void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

}  // extern "C"

namespace coraii::testing::detail {

inline void* counted_block(void* block) noexcept {
    if (block != nullptr) {
        allocation_counts::live.fetch_add(1, std::memory_order_relaxed);
    }
    return block;
}

inline void* refused_block() noexcept {
    errno = ENOMEM;
    return nullptr;
}

}  // namespace coraii::testing::detail

extern "C" {

void* malloc(std::size_t size) noexcept {
    using namespace coraii::testing::detail;
    return allocations_here.allow() ? counted_block(__libc_malloc(size)) : refused_block();
}
void* calloc(std::size_t count, std::size_t size) noexcept {
    using namespace coraii::testing::detail;
    return allocations_here.allow() ? counted_block(__libc_calloc(count, size)) : refused_block();
}
void* realloc(void* block, std::size_t size) noexcept {
    using namespace coraii::testing::detail;
    if (!allocations_here.allow()) {
        return refused_block();
    }
    void* const moved = __libc_realloc(block, size);
    if (block == nullptr) {
        counted_block(moved);
    } else if (size == 0) {
        allocation_counts::live.fetch_sub(1, std::memory_order_relaxed);
    }
    return moved;
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
    using namespace coraii::testing::detail;
    return allocations_here.allow() ? counted_block(__libc_memalign(alignment, size)) : refused_block();
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    return memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
    if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) {
        return EINVAL;
    }
    const int before = errno;
    void* const found = memalign(alignment, size);
    errno = before;
    if (found == nullptr) {
        return ENOMEM;
    }
    *block = found;
    return 0;
}
void free(void* block) noexcept {
    using namespace coraii::testing::detail;
    if (block != nullptr) {
        allocation_counts::live.fetch_sub(1, std::memory_order_relaxed);
    }
    __libc_free(block);
}

}  // extern "C"

#else

#if defined(CORAII_TESTING_SANITIZED)
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace coraii::testing::detail {

inline void* take(std::size_t size) noexcept {
    void* const block = allocations_here.allow() ? std::malloc(size != 0 ? size : 1) : nullptr;
    if (block != nullptr) {
        allocation_counts::live.fetch_add(1, std::memory_order_relaxed);
    }
    return block;
}

inline void* take_aligned(std::size_t size, std::size_t alignment) noexcept {
    void* block = nullptr;
    if (!allocations_here.allow() ||
        ::posix_memalign(&block, alignment < sizeof(void*) ? sizeof(void*) : alignment, size) != 0) {
        return nullptr;
    }
    allocation_counts::live.fetch_add(1, std::memory_order_relaxed);
    return block;
}

inline void give_back(void* block) noexcept {
    if (block != nullptr) {
        allocation_counts::live.fetch_sub(1, std::memory_order_relaxed);
    }
    std::free(block);
}

inline void* or_throw(void* block) {
    if (block == nullptr) {
        throw std::bad_alloc{};
    }
    return block;
}

}  // namespace coraii::testing::detail

void* operator new(std::size_t size) {
    return coraii::testing::detail::or_throw(coraii::testing::detail::take(size));
}
void* operator new[](std::size_t size) {
    return coraii::testing::detail::or_throw(coraii::testing::detail::take(size));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return coraii::testing::detail::take(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return coraii::testing::detail::take(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    using namespace coraii::testing::detail;
    return or_throw(take_aligned(size, static_cast<std::size_t>(alignment)));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    using namespace coraii::testing::detail;
    return or_throw(take_aligned(size, static_cast<std::size_t>(alignment)));
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return coraii::testing::detail::take_aligned(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return coraii::testing::detail::take_aligned(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete[](void* block) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete(void* block, std::size_t) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete[](void* block, std::size_t) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete[](void* block, std::align_val_t) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
    coraii::testing::detail::give_back(block);
}
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
    coraii::testing::detail::give_back(block);
}

#if defined(__GLIBC__)
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    void* block = nullptr;
    if (!coraii::testing::detail::allocations_here.allow() || ::posix_memalign(&block, alignment, size) != 0) {
        errno = ENOMEM;
        return nullptr;
    }
    return block;
}
#endif

#endif

#if !defined(CORAII_TESTING_KEEP_ALLOCATION)
namespace coraii::testing::detail {

/// Says that the functions above are in the program.
struct allocation_replaced {
    allocation_replaced() noexcept {
#if defined(CORAII_TESTING_SANITIZED)
        allocation_counts::live_bytes = [] { return static_cast<long>(__sanitizer_get_current_allocated_bytes()); };
#endif
        allocation_counts::replaced.store(true);
    }
};
static const allocation_replaced allocation_is_replaced;

}  // namespace coraii::testing::detail
#endif

// NOLINTEND

#undef CORAII_TESTING_SANITIZED

#endif
