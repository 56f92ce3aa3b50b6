# cmake -DSOURCE=x.cpp -P compile_fail.cmake -- COMPILER FLAGS...
#
# x.cpp opens with one or more lines '// expect: REGEX' (CMake's dialect). It must not compile, and each regex must
# match in what the compiler prints, which is told to leave out the source's own lines. To prove that nothing else is
# wrong with it, x.cpp may mend its misuse under '#ifdef CLOCKWORKER_REPAIRED': with that it must then compile.

set(compiler "")
set(after_dashes OFF)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(index RANGE 0 ${last})
  if(after_dashes)
    list(APPEND compiler "${CMAKE_ARGV${index}}")
  elseif(CMAKE_ARGV${index} STREQUAL "--")
    set(after_dashes ON)
  endif()
endforeach()
list(APPEND compiler -std=c++20 -fno-diagnostics-color -S -o - "${SOURCE}")

file(READ "${SOURCE}" rest)
if(NOT rest MATCHES "^// expect: ")
  message(FATAL_ERROR "${SOURCE}: the first line must be '// expect: REGEX'")
endif()
if(rest MATCHES "CLOCKWORKER_REPAIRED")
  execute_process(COMMAND ${compiler} -DCLOCKWORKER_REPAIRED RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message("${output}")
    message(FATAL_ERROR "does not compile with -DCLOCKWORKER_REPAIRED, where it must")
  endif()
endif()

execute_process(COMMAND ${compiler} RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "compiles, and must not")
endif()
while(rest MATCHES "^// expect: ([^\n]+)\n(.*)$")
  set(regex "${CMAKE_MATCH_1}")
  set(rest "${CMAKE_MATCH_2}")
  if(NOT output MATCHES "${regex}")
    message("${output}")
    message(FATAL_ERROR "fails to compile as it must, but nothing above matches\n  ${regex}")
  endif()
endwhile()
