// expect: clockworker: spawn\(f, args...\) needs an f that can be called with these arguments

#include <clockworker/clockworker.hpp>

clockworker::Task<int> add(int a, int b) { co_return a + b; }

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
#ifdef CLOCKWORKER_REPAIRED
  auto handle = executor.queue(0).spawn(add, 1, 2);
#else
  auto handle = executor.queue(0).spawn(add, 1);
#endif
}
