#pragma once

#include <clockworker/task_scheduler.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>

namespace clockworker_test {

/// Task cells without an executor or a coroutine: what a scheduler needs to order them, and nothing else.
class FakeTasks {
 public:
  using Group = clockworker::detail::GroupBlock;

  FakeTasks() = default;
  FakeTasks(const FakeTasks&) = delete;
  FakeTasks& operator=(const FakeTasks&) = delete;

  /// A task with the next id, which is a group of its own if it is not given one.
  clockworker::TaskRef spawn(Group* group = nullptr) {
    // The queue is never touched; its type is not even complete here.
    auto& queue = reinterpret_cast<clockworker::detail::WorkQueueBase&>(queue_);
    clockworker::detail::TaskCell& cell = cells_.emplace_back(ops, queue);
    cell.id = ++last_id_;
    cell.arrived_at = static_cast<std::int64_t>(cell.id) * 100;
    cell.group = group;
    if (group != nullptr) ++group->live_tasks;
    return clockworker::detail_access::ref(cell);
  }

  Group& group() {
    Group& group = groups_.emplace_back();
    group.id = 1'000'000 + groups_.size();
    return group;
  }

  /// Whether anything was allocated for a task beyond its cell.
  bool extras_allocated() const {
    for (const clockworker::detail::TaskCell& cell : cells_) {
      if (cell.extras != nullptr) return true;
    }
    return false;
  }

 private:
  static constexpr clockworker::detail::TaskOps ops{};  // none is ever called

  alignas(std::max_align_t) std::byte queue_[64] = {};
  std::deque<clockworker::detail::TaskCell> cells_;
  std::deque<Group> groups_;
  clockworker::TaskId last_id_ = 0;
};

}  // namespace clockworker_test
