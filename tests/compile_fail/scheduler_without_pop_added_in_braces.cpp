// expect: clockworker: this TaskScheduler needs a member 'clockworker::TaskRef pop\(\)'

#include <clockworker/clockworker.hpp>

struct Hoarder {
  void push(clockworker::TaskRef task) { only = task; }
#ifdef CLOCKWORKER_REPAIRED
  clockworker::TaskRef pop() { return only; }
#endif
  bool empty() const { return !only; }
  clockworker::TaskRef only;
};

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
  executor.add_queue(1, {.weight = 2}, Hoarder{});
}
