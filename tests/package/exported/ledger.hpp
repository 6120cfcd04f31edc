// SPDX-License-Identifier: BSL-1.0
#ifndef LEDGER_LEDGER_HPP
#define LEDGER_LEDGER_HPP

#include <coraii/async_scope.hpp>

#include <string>

coraii::async_scope<std::string> open_ledger();

#endif
