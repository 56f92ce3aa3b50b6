/// \file
/// Turning the ring: slices, the host between them, and sleep when nothing is runnable.
#pragma once

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <clockworker/detail/task_end.hpp>
#include <clockworker/host.hpp>

namespace clockworker {

/// What one call of run_ready() may use. 0: the executor's host-poll limits.
struct Budget {
  std::chrono::nanoseconds time{0};
  std::uint32_t polls = 0;
};

/// How a call of run_ready() left the executor.
struct Progress {
  bool runnable = false;                               ///< there is more to do: call again soon
  std::optional<std::chrono::nanoseconds> next_timer;  ///< time from now to the next timer; 0 if it is due
  std::uint32_t polls = 0;                             ///< resumes made
};

}  // namespace clockworker

namespace clockworker::detail {

/// Throws std::logic_error if `ring` may not be driven from here.
inline void check_may_drive(const Ring& ring, const char* call) {
  if (thread_state.task != nullptr) {
    throw std::logic_error(std::string{"clockworker: "} + call +
                           " was called from inside a task; spawn or await instead");
  }
  if (ring.closing || ring.stops_being_requested != 0) {
    throw std::logic_error(std::string{"clockworker: "} + call +
                           " was called from a stop callback, or while the executor is being destroyed");
  }
  if (ring.driven) {
    throw std::logic_error(std::string{"clockworker: "} + call +
                           " was called while the same executor is running; a host must not re-enter it");
  }
}

/// Marks this thread as the one that drives `ring`, and brings back what was before. Calls nest across
/// executors, not on one.
class DriveScope {
 public:
  DriveScope(Ring& ring, const char* call) : ring_{ring}, before_{thread_state} {
    check_may_drive(ring, call);
    ring.driven = true;
    ring.driver = &thread_state;
    thread_state = ThreadState{nullptr, &ring, 0, &before_};
    ring.mailbox().inbox.unpark();  // a guest's bell need not ring while it runs
  }
  DriveScope(const DriveScope&) = delete;
  DriveScope& operator=(const DriveScope&) = delete;
  ~DriveScope() {
    thread_state = before_;
    ring_.time_is_stale = true;
    ring_.driver = nullptr;
    ring_.driven = false;
  }

