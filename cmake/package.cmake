# What `cmake --install` puts in place: component "cpp", the library, its headers and the files by
# which find_package(lanewise) gives the target lanewise::lanewise.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/lanewise")
install(TARGETS lanewise EXPORT lanewise-targets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT cpp
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY csrc/include/lanewise
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT cpp FILES_MATCHING PATTERN "*.h")

# A static library leaves its dependencies to the program that links it. An installed Highway is
# found again there; one that was built from source comes along as lanewise::hwy, in a folder of its
# own, where it hides no other.
if(hwy_FOUND)
  set(find_highway "find_dependency(hwy CONFIG)")
else()
  set(find_highway "")
  install(TARGETS hwy EXPORT lanewise-targets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}/lanewise" COMPONENT cpp)
endif()

install(EXPORT lanewise-targets NAMESPACE lanewise:: DESTINATION "${package_dir}" COMPONENT cpp)
configure_file(cmake/lanewise-config.cmake.in lanewise-config.cmake @ONLY)
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(lanewise-config-version.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES "${CMAKE_CURRENT_BINARY_DIR}/lanewise-config.cmake"
        "${CMAKE_CURRENT_BINARY_DIR}/lanewise-config-version.cmake"
  DESTINATION "${package_dir}" COMPONENT cpp)
