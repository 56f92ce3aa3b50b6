// expect: clockworker: spawn\(f, args...\): a parameter of f is a reference to another type

#include <clockworker/clockworker.hpp>

#include <functional>
#include <string>

clockworker::Task<> print(const std::string& text, int& count, const long& by_value) {
  count += static_cast<int>(text.size()) + static_cast<int>(by_value);
  co_return;
}

int main() {
  auto executor = clockworker::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int count = 0;
#ifdef CLOCKWORKER_REPAIRED
  auto handle = executor.queue(0).spawn(print, std::string{"text"}, std::ref(count), 1L);
#else
  auto handle = executor.queue(0).spawn(print, "text", std::ref(count), 1L);
#endif
}
