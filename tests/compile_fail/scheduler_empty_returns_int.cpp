// expect: clockworker: this TaskScheduler needs a member 'bool empty\(\) const'

#include <clockworker/clockworker.hpp>

struct Counts {
  void push(clockworker::TaskRef task) { only = task; }
  clockworker::TaskRef pop() { return only; }
#ifdef CLOCKWORKER_REPAIRED
  bool empty() const { return !only; }
#else
  int empty() const { return only ? 0 : 1; }
#endif
  clockworker::TaskRef only;
};

int main() { auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1, Counts{}).build(); }
