// expect: clockworker: this TaskScheduler has an 'observe', but not 'void observe\(clockworker::TaskRef, std::chrono::nanoseconds ran, bool finished\)'

#include <clockworker/clockworker.hpp>

#include <chrono>

struct Observes {
  void push(clockworker::TaskRef task) { only = task; }
  clockworker::TaskRef pop() { return only; }
  bool empty() const { return !only; }
#ifdef CLOCKWORKER_REPAIRED
  void observe(clockworker::TaskRef, std::chrono::nanoseconds, bool) {}
#else
  void observe(clockworker::TaskRef, bool) {}  // would be passed over in silence
#endif
  clockworker::TaskRef only;
};

int main() { auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1, Observes{}).build(); }
