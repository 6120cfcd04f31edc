# SPDX-License-Identifier: BSL-1.0
# cmake -D COMPILER=c++ -D INCLUDES=dir;dir -D HEADERS=header;header -D SOURCE=file.cpp -P compile.cmake
# Passes if the file compiles. A line `// flags: <flags>` in it adds flags.
# If the file has a line `// expect: <regex>`, the compiler must refuse it, and the first error must match. At most two
# errors may follow, because nobody finds the cause above a wall of others. Such a file includes CORAII_HEADER, and is
# compiled once with each of HEADERS.
cmake_minimum_required(VERSION 3.25)

set(ENV{LC_ALL} C)
list(TRANSFORM INCLUDES PREPEND "-isystem")
set(flags)
set(expected "")
file(STRINGS "${SOURCE}" directives REGEX "^// (flags|expect): ")
foreach(directive IN LISTS directives)
    if(directive MATCHES "^// flags: (.*)$")
        separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_1}")
    elseif(directive MATCHES "^// expect: (.*)$")
        set(expected "${CMAKE_MATCH_1}")
    endif()
endforeach()

function(compile definition result output)
    execute_process(
        COMMAND "${COMPILER}" -std=c++20 -pthread ${INCLUDES} ${flags} ${definition} -fsyntax-only "${SOURCE}"
        RESULT_VARIABLE exit OUTPUT_VARIABLE out ERROR_VARIABLE out)
    set(${result} "${exit}" PARENT_SCOPE)
    set(${output} "${out}" PARENT_SCOPE)
endfunction()

if(expected STREQUAL "")
    compile("" exit output)
    if(NOT exit STREQUAL "0")
        message("${output}")
        message(FATAL_ERROR "This must compile")
    endif()
    return()
endif()

if(NOT HEADERS)
    message(FATAL_ERROR "No headers are given")
endif()
foreach(header IN LISTS HEADERS)
    compile("-DCORAII_HEADER=<${header}>" exit output)
    # CMake's lists split at semicolons, and not within brackets; an element shall be a line.
    string(REGEX REPLACE "[][;]" "_" lines "${output}")
    string(REGEX MATCHALL "error:[^\n]*" errors "${lines}")
    set(matching ${errors})
    list(FILTER matching INCLUDE REGEX "${expected}")
    list(LENGTH errors count)
    list(LENGTH matching times)
    set(first "")
    if(errors)
        list(GET errors 0 first)
    endif()
    if(exit STREQUAL "0")
        message(SEND_ERROR "${header} compiles, but should be refused with: ${expected}")
    elseif(NOT first MATCHES "${expected}")
        message(SEND_ERROR "${header}: the first error should match: ${expected}\nIt is: ${first}")
    elseif(NOT times EQUAL 1 OR count GREATER 3)
        message("${output}")
        message(SEND_ERROR "${header}: there are ${count} errors, ${times} of them as expected")
    else()
        message("${header} is refused with ${first}")
    endif()
endforeach()
