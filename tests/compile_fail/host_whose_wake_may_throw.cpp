// expect: clockworker: this host needs a member 'void wake\(\) noexcept'

#include <clockworker/clockworker.hpp>

struct Host {
  void poll(clockworker::PollTimeout) {}
#ifdef CLOCKWORKER_REPAIRED
  void wake() noexcept {}
#else
  void wake() {}
#endif
};

int main() {
  Host host;
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
  executor.run_until_idle(host);
}
