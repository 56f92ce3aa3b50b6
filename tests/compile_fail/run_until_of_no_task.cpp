// expect: clockworker: run_until\(\) takes a Task, a JoinHandle, or a callable without arguments that returns a Task

#include <clockworker/clockworker.hpp>

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
#ifdef CLOCKWORKER_REPAIRED
  executor.run_until([]() -> clockworker::Task<> { co_return; });
#else
  executor.run_until([] {});
#endif
}
