#include "all_headers.hpp"

int answer_of_second();

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int answer = executor.run_until([]() -> clockworker::Task<int> {
    co_await clockworker::yield_now();
    co_return 42;
  });
  return answer == 42 && answer_of_second() == 42 ? 0 : 1;
}
