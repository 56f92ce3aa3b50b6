# cmake -DKIND=... -DCLOCKWORKER_SOURCE=checkout -DSCRATCH=... (and the rest as in CMakeLists.txt) -P consume.cmake
#
# Starts from an empty scratch folder. Where the kind wants an installed library, installs it there and then moves the
# tree, as a package that is not relocatable would otherwise go unnoticed.

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${status} from: ${command}")
  endif()
endfunction()

set(configure ${CMAKE_COMMAND} -G "${GENERATOR}" "-DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}"
              "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
set(prefix "${SCRATCH}/moved")

file(REMOVE_RECURSE "${SCRATCH}")
if(KIND STREQUAL "find_package" OR KIND STREQUAL "pkg_config")
  run(${configure} -S "${CLOCKWORKER_SOURCE}" -B "${SCRATCH}/library" -DCLOCKWORKER_BUILD_TESTS=OFF
      -DCLOCKWORKER_BUILD_EXAMPLES=OFF -DCLOCKWORKER_BUILD_BENCHMARKS=OFF -DCLOCKWORKER_INSTALL=ON)
  run(${CMAKE_COMMAND} --build "${SCRATCH}/library")
  run(${CMAKE_COMMAND} --install "${SCRATCH}/library" --prefix "${SCRATCH}/installed")
  file(RENAME "${SCRATCH}/installed" "${prefix}")
  file(REMOVE_RECURSE "${SCRATCH}/library")
endif()
run(${configure} -S "${CMAKE_CURRENT_LIST_DIR}/${KIND}" -B "${SCRATCH}/build"
    "-DCLOCKWORKER_SOURCE=${CLOCKWORKER_SOURCE}" "-DCLOCKWORKER_PREFIX=${prefix}" "-DEXPECTED_VERSION=${EXPECTED_VERSION}")
run(${CMAKE_COMMAND} --build "${SCRATCH}/build" --verbose)
run("${SCRATCH}/build/consumer")
