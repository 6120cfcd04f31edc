// SPDX-License-Identifier: BSL-1.0
// Include this in exactly one source file of a test program. It replaces pthread_create, which then can be made to fail:
// `coraii::testing::threads::failing`. Not under a sanitizer, which replaces the same function.
#ifndef CORAII_TESTING_REPLACE_THREADS_HPP
#define CORAII_TESTING_REPLACE_THREADS_HPP

#include "coraii/testing/threads.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CORAII_TESTING_KEEP_THREADS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CORAII_TESTING_KEEP_THREADS
#endif
#endif

#if defined(__GLIBC__) && !defined(CORAII_TESTING_KEEP_THREADS)

#include <cerrno>
#include <dlfcn.h>
#include <pthread.h>

// NOLINTBEGIN: the C library's names, in the C library's ways

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*),
                              void* argument) {
    using refusal = coraii::testing::detail::thread_refusal;
    if (refusal::now.load()) {
        ++refusal::refused;
        return EAGAIN;
    }
    static const auto original = reinterpret_cast<decltype(&pthread_create)>(::dlsym(RTLD_NEXT, "pthread_create"));
    return original(thread, attributes, main, argument);
}

namespace coraii::testing::detail {

inline const bool threads_replaced = (thread_refusal::replaced = true);

}  // namespace coraii::testing::detail

// NOLINTEND

#endif

#endif
