/// \file
/// One queue with its scheduler, and the loop of one slice.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

#include <clockworker/detail/ring.hpp>
#include <clockworker/detail/work_queue_base.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker::detail {

/// The scheduler's calls are inlined into the loop: none of them is virtual there.
template <TaskScheduler Scheduler, Clock C>
class WorkQueue final : public WorkQueueBase {
 public:
  WorkQueue(Ring& owner, std::string called, std::optional<std::chrono::nanoseconds> own_slice,
            std::shared_ptr<const ExceptionRules> with_rules, Scheduler scheduler)
      : WorkQueueBase{owner, std::move(called), own_slice, std::move(with_rules)},
        scheduler_{std::move(scheduler)} {}

  void reserve([[maybe_unused]] std::size_t live) override {
    if constexpr (Reserves<Scheduler>) scheduler_->reserve(live);
  }
  void push(TaskCell& cell) override { scheduler_->push(detail_access::ref(cell)); }
  void task_finished([[maybe_unused]] TaskCell& cell) override {
    if constexpr (HearsFinished<Scheduler>) scheduler_->finished(detail_access::ref(cell));
  }
  void group_finished([[maybe_unused]] GroupBlock& group) override {
    if constexpr (HearsGroupFinished<Scheduler>) scheduler_->group_finished(detail_access::ref(group));
  }
  [[nodiscard]] bool has_runnable() const override { return deferred_tasks != 0 || !scheduler_->empty(); }

  void run_slice(Ring& owner) override {
    if (deferred_tasks != 0) push_deferred(owner);
    Scheduler& scheduler = *scheduler_;
    ThreadState& thread = thread_state;
    SliceControl& control = owner.control;
    while (!scheduler.empty()) {
      TaskCell& cell = *detail_access::cell(scheduler.pop());
      --runnable_tasks;
      thread.task = &cell;
      --control.until_reading;
      if (cell.flags != 0 && !may_resume(owner, cell)) [[unlikely]] {
        // A turn like any other: frames are destroyed in their queue's time, and it is watched that they do
        // not take all of it.
        thread.task = nullptr;
        owner.end_stride(C::now().time_since_epoch().count());
      } else {
        do {
          cell.status = TaskStatus::running;
          cell.resume_point.resume();
        } while (cell.status == TaskStatus::transfer);
        if constexpr (Observes<Scheduler>) {
          std::int64_t reading = C::now().time_since_epoch().count();
          bool stays = cell.status == TaskStatus::yielded || cell.status == TaskStatus::suspended;
          observe(owner, cell, std::chrono::nanoseconds{reading - control.stride_began_at}, !stays);
          dispose_of_turn(owner, cell);
          thread.task = nullptr;
          // What a task's end destroys is its queue's time as well.
          owner.end_stride(stays ? reading : C::now().time_since_epoch().count());
        } else {
          dispose_of_turn(owner, cell);
          thread.task = nullptr;
          if (control.until_reading == 0) owner.end_stride(C::now().time_since_epoch().count());
        }
      }
      if (owner.has_mail()) [[unlikely]]
        owner.drain_inbox_in_slice();
      if (control.attention != 0) return;
    }
  }

 protected:
  void destroy_scheduler() noexcept override { scheduler_.reset(); }

 private:
  void dispose_of_turn(Ring& owner, TaskCell& cell) noexcept {
    if (cell.status == TaskStatus::yielded) {
      cell.status = TaskStatus::runnable;
      ++runnable_tasks;
      try {
        scheduler_->push(detail_access::ref(cell));
      } catch (...) {
        owner.defer(cell, std::current_exception());
      }
    } else if (cell.status != TaskStatus::suspended || cell.flags != 0) {
      owner.settle(cell);
    }
  }

  void observe(Ring& owner, TaskCell& cell, std::chrono::nanoseconds ran, bool finished) noexcept {
    try {
      scheduler_->observe(detail_access::ref(cell), ran, finished);
    } catch (...) {
      owner.keep_exception(std::current_exception());
    }
  }

  /// What to do with a task that is not just to be resumed. True if it is, all the same.
  bool may_resume(Ring& owner, TaskCell& cell) noexcept {
    if (cell.has(ended_in_queue)) {
      owner.popped_after_end(cell);
      return false;
    }
    if (!cell.has(abort_requested)) return true;
    owner.unwind(cell);
    owner.end_task(cell);
    if constexpr (Observes<Scheduler>) {
      std::int64_t reading = C::now().time_since_epoch().count();
      observe(owner, cell, std::chrono::nanoseconds{reading - owner.control.stride_began_at}, true);
    }
    owner.leave_queue(cell);
    return false;
  }

  /// In order of arrival. Stops at the first that the scheduler throws at again.
  void push_deferred(Ring& owner) noexcept {
    TaskCell* oldest = owner.newest;
    while (oldest != nullptr && oldest->older != nullptr) oldest = oldest->older;
    for (TaskCell* cell = oldest; cell != nullptr && deferred_tasks != 0; cell = cell->newer) {
      if (cell->queue != this || !cell->has(deferred)) continue;
      try {
        scheduler_->push(detail_access::ref(*cell));
      } catch (...) {
        owner.keep_exception(std::current_exception());
        return;
      }
      cell->unset(deferred);
      --deferred_tasks;
    }
  }

  std::optional<Scheduler> scheduler_;
};

}  // namespace clockworker::detail
