// expect: clockworker: Task<T&&> would return a reference to a dead frame's value

#include <clockworker/clockworker.hpp>

#include <utility>

#ifdef CLOCKWORKER_REPAIRED
clockworker::Task<int> gives() { co_return 1; }
#else
clockworker::Task<int&&> gives() {
  int value = 1;
  co_return std::move(value);
}
#endif

int main() { auto task = gives(); }
