# SPDX-License-Identifier: BSL-1.0
# cmake -D COMPILER=c++ -D INCLUDES=dir;dir -D HEADER=header.hpp -D SOURCE=file.cpp -P compile_fail.cmake
# Passes if case 0 of the file compiles and each other case fails with the message that its `// expect n: <regex>` tells.
# HEADER is what takes long to compile: it is, once, into the current directory.
cmake_minimum_required(VERSION 3.25)

file(READ "${SOURCE}" text)
set(ENV{LC_ALL} C)  # plain quotes in the messages
list(TRANSFORM INCLUDES PREPEND "-isystem")
cmake_path(GET SOURCE STEM name)
set(precompiled ${CMAKE_CURRENT_BINARY_DIR}/${name}.hpp)  # g++ and Clang add ".gch" when they look for it
set(flags -std=c++20 -pthread ${INCLUDES})
execute_process(
    COMMAND "${COMPILER}" ${flags} -x c++-header "${HEADER}" -o ${precompiled}.gch
    COMMAND_ERROR_IS_FATAL ANY)

function(compile case result output)
    execute_process(
        COMMAND "${COMPILER}" ${flags} -fsyntax-only -include ${precompiled} -DCASE=${case} "${SOURCE}"
        RESULT_VARIABLE exit OUTPUT_VARIABLE out ERROR_VARIABLE out)
    set(${result} "${exit}" PARENT_SCOPE)
    set(${output} "${out}" PARENT_SCOPE)
endfunction()

compile(0 exit output)
if(NOT exit STREQUAL "0")
    message("${output}")
    message(FATAL_ERROR "Case 0, the part without a wrong use, does not compile")
endif()

set(cases 0)
# One string, not a list: a regex is full of brackets and semicolons.
while(text MATCHES "\n[ \t]*// expect ([0-9]+): ([^\n]+)\n")
    set(case "${CMAKE_MATCH_1}")
    set(expected "${CMAKE_MATCH_2}")
    string(FIND "${text}" "${CMAKE_MATCH_0}" at)
    string(LENGTH "${CMAKE_MATCH_0}" length)
    math(EXPR at "${at} + ${length} - 1")
    string(SUBSTRING "${text}" ${at} -1 text)
    math(EXPR cases "${cases} + 1")
    if(case EQUAL 0)
        message(FATAL_ERROR "Case 0 is the one that compiles; number the wrong uses from 1")
    endif()

    compile(${case} exit output)
    if(exit STREQUAL "0")
        message(SEND_ERROR "Case ${case} compiles, but should be refused with: ${expected}")
    elseif(NOT output MATCHES "${expected}")
        message("${output}")
        message(SEND_ERROR "Case ${case} is refused, but not with: ${expected}")
    else()
        message("Case ${case} is refused with: ${CMAKE_MATCH_0}")
    endif()
endwhile()

# A case that nobody expects anything of would never be compiled.
file(READ "${SOURCE}" text)
string(REGEX MATCHALL "\n[ \t]*#[ \t]*(el)?if[ \t]+CASE[ \t]*==[ \t]*[1-9]" blocks "${text}")
list(LENGTH blocks blocks)
if(NOT blocks EQUAL cases)
    message(SEND_ERROR "${blocks} `#if CASE == n` blocks, but ${cases} `// expect n:` lines")
elseif(cases EQUAL 0)
    message(SEND_ERROR "No `// expect n:` line found")
endif()
