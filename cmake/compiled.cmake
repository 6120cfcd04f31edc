# SPDX-License-Identifier: BSL-1.0
# CORAII_COMPILED: static libraries of what is no template. They stand behind coraii::coraii, coraii::sqlite and
# coraii::postgres, which tell the sources of their users that the bodies are there.
set(CORAII_LIBRARIES)  # to be installed

# A library of what <coraii/HEADER> defines.
function(coraii_add_library name header)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/compiled/${name}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include <coraii/${header}>\n")
    add_library(${name} STATIC ${source})
    target_compile_features(${name} PUBLIC cxx_std_20)
    target_compile_definitions(${name} PUBLIC CORAII_SEPARATE_COMPILATION)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/include)
    foreach(target IN LISTS CORAII_BOOST_TARGETS ITEMS Threads::Threads)
        target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:${target}>)
    endforeach()
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)  # it may be a part of a shared library
    list(APPEND CORAII_LIBRARIES ${name})
    set(CORAII_LIBRARIES ${CORAII_LIBRARIES} PARENT_SCOPE)
endfunction()

coraii_add_library(coraii_core src.hpp)
target_link_libraries(coraii INTERFACE coraii_core)

find_package(SQLite3 QUIET GLOBAL)
if(SQLite3_FOUND)
    coraii_add_library(coraii_sqlite sqlite/src.hpp)
    target_link_libraries(coraii_sqlite PRIVATE $<BUILD_INTERFACE:SQLite::SQLite3>)
    target_link_libraries(coraii_sqlite PUBLIC coraii)
endif()
find_package(PostgreSQL QUIET GLOBAL)
if(PostgreSQL_FOUND)
    coraii_add_library(coraii_postgres postgres/src.hpp)
    target_link_libraries(coraii_postgres PRIVATE $<BUILD_INTERFACE:PostgreSQL::PostgreSQL>)
    target_link_libraries(coraii_postgres PUBLIC coraii)
endif()
