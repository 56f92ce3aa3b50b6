#pragma once

#include <clockworker/task_scheduler.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <vector>

/// What each scheduler should do, by the plainest means.
namespace clockworker_test {

using clockworker::TaskRef;

class RunnableFifoModel {
 public:
  void push(TaskRef task) { tasks_.push_back(task); }
  TaskRef pop() {
    TaskRef task = tasks_.front();
    tasks_.pop_front();
    return task;
  }
  void observe(TaskRef, std::chrono::nanoseconds) {}
  std::size_t size() const { return tasks_.size(); }

 private:
  std::deque<TaskRef> tasks_;
};

class ArrivalFifoModel {
 public:
  void push(TaskRef task) { tasks_[task.id()] = task; }
  TaskRef pop() {
    TaskRef task = tasks_.begin()->second;
    tasks_.erase(tasks_.begin());
    return task;
  }
  void observe(TaskRef, std::chrono::nanoseconds) {}
  std::size_t size() const { return tasks_.size(); }

 private:
  std::map<std::uint64_t, TaskRef> tasks_;
};

/// The service of groups, by their ids.
class ServiceModel {
 public:
  std::uint64_t of(TaskRef task) { return services_[task.group().id()]; }
  void add(TaskRef task, std::chrono::nanoseconds ran) {
    std::uint64_t& service = services_[task.group().id()];
    service += static_cast<std::uint64_t>(ran.count());
    service = std::min<std::uint64_t>(service, std::numeric_limits<std::int64_t>::max());
  }

 private:
  std::map<std::uint64_t, std::uint64_t> services_;
};

/// The runnable tasks in the order of their pushes; the first of those with the least service goes.
class LasModel {
 public:
  explicit LasModel(std::uint32_t aging) : aging_{aging} {}

  void push(TaskRef task) { tasks_.push_back(task); }
  TaskRef pop() {
    auto next = tasks_.begin();
    if (aging_ == 0 || ++pops_ % aging_ != 0) {
      next = std::min_element(tasks_.begin(), tasks_.end(),
                              [&](TaskRef a, TaskRef b) { return service_.of(a) < service_.of(b); });
    }
    TaskRef task = *next;
    tasks_.erase(next);
    return task;
  }
  void observe(TaskRef task, std::chrono::nanoseconds ran) { service_.add(task, ran); }
  std::size_t size() const { return tasks_.size(); }

 private:
  std::uint32_t aging_;
  std::uint32_t pops_ = 0;
  ServiceModel service_;
  std::vector<TaskRef> tasks_;
};

/// One list of all groups with runnable tasks, in the order in which they came to the back of their buckets.
class QuantizedLasModel {
 public:
  QuantizedLasModel(std::uint64_t quantum, std::uint32_t aging) : quantum_{quantum}, aging_{aging} {}

  void push(TaskRef task) {
    std::deque<TaskRef>& waiting = waiting_[task.group().id()];
    waiting.push_back(task);
    if (waiting.size() == 1) order_.push_back(task);
    ++size_;
  }
  TaskRef pop() {
    int bucket = least_bucket();
    if (aging_ != 0 && ++pops_ % aging_ == 0) {
      do {
        aged_bucket_ = (aged_bucket_ + 1) % 64;
      } while (std::none_of(order_.begin(), order_.end(), [&](TaskRef of) { return bucket_of(of) == aged_bucket_; }));
      bucket = aged_bucket_;
    }
    auto first = std::find_if(order_.begin(), order_.end(), [&](TaskRef of) { return bucket_of(of) == bucket; });
    const TaskRef task = *first;
    order_.erase(first);
    std::deque<TaskRef>& waiting = waiting_[task.group().id()];
    waiting.pop_front();
    if (!waiting.empty()) order_.push_back(waiting.front());
    --size_;
    return task;
  }
  void observe(TaskRef task, std::chrono::nanoseconds ran) {
    const int before = bucket_of(task);
    service_.add(task, ran);
    if (bucket_of(task) == before) return;
    auto at = std::find_if(order_.begin(), order_.end(), [&](TaskRef of) { return of.group() == task.group(); });
    if (at == order_.end()) return;
    const TaskRef first = *at;
    order_.erase(at);
    order_.push_back(first);
  }
  std::size_t size() const { return size_; }

 private:
  int bucket_of(TaskRef task) {
    return static_cast<int>(std::bit_width(service_.of(task) / quantum_));
  }
  int least_bucket() {
    int least = 63;
    for (TaskRef of : order_) least = std::min(least, bucket_of(of));
    return least;
  }

  std::uint64_t quantum_;
  std::uint32_t aging_;
  std::uint32_t pops_ = 0;
  int aged_bucket_ = 63;
  std::size_t size_ = 0;
  ServiceModel service_;
  std::map<std::uint64_t, std::deque<TaskRef>> waiting_;
  std::vector<TaskRef> order_;
};

}  // namespace clockworker_test
