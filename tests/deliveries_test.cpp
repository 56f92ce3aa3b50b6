// Work that is nobody's resume: deliveries, their time and order, and a scheduler that throws.
#include <clockworker/clockworker.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "catch.hpp"

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto one_queue() { return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(0, 1).build(); }

}  // namespace

TEST_CASE("Deliveries: however much is posted, all of it runs before the executor counts as idle",
          "[remote]") {
  auto executor = one_queue();
  cw::Remote remote = executor.remote();
  std::vector<int> ran;
  for (int i = 0; i < 1000; ++i) {
    static_cast<void>(remote.spawn(0, [&ran, i]() -> cw::Task<> {
      ran.push_back(i);
      co_return;
    }));
  }
  executor.run_until_idle();
  REQUIRE(ran.size() == 1000);
  CHECK(std::is_sorted(ran.begin(), ran.end()));
}

TEST_CASE("Deliveries: however much is posted, timers and the host have their turns in between", "[remote]") {
  auto executor = cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(0, 1).build();
  cw::Remote remote = executor.remote();
  int delivered = 0;
  for (int i = 0; i < 10'000; ++i) {
    static_cast<void>(remote.spawn(0, [&]() -> cw::Task<> {
      ++delivered;
      cw::ManualClock::advance(1us);
      return []() -> cw::Task<> { co_return; }();
    }));
  }
  int delivered_at_wake = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    delivered_at_wake = delivered;
  });
  std::vector<int> delivered_at_polls;
  auto host = cw::poll_hook([&](cw::PollTimeout) { delivered_at_polls.push_back(delivered); }, [] {});
  executor.run_until_idle(host);
  CHECK(delivered == 10'000);
  CHECK(delivered_at_wake < 5000);
  REQUIRE(delivered_at_polls.size() > 5);
  CHECK(delivered_at_polls[0] < 2000);
}

TEST_CASE("Deliveries: a turn in which more is posted than its time allows runs tasks as well", "[remote]") {
  auto executor = one_queue();
  cw::Remote remote = executor.remote();
  int ran = 0;
  for (int i = 0; i < 100; ++i) {
    static_cast<void>(remote.spawn(0, [&]() -> cw::Task<> {
      cw::ManualClock::advance(1ms);
      return [](int& count) -> cw::Task<> {
        ++count;
        co_return;
      }(ran);
    }));
  }
  cw::Progress progress = executor.run_ready({.time = 5ms});
  CHECK(ran > 0);
  CHECK(ran < 100);
  CHECK(progress.runnable);
  for (int turns = 0; turns < 1000 && progress.runnable; ++turns)
    progress = executor.run_ready({.time = 5ms});
  CHECK(ran == 100);
}

TEST_CASE("Deliveries: what is left of them when the executor goes is cancelled", "[remote]") {
  std::vector<cw::RemoteHandle<>> handles;
  {
    auto executor = one_queue();
    cw::Remote remote = executor.remote();
    for (int i = 0; i < 100; ++i) {
      handles.push_back(remote.spawn(0, [&executor]() -> cw::Task<> {
        executor.stop();
        co_await cw::sleep_for(1h);
      }));
    }
    executor.run();
    CHECK(executor.stats().live_tasks < 100);
  }
  for (cw::RemoteHandle<>& handle : handles) CHECK(handle.get().error().code() == cw::JoinErrc::cancelled);
}

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

TEST_CASE("A stop from the host's poll wakes the host, which may go on to sleep in that poll", "[stop]") {
  auto executor = one_queue();
  int wakes = 0;
  auto host = cw::poll_hook([&](cw::PollTimeout) { executor.stop(); }, [&] { ++wakes; });
  executor.run(host);
  CHECK(wakes == 1);
}
