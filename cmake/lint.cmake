# SPDX-License-Identifier: BSL-1.0
# The target `lint`: clang-format and clang-tidy over everything we wrote. One command a file, so that a build tool runs
# them in parallel and only again for what has changed.
find_program(CORAII_CLANG_FORMAT NAMES clang-format-19 clang-format)
find_program(CORAII_CLANG_TIDY NAMES clang-tidy-19 clang-tidy)
if(NOT CORAII_CLANG_FORMAT OR NOT CORAII_CLANG_TIDY)
    return()
endif()

file(GLOB_RECURSE lint_sources CONFIGURE_DEPENDS
    include/*.hpp include/*.ipp tests/*.hpp tests/*.cpp examples/*.hpp examples/*.cpp)
# Wrong on purpose, and laid out for their reader.
list(FILTER lint_sources EXCLUDE REGEX "/(compile_fail|tests/macros|tests/check_scopes|tests/convert_scope)/")

# Its own flags, not those of a compile_commands.json: that may be another compiler's, with a precompiled header.
include(cmake/includes.cmake)
set(tidy_flags -xc++ -std=c++20 -pthread -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/tests
    "-DCORAII_SAMPLE_CSV=\"\"" "-isystem$<JOIN:${CORAII_INCLUDES},$<SEMICOLON>-isystem>")
foreach(dir IN LISTS PostgreSQL_INCLUDE_DIRS)
    list(APPEND tidy_flags -isystem${dir})
endforeach()

file(GLOB_RECURSE all_headers CONFIGURE_DEPENDS include/*.hpp include/*.ipp tests/*.hpp)
set(stamps)
foreach(source IN LISTS lint_sources)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE name)
    set(stamp ${PROJECT_BINARY_DIR}/lint/${name}.stamp)
    cmake_path(GET stamp PARENT_PATH stamp_dir)
    file(MAKE_DIRECTORY ${stamp_dir})
    add_custom_command(OUTPUT ${stamp}
        COMMAND ${CORAII_CLANG_FORMAT} --dry-run -Werror ${source}
        COMMAND ${CORAII_CLANG_TIDY} --quiet ${source} -- ${tidy_flags}
        COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
        DEPENDS ${source} ${all_headers}
            ${PROJECT_SOURCE_DIR}/.clang-format ${PROJECT_SOURCE_DIR}/.clang-tidy
        COMMENT "Linting ${name}"
        COMMAND_EXPAND_LISTS VERBATIM)
    list(APPEND stamps ${stamp})
endforeach()
add_custom_target(lint DEPENDS ${stamps})
