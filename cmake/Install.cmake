# Installs headers, the CMake package and clockworker.pc. All of it is independent of the architecture and goes under
# the data directory; both files find the headers relative to themselves, so an installed tree may be moved.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(clockworker_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/clockworker")
set(clockworker_pc_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

target_include_directories(clockworker INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/clockworker" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

install(TARGETS clockworker EXPORT clockworker-targets)
install(EXPORT clockworker-targets NAMESPACE clockworker:: DESTINATION "${clockworker_cmake_dir}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/clockworker-config.cmake.in" clockworker-config.cmake
                              INSTALL_DESTINATION "${clockworker_cmake_dir}" NO_SET_AND_CHECK_MACRO)
# While the version is 0.x a new minor version may break.
write_basic_package_version_file(clockworker-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/clockworker-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/clockworker-config-version.cmake" DESTINATION "${clockworker_cmake_dir}")

if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}" OR IS_ABSOLUTE "${clockworker_pc_dir}")
  set(clockworker_pc_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
else()
  file(RELATIVE_PATH clockworker_pc_includedir "/prefix/${clockworker_pc_dir}" "/prefix/${CMAKE_INSTALL_INCLUDEDIR}")
  set(clockworker_pc_includedir "\${pcfiledir}/${clockworker_pc_includedir}")
endif()
configure_file("${CMAKE_CURRENT_LIST_DIR}/clockworker.pc.in" clockworker.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/clockworker.pc" DESTINATION "${clockworker_pc_dir}")
