// SPDX-License-Identifier: BSL-1.0
#include "modules/functions.hpp"

const modules::table* coraii_test_plugin() {
    return &modules::functions;
}
