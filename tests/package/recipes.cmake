# SPDX-License-Identifier: BSL-1.0
# cmake -D PACKAGING=cmake/packaging -D VERSION=1.2.3 [-D PYTHON=python3] -P recipes.cmake
# Looks at the recipes for vcpkg and Conan without either of them: the manifest is valid JSON and has our version, the port file runs
# with functions that only write down their call, and the Conan recipe is Python.
cmake_minimum_required(VERSION 3.25)

file(READ ${PACKAGING}/vcpkg/coraii/vcpkg.json manifest)
string(JSON name GET "${manifest}" name)
string(JSON version GET "${manifest}" version)
string(JSON boost GET "${manifest}" dependencies 0)
string(JSON sqlite GET "${manifest}" features sqlite dependencies 0)
if(NOT "${name} ${version} ${boost} ${sqlite}" STREQUAL "coraii ${VERSION} boost-asio sqlite3")
    message(SEND_ERROR "vcpkg.json says: ${name} ${version}, ${boost}, ${sqlite}")
endif()

set(calls)
foreach(function cmake_configure cmake_install cmake_config_fixup fixup_pkgconfig install_copyright)
    cmake_language(EVAL CODE "
        function(vcpkg_${function})
            set(calls \${calls} ${function} PARENT_SCOPE)
            if(\"\${ARGN}\" MATCHES \"(SOURCE_PATH|FILE_LIST);([^;]*)\")
                if(NOT EXISTS \"\${CMAKE_MATCH_2}\")
                    message(SEND_ERROR \"vcpkg_${function} is given \${CMAKE_MATCH_2}, which does not exist\")
                endif()
            endif()
        endfunction()")
endforeach()
set(CURRENT_PACKAGES_DIR ${CMAKE_CURRENT_BINARY_DIR}/vcpkg_packages)
set(PORT coraii)
include(${PACKAGING}/vcpkg/coraii/portfile.cmake)
if(NOT calls STREQUAL "cmake_configure;cmake_install;cmake_config_fixup;fixup_pkgconfig;install_copyright")
    message(SEND_ERROR "portfile.cmake calls: ${calls}")
endif()

if(PYTHON)
    execute_process(
        COMMAND ${PYTHON} -c "import ast, sys; ast.parse(open(sys.argv[1]).read())" ${PACKAGING}/conan/conanfile.py
        COMMAND_ERROR_IS_FATAL ANY)
else()
    message("No python3: the Conan recipe is not looked at")
endif()
