// SPDX-License-Identifier: BSL-1.0
// What can be counted exactly: the allocations of a thread, the memory it holds, and the instructions of a program.
// Include this in exactly one source file: it replaces malloc and free.
#ifndef CORAII_TESTS_BENCH_COUNTING_HPP
#define CORAII_TESTS_BENCH_COUNTING_HPP

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <stdexcept>
#include <string>
#include <system_error>

namespace counting {

/// How many allocations this thread has made. Not by coraii/testing, which keeps account of what is freed, too: that makes
/// the side of a comparison that allocates look slower by 4%.
inline thread_local constinit long allocations = 0;

/// How many bytes malloc has given this thread less those that this thread has freed, in the sizes that malloc made of
/// them. Counted only while `counts_bytes`, for it makes allocations slower.
inline thread_local constinit long bytes = 0;
inline thread_local constinit bool counts_bytes = false;

inline void* counted(void* memory) noexcept {
    bytes += static_cast<long>(::malloc_usable_size(memory));
    return memory;
}

/// How many instructions a shell command executes, all threads together.
inline double instructions(const std::string& command) {
    // Its fastest way to count.
    const std::string counted =
        "valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null " + command + " 2>&1";
    std::FILE* const output = ::popen(counted.c_str(), "r");
    if (output == nullptr) {
        throw std::system_error{errno, std::generic_category(), "popen"};
    }
    std::string text;
    for (int c = std::fgetc(output); c != EOF; c = std::fgetc(output)) {
        text += static_cast<char>(c);
    }
    const bool failed = ::pclose(output) != 0;
    const std::size_t refs = text.find("refs:");
    if (failed || refs == std::string::npos) {
        throw std::runtime_error{"instructions are counted by valgrind, which failed:\n" + counted + "\n" + text};
    }
    double count = 0;
    for (const char c : text.substr(refs, text.find('\n', refs) - refs)) {  // refs:      77,391,253
        if (c >= '0' && c <= '9') {
            count = 10 * count + (c - '0');
        }
    }
    return count;
}

}  // namespace counting

#if !defined(__GLIBC__)
#error "Allocations are counted with glibc's names for its allocation functions"
#endif

// Asio takes the memory of coroutines by aligned_alloc, the standard library its own by malloc. None is inlined: that would
// change what else the compiler inlines, and so what is measured.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the C library's own names
void* __libc_malloc(std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
[[gnu::noinline]] void* malloc(std::size_t size) noexcept {
    ++counting::allocations;
    if (counting::counts_bytes) [[unlikely]] {
        return counting::counted(__libc_malloc(size));
    }
    return __libc_malloc(size);
}
[[gnu::noinline]] void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    ++counting::allocations;
    if (counting::counts_bytes) [[unlikely]] {
        return counting::counted(__libc_memalign(alignment, size));
    }
    return __libc_memalign(alignment, size);
}
[[gnu::noinline]] void free(void* memory) noexcept {
    if (counting::counts_bytes) [[unlikely]] {
        counting::bytes -= static_cast<long>(::malloc_usable_size(memory));
    }
    __libc_free(memory);
}
}

#endif
