// SPDX-License-Identifier: BSL-1.0
// All that a program can include.
#ifndef CORAII_TESTS_ODR_EVERYTHING_HPP
#define CORAII_TESTS_ODR_EVERYTHING_HPP

#include <coraii/coraii.hpp>
#include <coraii/file.hpp>
#include <coraii/session.hpp>
#ifdef CORAII_TEST_SQLITE
#include <coraii/sqlite.hpp>
#endif
#ifdef CORAII_TEST_POSTGRES
#include <coraii/postgres.hpp>
#endif

#include <boost/asio/awaitable.hpp>

#include <string>

boost::asio::awaitable<std::string> read_it(std::string path);  // in second.cpp

#endif
