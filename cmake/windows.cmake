# SPDX-License-Identifier: BSL-1.0
# A toolchain file: Windows, by MinGW-w64 with POSIX threads, run by Wine. Debian: apt install g++-mingw-w64-x86-64-posix wine64 wine
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_CXX_FLAGS_INIT "-D_WIN32_WINNT=0x0A00 -Wa,-mbig-obj")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")  # Wine has no libstdc++-6.dll
set(CMAKE_CROSSCOMPILING_EMULATOR wine)
set(Boost_DIR ${CMAKE_CURRENT_LIST_DIR}/host_boost)
