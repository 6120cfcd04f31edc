// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_CORAII_HPP
#define CORAII_CORAII_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Everything that needs nothing but Boost, except `coraii/file.hpp`, which costs as much to compile as all of this, and
/// `coraii/testing.hpp`, which is for tests.

#include "coraii/all.hpp"
#include "coraii/async_scope.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_stack.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/joined.hpp"
#include "coraii/offload.hpp"
#include "coraii/pool.hpp"
#include "coraii/scope_info.hpp"
#include "coraii/scopes.hpp"
#include "coraii/shared_scope.hpp"
#include "coraii/task.hpp"
#include "coraii/task_group.hpp"
#include "coraii/unlimited.hpp"
#include "coraii/version.hpp"
#include "coraii/with.hpp"

#endif
