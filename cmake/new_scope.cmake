# SPDX-License-Identifier: BSL-1.0
# cmake -D NAME=redis_session [-D FORM=coroutine|pair|class|offload] [-D RESOURCE=type] [-D NAMESPACE=ns] [-D DIRECTORY=dir]
#       [-D TEST=ON] -P new_scope.cmake
# Writes a scope from a template, into the working directory if no other is given: see coraii_add_scope in coraiiTools.cmake.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/coraiiTools.cmake")

set(arguments)
foreach(argument IN ITEMS NAME FORM RESOURCE NAMESPACE DIRECTORY)
    if(DEFINED ${argument})
        list(APPEND arguments ${argument} "${${argument}}")
    endif()
endforeach()
if(TEST)
    list(APPEND arguments TEST)
endif()
coraii_add_scope(${arguments})
