/// \file
/// What an operator sees: numbers of an executor and of each of its queues, and a list of the live tasks.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <clockworker/detail/task_cell.hpp>
#include <clockworker/histogram.hpp>

namespace clockworker {

/// One queue's numbers since it was added. A value. All times are the executor's clock's; none costs a clock
/// read that the executor would not make anyway, so with a scheduler that has no `observe` a resume is timed
/// in a run of up to 16 short ones.
struct QueueStats {
  std::string name;
  std::uint64_t weight = 0;
  std::chrono::nanoseconds service{0};  ///< time its tasks have run, to the last reading of the clock
  std::uint64_t resumes = 0;
  std::uint64_t slices = 0;  ///< times it was chosen
  std::uint64_t preemptions =
      0;  ///< slices cut short because a queue with an earlier deadline had become runnable
  /// Of all service given by the executor while this queue was runnable, the part it was due (its weight over
  /// that of all who were runnable at the time) and the part it got. 0 before the first service.
  double share_entitled = 0;
  double share_received = 0;
  std::chrono::nanoseconds lag{
      0};  ///< service it is owed now (negative: it owes); 0 while it has nothing runnable
  /// The most it was ever owed, and (negative) the most it ever owed; taken at both ends of each of its
  /// slices, when it turns empty, and when the stats are read.
  std::chrono::nanoseconds worst_lag{0};
  std::chrono::nanoseconds worst_debt{0};
  /// Of its resumes, the longest. A run of short resumes timed together counts as one here: an upper bound.
  std::chrono::nanoseconds longest_resume{0};
  std::size_t live_tasks = 0;
  std::size_t runnable_tasks = 0;
  Histogram waits;           ///< from being runnable and not served to the start of the next slice
  Histogram resume_lengths;  ///< a run of resumes timed together counts each with the mean
};

/// An executor's numbers since it was built. A value.
struct ExecutorStats {
  std::chrono::nanoseconds service{0};       ///< sum over the queues, also those removed
  std::chrono::nanoseconds main_service{0};  ///< run by the main task of run_until(), charged to no queue
  std::uint64_t resumes = 0;                 ///< of all queues and of main
  std::uint64_t slices = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t spawned = 0;
  std::uint64_t ended = 0;       ///< by themselves or by abort
  std::uint64_t host_polls = 0;  ///< with tasks runnable, and idle
  std::uint64_t parks = 0;       ///< of those, the ones that might block
  std::uint64_t timers_fired = 0;
  std::uint64_t remote_deliveries = 0;  ///< wakes, spawns and stops that came from other threads
  std::size_t live_tasks = 0;
  std::size_t runnable_tasks = 0;
  std::size_t armed_timers = 0;
  std::size_t queues = 0;
};

enum class TaskState : std::uint8_t { runnable, running, suspended, done };

/// A live task at one moment. A value; it refers to nothing.
struct TaskInfo {
  TaskId id = 0;
  std::string queue;        ///< the queue's name; by default its key
  std::uint64_t group = 0;  ///< as GroupRef::id()
  std::string name;
  TaskState state = TaskState::suspended;
  std::string_view waits_for;  ///< of a suspended task: "timer", "task", "waker", "foreign awaitable",
                               ///< "host"; else empty. A literal.
  bool abort_requested = false;
};

[[nodiscard]] constexpr std::string_view to_string(TaskState state) noexcept {
  switch (state) {
    case TaskState::runnable:
      return "runnable";
    case TaskState::running:
      return "running";
    case TaskState::suspended:
      return "suspended";
    case TaskState::done:
      return "done";
  }
  return "unknown";
}

namespace detail {

[[nodiscard]] constexpr std::string_view to_string(WaitsFor what) noexcept {
  switch (what) {
    case WaitsFor::nothing:
      return "";
    case WaitsFor::timer:
      return "timer";
    case WaitsFor::task:
      return "task";
    case WaitsFor::waker:
      return "waker";
    case WaitsFor::stranger:
      return "foreign awaitable";
    case WaitsFor::host:
      return "host";
  }
  return "";
}

[[nodiscard]] constexpr TaskState public_state(TaskStatus status) noexcept {
  switch (status) {
    case TaskStatus::running:
    case TaskStatus::transfer:
    case TaskStatus::yielded:
    case TaskStatus::moving:
      return TaskState::running;
    case TaskStatus::suspended:
      return TaskState::suspended;
    case TaskStatus::runnable:
      return TaskState::runnable;
    case TaskStatus::done:
      return TaskState::done;
  }
  return TaskState::done;
}

}  // namespace detail

}  // namespace clockworker
