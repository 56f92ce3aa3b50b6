/// \file
/// Every macro of the library. All of them may be set by the build; none changes the layout of a public type.
#pragma once

/// 1: misuse that is not cheap to see is checked and stops the program with a clear text. Default: on in
/// debug builds.
#ifndef CLOCKWORKER_ASSERTIONS
#ifdef NDEBUG
#define CLOCKWORKER_ASSERTIONS 0
#else
#define CLOCKWORKER_ASSERTIONS 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CLOCKWORKER_DETAIL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CLOCKWORKER_DETAIL_ASAN 1
#endif
#endif
#ifndef CLOCKWORKER_DETAIL_ASAN
#define CLOCKWORKER_DETAIL_ASAN 0
#endif

/// 1: coroutine frames and task cells come from per-thread free lists. Default: on, but off under
/// AddressSanitizer, which sees the use of a dead frame only when the memory really goes back.
#ifndef CLOCKWORKER_FRAME_POOL
#define CLOCKWORKER_FRAME_POOL (!CLOCKWORKER_DETAIL_ASAN)
#endif

/// 1: the picker computes with the portable pair of words even where the compiler has a 128-bit integer.
#ifndef CLOCKWORKER_PORTABLE_INT128
#define CLOCKWORKER_PORTABLE_INT128 0
#endif

/// 1: hosts/asio.hpp is for Boost.Asio (1.74 or later) instead of the standalone library (1.18 or later).
#ifndef CLOCKWORKER_ASIO_BOOST
#define CLOCKWORKER_ASIO_BOOST 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define CLOCKWORKER_NOINLINE [[gnu::noinline]]
#elif defined(_MSC_VER)
#define CLOCKWORKER_NOINLINE __declspec(noinline)
#else
#define CLOCKWORKER_NOINLINE
#endif

#if CLOCKWORKER_ASSERTIONS
#include <cstdio>
#include <cstdlib>
namespace clockworker::detail {
[[noreturn]] inline void assertion_failed(const char* text, const char* condition, const char* file,
                                          int line) noexcept {
  std::fprintf(stderr, "clockworker: %s (%s:%d: '%s' does not hold)\n", text, file, line, condition);
  std::abort();
}
}  // namespace clockworker::detail
#define CLOCKWORKER_ASSERT(condition, text) \
  ((condition) ? static_cast<void>(0)       \
               : ::clockworker::detail::assertion_failed(text, #condition, __FILE__, __LINE__))
#else
#define CLOCKWORKER_ASSERT(condition, text) static_cast<void>(0)
#endif
