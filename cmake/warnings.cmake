# SPDX-License-Identifier: BSL-1.0
# For the tests' and examples' own targets. A user of the library never gets these.
set(CMAKE_CXX_EXTENSIONS OFF)
add_library(coraii_warnings INTERFACE)
if(MSVC)
    target_compile_options(coraii_warnings INTERFACE /W4 /bigobj /utf-8)
    return()
endif()
target_compile_options(coraii_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion $<$<BOOL:${CORAII_WERROR}>:-Werror>
    # GCC's thread sanitizer does not see fences, and warns of Asio's; under the address sanitizer GCC takes members of
    # Asio's for uninitialized that are not.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
