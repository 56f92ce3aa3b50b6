/// \file
/// How the numbers that an operator sees come from those that the ring keeps.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include <clockworker/detail/ring.hpp>
#include <clockworker/stats.hpp>

namespace clockworker::detail {

inline QueueStats snapshot_of(const Ring& ring, const WorkQueueBase& queue) {
  const QueueRecord& record = queue.record;
  QueueStats stats;
  stats.name = queue.name;
  stats.weight = queue.weight();
  stats.service = std::chrono::nanoseconds{record.service};
  stats.resumes = record.resumes;
  stats.slices = record.slices;
  stats.preemptions = record.preemptions;
  stats.live_tasks = queue.live_tasks - queue.ended_tasks;
  stats.runnable_tasks = queue.runnable_tasks - queue.ended_tasks;
  stats.longest_resume = std::chrono::nanoseconds{record.longest_resume};
  stats.waits = record.waits;
  stats.resume_lengths = record.resume_lengths;
  std::int64_t of_all = record.service_of_all;
  std::int64_t lag = queue.active ? ring.picker.lag(queue).count() : 0;
  if (queue.active) of_all += ring.service_of_all - record.service_of_all_at_join;
  if (of_all > 0) {
    stats.share_entitled = ring.due_of(queue) / static_cast<double>(of_all);
    stats.share_received = static_cast<double>(record.service) / static_cast<double>(of_all);
  }
  stats.lag = std::chrono::nanoseconds{lag};
  stats.worst_lag = std::chrono::nanoseconds{std::max(record.worst_lag, lag)};
  stats.worst_debt = std::chrono::nanoseconds{std::min(record.worst_debt, lag)};
  return stats;
}

/// Adds what one queue has to the sums of its executor.
inline void add_to(ExecutorStats& stats, const WorkQueueBase& queue) noexcept {
  if (!queue.is_main) stats.service += std::chrono::nanoseconds{queue.record.service};
  stats.resumes += queue.record.resumes;
  stats.runnable_tasks += queue.runnable_tasks - queue.ended_tasks;
}

/// Without the sums over the queues.
inline ExecutorStats snapshot_of(const Ring& ring) noexcept {
  ExecutorStats stats;
  stats.main_service = std::chrono::nanoseconds{ring.main_lane->record.service};
  stats.slices = ring.slices;
  stats.preemptions = ring.preemptions;
  stats.spawned = ring.spawned;
  stats.ended = ring.spawned - ring.live_tasks;
  stats.host_polls = ring.host_polls;
  stats.parks = ring.parks;
  stats.timers_fired = ring.timers_fired;
  stats.remote_deliveries = ring.remote_deliveries;
  stats.live_tasks = ring.live_tasks;
  stats.armed_timers = ring.timers.size();
  return stats;
}

/// Every task that has not ended, oldest first.
inline std::vector<TaskInfo> living_tasks(const Ring& ring) {
  std::vector<TaskInfo> tasks;
  tasks.reserve(ring.live_tasks);
  for (const TaskCell* cell = ring.newest; cell != nullptr; cell = cell->older)
    tasks.push_back(describe(*cell));
  std::reverse(tasks.begin(), tasks.end());
  return tasks;
}

}  // namespace clockworker::detail
