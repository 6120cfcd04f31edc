# SPDX-License-Identifier: BSL-1.0
# Sets CORAII_BOOST_TARGETS. Only headers are needed, so no component is asked for: Boost.System's stub is gone since 1.89.

# A preset that is for a newer Boost asks for it, and does not test the system's by mistake.
set(CORAII_BOOST_VERSION 1.83 CACHE STRING "The least version of Boost")

if(NOT TARGET Boost::asio AND NOT TARGET Boost::headers)
    find_package(Boost ${CORAII_BOOST_VERSION} CONFIG QUIET)
    if(NOT Boost_FOUND)
        set(found "")
        if(Boost_CONSIDERED_VERSIONS)
            set(found " Only ${Boost_CONSIDERED_VERSIONS} was found, in ${Boost_CONSIDERED_CONFIGS}.")
        endif()
        message(FATAL_ERROR
            "coraii needs the headers of Boost ${CORAII_BOOST_VERSION} or later, with Boost's CMake config.${found}\n"
            "Install it (Debian 13, Ubuntu 24.04: apt install libboost1.83-dev; Debian 12: the same from "
            "bookworm-backports), or point CMAKE_PREFIX_PATH at one.")
    endif()
    message(STATUS "Boost ${Boost_VERSION_STRING}: ${Boost_DIR}")
endif()

# Boost built with CMake has a target for each library, Boost installed by a system one for all the headers.
if(TARGET Boost::asio)
    set(CORAII_BOOST_TARGETS Boost::asio Boost::smart_ptr Boost::system)
else()
    set(CORAII_BOOST_TARGETS Boost::headers)
endif()
