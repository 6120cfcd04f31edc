// SPDX-License-Identifier: BSL-1.0
#include <coraii/postgres.hpp>

int main() {
    auto unused = coraii::postgres::connect("");
}
