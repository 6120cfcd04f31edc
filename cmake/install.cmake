# SPDX-License-Identifier: BSL-1.0
# Header-only, the package is the same for every architecture, and lives in share/. With libraries it lives beside them.
#
# The rules are there without CORAII_INSTALL, too, but are left out of `install`: a library that links coraii::coraii publicly can
# export its own targets only if coraii is in an export set.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/coraii)
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)
set(any_architecture ARCH_INDEPENDENT)
if(CORAII_COMPILED)
    set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/coraii)
    set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
    set(any_architecture)
endif()
set(unless_wanted)
if(NOT CORAII_INSTALL)
    set(unless_wanted EXCLUDE_FROM_ALL)
endif()

install(TARGETS coraii ${CORAII_LIBRARIES} EXPORT coraiiTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${unless_wanted}
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${unless_wanted})
install(EXPORT coraiiTargets NAMESPACE coraii:: DESTINATION ${package_dir} ${unless_wanted})
configure_package_config_file(
    cmake/coraiiConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
    ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfigVersion.cmake COMPATIBILITY SameMinorVersion
    ${any_architecture})
install(FILES
    cmake/coraiiAdapters.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/coraiiConfigVersion.cmake
    DESTINATION ${package_dir} ${unless_wanted})
# The tools for users, as they lie here.
install(PROGRAMS cmake/check_scopes cmake/convert_scope DESTINATION ${package_dir} ${unless_wanted})
install(FILES cmake/coraiiTools.cmake cmake/check_scopes.cmake cmake/convert_scope.cmake cmake/new_scope.cmake
    DESTINATION ${package_dir} ${unless_wanted})
install(DIRECTORY cmake/check_scopes.d cmake/templates cmake/tools DESTINATION ${package_dir} ${unless_wanted})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/coraii ${unless_wanted})

# For pkg-config. The prefix is relative to the file, so that what is installed can be moved. Boost has no such files.
set(pc_cflags -pthread)
set(pc_libs -pthread)
if(CORAII_COMPILED)
    string(PREPEND pc_cflags "-DCORAII_SEPARATE_COMPILATION ")
    string(PREPEND pc_libs "-L\${libdir} -lcoraii_core ")
endif()
file(RELATIVE_PATH to_prefix /prefix/${pkgconfig_dir} /prefix)
configure_file(cmake/coraii.pc.in coraii.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/coraii.pc DESTINATION ${pkgconfig_dir} ${unless_wanted})
