// expect: clockworker: spawn\(f, args...\) needs an f that can be called with these arguments

#include <clockworker/clockworker.hpp>

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
#ifdef CLOCKWORKER_REPAIRED
  auto handle = executor.queue(0).spawn([]() -> clockworker::Task<int> { co_return 1; });
#else
  auto handle = executor.queue(0).spawn([] { return 1; });
#endif
}
