# SPDX-License-Identifier: BSL-1.0
# A toolchain file: 32-bit x86, whose programs a 64-bit kernel runs. Debian: apt install g++-i686-linux-gnu
# Not g++ -m32: its packages and those of the other cross compilers exclude one another.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_CXX_COMPILER i686-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/i686-linux-gnu/lib/ld-linux.so.2 --library-path /usr/i686-linux-gnu/lib)
set(Boost_DIR ${CMAKE_CURRENT_LIST_DIR}/host_boost)
