# The event loops that the headers under hosts/ are for, for our own tests, examples and benchmarks. A user's build
# links the one that it has anyway.

find_package(PkgConfig)
if(PkgConfig_FOUND)
  pkg_check_modules(clockworker_uv IMPORTED_TARGET libuv)
  pkg_check_modules(clockworker_glib IMPORTED_TARGET glib-2.0)
  pkg_check_modules(clockworker_uring IMPORTED_TARGET liburing)
endif()
find_package(Qt6 QUIET COMPONENTS Core)
find_path(clockworker_asio_include asio.hpp)
find_path(clockworker_boost_asio_include boost/asio.hpp)
mark_as_advanced(clockworker_asio_include clockworker_boost_asio_include)

# What header hosts/${host}.hpp needs: the target to link, empty if nothing, NOTFOUND if it is not there.
function(clockworker_host_library host result)
  set(library "")
  if(host STREQUAL "uv")
    set(library PkgConfig::clockworker_uv)
  elseif(host STREQUAL "glib")
    set(library PkgConfig::clockworker_glib)
  elseif(host STREQUAL "uring")
    set(library PkgConfig::clockworker_uring)
  elseif(host STREQUAL "qt")
    set(library Qt6::Core)
  elseif(host STREQUAL "asio" AND NOT (clockworker_asio_include AND clockworker_boost_asio_include))
    set(library asio-NOTFOUND)
  endif()
  if(library AND NOT TARGET ${library})
    set(library ${host}-NOTFOUND)
  endif()
  set(${result} "${library}" PARENT_SCOPE)
endfunction()

# The hosts whose headers ${source} includes. A source that reaches one through another header of ours says so by a line
# '// host: uv'.
function(clockworker_hosts_of source result)
  file(STRINGS "${source}" lines REGEX "^#include <clockworker/hosts/[a-z]+\\.hpp>|^// host: [a-z]+$")
  set(hosts "")
  foreach(line IN LISTS lines)
    if(line MATCHES "^#include <clockworker/hosts/([a-z]+)|^// host: ([a-z]+)")
      list(APPEND hosts ${CMAKE_MATCH_1}${CMAKE_MATCH_2})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES hosts)
  set(${result} "${hosts}" PARENT_SCOPE)
endfunction()

# Links ${target} to the loops of the ${hosts} that follow. Stops where one is missing: a test that is silently left
# out would be a test that passes.
function(clockworker_link_hosts target)
  foreach(host IN LISTS ARGN)
    clockworker_host_library(${host} library)
    if(library MATCHES "NOTFOUND$")
      message(FATAL_ERROR "${target} needs the event loop of clockworker/hosts/${host}.hpp, which was not found. On "
                          "Debian: apt-get install libasio-dev libboost-dev libuv1-dev libglib2.0-dev qt6-base-dev "
                          "liburing-dev pkg-config")
    endif()
    if(library)
      target_link_libraries(${target} PRIVATE ${library})
    endif()
    if(host STREQUAL "qt")
      # Qt brings flags and definitions of its own, which the shared precompiled header has not.
      set_target_properties(${target} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()
