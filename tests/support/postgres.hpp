// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_POSTGRES_HPP
#define CORAII_TESTS_SUPPORT_POSTGRES_HPP

#include "support/postgres_server.hpp"

#include <catch2/catch_test_macros.hpp>

namespace test {

/// The tests' server. Skips the test where there can be none.
inline postgres_server& postgres() {
    postgres_server* const server = postgres_server::find();
    if (server == nullptr) {
        SKIP("no PostgreSQL server is installed (initdb, postgres)");
    }
    return *server;
}

}  // namespace test

#endif
