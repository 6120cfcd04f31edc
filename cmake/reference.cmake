# SPDX-License-Identifier: BSL-1.0
# The target `reference`, where Doxygen is installed: HTML of the public headers, in <build>/reference/html. It fails if a
# public name is not documented.
find_program(CORAII_DOXYGEN doxygen)
mark_as_advanced(CORAII_DOXYGEN)
if(CORAII_DOXYGEN)
    set(CMAKE_CURRENT_LIST_DIR ${CMAKE_CURRENT_LIST_DIR}/reference)
    configure_file(${CMAKE_CURRENT_LIST_DIR}/Doxyfile.in ${PROJECT_BINARY_DIR}/Doxyfile @ONLY)
    add_custom_target(reference COMMAND ${CORAII_DOXYGEN} ${PROJECT_BINARY_DIR}/Doxyfile VERBATIM
        COMMENT "Writing the reference to ${PROJECT_BINARY_DIR}/reference/html")
    if(CORAII_BUILD_TESTS)
        add_test(NAME reference COMMAND ${CORAII_DOXYGEN} ${PROJECT_BINARY_DIR}/Doxyfile)
        set_tests_properties(reference PROPERTIES TIMEOUT ${CORAII_TEST_TIMEOUT} LABELS layout)
    endif()
endif()
