// A scheduler of one's own: earliest deadline first. Each kind of task, told by its name, has a patience and
// a budget. A task's deadline is its arrival plus its patience, and each time it has used more than its
// budget, it moves on by as much again: a task that runs longer than was said is late itself, before others.
#include <clockworker/clockworker.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cw = clockworker;
using namespace std::chrono_literals;

struct Kind {
  std::chrono::nanoseconds patience, budget;  // both positive
};

class EarliestDeadlineFirst {
 public:
  explicit EarliestDeadlineFirst(std::map<std::string, Kind, std::less<>> kinds) : kinds_{std::move(kinds)} {}

  // These three make a TaskScheduler: this task has become runnable; which one is next? Is there one?
  void push(cw::TaskRef task) {
    if (task.state<Data>().kind == nullptr) start(task);
    heap_.push_back(task);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  cw::TaskRef pop() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const cw::TaskRef task = heap_.back();
    heap_.pop_back();
    return task;
  }
  bool empty() const { return heap_.empty(); }

  // Optional, called at each spawn: what can throw does it here, and fails that spawn; no push throws then.
  void reserve(std::size_t live) {
    if (live > heap_.capacity()) heap_.reserve(std::max(live, 2 * heap_.capacity()));
  }
  // Optional, called after each resume, with the task not in the heap. Makes the executor time each of them.
  void observe(cw::TaskRef task, std::chrono::nanoseconds ran, bool /*finished*/) {
    Data& data = task.state<Data>();
    data.budget_left -= ran;
    for (; data.budget_left < 0ns; data.budget_left += data.kind->budget) {
      data.deadline += data.kind->patience;
    }
  }

 private:
  struct Data {  // lies in the task: up to 24 bytes for its scheduler, zero at first
    const Kind* kind;
    cw::TimePoint deadline;
    std::chrono::nanoseconds budget_left;
  };
  void start(cw::TaskRef task) const {
    const auto found = kinds_.find(task.name());
    const Kind& kind = found == kinds_.end() ? others : found->second;
    task.state<Data>() = {&kind, task.arrived_at() + kind.patience, kind.budget};
  }
  static bool later(cw::TaskRef a, cw::TaskRef b) {
    return std::pair{a.state<Data>().deadline, a.id()} > std::pair{b.state<Data>().deadline, b.id()};
  }

  static constexpr Kind others{1s, 1ms};
  std::map<std::string, Kind, std::less<>> kinds_;
  std::vector<cw::TaskRef> heap_;
};

// On a clock that moves only when it is told to: every run of this program is the same.
cw::Task<> work(const char* what, int milliseconds) {
  for (int i = 0; i < milliseconds; ++i) {
    cw::ManualClock::advance(1ms);
    co_await cw::yield_now();
  }
  std::printf("%2d ms: %s\n", static_cast<int>(cw::ManualClock::now().time_since_epoch() / 1ms), what);
}

int main() {
  EarliestDeadlineFirst scheduler{{{"alarm", {10ms, 2ms}}, {"frame", {16ms, 8ms}}}};
  auto executor = cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(0, 1, std::move(scheduler)).build();
  auto queue = executor.queue(0);
  queue.spawn(work, "report", 12);
  queue.named("alarm").spawn(work, "alarm that takes ten times its budget", 20);
  queue.named("frame").spawn(work, "frame, due at 16 ms", 4);
  queue.named("alarm").spawn(work, "alarm, due at 10 ms", 2);
  executor.run_until_idle();
}
