// SPDX-License-Identifier: BSL-1.0
#define BOOST_ASIO_DISABLE_THREADS
#include "typical.hpp"
