/// \file
/// The running task, as seen from within. Every function throws std::logic_error outside a task.
#pragma once

#include <stdexcept>
#include <string>

#include <clockworker/detail/thread_state.hpp>
#include <clockworker/queue.hpp>
#include <clockworker/stop_token.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker::this_task {

namespace detail {

inline clockworker::detail::TaskCell& running(const char* call) {
  clockworker::detail::TaskCell* cell = clockworker::detail::thread_state.task;
  if (cell == nullptr) {
    throw std::logic_error(std::string{"clockworker: this_task::"} + call + " was called outside a task");
  }
  return *cell;
}

}  // namespace detail

/// Stopped when the task is aborted; requests come from, and callbacks run on, the thread that aborts: the
/// executor's. May throw std::bad_alloc at a task's first call.
[[nodiscard]] inline stop_token stop_token() {
  clockworker::detail::TaskCell& cell = detail::running("stop_token()");
  auto& stop = cell.need_extras().stop;
  if (!stop) {
    stop.emplace();
    if (cell.has(clockworker::detail::abort_requested)) stop->request_stop();
  }
  return stop->get_token();
}

[[nodiscard]] inline TaskId id() { return detail::running("id()").id; }

/// The queue that the task runs on now. For the main of run_until() that is a lane of its own, ahead of every
/// queue.
[[nodiscard]] inline QueueHandle queue() {
  return detail_queue_access::make(*detail::running("queue()").queue);
}

/// Valid as long as the task, or another of its group, lives.
[[nodiscard]] inline GroupRef group() { return detail_access::ref(detail::running("group()")).group(); }

}  // namespace clockworker::this_task
