// SPDX-License-Identifier: BSL-1.0
#define BOOST_ASIO_NO_TS_EXECUTORS
#include "typical.hpp"
