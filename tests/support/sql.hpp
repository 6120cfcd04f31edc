// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_SQL_HPP
#define CORAII_TESTS_SUPPORT_SQL_HPP

// What the tests of databases share. Each test that applies to both is a template, with one of these as its parameter.

#include "coraii/session.hpp"
#include "support/scenario.hpp"

#include <chrono>
#include <exception>
#include <functional>
#include <string>

namespace test {

using coraii::sql_errc;
using coraii::sql_error;
using coraii::transaction_status;
using std::chrono::steady_clock;

/// The error that `work` ends with; a cancel is `operation_aborted`.
template <class Work>
awaitable<boost::system::error_code> error_of(Work work) {
    try {
        co_await work();
    } catch (const boost::system::system_error& e) { co_return e.code(); }
    co_return boost::system::error_code{};
}

inline awaitable<void> pause(steady_clock::duration length) {
    asio::steady_timer timer{co_await asio::this_coro::executor, length};
    co_await timer.async_wait(asio::use_awaitable);
}

/// `SELECT` of one integer.
template <class Client>
awaitable<int> number(Client& client, std::string sql) {
    const coraii::sql_rows rows = co_await client.execute(coraii::sql_query{std::move(sql)});
    co_return rows[0][0].template as<int>();
}

}  // namespace test

#endif
