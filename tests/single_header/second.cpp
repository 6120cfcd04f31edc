// SPDX-License-Identifier: BSL-1.0
#include <coraii.hpp>
#include <iostream>
#include <string>

coraii::async_scope<std::string> open_in_second();

coraii::async_scope<std::string> open_in_second() {
    std::string opened = "opened in the second source";
    co_yield opened;
    std::cout << "cleaned\n";
}
