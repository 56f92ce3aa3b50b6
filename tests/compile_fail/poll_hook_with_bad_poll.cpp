// expect: clockworker: poll_hook\(poll, wake\) needs a poll that can be called as poll\(clockworker::PollTimeout\)

#include <clockworker/clockworker.hpp>

int main() {
#ifdef CLOCKWORKER_REPAIRED
  auto host = clockworker::poll_hook([](clockworker::PollTimeout) {}, [] {});
#else
  auto host = clockworker::poll_hook([] {}, [] {});
#endif
}
