// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COROUTINE_PLATFORM_HPP
#define CORAII_DETAIL_COROUTINE_PLATFORM_HPP

// Says in one line what a compiler, a standard or a macro lacks. The #include that fails ends the compilation there: what
// would follow are hundreds of errors that explain nothing.

#if defined(_MSVC_LANG)
#define CORAII_CPLUSPLUS _MSVC_LANG
#else
#define CORAII_CPLUSPLUS __cplusplus
#endif

#if defined(__clang__) && !defined(__apple_build_version__) && __clang_major__ < 16
#error "coraii needs Clang 16 or later"
#include "coraii/see_the_error_above"
#elif CORAII_CPLUSPLUS < 202002L
#error "coraii needs C++20: compile with -std=c++20 or later"
#include "coraii/see_the_error_above"
#elif !defined(__cpp_exceptions)
#error "coraii needs exceptions: compile without -fno-exceptions"
#include "coraii/see_the_error_above"
#elif defined(BOOST_ASIO_USE_TS_EXECUTOR_AS_DEFAULT)
#error "coraii does not work with BOOST_ASIO_USE_TS_EXECUTOR_AS_DEFAULT"
#include "coraii/see_the_error_above"
#endif

// Header-only, unless all sources of a program define CORAII_SEPARATE_COMPILATION. Then the bodies in the `impl` folders are
// compiled in one of them only, the one that includes <coraii/src.hpp> (and <coraii/sqlite/src.hpp> and
// <coraii/postgres/src.hpp>, for a program that uses these).
#if defined(CORAII_SEPARATE_COMPILATION)
#define CORAII_DECL
#else
#define CORAII_HEADER_ONLY
#define CORAII_DECL inline
#endif

// What a program and its shared libraries must see as one: services, which Asio finds by their types, and executors that
// are recognized by theirs.
#if defined(__GNUC__) && !defined(_WIN32)
#define CORAII_VISIBLE __attribute__((visibility("default")))
#else
#define CORAII_VISIBLE
#endif

#endif
