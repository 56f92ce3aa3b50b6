/// \file
/// Least attained service first.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <clockworker/detail/attained_service.hpp>
#include <clockworker/detail/quad_heap.hpp>
#include <clockworker/detail/wait_list.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker {

struct LASOptions {
  /// N: every N-th pop takes the task that has been runnable longest, so that nothing starves. 0: none does.
  std::uint32_t aging = 0;
};

/// Least attained service, also known as foreground-background: the group that has run least so far goes
/// first, and of groups that have run equally long the one whose first task became runnable earlier. Inside a
/// group tasks go first in, first out. A task in no group is a group of its own.
///
/// Short work overtakes long work without anybody saying how long it will be. Among the orders that do not
/// know sizes beforehand it gives the least mean time to completion when sizes vary much (Kleinrock,
/// "Queueing Systems II", 1976, section 4.6; Nuyens and Wierman, "The Foreground-Background queue: a survey",
/// 2008). The price: a long task waits for as long as younger ones come; see `LASOptions::aging`.
///
/// A group's service moves its place at once, while tasks of it wait, too. It is kept in the group, and gone
/// with it; a task that moves to another queue starts from 0 there.
///
/// Push, pop and observe are O(log n) in the groups with runnable tasks; O(1) for the first task when it
/// yields and is still the first. One thread: its executor's. Allocates in `reserve` only; a push beyond what
/// was reserved may throw `std::bad_alloc`, and has then done nothing.
class LAS {
 public:
  LAS() noexcept = default;
  explicit LAS(LASOptions options) noexcept : options_{options} {}

  void push(TaskRef task) {
    heap_.reserve(heap_.size() + 1);
    if (aging()) {
      waiting_.reserve(waiting_.size() + 1);
      data(task).waits_at = waiting_.push_back(task);
    }
    const std::uint64_t turn = next_turn_++;
    const GroupRef group = task.group();
    if (group.is_single()) {
      heap_.push(Entry{data(task).service, turn, aging(), task});
    } else {
      push_grouped(task, group.state<Group>(), turn);
    }
  }

  TaskRef pop() noexcept {
    const Entry first = heap_.top();
    if (aging() && ++pops_since_aged_ >= options_.aging) {
      pops_since_aged_ = 0;
      return take(waiting_.front());
    }
    if (first.tracked()) return take(first.task);
    heap_.pop();
    return first.task;
  }

  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }

  void observe(TaskRef task, std::chrono::nanoseconds ran, bool) noexcept {
    const GroupRef of = task.group();
    if (of.is_single()) {
      data(task).service = detail::add_service(data(task).service, ran);
      return;
    }
    Group& group = of.state<Group>();
    group.service = detail::add_service(group.service, ran);
    if (group.first) heap_.delay(data(group.first).heap_index, entry_of(group));
  }

  void reserve(std::size_t live) {
    heap_.reserve(live);
    if (aging()) waiting_.reserve(live);
  }

 private:
  /// In the task.
  struct Data {
    union {
      std::uint64_t service;  // of a task in no group
      std::uint64_t turn;     // of one in a group, while it waits
    };
    TaskRef next;                      // of one in a group: the next waiting one of the group
    std::uint32_t heap_index;          // while it stands in the heap, and if its entry is tracked
    detail::WaitList::Place waits_at;  // while it waits, and with aging
  };

  /// In the group.
  struct Group {
    std::uint64_t service;
    TaskRef first;  // waiting tasks of the group; the first one, and only it, stands in the heap. Null: none
                    // waits
    TaskRef last;
  };

  /// A group with runnable tasks. Tracked are those that may have to be found in the heap: real groups, as
  /// their service grows while they wait, and with aging everyone. For the others a move in the heap does not
  /// touch the task's memory.
  class Entry {
   public:
    Entry(std::uint64_t service, std::uint64_t turn, bool tracked, TaskRef first) noexcept
        : task{first}, service_{service}, turn_and_tracked_{turn << 1U | (tracked ? 1U : 0U)} {}

    [[nodiscard]] bool before(const Entry& other) const noexcept {
      // As a subtraction of two words would borrow: no jump, as it could not be foretold which way it goes.
      const std::uint64_t borrow = turn_and_tracked_ < other.turn_and_tracked_ ? 1 : 0;
      return service_ < other.service_ + borrow;  // does not overflow: service stays below 2^63
    }
    void placed(std::size_t at) const noexcept {
      if (tracked()) data(task).heap_index = static_cast<std::uint32_t>(at);
    }
    [[nodiscard]] bool tracked() const noexcept { return (turn_and_tracked_ & 1U) != 0; }

    TaskRef task;  // the group's first

   private:
    std::uint64_t service_;
    std::uint64_t turn_and_tracked_;
  };

  static Data& data(TaskRef task) noexcept { return task.state<Data>(); }
  static Entry entry_of(const Group& group) noexcept {
    return Entry{group.service, data(group.first).turn, true, group.first};
  }

  [[nodiscard]] bool aging() const noexcept { return options_.aging != 0; }

  void push_grouped(TaskRef task, Group& group, std::uint64_t turn) noexcept {
    data(task).turn = turn;
    data(task).next = TaskRef{};
    if (group.first) {
      data(group.last).next = task;
      group.last = task;
    } else {
      group.first = group.last = task;
      heap_.push(entry_of(group));
    }
  }

  /// The task stands in the heap, tracked, with its root not vacant. Being the one that waits longest, or the
  /// first of the heap, it is the first of its group.
  TaskRef take(TaskRef task) noexcept {
    if (aging()) waiting_.erase(data(task).waits_at);
    const GroupRef of = task.group();
    const std::uint32_t at = data(task).heap_index;
    if (of.is_single()) {
      remove(at);
      return task;
    }
    Group& group = of.state<Group>();
    group.first = data(task).next;
    if (group.first) {
      heap_.delay(at, entry_of(group));
    } else {
      remove(at);
    }
    return task;
  }

  void remove(std::uint32_t at) noexcept {
    if (at == 0) {
      heap_.pop();
    } else {
      heap_.erase(at);
    }
  }

  detail::QuadHeap<Entry> heap_;
  detail::WaitList waiting_;  // with aging: all runnable tasks
  std::uint64_t next_turn_ = 0;
  std::uint32_t pops_since_aged_ = 0;
  LASOptions options_;
};

static_assert(TaskScheduler<LAS>);

}  // namespace clockworker
