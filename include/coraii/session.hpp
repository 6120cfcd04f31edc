// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_HPP
#define CORAII_SESSION_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Database sessions and transactions, on any connection that models `sql_connection`: see sqlite.hpp and postgres.hpp.

#include "coraii/session/arrays.hpp"
#include "coraii/session/chrono.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/execute_once.hpp"
#include "coraii/session/hooks.hpp"
#include "coraii/session/open_session.hpp"
#include "coraii/session/options.hpp"
#include "coraii/session/retry.hpp"
#include "coraii/session/row_types.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/transaction.hpp"
#include "coraii/session/value.hpp"

#endif
