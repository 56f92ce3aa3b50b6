/// \file
/// First spawned, first served.
#pragma once

#include <cstddef>

#include <clockworker/detail/quad_heap.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker {

/// Runnable tasks go in the order of spawning, whatever they did since: of two runnable tasks the older one
/// always runs first, so one that never suspends keeps all younger ones of its queue waiting. For batches
/// that are to be finished one after the other, and not all half done.
///
/// Push and pop are O(log n), and O(1) for the oldest task when it yields. One thread: its executor's.
/// Allocates in `reserve` only; a push beyond what was reserved may throw `std::bad_alloc`, and has then done
/// nothing.
class ArrivalFifo {
 public:
  void push(TaskRef task) {
    runnable_.reserve(runnable_.size() + 1);
    runnable_.push(Entry{task.id(), task});
  }

  TaskRef pop() noexcept {
    const TaskRef task = runnable_.top().task;
    runnable_.pop();
    return task;
  }

  [[nodiscard]] bool empty() const noexcept { return runnable_.empty(); }

  void reserve(std::size_t live) { runnable_.reserve(live); }

 private:
  struct Entry {
    TaskId id;
    TaskRef task;

    [[nodiscard]] bool before(const Entry& other) const noexcept { return id < other.id; }
    void placed(std::size_t) const noexcept {}
  };

  detail::QuadHeap<Entry> runnable_;
};

static_assert(TaskScheduler<ArrivalFifo>);

}  // namespace clockworker
