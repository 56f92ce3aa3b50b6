/// \file
/// Runnable tasks in the order in which they became so, with room made beforehand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <clockworker/task_scheduler.hpp>

namespace clockworker::detail {

/// A doubly linked list in one array, for what does not fit into a task's own 24 bytes. Everything is O(1);
/// room is made by `reserve` alone, nothing else allocates or throws.
class WaitList {
 public:
  /// Where a task stands in the list: valid until it is erased.
  using Place = std::uint32_t;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Makes room for `count` tasks. Throws std::bad_alloc and then has done nothing.
  void reserve(std::size_t count) {
    if (count + 1 > slots_.capacity()) slots_.reserve(std::max(count + 1, 2 * slots_.capacity()));
    if (slots_.empty()) slots_.push_back(Slot{TaskRef{}, 0, 0});
  }

  /// Precondition: there is room.
  Place push_back(TaskRef task) noexcept {
    Place place = free_;
    if (place != ends) {
      free_ = slots_[place].next;
    } else {
      place = static_cast<Place>(slots_.size());
      slots_.push_back(Slot{});
    }
    const Place last = slots_[ends].previous;
    slots_[place] = Slot{task, last, ends};
    slots_[last].next = place;
    slots_[ends].previous = place;
    ++size_;
    return place;
  }

  void erase(Place place) noexcept {
    const Slot gone = slots_[place];
    slots_[gone.previous].next = gone.next;
    slots_[gone.next].previous = gone.previous;
    slots_[place].next = free_;
    free_ = place;
    --size_;
  }

  /// Precondition: not empty.
  [[nodiscard]] TaskRef front() const noexcept { return slots_[slots_[ends].next].task; }

 private:
  struct Slot {
    TaskRef task;
    Place previous = 0;
    Place next = 0;  // of a free slot: the next free one
  };

  static constexpr Place ends = 0;  // slot 0 closes the ring: after the last, before the first

  std::vector<Slot> slots_;
  Place free_ = ends;  // `ends`: none
  std::size_t size_ = 0;
};

}  // namespace clockworker::detail
