/// \file
/// Least attained service first, by powers of two.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include <clockworker/detail/attained_service.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker {

struct QuantizedLASOptions {
  /// Groups that have run for less than this are equals, as are those between once and twice this, twice and
  /// four times, and so on. Must be positive.
  std::chrono::nanoseconds quantum = std::chrono::microseconds{1};
  /// N: every N-th pop goes through the buckets that are not empty in turn, whatever their service, so that
  /// nothing starves. 0: none does.
  std::uint32_t aging = 0;
};

/// `LAS` with the service rounded to powers of two: the bucket of least service goes first, and the groups in
/// it take turns. A group goes to the back of its bucket when its first task becomes runnable, when one of
/// its tasks is taken and others wait, and when its service takes it to another bucket. Inside a group tasks
/// go first in, first out. A task in no group is a group of its own.
///
/// A multilevel feedback queue whose levels double (Corbató, Merwin-Daggett and Daley, "An Experimental
/// Time-Sharing System", 1962) and whose service is never forgotten. Against `LAS`: it does not tell apart
/// what differs by less than two, and its cost does not grow with the number of tasks.
///
/// A group's service moves its place at once, while tasks of it wait, too. It is kept in the group, and gone
/// with it; a task that moves to another queue starts from 0 there.
///
/// Everything is O(1), and nothing allocates or throws but the constructor. One thread: its executor's.
class QuantizedLAS {
 public:
  QuantizedLAS() noexcept = default;

  /// Throws std::invalid_argument if the quantum is not positive.
  explicit QuantizedLAS(QuantizedLASOptions options)
      : quantum_{static_cast<std::uint64_t>(options.quantum.count())}, aging_{options.aging} {
    if (options.quantum.count() <= 0) {
      throw std::invalid_argument("clockworker: QuantizedLAS: the quantum must be positive");
    }
  }

  void push(TaskRef task) noexcept {
    const GroupRef of = task.group();
    if (of.is_single()) {
      append(bucket_of(data(task).service), task);
      return;
    }
    Group& group = of.state<Group>();
    data(task).next_in_group = TaskRef{};
    if (group.first) {
      data(group.last).next_in_group = task;
      group.last = task;
    } else {
      group.first = group.last = task;
      append(bucket_of(group.service), task);
    }
  }

  TaskRef pop() noexcept {
    const unsigned bucket = next_bucket();
    const TaskRef task = buckets_[bucket].first;
    unlink(bucket, task);
    const GroupRef of = task.group();
    if (!of.is_single()) {
      Group& group = of.state<Group>();
      group.first = data(task).next_in_group;
      if (group.first) append(bucket, group.first);
    }
    return task;
  }

  [[nodiscard]] bool empty() const noexcept { return occupied_ == 0; }

  void observe(TaskRef task, std::chrono::nanoseconds ran, bool) noexcept {
    const GroupRef of = task.group();
    if (of.is_single()) {
      data(task).service = detail::add_service(data(task).service, ran);
      return;
    }
    Group& group = of.state<Group>();
    const unsigned before = bucket_of(group.service);
    group.service = detail::add_service(group.service, ran);
    const unsigned after = bucket_of(group.service);
    if (!group.first || after == before) return;
    unlink(before, group.first);
    append(after, group.first);
  }

 private:
  /// In the task.
  struct Data {
    union {
      std::uint64_t service;  // of a task in no group
      TaskRef next_in_group;  // of one in a group, while it waits
    };
    TaskRef previous;  // neighbours in the bucket, while it stands in one
    TaskRef next;
  };

  /// In the group.
  struct Group {
    std::uint64_t service;
    TaskRef first;  // waiting tasks of the group; the first one, and only it, stands in a bucket. Null: none
                    // waits
    TaskRef last;   // valid while `first` is not null
  };

  struct Bucket {
    TaskRef first;  // valid while the bucket's bit in `occupied_` is set
    TaskRef last;
  };

  static constexpr unsigned bucket_count = 64;
  static_assert(std::bit_width(detail::greatest_service) < bucket_count);

  static Data& data(TaskRef task) noexcept { return task.state<Data>(); }
  static constexpr std::uint64_t bit(unsigned bucket) noexcept { return std::uint64_t{1} << bucket; }

  /// 0 below one quantum, k + 1 from 2^k quanta on; without a division.
  [[nodiscard]] unsigned bucket_of(std::uint64_t service) const noexcept {
    const auto doublings =
        static_cast<int>(std::bit_width(service)) - static_cast<int>(std::bit_width(quantum_));
    if (doublings < 0) return 0;
    const auto k = static_cast<unsigned>(doublings);
    return service >= quantum_ << k ? k + 1 : k;
  }

  /// Precondition: not empty.
  unsigned next_bucket() noexcept {
    const auto least = static_cast<unsigned>(std::countr_zero(occupied_));
    if (aging_ == 0 || ++pops_since_aged_ < aging_) return least;
    pops_since_aged_ = 0;
    const std::uint64_t above = occupied_ & ~((bit(aged_bucket_) << 1U) - 1);
    aged_bucket_ = static_cast<unsigned>(std::countr_zero(above != 0 ? above : occupied_));
    return aged_bucket_;
  }

  void append(unsigned at, TaskRef task) noexcept {
    Bucket& bucket = buckets_[at];
    data(task).next = TaskRef{};
    if ((occupied_ & bit(at)) != 0) {
      data(task).previous = bucket.last;
      data(bucket.last).next = task;
    } else {
      occupied_ |= bit(at);
      data(task).previous = TaskRef{};
      bucket.first = task;
    }
    bucket.last = task;
  }

  void unlink(unsigned at, TaskRef task) noexcept {
    Bucket& bucket = buckets_[at];
    const TaskRef previous = data(task).previous;
    const TaskRef next = data(task).next;
    (previous ? data(previous).next : bucket.first) = next;
    (next ? data(next).previous : bucket.last) = previous;
    if (!bucket.first) occupied_ &= ~bit(at);
  }

  std::array<Bucket, bucket_count> buckets_;
  std::uint64_t occupied_ = 0;  // bit b: a group stands in buckets_[b]
  std::uint64_t quantum_ = 1000;
  std::uint32_t aging_ = 0;
  std::uint32_t pops_since_aged_ = 0;
  unsigned aged_bucket_ = bucket_count - 1;  // the one that aging took from last
};

static_assert(TaskScheduler<QuantizedLAS>);

}  // namespace clockworker
