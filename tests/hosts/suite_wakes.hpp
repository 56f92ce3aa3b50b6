/// \file
/// The suite over all hosts: wakes, timers, and idleness.
#pragma once

#include "suite_world.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>
#include <vector>

namespace clockworker_test {

TEMPLATE_TEST_CASE("Host: tasks of both queues run to their ends, sleeping and yielding", "[hosts]", AsHost,
                   AsGuest) {
  World<TestType> world;
  int left = 20;
  int steps = 0;
  for (int i = 0; i < 20; ++i) {
    world.spawn(i % 2 == 0 ? foreground : background, [&, i]() -> cw::Task<> {
      for (int step = 0; step < 10; ++step) {
        ++steps;
        if ((step + i) % 3 == 0) co_await cw::sleep_for(1ms);
        co_await cw::yield_now();
      }
      if (--left == 0) world.finish();
    });
  }
  world.run();
  CHECK(steps == 200);
  CHECK(world.executor.stats().live_tasks <= 1);  // the last one may not have been cleared away
}

TEMPLATE_TEST_CASE("Host: sleeps end in the order of their deadlines and never early", "[hosts]", AsHost,
                   AsGuest) {
  World<TestType> world;
  std::vector<int> order;
  int early = 0;
  for (int i : {3, 1, 4, 0, 2}) {
    world.spawn(foreground, [&, i]() -> cw::Task<> {
      const auto due = world.executor.now() + i * 7ms + 300us;
      co_await cw::sleep_until(due);
      if (world.executor.now() < due) ++early;
      order.push_back(i);
      if (order.size() == 5) world.finish();
    });
  }
  world.run();
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(early == 0);
}

TEMPLATE_TEST_CASE("Host: an idle second costs no CPU", "[hosts]", AsHost, AsGuest) {
  World<TestType> world;
  Pipe silent;
  world.loop.on_readable(silent.reading(), [] {});
  world.spawn(background, [&]() -> cw::Task<> { co_await world.loop.wait_for_ever(); });
  world.spawn(background, []() -> cw::Task<> { co_await cw::sleep_for(std::chrono::hours::max()); });
  world.spawn(background, []() -> cw::Task<> { co_await cw::sleep_for(24h * 365); });
  nanoseconds used{};
  world.spawn(foreground, [&]() -> cw::Task<> {
    co_await cw::sleep_for(20ms);  // the start is over
    const nanoseconds before = cpu_time();
    co_await cw::sleep_for(1s);
    used = cpu_time() - before;
    world.finish();
  });
  world.run();
  CHECK(used < 30ms);  // a loop that spins takes about 1 s
}

// A host that rounds timeouts down comes back early over and over until the deadline.
TEST_CASE("Host: a short sleep is a few polls", "[hosts]") {
  World<AsHost> world;
  constexpr int sleeps = 200;
  world.spawn(foreground, [&]() -> cw::Task<> {
    for (int i = 0; i < sleeps; ++i) co_await cw::sleep_for(300us);
    world.finish();
  });
  world.run();
  CHECK(world.executor.stats().host_polls <= 4 * sleeps);
}

// The same for a guest, seen by its turns: each makes the executor look for something to run.
TEST_CASE("Guest: a short sleep costs little CPU", "[hosts]") {
  World<AsGuest> world;
  constexpr int sleeps = 200;
  nanoseconds used{};
  world.spawn(foreground, [&]() -> cw::Task<> {
    co_await cw::sleep_for(5ms);
    const nanoseconds before = cpu_time();
    for (int i = 0; i < sleeps; ++i) co_await cw::sleep_for(2300us);
    used = cpu_time() - before;
    world.finish();
  });
  world.run();
  CHECK(used < 230ms);  // of at least 460 ms; under a sanitizer a sleep may cost some 100 us
}

/// From nothing to some microseconds, short ones as often as long ones.
inline void wait_a_little(std::minstd_rand& random) {
  std::atomic<std::uint_fast32_t> spins{random() % (1U << (random() % 14))};
  while (spins.load(std::memory_order_relaxed) > 0)
    spins.store(spins.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

/// A thread that wakes whatever it is handed, after a delay that varies: before, while and after the executor
/// goes to sleep.
class WakingThread {
 public:
  WakingThread() : thread_{[this] { wake_all(); }} {}
  ~WakingThread() {
    ended_.store(true);
    thread_.join();
  }
  /// On the executor's thread; one at a time.
  void hand_over(cw::Waker waker) {
    waker_ = std::move(waker);
    handed_over_.store(true, std::memory_order_release);
  }

 private:
  void wake_all() {
    std::minstd_rand random{42};
    for (;;) {
      for (int looks = 0; !handed_over_.load(std::memory_order_acquire);) {
        if (ended_.load()) return;
        if (++looks % 256 == 0) std::this_thread::yield();
      }
      cw::Waker waker = std::move(waker_);
      handed_over_.store(false, std::memory_order_relaxed);
      wait_a_little(random);
      waker.wake();
    }
  }

  cw::Waker waker_;
  std::atomic<bool> handed_over_{false};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

TEMPLATE_TEST_CASE("Host: of 100,000 wakes from another thread at the moment of going idle none is lost",
                   "[hosts]", AsHost, AsGuest) {
  World<TestType> world;
  WakingThread waking;
  int woken = 0;
  std::minstd_rand random{7};
  world.spawn(foreground, [&]() -> cw::Task<> {
    for (; woken < 100'000; ++woken) {
      co_await cw::suspend([&](cw::Waker waker) {
        waking.hand_over(std::move(waker));
        wait_a_little(random);
      });
    }
    world.finish();
  });
  world.run();  // a wake that is lost leaves it asleep for ever
  CHECK(woken == 100'000);
}

TEMPLATE_TEST_CASE("Host: spawns from other threads reach an executor that sleeps", "[hosts]", AsHost,
                   AsGuest) {
  World<TestType> world;
  constexpr int each = 300;
  int ran = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, remote = world.executor.remote()]() mutable {
      for (int i = 0; i < each; ++i) {
        remote.spawn(i % 2 == 0 ? foreground : background, [&]() -> cw::Task<> {
          if (++ran == 3 * each) world.finish();
          co_return;
        });
        if (i % 16 == 0) std::this_thread::sleep_for(1ms);  // long enough for the executor to sleep
      }
    });
  }
  world.run();
  for (std::thread& thread : threads) thread.join();
  CHECK(ran == 3 * each);
}

TEMPLATE_TEST_CASE("Host: a task that awaits the loop gets what came, on its own queue", "[hosts]", AsHost,
                   AsGuest) {
  World<TestType> world;
  Pipe pipe;
  std::string read;
  world.spawn(background, [&]() -> cw::Task<> {
    while (read.size() < 26) {
      read += co_await world.loop.read_byte(pipe.reading());
      CHECK(cw::this_task::queue().weight() == 1);
    }
    world.finish();
  });
  std::thread writer{[&] {
    for (char c = 'a'; c <= 'z'; ++c) {
      pipe.write(c);
      if (c % 3 == 0) std::this_thread::sleep_for(1ms);
    }
  }};
  world.run();
  writer.join();
  CHECK(read == "abcdefghijklmnopqrstuvwxyz");
}

}  // namespace clockworker_test
