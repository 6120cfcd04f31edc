# SPDX-License-Identifier: BSL-1.0
set(PACKAGE_VERSION 0)
if(EXISTS /usr/include/boost/version.hpp)
    file(STRINGS /usr/include/boost/version.hpp line REGEX "define BOOST_LIB_VERSION")
    string(REGEX REPLACE ".*\"([0-9]+)_([0-9]+).*" "\\1.\\2.0" PACKAGE_VERSION "${line}")
endif()
if(NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
