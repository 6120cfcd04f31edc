# SPDX-License-Identifier: BSL-1.0
# cmake --build build --target single_header        writes <build>/single/coraii.hpp
# cmake -D INCLUDE=include -D OUTPUT=coraii.hpp -P cmake/single_header.cmake        writes it elsewhere, without a build
#
# All that <coraii/coraii.hpp> has, in one file that includes only Boost and the standard library. Files, sessions, databases and
# the test kit are not in it.
cmake_minimum_required(VERSION 3.25)

if(NOT CMAKE_SCRIPT_MODE_FILE)
    set(CORAII_SINGLE_HEADER ${PROJECT_BINARY_DIR}/single/coraii.hpp)
    add_custom_command(OUTPUT ${CORAII_SINGLE_HEADER}
        COMMAND ${CMAKE_COMMAND} -D INCLUDE=${PROJECT_SOURCE_DIR}/include -D OUTPUT=${CORAII_SINGLE_HEADER}
            -P ${CMAKE_CURRENT_LIST_FILE}
        DEPENDS ${CMAKE_CURRENT_LIST_FILE} ${public_headers} ${detail_headers} ${bodies}
        COMMENT "Writing ${CORAII_SINGLE_HEADER}"
        VERBATIM)
    add_custom_target(single_header DEPENDS ${CORAII_SINGLE_HEADER})
    return()
endif()

# Appends the text of a header, in which each of our headers stands where it is included first. One that does not exist (there is one,
# which platform.hpp includes in order to fail) stays an #include.
function(append_header path)
    set_property(GLOBAL APPEND PROPERTY done ${path})
    file(READ ${INCLUDE}/${path} text)
    while(text MATCHES "#include \"(coraii/[^\"]+)\"[^\n]*\n")
        set(line "${CMAKE_MATCH_0}")
        set(included ${CMAKE_MATCH_1})
        string(FIND "${text}" "${line}" begin)
        string(LENGTH "${line}" length)
        math(EXPR end "${begin} + ${length}")
        string(SUBSTRING "${text}" 0 ${begin} before)
        string(SUBSTRING "${text}" ${end} -1 text)
        set_property(GLOBAL APPEND_STRING PROPERTY single "${before}")
        get_property(done GLOBAL PROPERTY done)
        if(NOT EXISTS ${INCLUDE}/${included})
            set_property(GLOBAL APPEND_STRING PROPERTY single "${line}")
        elseif(NOT included IN_LIST done)
            append_header(${included})
        endif()
    endwhile()
    set_property(GLOBAL APPEND_STRING PROPERTY single "${text}")
endfunction()

append_header(coraii/coraii.hpp)
get_property(single GLOBAL PROPERTY single)
string(REPLACE "// SPDX-License-Identifier: BSL-1.0\n" "" single "${single}")
string(REGEX REPLACE "\n\n\n+" "\n\n" single "${single}")
foreach(part MAJOR MINOR PATCH)
    string(REGEX MATCH "#define CORAII_VERSION_${part} ([0-9]+)" unused "${single}")
    list(APPEND version ${CMAKE_MATCH_1})
endforeach()
list(JOIN version "." version)
file(READ ${CMAKE_CURRENT_LIST_DIR}/../LICENSE license)
string(REGEX REPLACE "\n\n*$" "" license "${license}")
string(REPLACE "\n" "\n// " license "${license}")
string(REPLACE "// \n" "//\n" license "${license}")
file(WRITE ${OUTPUT} "// SPDX-License-Identifier: BSL-1.0
// coraii ${version} in one header, made of many by cmake/single_header.cmake.
//
// ${license}
#if defined(CORAII_SEPARATE_COMPILATION)
#error \"coraii in one header is header-only: do not define CORAII_SEPARATE_COMPILATION\"
#endif
${single}")
