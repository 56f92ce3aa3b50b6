/// \file
/// First runnable, first served.
#pragma once

#include <cstdint>

#include <clockworker/detail/thread_state.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker {

struct RunnableFifoOptions {
  /// The task of this queue that a running task of this queue last woke, or spawned, goes first, while its
  /// data is still warm; at most 16 times in a row.
  bool lifo_slot = false;
};

/// Tasks run in the order in which they became runnable. The default. An intrusive list: O(1), never
/// allocates.
class RunnableFifo {
 public:
  RunnableFifo() noexcept = default;
  explicit RunnableFifo(RunnableFifoOptions options) noexcept : options_{options} {}

  void push(TaskRef task) noexcept {
    if (options_.lifo_slot && woken_by_a_task(task)) {
      if (slot_) append(slot_);
      slot_ = task;
    } else {
      append(task);
    }
  }

  TaskRef pop() noexcept {
    if (slot_ && (in_a_row_ < most_in_a_row || !first_)) {
      ++in_a_row_;
      TaskRef task = slot_;
      slot_ = TaskRef{};
      return task;
    }
    in_a_row_ = 0;
    TaskRef task = first_;
    first_ = next(task);
    return task;
  }

  [[nodiscard]] bool empty() const noexcept { return !first_ && !slot_; }

 private:
  static constexpr std::uint32_t most_in_a_row = 16;

  static TaskRef& next(TaskRef task) noexcept { return task.state<TaskRef>(); }

  static bool woken_by_a_task(TaskRef task) noexcept {
    const detail::TaskCell* running = detail::thread_state.task;
    const detail::TaskCell* woken = detail_access::cell(task);
    return running != nullptr && running != woken && running->queue == woken->queue;
  }

  void append(TaskRef task) noexcept {
    next(task) = TaskRef{};
    if (first_) {
      next(last_) = task;
    } else {
      first_ = task;
    }
    last_ = task;
  }

  TaskRef first_;
  TaskRef last_;
  TaskRef slot_;
  std::uint32_t in_a_row_ = 0;
  RunnableFifoOptions options_;
};

static_assert(TaskScheduler<RunnableFifo>);

}  // namespace clockworker
