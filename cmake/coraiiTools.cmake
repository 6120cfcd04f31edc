# SPDX-License-Identifier: BSL-1.0
# coraii_add_scope and coraii_check_scopes, for projects that use coraii, whichever way they get it.
set(CORAII_TOOLS_DIR "${CMAKE_CURRENT_LIST_DIR}")

# coraii_add_scope(NAME redis_session [FORM coroutine|pair|class|offload] [RESOURCE type] [NAMESPACE ns] [DIRECTORY dir] [TEST])
#
# Writes <NAME>.hpp: a scope of a resource, to be filled in, from templates/<FORM>.hpp.in; and with TEST <NAME>_test.cpp, a Catch2
# test that sweeps it. What it writes compiles, and the test passes, as it is.
#   FORM       how the scope is written: coroutine, if not given
#   RESOURCE   its type: a struct of the scope's name if not given. A type of the standard library or of Asio is included; for
#              another one there is a stand-in
#   NAMESPACE  as in C++: a, or a::b
#   DIRECTORY  where, if not in the current source directory (in a script: the working directory)
# A file that is there already is never written over. In a project, which is configured again and again, it is left as it is; in
# a script that is an error.
function(coraii_add_scope)
    cmake_parse_arguments(PARSE_ARGV 0 arg "TEST" "NAME;FORM;RESOURCE;NAMESPACE;DIRECTORY" "")
    include("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/tools/add_scope.cmake")
endfunction()

# coraii_check_scopes(TARGET name... [TEST])
#
# Makes the targets check_scopes.<name>, which looks for faults in the sources of the target, as check_scopes does, and fails
# if there are any; and check_scopes, which looks through all. Needs clang-query, but only when it is built, and a build with
# Makefiles or Ninja. With TEST, check_scopes.<name> is also a test.
function(coraii_check_scopes)
    cmake_parse_arguments(PARSE_ARGV 0 arg "TEST" "" "TARGET")
    include("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/tools/check_targets.cmake")
endfunction()
