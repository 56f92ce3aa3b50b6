// Work that is nobody's resume: the time of deliveries, and of a scheduler that throws.
#include <clockworker/clockworker.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "catch.hpp"

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto one_queue() { return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(0, 1).build(); }

}  // namespace

TEST_CASE("Deliveries: the time of many is charged to no queue", "[remote]") {
  auto executor = one_queue();
  cw::Remote remote = executor.remote();
  constexpr int many = 100;
  int ran = 0;
  for (int i = 0; i < many; ++i) {
    static_cast<void>(remote.spawn(0, [&]() -> cw::Task<> {
      cw::ManualClock::advance(1ms);
      return [](int& count) -> cw::Task<> {
        ++count;
        co_return;
      }(ran);
    }));
  }
  executor.run_until_idle();
  CHECK(ran == many);
  CHECK(executor.stats(0).service == 0ns);
}

namespace {

/// A scheduler that cannot be pushed to.
struct Refuses {
  void push(cw::TaskRef) {
    cw::ManualClock::advance(10us);
    throw std::string{"no room"};
  }
  cw::TaskRef pop() { return {}; }
  [[nodiscard]] bool empty() const { return true; }
};

}  // namespace

TEST_CASE("A queue whose scheduler only throws pays for its time, and does not starve the others",
          "[scheduler]") {
  auto executor =
      cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(0, 1).with_queue(1, 1, Refuses{}).build();
  int steps = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; steps < 100; ++steps) {
      cw::ManualClock::advance(10us);
      co_await cw::yield_now();
    }
    executor.stop();
  });
  // Its push throws at the spawn, so nothing is spawned there; a task that moves over is kept.
  executor.queue(0).spawn([&]() -> cw::Task<> { co_await cw::switch_to(executor.queue(1)); });
  int thrown = 0;
  for (; thrown < 10'000 && steps < 100; ++thrown) {
    try {
      executor.run();
    } catch (const std::string&) {
    }
  }
  CHECK(steps == 100);
}
