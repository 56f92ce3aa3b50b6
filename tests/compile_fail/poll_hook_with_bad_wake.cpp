// expect: clockworker: poll_hook\(poll, wake\) needs a wake that can be called as wake\(\)

#include <clockworker/clockworker.hpp>

int main() {
#ifdef CLOCKWORKER_REPAIRED
  auto host = clockworker::poll_hook([](clockworker::PollTimeout) {}, [] {});
#else
  auto host = clockworker::poll_hook([](clockworker::PollTimeout) {}, [](int) {});
#endif
}
