# SPDX-License-Identifier: BSL-1.0
# The headers of the Boost that this system has for itself, for a cross compiler. They are the same for every target, but /usr/include
# must not be searched: so they are given through a directory that has nothing else.
get_filename_component(host_boost_dir "${CMAKE_BINARY_DIR}/host_boost" ABSOLUTE)
file(MAKE_DIRECTORY ${host_boost_dir})
file(CREATE_LINK /usr/include/boost ${host_boost_dir}/boost SYMBOLIC)
if(NOT TARGET Boost::headers)
    add_library(Boost::headers INTERFACE IMPORTED)
    set_target_properties(Boost::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${host_boost_dir})
endif()
set(Boost_VERSION_STRING ${Boost_VERSION})
