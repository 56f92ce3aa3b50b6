/// \file
/// When a slice ends: the numbers that the slice loop and `should_yield` look at.
#pragma once

#include <cstdint>
#include <limits>

namespace clockworker::detail {

/// Why the slice loop should return to the ring. Drawn and cleared on the executor's thread.
enum Attention : std::uint32_t {
  slice_over = 1,    // the request is used up
  better_queue = 2,  // a queue with an earlier deadline has become runnable
  host_due = 4,      // time to poll the host, or, of a guest, to return to it
  stop_asked = 8,
  exception_kept = 16  // run*() has something to throw
};

inline constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

/// `now + length`, at most `never`. Precondition: length >= 0.
[[nodiscard]] constexpr std::int64_t saturated_end(std::int64_t now, std::int64_t length) noexcept {
  return now > 0 && length > never - now ? never : now + length;
}

/// How far apart a queue's tasks let the clock be read, for the slice loop and for should_yield. Each queue
/// has its own: that one's tasks are short says nothing of another's, whose long resumes would be seen only
/// after 16 of them.
struct Strides {
  std::uint32_t of_resumes = 1;
  std::uint32_t of_checks = 1;
};

/// Readings of the clock cost ten times a resume, so they come at strides: the stride doubles while resumes
/// prove short and falls back to 1 when they do not. A stride is cut so that it ends where the allowance of
/// resumes does.
struct SliceControl {
  static constexpr std::uint32_t longest_stride = 16;
  static constexpr std::int64_t short_resume = 1'000;  // ns; a clock read is 2.5 % of it

  std::uint32_t attention = 0;
  std::uint32_t until_reading = 1;  // resumes left in this stride
  std::uint32_t stride_begun = 1;   // resumes in this stride
  std::uint32_t stride = 1;
  std::uint32_t until_check = 1;  // calls of should_yield() left before it reads the clock
  std::uint32_t check_stride = 1;
  std::uint32_t polls_left = 1;  // resumes left before the host is due
  std::int64_t now = 0;          // the last reading
  std::int64_t stride_began_at = 0;
  std::int64_t charged_until = 0;
  std::int64_t slice_end = never;
  std::int64_t host_due_at = never;
  std::int64_t horizon = never;  // the earliest of slice_end, host_due_at, the next timer

  /// After `made` resumes, or checks, of a stride have taken so long.
  static std::uint32_t next_stride(std::uint32_t stride, std::uint32_t made, std::int64_t took) noexcept {
    if (took >= static_cast<std::int64_t>(made) * short_resume) return 1;
    return stride < longest_stride ? stride * 2 : stride;
  }

  void take_strides(Strides of_queue) noexcept {
    stride = of_queue.of_resumes;
    check_stride = of_queue.of_checks;
    if (until_check > check_stride) until_check = check_stride;
  }

  void begin_stride() noexcept {
    until_reading = stride_begun = stride < polls_left ? stride : (polls_left == 0 ? 1 : polls_left);
    stride_began_at = now;
  }
};

}  // namespace clockworker::detail
