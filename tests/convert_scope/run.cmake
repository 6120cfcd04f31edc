# SPDX-License-Identifier: BSL-1.0
# cmake -D CONVERT_SCOPE=file -D BUILD=dir -D COMPILER=c++ -D INCLUDES=dir;dir -D SQLITE=library -P run.cmake
# Converts the headers beside it, compiles main.cpp with what was made of them, and runs it. Also: the uses that are listed, and
# the words for what cannot be converted. SQLITE is empty if there is none.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${BUILD}")
file(MAKE_DIRECTORY "${BUILD}")
foreach(file IN ITEMS store.hpp file.hpp database.hpp uses.cpp main.cpp)
    file(COPY "${CMAKE_CURRENT_LIST_DIR}/${file}" DESTINATION "${BUILD}")
endforeach()
list(TRANSFORM INCLUDES PREPEND "-isystem" OUTPUT_VARIABLE flags)
list(JOIN flags "\", \"" listed_flags)
file(WRITE "${BUILD}/compile_commands.json"
    "[{\"directory\": \"${BUILD}\", \"file\": \"uses.cpp\", \"arguments\": [\"${COMPILER}\", \"-std=c++20\", \"${listed_flags}\", \"-c\", \"uses.cpp\"]}]\n")

# Converts, and leaves what is printed in `output` and `errors`.
macro(convert class header expected)
    execute_process(
        COMMAND "${CONVERT_SCOPE}" -p . --class ${class} ${header}
        WORKING_DIRECTORY "${BUILD}"
        OUTPUT_VARIABLE output ERROR_VARIABLE errors RESULT_VARIABLE result)
    if(errors MATCHES "no clang[+][+]")
        message("skipped: ${errors}")
        return()
    elseif(NOT result STREQUAL "${expected}")
        message(FATAL_ERROR "convert_scope --class ${class} ${header} gives ${result}, not ${expected}\n${output}${errors}")
    endif()
endmacro()

macro(refused class header words)
    convert(${class} ${header} 2)
    if(NOT errors MATCHES "${words}")
        message(SEND_ERROR "--class ${class} is refused, but not with the words: ${words}\n${errors}")
    endif()
endmacro()

convert(file file.hpp 0)
convert(app::store store.hpp 0)
set(uses "${output}")
refused(app::store store.hpp "is there already")
refused(app::of_any store.hpp "is a template")
refused(app::never_ends store.hpp "destructor of app::never_ends is private")
refused(app::nobody_makes store.hpp "no public constructor")
refused(app::outer::inner store.hpp "inside another one")
refused(app::missing store.hpp "there is no class app::missing")
refused(app::store missing.hpp "there is no file")
set(libraries)
if(SQLITE)
    convert(database database.hpp 0)
    if(NOT output MATCHES "give open_database\\(pool, open\\)")
        message(SEND_ERROR "Nobody opens a database, and it is not said\n${output}")
    endif()
    set(libraries -DWITH_SQLITE "${SQLITE}")
endif()

# ---- the uses, if there is a clang-query

if(NOT uses MATCHES "for_each is a template" OR NOT uses MATCHES "path returns a reference")
    message(SEND_ERROR "It is not said what was not converted\n${uses}")
endif()
if(NOT uses MATCHES "needs clang-query")
    file(READ "${BUILD}/uses.cpp" text)
    string(REGEX REPLACE "[][;\\]" "." text "${text}")
    string(REPLACE "\n" ";" lines ".${text}")
    string(REPLACE ";" ";." lines "${lines}")
    string(REGEX REPLACE "[][;\\]" "." uses "${uses}")
    set(number 0)
    set(expected 0)
    foreach(line IN LISTS lines)
        math(EXPR number "${number} + 1")
        if(line MATCHES "// USES: (.*)$")
            set(words "${CMAKE_MATCH_1}")
            math(EXPR expected "${expected} + 1")
            string(REGEX MATCH "uses.cpp:${number}:[0-9]+: note: [^\n]*" told "${uses}")
            string(FIND "${told}" "${words}" at)
            if(at LESS 0)
                message(SEND_ERROR "Of line ${number} of uses.cpp is not told: ${words}\n${told}")
            endif()
        endif()
    endforeach()
    string(REGEX MATCHALL "uses.cpp:[0-9]+" told "${uses}")
    list(REMOVE_DUPLICATES told)
    list(LENGTH told told)
    if(NOT told EQUAL expected)
        message(SEND_ERROR "${told} lines are told of, not ${expected}\n${uses}")
    endif()
endif()

# ---- what was written

execute_process(
    COMMAND "${COMPILER}" -std=c++20 -pthread -Wall -Wextra -Werror ${flags} main.cpp -o main ${libraries}
    WORKING_DIRECTORY "${BUILD}"
    COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${BUILD}/main" WORKING_DIRECTORY "${BUILD}" COMMAND_ERROR_IS_FATAL ANY)
