// expect: clockworker: group\(id\) needs an id that std::hash can hash, or a text

#include <clockworker/clockworker.hpp>

struct Id {};

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
#ifdef CLOCKWORKER_REPAIRED
  auto group = executor.queue(0).group("id");
#else
  auto group = executor.queue(0).group(Id{});
#endif
}
