/// \file
/// The suite over all hosts: who is saturated does not starve the other, nested loops, two executors.
#pragma once

#include "suite_world.hpp"

#include <stdexcept>
#include <string>
#include <vector>

namespace clockworker_test {

/// Tasks that are never done, in both queues, until `done` or the patience is over.
template <class W>
void saturate(W& world, const bool& done) {
  for (Lane lane : {foreground, background}) {
    world.spawn(lane, [&]() -> cw::Task<> {
      while (!done && !world.out_of_patience()) co_await cw::yield_now();
      world.finish();
    });
  }
}

TEMPLATE_TEST_CASE("Host: the loop's own timers and descriptors are served while the executor is saturated",
                   "[hosts]", AsHost, AsGuest) {
  World<TestType> world;
  Pipe pipe;
  int timers = 0;
  int reads = 0;
  bool done = false;
  std::function<void()> tick = [&] {
    pipe.write('x');
    if (++timers < 20) world.loop.after(1ms, tick);
  };
  world.loop.after(1ms, tick);
  world.loop.on_readable(pipe.reading(), [&] {
    if (pipe.read() == 'x' && ++reads == 20) done = true;
  });
  saturate(world, done);
  world.run();
  CHECK(timers == 20);
  CHECK(reads == 20);
}

TEMPLATE_TEST_CASE("Host: the executor is served while the loop is saturated", "[hosts]", AsHost, AsGuest) {
  World<TestType> world;
  bool done = false;
  int steps = 0;
  std::function<void()> again = [&] {
    if (done) return;
    if (world.out_of_patience()) return world.finish();
    world.loop.post(again);
  };
  world.loop.post(again);
  world.spawn(background, [&]() -> cw::Task<> {
    for (; steps < 30; ++steps) {
      co_await cw::sleep_for(1ms);
      for (int i = 0; i < 100; ++i) co_await cw::yield_now();
    }
    done = true;
    world.finish();
  });
  world.run();
  CHECK(steps == 30);
}

TEMPLATE_TEST_CASE("Host: executor and loop that are both saturated share the thread", "[hosts]", AsHost,
                   AsGuest) {
  World<TestType> world;
  bool done = false;
  int posts = 0;
  int steps = 0;
  std::function<void()> again = [&] {
    ++posts;
    if (posts > 1000 && steps > 1000) done = true;
    if (!done && !world.out_of_patience()) world.loop.post(again);
  };
  world.loop.post(again);
  world.spawn(foreground, [&]() -> cw::Task<> {
    while (!done) {
      ++steps;
      co_await cw::yield_maybe();
    }
  });
  saturate(world, done);
  world.run();
  CHECK(posts > 1000);
  CHECK(steps > 1000);
}

TEMPLATE_TEST_CASE(
    "Host: in a nested loop inside a task the loop's events come, and other tasks wait without spinning",
    "[hosts]", AsHost, AsGuest) {
  if constexpr (SuiteLoop::nests) {
    World<TestType> world;
    bool nested = false;
    int events = 0;
    int turns_in_nested = 0;
    int other = 0;
    nanoseconds used{};
    world.loop.after(15ms, [&] { events += nested ? 1 : 0; });
    world.spawn(background, [&]() -> cw::Task<> {  // due while the nested loop runs
      co_await cw::sleep_for(20ms);
      if (nested) ++turns_in_nested;
    });
    world.spawn(foreground, [&]() -> cw::Task<> {
      // Woken by the loop, so that its timer for the sleeper above is set, and goes off in the nested loop.
      co_await cw::suspend([&](cw::Waker waker) { world.loop.after(5ms, [waker] { waker.wake(); }); });
      world.spawn(background, [&]() -> cw::Task<> {
        for (; other < 10; ++other) {
          if (nested) ++turns_in_nested;
          co_await cw::yield_now();
        }
        world.finish();
      });
      nested = true;
      const nanoseconds before = cpu_time();
      world.loop.run_nested_for(200ms);
      used = cpu_time() - before;
      nested = false;
      co_return;
    });
    world.run();
    CHECK(events == 1);
    CHECK(turns_in_nested == 0);
    CHECK(other == 10);
    CHECK(used < 60ms);
  }
}

TEMPLATE_TEST_CASE("Host: nothing is lost that comes while a nested loop runs inside a task", "[hosts]",
                   AsHost, AsGuest) {
  if constexpr (SuiteLoop::nests) {
    World<TestType> world;
    int ran = 0;
    world.spawn(foreground, [&]() -> cw::Task<> {
      std::thread other{[&, remote = world.executor.remote()]() mutable {
        std::this_thread::sleep_for(10ms);
        for (int i = 0; i < 10; ++i) {
          remote.spawn(background, [&]() -> cw::Task<> {
            if (++ran == 11) world.finish();
            co_return;
          });
        }
      }};
      world.loop.after(5ms, [&] {
        world.spawn(background, [&]() -> cw::Task<> {
          if (++ran == 11) world.finish();
          co_return;
        });
      });
      world.loop.run_nested_for(40ms);
      other.join();
      CHECK(ran == 0);
      co_return;
    });
    world.run();
    CHECK(ran == 11);
  }
}

TEST_CASE("Guest: tasks go on in a nested loop that runs inside an event of the loop", "[hosts]") {
  if constexpr (SuiteLoop::nests) {
    World<AsGuest> world;
    int in_nested = 0;
    bool nested = false;
    world.spawn(background, [&]() -> cw::Task<> {
      for (int i = 0; i < 50; ++i) {
        co_await cw::sleep_for(1ms);
        if (nested) ++in_nested;
      }
      world.finish();
    });
    world.loop.after(5ms, [&] {
      nested = true;
      world.loop.run_nested_for(30ms);
      nested = false;
    });
    world.run();
    CHECK(in_nested > 0);
  }
}

TEST_CASE("Host: an event that drives the same executor is refused, and changes nothing", "[hosts]") {
  World<AsHost> world;
  int refused = 0;
  world.loop.after(1ms, [&] {
    for (int call = 0; call < 3; ++call) {
      try {
        if (call == 0) world.executor.run(world.loop.host());
        if (call == 1) world.executor.run_until_idle();
        if (call == 2) (void)world.executor.run_ready();
      } catch (const std::logic_error& error) {
        if (std::string{error.what()}.find("re-enter") != std::string::npos) ++refused;
      }
    }
  });
  world.spawn(foreground, [&]() -> cw::Task<> {
    co_await cw::sleep_for(10ms);
    world.finish();
  });
  world.run();
  CHECK(refused == 3);
}

TEST_CASE("Guest: two executors in one loop are both served and wake each other", "[hosts]") {
  World<AsGuest> world;
  auto second = two_lanes().build();
  auto second_guest = world.loop.guest(second);
  int hops = 0;
  auto first_remote = world.executor.remote();
  auto second_remote = second.remote();
  std::function<cw::Task<>()> hop = [&]() -> cw::Task<> {
    if (++hops == 200) {
      world.finish();
    } else {
      (hops % 2 == 0 ? first_remote : second_remote).spawn(foreground, std::ref(hop));
    }
    co_return;
  };
  int busy = 0;
  world.spawn(background, [&]() -> cw::Task<> {
    for (;; ++busy) co_await cw::yield_now();
  });
  second.queue(foreground).spawn(std::ref(hop));
  world.run();
  CHECK(hops == 200);
  CHECK(busy > 0);
}

TEST_CASE("Guest: in a nested loop inside a task another executor is served", "[hosts]") {
  if constexpr (SuiteLoop::nests) {
    World<AsGuest> world;
    auto second = two_lanes().build();
    auto second_guest = world.loop.guest(second);
    bool nested = false;
    int steps_in_nested = 0;
    second.queue(background).spawn([&]() -> cw::Task<> {
      for (;;) {
        co_await cw::sleep_for(1ms);
        steps_in_nested += nested ? 1 : 0;
        CHECK(cw::this_task::queue().same_queue(second.queue(background)));
      }
    });
    world.spawn(foreground, [&]() -> cw::Task<> {
      co_await cw::sleep_for(5ms);
      const cw::TaskId mine = cw::this_task::id();
      nested = true;
      world.loop.run_nested_for(30ms);
      nested = false;
      CHECK(cw::this_task::id() == mine);
      world.finish();
    });
    world.run();
    CHECK(steps_in_nested > 0);
  }
}

TEST_CASE("Guest: a run by a host in between leaves it to go on with runnable and sleeping tasks",
          "[hosts]") {
  for (const bool runnable : {false, true}) {
    World<AsGuest> world;
    int steps = 0;
    bool idle = false;
    world.loop.after(1ms, [&] { idle = true; });
    world.loop.run_until([&] { return idle; });  // the guest has had its first turn, and asked for no other
    // Main is ahead of the task: that has not begun when it ends, or is asleep.
    world.executor.run_until(world.loop.host(), [&]() -> cw::Task<> {
      world.spawn(background, [&]() -> cw::Task<> {
        for (; steps < 5; ++steps) {
          if (runnable) {
            co_await cw::yield_now();
          } else {
            co_await cw::sleep_for(3ms);
          }
        }
        world.finish();
      });
      if (!runnable) co_await cw::sleep_for(1ms);
    });
    CHECK(steps == 0);
    world.run();
    CHECK(steps == 5);
  }
}

TEST_CASE("Host: one executor drives the loop that another is a guest in", "[hosts]") {
  World<AsHost> world;
  auto second = two_lanes().build();
  auto second_guest = world.loop.guest(second);
  int by_guest = 0;
  second.queue(foreground).spawn([&]() -> cw::Task<> {
    for (; by_guest < 20; ++by_guest) co_await cw::sleep_for(1ms);
    world.finish();
  });
  int by_driver = 0;
  world.spawn(background, [&]() -> cw::Task<> {
    for (;; ++by_driver) co_await cw::yield_now();
  });
  world.run();
  CHECK(by_guest == 20);
  CHECK(by_driver > 0);
}

}  // namespace clockworker_test
