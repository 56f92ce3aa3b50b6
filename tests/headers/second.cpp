#include "all_headers.hpp"

int answer_of_second();

int answer_of_second() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
  return executor.run_until([]() -> clockworker::Task<int> {
    co_await clockworker::yield_now();
    co_return 42;
  });
}
