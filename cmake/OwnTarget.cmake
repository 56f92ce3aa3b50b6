# What holds for our own tests, examples and benchmarks, and never reaches a user's build.

# Some tests replace operator new and delete. Clang's static ThreadSanitizer runtime defines them so that the two clash;
# over the shared one ours win, as they do with g++.
set(clockworker_tsan_runtime "")
if(CLOCKWORKER_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libclang_rt.tsan-${CMAKE_SYSTEM_PROCESSOR}.so
                  OUTPUT_VARIABLE runtime OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  get_filename_component(runtime "${runtime}" DIRECTORY)
  set(clockworker_tsan_runtime -shared-libsan "-Wl,-rpath,${runtime}")
endif()

# Links the library to an own target and turns on warnings as errors and the chosen sanitizers.
function(clockworker_own_target target)
  target_link_libraries(${target} PRIVATE clockworker::clockworker)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    return()
  endif()
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
                                           -Werror)
  if(CLOCKWORKER_SANITIZE)
    # -O1 comes after the build type's own level and wins: at -O0 the sanitizers are needlessly slow.
    target_compile_options(${target} PRIVATE -O1 -g -fno-omit-frame-pointer -fsanitize=${CLOCKWORKER_SANITIZE}
                                             -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${CLOCKWORKER_SANITIZE} ${clockworker_tsan_runtime})
  endif()
endfunction()

# True where a source starts threads: by that its tests are labelled 'threads' and run under ThreadSanitizer. No list
# to keep: whoever starts a thread includes <thread> or <future>; a source whose threads are hidden in a helper says so
# by a line '// starts threads'. Read when CMake configures.
function(clockworker_starts_threads source result)
  file(STRINGS "${source}" lines REGEX "^#include <(thread|future|pthread\\.h)>|^// starts threads" LIMIT_COUNT 1)
  if(lines STREQUAL "")
    set(${result} OFF PARENT_SCOPE)
  else()
    set(${result} ON PARENT_SCOPE)
  endif()
endfunction()
