// Other threads hand work to the executor's thread and wait for its result. What lives there needs no lock.
#include <clockworker/clockworker.hpp>

#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace cw = clockworker;

// Not thread-safe, and need not be: only tasks of one executor touch it; they give way only at a co_await.
class Stock {
 public:
  void deliver(const std::string& item, int count) { items_[item] += count; }
  int take(const std::string& item, int count) {
    const auto found = items_.find(item);
    if (found == items_.end()) throw std::out_of_range{"no such item: " + item};
    if (found->second < count) return 0;
    found->second -= count;
    return count;
  }

 private:
  std::map<std::string, int> items_;
};

int main() {
  Stock stock;
  stock.deliver("apple", 1000);

  auto executor = cw::ExecutorBuilder<std::string>{}
                      .with_queue("orders", 10)
                      // What a task throws goes to its handle alone. By default run() would throw it, too.
                      .with_exception_policy(cw::ExceptionPolicy::capture)
                      .build();
  const cw::Remote remote = executor.remote();  // for any thread; harmless when the executor is gone

  // Runs on the executor's thread; it and its arguments are copied there and live as long as the task.
  const auto order = [&](std::string item, int count) -> cw::Task<int> { co_return stock.take(item, count); };

  std::thread executor_thread{[&] { executor.run(); }};  // until stop()

  int sold[4] = {};
  std::vector<std::thread> clerks;
  for (int& mine : sold) {
    clerks.emplace_back([&mine, &order, remote] {
      for (int i = 0; i < 100; ++i) {
        cw::RemoteHandle<int> handle = remote.spawn("orders", order, "apple", 3);
        mine += handle.get().value();  // blocks this thread until the task has ended
      }
    });
  }
  for (std::thread& clerk : clerks) clerk.join();
  std::printf("sold %d apples\n", sold[0] + sold[1] + sold[2] + sold[3]);

  cw::RemoteHandle<int> wrong = remote.spawn("orders", order, "unicorn", 1);
  try {
    std::printf("%d\n", wrong.get().value());
  } catch (const std::out_of_range& error) {
    std::printf("refused: %s\n", error.what());
  }

  remote.stop();
  executor_thread.join();
}
