// expect: clockworker: this cannot be awaited in a Task: it needs await_ready\(\), await_suspend\(std::coroutine_handle<>\) and await_resume\(\)

#include <clockworker/clockworker.hpp>

struct NoAwaitable {};

clockworker::Task<> waits() {
#ifdef CLOCKWORKER_REPAIRED
  co_await clockworker::yield_now();
#else
  co_await NoAwaitable{};
#endif
}

int main() { auto task = waits(); }
