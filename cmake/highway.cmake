# Highway: the system's package where there is one, else a pinned release, linked statically.
# FETCHCONTENT_SOURCE_DIR_HIGHWAY=<checkout> with LANEWISE_SYSTEM_HIGHWAY=OFF builds offline.
option(LANEWISE_SYSTEM_HIGHWAY "Look for an installed Highway first" ON)

if(LANEWISE_SYSTEM_HIGHWAY)
  find_package(hwy CONFIG QUIET)
endif()
if(hwy_FOUND)
  message(STATUS "Highway ${hwy_VERSION}: installed package")
else()
  find_package(Git QUIET)
  if(NOT FETCHCONTENT_SOURCE_DIR_HIGHWAY AND NOT GIT_FOUND)
    message(FATAL_ERROR
      "lanewise needs Google Highway. Install it (Debian, Ubuntu: apt-get install libhwy-dev), "
      "or install git so that the pinned release can be fetched, or set "
      "FETCHCONTENT_SOURCE_DIR_HIGHWAY to a checkout of it.")
  endif()
  set(HWY_ENABLE_CONTRIB OFF CACHE BOOL "" FORCE)
  set(HWY_ENABLE_EXAMPLES OFF CACHE BOOL "" FORCE)
  set(HWY_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
  set(HWY_ENABLE_TESTS OFF CACHE BOOL "" FORCE)
  set(HWY_FORCE_STATIC_LIBS ON CACHE BOOL "" FORCE)
  include(FetchContent)
  FetchContent_Declare(highway
    GIT_REPOSITORY https://github.com/google/highway.git
    GIT_TAG 2607d3b5b0113992fe84d3848859eae13b3b52c1)  # release 1.4.0
  FetchContent_MakeAvailable(highway)
  message(STATUS "Highway 1.4.0: built from source")
  if(NOT TARGET hwy::hwy)
    add_library(hwy::hwy ALIAS hwy)
  endif()
endif()
