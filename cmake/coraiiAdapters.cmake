# SPDX-License-Identifier: BSL-1.0
# coraii::sqlite and coraii::postgres, where the client library is installed. For this build, and for the package.
find_package(SQLite3 QUIET GLOBAL)
if(SQLite3_FOUND AND NOT TARGET coraii::sqlite)
    add_library(coraii::sqlite INTERFACE IMPORTED GLOBAL)
    target_link_libraries(coraii::sqlite INTERFACE coraii::coraii SQLite::SQLite3)
endif()
find_package(PostgreSQL QUIET GLOBAL)
if(PostgreSQL_FOUND AND NOT TARGET coraii::postgres)
    add_library(coraii::postgres INTERFACE IMPORTED GLOBAL)
    target_link_libraries(coraii::postgres INTERFACE coraii::coraii PostgreSQL::PostgreSQL)
endif()
