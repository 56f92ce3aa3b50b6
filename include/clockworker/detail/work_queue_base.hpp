/// \file
/// One queue as the rest of the ring sees it, whatever its scheduler.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include <clockworker/detail/slice_control.hpp>
#include <clockworker/detail/task_cell.hpp>
#include <clockworker/eevdf.hpp>
#include <clockworker/stats.hpp>

namespace clockworker {

/// What becomes of an exception that leaves a task.
enum class ExceptionPolicy : std::uint8_t {
  rethrow,  ///< `run*` throws it, and the task's handle gets it too
  capture   ///< only the handle gets it; if nobody ever takes it, the unhandled-exception hook hears of it
};

}  // namespace clockworker

namespace clockworker::detail {

/// Shared by an executor's queues, as a handle may be dropped after the executor.
struct ExceptionRules {
  ExceptionPolicy policy = ExceptionPolicy::rethrow;
  std::function<void(std::exception_ptr, TaskInfo)> unhandled;  // empty: std::terminate
};

/// What `QueueStats` is made of; written by the slice loop and the ring.
struct QueueRecord {
  std::int64_t service = 0;
  std::int64_t longest_resume = 0;
  std::int64_t worst_lag = 0;
  std::int64_t worst_debt = 0;
  std::int64_t runnable_since = 0;
  std::uint64_t resumes = 0;
  std::uint64_t slices = 0;
  std::uint64_t preemptions = 0;
  // Over the times it was runnable: what all queues got, and what it was due of that, up to its last change of
  // weight or membership. From there on its due is its weight times the growth of Ring::service_per_weight.
  std::int64_t service_of_all = 0;
  std::int64_t service_of_all_at_join = 0;
  double due = 0;
  double service_per_weight_then = 0;
  Histogram waits;
  Histogram resume_lengths;

  void saw_lag(std::int64_t lag) noexcept {
    worst_lag = std::max(worst_lag, lag);
    worst_debt = std::min(worst_debt, lag);
  }

  /// `resumes` in a row took `together`.
  void resumed(std::int64_t together, std::uint32_t times) noexcept {
    resumes += times;
    longest_resume = std::max(longest_resume, together);
    resume_lengths.record(std::chrono::nanoseconds{together / times}, times);
  }
};

/// A queue: its place in the picker (the base), its scheduler (behind virtual calls: one a push, one a
/// slice), its groups and its numbers. Executor's thread only. Counted: handles and cells may hold a queue
/// longer than its executor does; `ring` is null then.
class WorkQueueBase : public EevdfEntity {
 public:
  WorkQueueBase(Ring& owner, std::string called, std::optional<std::chrono::nanoseconds> own_slice,
                std::shared_ptr<const ExceptionRules> with_rules)
      : ring{&owner}, rules{std::move(with_rules)}, name{std::move(called)}, slice{own_slice} {}
  WorkQueueBase(const WorkQueueBase&) = delete;
  WorkQueueBase& operator=(const WorkQueueBase&) = delete;

  void acquire() noexcept { ++references_; }
  void release() noexcept {
    if (--references_ == 0) delete this;
  }

  /// May throw what the scheduler throws; nothing has changed then.
  virtual void reserve(std::size_t live) = 0;
  virtual void push(TaskCell& cell) = 0;
  virtual void task_finished(TaskCell& cell) = 0;
  virtual void group_finished(GroupBlock& group) = 0;
  /// Resumes tasks until the ring's `attention` is drawn or nothing is runnable. May throw what the
  /// scheduler's pop throws.
  virtual void run_slice(Ring& ring) = 0;
  [[nodiscard]] virtual bool has_runnable() const = 0;

  /// The executor is gone, or has let go of this queue: destroys the scheduler. Handles find the queue
  /// closed.
  void close() noexcept {
    ring = nullptr;
    for (auto& [id, group] : groups_) {
      group->queue = nullptr;
      if (group->handles == 0 && group->live_tasks == 0) delete group;
    }
    groups_.clear();
    destroy_scheduler();
  }

  /// The group of that id, made if there is none. Throws std::bad_alloc.
  GroupBlock& group(std::uint64_t id) {
    auto [place, is_new] = groups_.try_emplace(id, nullptr);
    if (is_new) {
      try {
        place->second = new GroupBlock;
      } catch (...) {
        groups_.erase(place);
        throw;
      }
      place->second->id = id;
      place->second->queue = this;
    }
    return *place->second;
  }

  /// A group is forgotten with its last task and its last handle. May throw what the scheduler throws at the
  /// news of it, the group being forgotten all the same.
  static void forget_if_unused(GroupBlock& group) {
    if (group.handles != 0 || group.live_tasks != 0) return;
    std::unique_ptr<GroupBlock> gone{&group};
    if (group.queue != nullptr) {
      WorkQueueBase& queue = *group.queue;
      queue.groups_.erase(group.id);
      if (queue.tells_scheduler) queue.group_finished(group);
    }
  }

  Ring* ring;
  std::shared_ptr<const ExceptionRules> rules;
  std::string name;
  std::optional<std::chrono::nanoseconds> slice;
  QueueRecord record;
  Strides strides;  // drive.hpp: kept between its slices
  std::size_t live_tasks = 0;
  std::size_t runnable_tasks = 0;  // in the scheduler, and deferred
  std::size_t deferred_tasks = 0;
  std::size_t ended_tasks = 0;  // done, but still in the scheduler; counted in the two above
  bool active = false;          // in the picker: has runnable tasks, or is in its slice
  bool tells_scheduler = true;  // false while the executor is destroyed: its scheduler is left in peace
  bool is_main = false;         // the lane of run_until()'s main: ahead of the picker, not in it

 protected:
  virtual ~WorkQueueBase() = default;
  virtual void destroy_scheduler() noexcept = 0;

 private:
  std::uint32_t references_ = 1;
  std::unordered_map<std::uint64_t, GroupBlock*> groups_;
};

/// Describes a live task, or one that has just ended.
inline TaskInfo describe(const TaskCell& cell) {
  TaskInfo info;
  info.id = cell.id;
  info.queue = cell.queue->name;
  info.group = cell.group != nullptr ? cell.group->id : cell.id;
  if (cell.extras != nullptr && cell.extras->name != nullptr) info.name = cell.extras->name->text;
  info.state = public_state(cell.status);
  if (cell.status == TaskStatus::suspended) info.waits_for = to_string(cell.waits_for);
  info.abort_requested = cell.has(abort_requested);
  return info;
}

/// Nobody took it and nobody can: under `capture` the hook hears of it. Under `rethrow` run*() has thrown it.
inline void report_untaken(const TaskCell& cell, std::exception_ptr exception) noexcept {
  const ExceptionRules& rules = *cell.queue->rules;
  if (rules.policy != ExceptionPolicy::capture) return;
  if (!rules.unhandled) std::terminate();
  TaskInfo info;
  try {
    info = describe(cell);
  } catch (const std::bad_alloc&) {
    info.id = cell.id;  // no memory for texts; the exception is what matters
  }
  rules.unhandled(std::move(exception), std::move(info));
}

}  // namespace clockworker::detail
