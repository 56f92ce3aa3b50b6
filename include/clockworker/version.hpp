/// \file
/// The library's version, semantic: while it is 0.x, a new minor version may break. CMake reads the numbers
/// from here.
#pragma once

#define CLOCKWORKER_VERSION_MAJOR 0
#define CLOCKWORKER_VERSION_MINOR 1
#define CLOCKWORKER_VERSION_PATCH 0

/// One number that orders versions, for `#if`: 0.1.0 is 100, 1.2.3 is 10203.
#define CLOCKWORKER_VERSION \
  (CLOCKWORKER_VERSION_MAJOR * 10000 + CLOCKWORKER_VERSION_MINOR * 100 + CLOCKWORKER_VERSION_PATCH)

/// The same as text. CMake refuses to configure where it disagrees with the numbers.
#define CLOCKWORKER_VERSION_STRING "0.1.0"
