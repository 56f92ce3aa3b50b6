// expect: clockworker: this TaskScheduler needs a member 'void push\(clockworker::TaskRef\)'

#include <clockworker/clockworker.hpp>

struct Silent {
#ifdef CLOCKWORKER_REPAIRED
  void push(clockworker::TaskRef task) { only = task; }
#endif
  clockworker::TaskRef pop() { return only; }
  bool empty() const { return !only; }
  clockworker::TaskRef only;
};

int main() { auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1, Silent{}).build(); }
