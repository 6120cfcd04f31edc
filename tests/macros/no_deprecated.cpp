// SPDX-License-Identifier: BSL-1.0
#define BOOST_ASIO_NO_DEPRECATED
#include "typical.hpp"
