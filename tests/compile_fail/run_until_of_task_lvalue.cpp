// expect: clockworker: run_until\(\) takes a Task by move: std::move\(task\)

#include <clockworker/clockworker.hpp>

#include <utility>

clockworker::Task<> nothing() { co_return; }

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto task = nothing();
#ifdef CLOCKWORKER_REPAIRED
  executor.run_until(std::move(task));
#else
  executor.run_until(task);
#endif
}
