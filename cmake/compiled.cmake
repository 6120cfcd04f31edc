# SPDX-License-Identifier: BSL-1.0
# CORAII_COMPILED: static libraries of the functions that are no templates. They stand behind coraii::coraii, coraii::sqlite
# and coraii::postgres, which tell the sources of their users that the bodies are there.
set(CORAII_LIBRARIES)  # to be installed

# A library with the bodies that <coraii/HEADER> has.
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

# That of the database's adapter, which is linked with the database's LIBRARY, where there is one.
function(coraii_add_database_library database library)
    if(TARGET ${library})
        coraii_add_library(coraii_${database} ${database}/src.hpp)
        target_link_libraries(coraii_${database} PRIVATE $<BUILD_INTERFACE:${library}>)
        target_link_libraries(coraii_${database} PUBLIC coraii)
        set(CORAII_LIBRARIES ${CORAII_LIBRARIES} PARENT_SCOPE)
    endif()
endfunction()

find_package(SQLite3 QUIET GLOBAL)
coraii_add_database_library(sqlite SQLite::SQLite3)
find_package(PostgreSQL QUIET GLOBAL)
coraii_add_database_library(postgres PostgreSQL::PostgreSQL)
