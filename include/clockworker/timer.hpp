/// \file
/// Sleeping until the executor's clock says so.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <type_traits>

#include <clockworker/clock.hpp>
#include <clockworker/detail/ring.hpp>
#include <clockworker/detail/thread_state.hpp>
#include <clockworker/waker.hpp>

namespace clockworker {

namespace detail {

/// In nanoseconds, rounded up, and kept within what they can say: so that hours::max() is for ever.
template <class Rep, class Period>
[[nodiscard]] constexpr std::int64_t saturated_ns(std::chrono::duration<Rep, Period> d) noexcept {
  using Wide = std::chrono::duration<long double, std::nano>;
  const auto wide = std::chrono::duration_cast<Wide>(d).count();
  if (!(wide < 9.2e18L)) return never;
  if (wide < -9.2e18L) return -never;
  return std::chrono::ceil<std::chrono::nanoseconds>(d).count();
}

/// Sleeps. The timer lies here, in the frame: no allocation, and destroying the frame disarms it.
class SleepAwaiter : RingTimer {
 public:
  SleepAwaiter(std::int64_t when, bool relative) noexcept
      : RingTimer{&woken}, when_{when}, relative_{relative} {}
  ~SleepAwaiter() {
    if (linked()) task_->queue->ring->disarm(*this);
  }
  SleepAwaiter(const SleepAwaiter&) = delete;
  SleepAwaiter& operator=(const SleepAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
    check_awaited_in_task<Promise>();
    Ring& ring = *thread_state.ring;
    task_ = &suspending(frame, WaitsFor::timer);
    ring.arm(*this, relative_ ? saturated_end(ring.now(), when_ > 0 ? when_ : 0) : when_);
  }
  void await_resume() const noexcept {}

 private:
  static void woken(RingTimer& timer, Ring& ring) noexcept {
    ring.wake(*static_cast<SleepAwaiter&>(timer).task_);
  }

  TaskCell* task_ = nullptr;
  std::int64_t when_;
  bool relative_;
};

/// What sleep_for() and sleep_until() return: to be awaited, once or more.
struct [[nodiscard]] Sleep {
  using clockworker_native = void;
  std::int64_t when;  // ns: a point in time or, if relative, a duration
  bool relative;
  [[nodiscard]] SleepAwaiter operator co_await() const noexcept { return SleepAwaiter{when, relative}; }
};

}  // namespace detail

/// `co_await sleep_for(d)`: the task goes on once `d` has passed by the executor's clock, counted from the
/// await; never earlier. A `d` of 0 or less gives way to others once. Any duration: one too long to count is
/// for ever. Never allocates. O(1), O(log n) amortised to fire or abort.
template <class Rep, class Period>
[[nodiscard]] detail::Sleep sleep_for(std::chrono::duration<Rep, Period> d) noexcept {
  return detail::Sleep{detail::saturated_ns(d), true};
}

/// `co_await sleep_until(t)`: the same until `t`, a point in the executor's time; with the default clock,
/// a `std::chrono::steady_clock::time_point`.
template <class C, class Duration>
[[nodiscard]] detail::Sleep sleep_until(std::chrono::time_point<C, Duration> t) noexcept {
  static_assert(
      std::is_same_v<C, TimePoint::clock>,
      "clockworker: sleep_until() takes a clockworker::TimePoint, which is a time_point of "
      "std::chrono::steady_clock; convert a time of another clock to a duration and use sleep_for()");
  return detail::Sleep{detail::saturated_ns(t.time_since_epoch()), false};
}

}  // namespace clockworker
