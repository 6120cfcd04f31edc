# SPDX-License-Identifier: BSL-1.0
# coraii::file, and coraii::sqlite and coraii::postgres where the client library is installed. For this build, and for the
# package. With CORAII_COMPILED there are libraries behind them (in the package, they have the namespace).
if(UNIX AND NOT TARGET coraii::file)
    add_library(coraii::file INTERFACE IMPORTED GLOBAL)
    target_link_libraries(coraii::file INTERFACE coraii::coraii)
endif()

# The database's library comes last: it is what ours needs.
function(coraii_add_adapter name library)
    if(TARGET ${library} AND NOT TARGET coraii::${name})
        add_library(coraii::${name} INTERFACE IMPORTED GLOBAL)
        foreach(compiled IN ITEMS coraii_${name} coraii::coraii_${name})
            if(TARGET ${compiled})
                target_link_libraries(coraii::${name} INTERFACE ${compiled})
            endif()
        endforeach()
        target_link_libraries(coraii::${name} INTERFACE coraii::coraii ${library})
    endif()
endfunction()

find_package(SQLite3 QUIET GLOBAL)
coraii_add_adapter(sqlite SQLite::SQLite3)
find_package(PostgreSQL QUIET GLOBAL)
coraii_add_adapter(postgres PostgreSQL::PostgreSQL)
