# SPDX-License-Identifier: BSL-1.0
# coraii's tools for projects that use it are there, whichever way that gets coraii.
coraii_add_scope(NAME written_session NAMESPACE consumer DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
file(CONFIGURE OUTPUT written_session.cpp CONTENT "#include \"written_session.hpp\"\n")
add_library(written OBJECT ${CMAKE_CURRENT_BINARY_DIR}/written_session.cpp)
target_link_libraries(written PRIVATE coraii::coraii)
coraii_check_scopes(TARGET consumer)
