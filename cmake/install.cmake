# SPDX-License-Identifier: BSL-1.0
# Header-only, the package is the same for every architecture, and lives in share/. With libraries it lives beside them.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/coraii)
set(any_architecture ARCH_INDEPENDENT)
if(CORAII_COMPILED)
    set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/coraii)
    set(any_architecture)
endif()
install(TARGETS coraii ${CORAII_LIBRARIES} EXPORT coraiiTargets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT coraiiTargets NAMESPACE coraii:: DESTINATION ${package_dir})
configure_package_config_file(
    cmake/coraiiConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
    ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfigVersion.cmake COMPATIBILITY SameMinorVersion
    ${any_architecture})
install(FILES
    cmake/coraiiAdapters.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfigVersion.cmake
    DESTINATION ${package_dir})
# The tools for users, as they lie here.
install(PROGRAMS cmake/check_scopes cmake/convert_scope DESTINATION ${package_dir})
install(FILES cmake/coraiiTools.cmake cmake/check_scopes.cmake cmake/convert_scope.cmake cmake/new_scope.cmake
    DESTINATION ${package_dir})
install(DIRECTORY cmake/check_scopes.d cmake/templates cmake/tools DESTINATION ${package_dir})
