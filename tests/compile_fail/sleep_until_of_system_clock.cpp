// expect: clockworker: sleep_until\(\) takes a clockworker::TimePoint, which is a time_point of std::chrono::steady_clock

#include <clockworker/clockworker.hpp>

#include <chrono>

clockworker::Task<> sleeps() {
#ifdef CLOCKWORKER_REPAIRED
  co_await clockworker::sleep_until(std::chrono::steady_clock::now());
#else
  co_await clockworker::sleep_until(std::chrono::system_clock::now());
#endif
}

int main() { auto task = sleeps(); }
