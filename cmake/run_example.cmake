# SPDX-License-Identifier: BSL-1.0
# cmake -D EXIT=0 [-D PRINTS_OF=example.cpp] [-D EMULATOR=command] -P run_example.cmake -- program [argument...]
# Runs a program and checks its exit code and, where the source has a block of `//   ` lines after a line `// Prints:`,
# that stdout is that block.
cmake_minimum_required(VERSION 3.25)

set(command)
set(after_dashes FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
    if(after_dashes)
        list(APPEND command "${CMAKE_ARGV${i}}")
    elseif(CMAKE_ARGV${i} STREQUAL "--")
        set(after_dashes TRUE)
    endif()
endforeach()

execute_process(COMMAND ${EMULATOR} ${command} RESULT_VARIABLE exit OUTPUT_VARIABLE printed ERROR_VARIABLE complaint)
string(REPLACE "\r\n" "\n" printed "${printed}")  # Windows
message("Printed:\n${printed}")
if(NOT complaint STREQUAL "")
    message("stderr: ${complaint}")
endif()
if(NOT exit STREQUAL EXIT)
    message(FATAL_ERROR "Expected exit code ${EXIT}, got ${exit}")
endif()
if(NOT DEFINED PRINTS_OF)
    return()
endif()

# As one string: CMake's lists do not survive semicolons and brackets in a line.
file(READ "${PRINTS_OF}" text)
string(FIND "${text}" "\n// Prints:\n" start)
if(start EQUAL -1)
    return()
endif()
math(EXPR start "${start} + 12")
string(SUBSTRING "${text}" ${start} -1 text)
set(expected "")
while(text MATCHES "^//   ([^\n]*)\n")
    string(APPEND expected "${CMAKE_MATCH_1}\n")
    string(LENGTH "${CMAKE_MATCH_0}" length)
    string(SUBSTRING "${text}" ${length} -1 text)
endwhile()
if(NOT printed STREQUAL expected)
    message("Expected:\n${expected}")
    message(FATAL_ERROR "The output differs from what ${PRINTS_OF} says")
endif()
