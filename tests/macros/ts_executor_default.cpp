// SPDX-License-Identifier: BSL-1.0
// flags: -DBOOST_ASIO_USE_TS_EXECUTOR_AS_DEFAULT
// expect: coraii does not work with BOOST_ASIO_USE_TS_EXECUTOR_AS_DEFAULT
#include CORAII_HEADER
