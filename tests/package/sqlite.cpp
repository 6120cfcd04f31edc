// SPDX-License-Identifier: BSL-1.0
#include <coraii/sqlite.hpp>

int main() {
    auto unused = coraii::sqlite::connect("");
}