 private:
  Ring& ring_;
  ThreadState before_;
};

[[nodiscard]] inline bool has_runnable(const Ring& ring) noexcept {
  return ring.main_active || ring.picker.runnable_count() != 0;
}

/// What stands between two slices: wakes from other threads, and timers. The time that many letters take is
/// nobody's; that of a few is not worth a reading.
inline void deliver_wakes(Ring& ring) noexcept {
  const std::uint64_t delivered_before = ring.remote_deliveries;
  const bool many = ring.has_undelivered();
  ring.drain_inbox();
  if (many || ring.remote_deliveries - delivered_before >= 8) ring.set_time(ring.now());
  ring.fire_timers();
}

/// Where a slice of `queue` may go until; its readings go to `record`.
inline void open_slice(Ring& ring, WorkQueueBase& queue, std::int64_t slice_end,
                       std::uint32_t attention) noexcept {
  SliceControl& control = ring.control;
  control.take_strides(queue.strides);
  control.attention = (control.attention & (stop_asked | exception_kept)) | attention;
  control.slice_end = slice_end;
  control.horizon = std::min({slice_end, control.host_due_at, ring.timers.next_deadline()});
  control.charged_until = control.now;
  control.begin_stride();
  ring.slice_record = &queue.record;
}

/// Asks the scheduler. If that throws, the queue is taken for runnable, and is asked again.
[[nodiscard]] inline bool still_runnable(Ring& ring, const WorkQueueBase& queue) noexcept {
  try {
    return queue.has_runnable();
  } catch (...) {
    ring.keep_exception(std::current_exception());
    return true;
  }
}

/// Runs the loop of one slice. Afterwards the time is known: it is read but where the loop has just done so. A
/// slice in which nothing ran is timed, too: a queue whose scheduler only throws pays for that.
inline void run_slice_of(Ring& ring, WorkQueueBase& queue) noexcept {
  SliceControl& control = ring.control;
  const std::int64_t began_at = control.now;
  try {
    queue.run_slice(ring);
  } catch (...) {
    ring.keep_exception(std::current_exception());  // out of the scheduler's pop
  }
  thread_state.task = nullptr;
  thread_state.depth = 0;
  if (control.until_reading != control.stride_begun || control.now == began_at) ring.end_stride(ring.now());
  queue.strides = Strides{control.stride, control.check_stride};
}

/// Ends the slice of the running queue, which has more to run and waits from now on.
inline void give_up_slice(Ring& ring, bool preempted) noexcept {
  QueueRecord& record = ring.current->record;
  if (preempted) {
    ++record.preemptions;
    ++ring.preemptions;
  }
  record.runnable_since = ring.control.now;
  ring.current = nullptr;
}

/// One resume of the main of run_until(). Ahead of every queue, and charged to none.
inline void run_main(Ring& ring) noexcept {
  WorkQueueBase& lane = *ring.main_lane;
  if (ring.current != nullptr) give_up_slice(ring, false);
  open_slice(ring, lane, never, slice_over);  // already over: one resume
  std::int64_t began_at = ring.control.now;
  run_slice_of(ring, lane);
  if (ring.control.now == began_at) ring.set_time(ring.now());
  lane.record.service += ring.control.now - began_at;
  ring.set_time(ring.control.now);
  if (!still_runnable(ring, lane)) ring.deactivate(lane);
}

/// The picker's choice runs one slice, or goes on with the slice that the host's poll interrupted.
inline void run_queue(Ring& ring) noexcept {
  SliceControl& control = ring.control;
  // A better queue may also have become runnable in the host's poll, or between two calls of a guest.
  if (ring.current != nullptr && (control.attention & better_queue) != 0) give_up_slice(ring, true);
  if (ring.current == nullptr) {
    ring.current = static_cast<WorkQueueBase*>(ring.picker.pick());
    QueueRecord& record = ring.current->record;
    ++record.slices;
    ++ring.slices;
    record.waits.record(std::chrono::nanoseconds{control.now - record.runnable_since});
    record.saw_lag(ring.picker.lag(*ring.current).count());
  }
  WorkQueueBase& queue = *ring.current;
  open_slice(ring, queue, saturated_end(control.now, ring.picker.remaining(queue).count()), 0);
  run_slice_of(ring, queue);
  ring.charge_current(control.now);
  queue.record.saw_lag(ring.picker.lag(queue).count());
  if (!still_runnable(ring, queue)) {
    ring.current = nullptr;
    ring.deactivate(queue);
  } else if ((control.attention & ~host_due) != 0) {
    give_up_slice(ring, (control.attention & (better_queue | slice_over)) == better_queue);
  }
}

/// The host is due from now at the end of the interval, or after so many resumes; but not before eight times
/// as much work as the poll cost has been done, so that its system call stays below an eighth of the time.
inline void poll_host(Ring& ring, HostRef host, PollTimeout timeout) {
  SliceControl& control = ring.control;
  std::int64_t began_at = control.now;
  ++ring.host_polls;
  ring.time_is_stale = true;
  host.poll(host.host, timeout);
  ring.set_time(ring.now());
  if (timeout && timeout->count() == 0) ring.host_poll_gap = 8 * (control.now - began_at);
  ring.host_polled_at = control.now;
  control.host_due_at = saturated_end(control.now, ring.options.host_poll_interval.count());
  control.polls_left = ring.options.max_polls_per_host_poll;
  control.attention &= ~static_cast<std::uint32_t>(host_due);
}

/// Sleeps in the host until something is posted or a timer is due. First the mark, which fails if something
/// has been posted; then the poll: so there is no moment in which a wake is neither seen here nor rings the
/// host.
inline void sleep_in_host(Ring& ring, HostRef host) {
  PollTimeout timeout;
  if (ring.timers.next_deadline() != never) {
    std::int64_t left = ring.timers.next_deadline() - ring.control.now;
    if (left <= 0) return;
    timeout = std::chrono::nanoseconds{left};
  }
  if (!ring.try_park()) return;
  struct Unpark {
    Inbox& inbox;
    ~Unpark() { inbox.unpark(); }
  } unpark{ring.mailbox().inbox};
  ++ring.parks;
  poll_host(ring, host, timeout);
}

inline void throw_kept(Ring& ring) {
  if (ring.kept_exceptions.empty()) return;
  std::exception_ptr first = std::move(ring.kept_exceptions.front());
  ring.kept_exceptions.erase(ring.kept_exceptions.begin());
  if (ring.kept_exceptions.empty()) ring.control.attention &= ~static_cast<std::uint32_t>(exception_kept);
  std::rethrow_exception(std::move(first));
}

/// A stop counts once, whether it was asked for before the run or in it.
inline bool take_stop(Ring& ring) noexcept {
  ring.control.attention &= ~static_cast<std::uint32_t>(stop_asked);
  return std::exchange(ring.stop_requested, false);
}

/// After a drive: from here on the guest's bell rings for whatever turns the executor from idle to runnable.
inline void listen_as_guest(Ring& ring) noexcept {
  if (!ring.mailbox().has_notify()) return;
  if (has_runnable(ring) || !ring.kept_exceptions.empty() || !ring.try_park())
    ring.mailbox().notify_from_owner();
}

/// See Executor::on_runnable().
inline void set_on_runnable(Ring& ring, std::function<void()> notify) {
  ring.mailbox().set_notify(std::move(notify));
  if (ring.driven) return;
  ring.mailbox().inbox.unpark();
  listen_as_guest(ring);
}

/// While it lives, `host` is polled, woken, and found by its tasks. Afterwards the guest's bell is on again.
class HostAttachment {
 public:
  HostAttachment(Ring& ring, HostRef host) noexcept : ring_{ring} {
    ring.host = host.identity;
    ring.mailbox().attach_host(host.host, host.wake);
  }
  HostAttachment(const HostAttachment&) = delete;
  HostAttachment& operator=(const HostAttachment&) = delete;
  ~HostAttachment() {
    ring_.mailbox().detach_host();
    ring_.host = {};
    ring_.driven = false;
    // The guest has not been told of timers armed, or gone, since its last turn: it is to ask.
    if (ring_.guest != nullptr) {
      ring_.ring_guest(*ring_.guest);
    } else if (ring_.timers.next_deadline() != never) {
      ring_.mailbox().notify_from_owner();
    }
    listen_as_guest(ring_);
  }

