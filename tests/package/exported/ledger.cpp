// SPDX-License-Identifier: BSL-1.0
#include "ledger.hpp"

coraii::async_scope<std::string> open_ledger() {
    std::string ledger = "ledger";
    co_yield ledger;
}
