# SPDX-License-Identifier: BSL-1.0
# cmake -D COMPILER=c++ -D INCLUDES=dir;dir -D TREE=source -D PKG_CONFIG=pkg-config -D STAGE=prefix -D VERSION=1.2.3 -D SOURCE=main.cpp -P ...
# Compiles a program with the flags that the installed coraii.pc gives, and runs it. INCLUDES says where Boost is; coraii's own in the
# source tree is left out.
cmake_minimum_required(VERSION 3.25)

file(GLOB_RECURSE found ${STAGE}/*/coraii.pc)
cmake_path(GET found PARENT_PATH dir)
set(ENV{PKG_CONFIG_PATH} ${dir})
function(ask answer)
    execute_process(COMMAND ${PKG_CONFIG} ${ARGN} coraii
        OUTPUT_VARIABLE out OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    set(${answer} "${out}" PARENT_SCOPE)
endfunction()

ask(version --modversion)
if(NOT version STREQUAL VERSION)
    message(FATAL_ERROR "coraii.pc has version ${version}, not ${VERSION}")
endif()
ask(flags --cflags)
ask(libraries --libs)
separate_arguments(flags)
separate_arguments(libraries)

list(REMOVE_ITEM INCLUDES ${TREE}/include)
list(TRANSFORM INCLUDES PREPEND "-isystem")
execute_process(COMMAND ${COMPILER} -std=c++20 -O0 ${flags} ${INCLUDES} ${SOURCE} ${libraries} -o pkg_config_consumer
    COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_CURRENT_BINARY_DIR}/pkg_config_consumer COMMAND_ERROR_IS_FATAL ANY)
