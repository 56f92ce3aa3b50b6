// expect: clockworker: a TaskScheduler must be movable: with_queue\(\) takes it by value

#include <clockworker/clockworker.hpp>

struct Fixed {
  Fixed() = default;
#ifdef CLOCKWORKER_REPAIRED
  Fixed(Fixed&&) = default;
  Fixed& operator=(Fixed&&) = default;
#else
  Fixed(const Fixed&) = delete;
#endif
  void push(clockworker::TaskRef task) { only = task; }
  clockworker::TaskRef pop() { return only; }
  bool empty() const { return !only; }
  clockworker::TaskRef only;
};

int main() { auto executor = clockworker::ExecutorBuilder<>{}.with_queue<Fixed>(0, 1).build(); }
