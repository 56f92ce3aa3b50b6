/// \file
/// The three ways in which an executor ends.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <clockworker/detail/ring.hpp>
#include <clockworker/timer.hpp>

namespace clockworker {

namespace detail {
class ShutdownTimer;
}  // namespace detail

/// How an executor ends: made by `drain()`, `drain_for(d)` and `abort()`.
class Shutdown {
 public:
  /// Ends when no task lives.
  [[nodiscard]] static Shutdown drain() noexcept { return Shutdown{detail::never}; }
  /// The same, but aborts the tasks that still live after `patience`.
  template <class Rep, class Period>
  [[nodiscard]] static Shutdown drain_for(std::chrono::duration<Rep, Period> patience) noexcept {
    return Shutdown{std::max<std::int64_t>(0, detail::saturated_ns(patience))};
  }
  /// Aborts every task now.
  [[nodiscard]] static Shutdown abort() noexcept { return Shutdown{0}; }

 private:
  friend class detail::ShutdownTimer;
  explicit Shutdown(std::int64_t patience) noexcept : patience_{patience} {}
  std::int64_t patience_;  // ns
};

namespace detail {

/// Asks every living task to end.
inline void abort_all(Ring& ring) noexcept {
  for (TaskCell* cell = ring.newest; cell != nullptr && ring.abort(*cell); cell = cell->older) {
  }
}

[[nodiscard]] inline bool shutdown_finished(const Ring& ring) noexcept {
  return ring.shutting_down && ring.live_tasks == 0;
}

/// A shutdown under way, and the end of its patience. Lies in the executor.
class ShutdownTimer : RingTimer {
 public:
  explicit ShutdownTimer(Ring& ring) noexcept : RingTimer{&out_of_patience}, ring_{ring} {
    ring_.patience = this;
  }
  ~ShutdownTimer() { cancel(); }
  ShutdownTimer(const ShutdownTimer&) = delete;
  ShutdownTimer& operator=(const ShutdownTimer&) = delete;

  /// A second call may only make it stricter.
  void begin(Shutdown mode) noexcept {
    ring_.shutting_down = true;
    if (mode.patience_ == never) return;
    std::int64_t end = saturated_end(ring_.now(), mode.patience_);
    if (mode.patience_ != 0 && linked() && deadline <= end) return;
    cancel();
    if (ring_.live_tasks == 0) return;
    if (mode.patience_ == 0) {
      abort_all(ring_);
    } else {
      ring_.arm(*this, end);
      // A guest that sleeps until its next timer has one that it does not know of.
      if (!ring_.driven && ring_.mailbox().inbox.unpark()) ring_.mailbox().notify_from_owner();
    }
  }

  void cancel() noexcept { ring_.disarm(*this); }

 private:
  static void out_of_patience(RingTimer&, Ring& ring) noexcept { abort_all(ring); }
  Ring& ring_;
};

}  // namespace detail

}  // namespace clockworker