 private:
  Ring& ring_;
};

/// Drives with `host` until `done()` or a stop. True if done.
template <class Done>
bool drive(Ring& ring, HostRef host, const char* call, Done done) {
  DriveScope scope{ring, call};
  HostAttachment attachment{ring, host};
  ring.as_guest = false;
  ring.set_time(ring.now());
  ring.host_polled_at = ring.control.now;
  ring.control.host_due_at = saturated_end(ring.control.now, ring.options.host_poll_interval.count());
  ring.control.polls_left = ring.options.max_polls_per_host_poll;
  for (;;) {
    deliver_wakes(ring);
    if (done()) return true;
    throw_kept(ring);
    if (take_stop(ring)) return false;
    if (ring.main_active) {
      run_main(ring);
      // The end of main, an exception or a stop is for the top of the loop, before another task runs or all
      // sleep.
      if (done() || !ring.kept_exceptions.empty() || ring.stop_requested) continue;
    }
    if (ring.picker.runnable_count() != 0) {
      run_queue(ring);
    } else if (!ring.main_active) {
      if (!done()) sleep_in_host(ring, host);
      continue;
    }
    if ((ring.control.attention & host_due) != 0 || ring.control.now >= ring.control.host_due_at) {
      poll_host(ring, host, std::chrono::nanoseconds::zero());
    }
  }
}

/// Runs what is runnable within the budget, never blocking.
inline Progress run_ready(Ring& ring, Budget budget) {
  Progress progress;
  {
    DriveScope scope{ring, "run_ready()"};
    struct Listen {
      Ring& ring;
      int exceptions = std::uncaught_exceptions();
      ~Listen() {
        ring.driven = false;
        // After an exception the host may or may not call again; the bell sees to it that nothing is
        // forgotten.
        if (std::uncaught_exceptions() != exceptions) listen_as_guest(ring);
      }
    } listen{ring};
    SliceControl& control = ring.control;
    ring.as_guest = true;
    ring.set_time(ring.now());
    std::int64_t time = (budget.time.count() > 0 ? budget.time : ring.options.host_poll_interval).count();
    control.host_due_at = saturated_end(control.now, time);
    control.polls_left = budget.polls != 0 ? budget.polls : ring.options.max_polls_per_host_poll;
    std::uint64_t polls_before = ring.polls_made;
    for (bool first = true;; first = false) {
      deliver_wakes(ring);
      throw_kept(ring);
      if (take_stop(ring) || control.polls_left == 0) break;
      if (!first && control.now >= control.host_due_at) break;  // deliveries alone are no turn
      if (ring.main_active) run_main(ring);
      if (control.polls_left == 0 || !ring.kept_exceptions.empty()) continue;
      if (ring.picker.runnable_count() != 0) {
        run_queue(ring);
      } else if (!ring.main_active && !ring.has_undelivered()) {
        break;
      }
    }
    progress.polls = static_cast<std::uint32_t>(ring.polls_made - polls_before);
  }
  progress.runnable = has_runnable(ring) || !ring.kept_exceptions.empty() || ring.has_mail();
  if (!progress.runnable && ring.mailbox().has_notify()) progress.runnable = !ring.try_park();
  // Of a sleep for ever the guest hears nothing: the sum of now and so long a time would overflow.
  if (ring.timers.next_deadline() != never) {
    progress.next_timer =
        std::chrono::nanoseconds{std::max<std::int64_t>(0, ring.timers.next_deadline() - ring.now())};
  }
  return progress;
}

}  // namespace clockworker::detail
