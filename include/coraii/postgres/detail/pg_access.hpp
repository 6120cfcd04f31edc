// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_ACCESS_HPP
#define CORAII_POSTGRES_DETAIL_PG_ACCESS_HPP

#include "coraii/guard.hpp"
#include "coraii/postgres.hpp"
#include "coraii/postgres/detail/pg_link.hpp"
#include "coraii/postgres/detail/pg_statements.hpp"
#include "coraii/session/transaction.hpp"

namespace coraii::detail {

/// What is in a connection, for what is built on it.
struct pg_access {
    static const pg_ptr& link(const postgres::connection& c) noexcept { return c.link_; }
    static pg_statements& statements(const postgres::connection& c) noexcept { return *c.statements_; }
};

/// A connection, a session on it or a transaction, from which a scope is begun.
struct pg_parent {
    explicit pg_parent(postgres::connection& c) noexcept : connection{&c}, scope{&sql_access::scope(c)} {}
    explicit pg_parent(sql_client<postgres::connection>& c) noexcept
        : connection{&c.connection()}, scope{&sql_access::scope(c)}, depth{sql_access::depth(c)} {}

    postgres::connection* connection;
    const scope_handle* scope;
    unsigned depth = 0;
};

}  // namespace coraii::detail

#endif
