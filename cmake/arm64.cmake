# SPDX-License-Identifier: BSL-1.0
# A toolchain file: 64-bit ARM, run by QEMU. Debian: apt install g++-aarch64-linux-gnu qemu-user-static
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L /usr/aarch64-linux-gnu)
set(Boost_DIR ${CMAKE_CURRENT_LIST_DIR}/host_boost)
