// SPDX-License-Identifier: BSL-1.0
#include <coraii/src.hpp>
#ifdef CORAII_TEST_SQLITE
#include <coraii/sqlite/src.hpp>
#endif
#ifdef CORAII_TEST_POSTGRES
#include <coraii/postgres/src.hpp>
#endif
