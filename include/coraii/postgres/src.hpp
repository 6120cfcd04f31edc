// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_SRC_HPP
#define CORAII_POSTGRES_SRC_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// As <coraii/src.hpp>, for <coraii/postgres.hpp> alone.

#if !defined(CORAII_SEPARATE_COMPILATION)
#error "coraii/postgres/src.hpp is for programs all of whose sources are compiled with CORAII_SEPARATE_COMPILATION"
#endif

#include "coraii/impl/postgres.ipp"
#include "coraii/postgres/impl/copy.ipp"
#include "coraii/postgres/impl/listen.ipp"

#endif
