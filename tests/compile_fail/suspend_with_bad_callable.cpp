// expect: clockworker: suspend\(f\) needs an f that can be called as f\(clockworker::Waker\)

#include <clockworker/clockworker.hpp>

clockworker::Task<> waits() {
#ifdef CLOCKWORKER_REPAIRED
  co_await clockworker::suspend([](clockworker::Waker waker) { waker.wake(); });
#else
  co_await clockworker::suspend([] {});
#endif
}

int main() { auto task = waits(); }
