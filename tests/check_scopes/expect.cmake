# SPDX-License-Identifier: BSL-1.0
# cmake -D CHECK_SCOPES=file -D SOURCE=file.cpp -D BUILD=dir -D COMPILER=c++ -D INCLUDES=dir;dir -P expect.cmake
# Passes if check_scopes finds in the source what its `// FINDS: coraii-name` comments say, and nothing else. BUILD is a directory
# for a compile database.
cmake_minimum_required(VERSION 3.25)

list(TRANSFORM INCLUDES PREPEND "-isystem" OUTPUT_VARIABLE flags)
list(JOIN flags "\", \"" flags)
file(WRITE "${BUILD}/compile_commands.json"
    "[{\"directory\": \"${BUILD}\", \"file\": \"${SOURCE}\", \"arguments\": [\"${COMPILER}\", \"-std=c++20\", \"${flags}\", \"-c\", \"${SOURCE}\"]}]\n")
execute_process(
    COMMAND "${CHECK_SCOPES}" -p "${BUILD}"
    OUTPUT_VARIABLE output ERROR_VARIABLE errors RESULT_VARIABLE result)
if(errors MATCHES "no clang-query")
    message("skipped: ${errors}")
    return()
elseif(errors OR NOT result STREQUAL "1")
    message(FATAL_ERROR "check_scopes gives ${result}\n${errors}")
endif()

string(REPLACE ";" "," output "${output}")
set(found)
string(REGEX MATCHALL ":[0-9]+:[0-9]+: warning: [^\n]*" warnings "${output}")
foreach(warning IN LISTS warnings)
    string(REGEX MATCH "^:([0-9]+):.*(coraii-[a-z-]+)" warning "${warning}")
    list(APPEND found "${CMAKE_MATCH_1} ${CMAKE_MATCH_2}")
endforeach()

set(expected)
file(READ "${SOURCE}" text)
string(REGEX REPLACE "[][;\\]" "." text "${text}")
string(REPLACE "\n" ";" lines ".${text}")
string(REPLACE ";" ";." lines "${lines}")
set(number 0)
foreach(line IN LISTS lines)
    math(EXPR number "${number} + 1")
    if(line MATCHES "// FINDS: (coraii-[a-z-]+)")
        list(APPEND expected "${number} ${CMAKE_MATCH_1}")
    endif()
endforeach()

set(missed ${expected})
list(REMOVE_ITEM missed ${found})
foreach(finding IN LISTS missed)
    message(SEND_ERROR "not found in line ${finding}")
endforeach()
set(wrong ${found})
list(REMOVE_ITEM wrong ${expected})
foreach(finding IN LISTS wrong)
    message(SEND_ERROR "found, and no fault, in line ${finding}")
endforeach()
list(LENGTH expected count)
message("${count} faults, all found, and nothing else")
