# SPDX-License-Identifier: BSL-1.0
# A toolchain file: Clang with its own standard library. Debian: apt install clang-19 libc++-19-dev libc++abi-19-dev
include(${CMAKE_CURRENT_LIST_DIR}/clang.cmake)
set(CMAKE_CXX_FLAGS_INIT -stdlib=libc++)
