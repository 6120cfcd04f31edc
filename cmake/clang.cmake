# SPDX-License-Identifier: BSL-1.0
# A toolchain file: the newest Clang there is, whatever the system calls it.
find_program(CORAII_CLANGXX
    NAMES clang++-22 clang++-21 clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++
    DOC "Clang 16 or later")
if(NOT CORAII_CLANGXX)
    message(FATAL_ERROR "No clang++ found: install Clang 16 or later (apt install clang-19)")
endif()
execute_process(COMMAND "${CORAII_CLANGXX}" -dumpversion
    OUTPUT_VARIABLE clang_version OUTPUT_STRIP_TRAILING_WHITESPACE)
if(clang_version VERSION_LESS 16)
    message(FATAL_ERROR "${CORAII_CLANGXX} is Clang ${clang_version}; install Clang 16 or later (apt install clang-19)")
endif()
set(CMAKE_CXX_COMPILER "${CORAII_CLANGXX}")
