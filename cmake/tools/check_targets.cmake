# SPDX-License-Identifier: BSL-1.0
# The body of coraii_check_scopes: its arguments are in arg_*.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH tools_dir)

set(targets ${arg_TARGET} ${arg_UNPARSED_ARGUMENTS})
if(NOT targets)
    message(FATAL_ERROR "coraii_check_scopes: TARGET is missing: the targets whose sources are looked through")
endif()
if(NOT CMAKE_GENERATOR MATCHES "Ninja|Makefiles")
    message(FATAL_ERROR "coraii_check_scopes: ${CMAKE_GENERATOR} writes no compile_commands.json; use Ninja or Makefiles")
endif()
if(NOT TARGET check_scopes)
    add_custom_target(check_scopes)
endif()
foreach(target IN LISTS targets)
    if(NOT TARGET ${target})
        message(FATAL_ERROR "coraii_check_scopes: there is no target ${target}")
    endif()
    get_target_property(aliased ${target} ALIASED_TARGET)
    if(aliased)
        set(target ${aliased})
    endif()
    get_target_property(type ${target} TYPE)
    if(NOT type MATCHES "^(EXECUTABLE|(STATIC|SHARED|MODULE|OBJECT)_LIBRARY)$")
        message(FATAL_ERROR "coraii_check_scopes: ${target} compiles no sources")
    endif()
    if(TARGET check_scopes.${target})
        continue()
    endif()
    set_target_properties(${target} PROPERTIES EXPORT_COMPILE_COMMANDS ON)
    # What a target has that is no source is left out, and so is what it only links.
    set(sources "$<FILTER:$<TARGET_PROPERTY:${target},SOURCES>,INCLUDE,\\.(cpp|cc|cxx|c\\+\\+|C)$>")
    add_custom_target(check_scopes.${target}
        COMMAND "${tools_dir}/check_scopes" -p "${CMAKE_BINARY_DIR}" "${sources}"
        WORKING_DIRECTORY "$<TARGET_PROPERTY:${target},SOURCE_DIR>"
        COMMENT "Looking for faults of scopes in ${target}"
        COMMAND_EXPAND_LISTS VERBATIM)
    add_dependencies(check_scopes check_scopes.${target})
    if(arg_TEST)
        get_target_property(source_dir ${target} SOURCE_DIR)
        add_test(NAME check_scopes.${target}
            COMMAND "${tools_dir}/check_scopes" -p "${CMAKE_BINARY_DIR}" "${sources}"
            WORKING_DIRECTORY "${source_dir}" COMMAND_EXPAND_LISTS)
    endif()
endforeach()
