/// \file
/// The ways out of the ring: a task that ends, is aborted, or goes to another queue.
#pragma once

#include <coroutine>
#include <cstring>
#include <exception>

#include <clockworker/detail/ring.hpp>

namespace clockworker::detail {

/// Defined in foreign.hpp: frees the handle that strangers were given.
void destroy_shim(Shim& shim) noexcept;

inline void count_into_group(TaskCell& cell, GroupBlock* group) noexcept {
  cell.group = group;
  if (group != nullptr) ++group->live_tasks;
}

/// May throw what the scheduler throws at the news that the group is finished.
inline void count_out_of_group(TaskCell& cell) {
  GroupBlock* group = cell.group;
  cell.group = nullptr;
  if (group == nullptr) return;
  --group->live_tasks;
  WorkQueueBase::forget_if_unused(*group);
}

/// Tells the scheduler and the group that the task is theirs no more; what they throw at it is kept for
/// run*().
inline void take_out_of_queue(Ring& ring, TaskCell& cell) noexcept {
  --cell.queue->live_tasks;
  try {
    if (cell.queue->tells_scheduler) cell.queue->task_finished(cell);
  } catch (...) {
    ring.keep_exception(std::current_exception());
  }
  try {
    count_out_of_group(cell);
  } catch (...) {
    ring.keep_exception(std::current_exception());
  }
}

inline void move_to_queue(Ring& ring, TaskCell& cell, Move to) noexcept {
  WorkQueueBase* from = cell.queue;
  take_out_of_queue(ring, cell);
  cell.queue = to.queue;  // its reference was counted by switch_to()
  from->release();
  cell.group = to.group;  // counted, too
  std::memset(cell.scheduler_state, 0, sizeof cell.scheduler_state);
  if (cell.extras != nullptr) std::memset(cell.extras->single_group_state, 0, scheduler_state_size);
}

/// Destroys a task's frames from `innermost` to the root. Each frame's result slot lies in the frame of its
/// parent and is told, so that the parent's awaiter does not destroy it again. A loop: constant native stack,
/// however deep the awaits.
inline void destroy_frames(std::coroutine_handle<> innermost) noexcept {
  for (std::coroutine_handle<> frame = innermost; frame;) {
    PromiseBase& promise = promise_of(frame);
    std::coroutine_handle<> parent = promise.parent;
    promise.slot->frame_gone = true;
    frame.destroy();
    frame = parent;
  }
}

inline void Ring::settle(TaskCell& cell) noexcept {
  switch (cell.status) {
    case TaskStatus::running:
      finish(cell);
      return;
    case TaskStatus::moving:
      move_to_queue(*this, cell, move);
      cell.status = TaskStatus::suspended;
      make_runnable(cell);
      return;
    default:
      if (cell.has(abort_requested)) {
        thread_state.task = nullptr;  // it is off the native stack, so it may be pushed
        take_up_abort(cell);
      }
  }
}

inline void Ring::finish(TaskCell& cell) noexcept {
  std::coroutine_handle<> root = cell.resume_point;
  if (promise_of(root).slot->state == ResultState::exception &&
      exception_rules->policy == ExceptionPolicy::rethrow && !cell.has(run_until_main)) {
    keep_exception(cell.ops->exception(cell));
  }
  root.destroy();
  end_task(cell);
  leave_queue(cell);
}

inline void Ring::unwind(TaskCell& cell) noexcept {
  TaskCell* running = std::exchange(thread_state.task, &cell);
  cell.status = TaskStatus::running;
  destroy_frames(cell.resume_point);
  cell.ops->cancel(cell);
  thread_state.task = running;
}

inline void Ring::end_task(TaskCell& cell) noexcept {
  cell.ops->destroy_callable(cell);
  if (cell.extras != nullptr) {
    cell.extras->stop.reset();
    if (cell.extras->shim != nullptr) destroy_shim(*std::exchange(cell.extras->shim, nullptr));
    if (WakeGate* gate = std::exchange(cell.extras->gate, nullptr)) {
      // No wake is on its way through the inbox: the task has been resumed or claimed since, or the inbox is
      // closed.
      gate->disarm();
      gate->cell = nullptr;
      gate->release();
    }
  }
  (cell.newer != nullptr ? cell.newer->older : newest) = cell.older;
  if (cell.older != nullptr) cell.older->newer = cell.newer;
  if (--live_tasks == 0 && patience != nullptr) disarm(*patience);
  cell.status = TaskStatus::done;
  if (JoinWaiter* joiner = std::exchange(cell.joiner, nullptr)) joiner->task_ended(*joiner, cell);
}

inline void Ring::leave_queue(TaskCell& cell) noexcept {
  take_out_of_queue(*this, cell);
  cell.release();
}

inline void Ring::end_now(TaskCell& cell) noexcept {
  if (WakeGate* gate = cell.gate(); gate != nullptr && !closing && gate->state() != WakeGate::idle) {
    // Whoever claims the gate before us has promised to post it; until it has come through the inbox it must
    // live.
    if (!gate->claim(gate->word.load(std::memory_order_relaxed) & ~WakeGate::state_mask, WakeGate::fired)) {
      while (gate->state() == WakeGate::posted) drain_inbox();
    }
  }
  bool queued = cell.status == TaskStatus::runnable && !closing;
  unwind(cell);
  end_task(cell);
  if (queued && !cell.has(deferred)) {
    cell.set(ended_in_queue);
    ++cell.queue->ended_tasks;
    cell.newer = nullptr;
    cell.older = ended_in_queues;
    if (ended_in_queues != nullptr) ended_in_queues->newer = &cell;
    ended_in_queues = &cell;
    return;
  }
  if (queued) {
    cell.unset(deferred);
    --cell.queue->deferred_tasks;
    --cell.queue->runnable_tasks;
  }
  leave_queue(cell);
}

inline void Ring::popped_after_end(TaskCell& cell) noexcept {
  --cell.queue->ended_tasks;
  (cell.newer != nullptr ? cell.newer->older : ended_in_queues) = cell.older;
  if (cell.older != nullptr) cell.older->newer = cell.newer;
  leave_queue(cell);
}

/// The queue's scheduler is not to pop any more: lets go of the tasks that ended while it held them.
inline void forget_ended_in(Ring& ring, const WorkQueueBase& queue) noexcept {
  for (TaskCell* cell = ring.ended_in_queues; cell != nullptr;) {
    TaskCell* next = cell->older;
    if (cell->queue == &queue) ring.popped_after_end(*cell);
    cell = next;
  }
}

inline void WakeGate::delivered(Letter& letter, Ring* ring) noexcept {
  auto& gate = static_cast<WakeGate&>(letter);
  if (gate.cell == nullptr) {  // posted for a task that was left to a stranger meanwhile
    gate.refused();
    return;
  }
  if (ring == nullptr) return;
  gate.word.fetch_or(fired, std::memory_order_acq_rel);  // from `posted`
  ring->wake(*gate.cell);
}

}  // namespace clockworker::detail
