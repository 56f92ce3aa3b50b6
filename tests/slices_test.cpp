#include "catch.hpp"
#include "virtual_time.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

constexpr int background = 0;
constexpr int foreground = 1;

VirtualExecutor<> foreground_and_background() {
  return VirtualBuilder<>{}
      .with_queue(background, cw::QueueOptions{.weight = 1})
      .with_queue(foreground, cw::QueueOptions{.weight = 10, .slice = 100us})
      .build();
}

/// Wakes every `period` and notes how late it runs.
cw::Task<> ticker(int ticks, Ns period, Ns length, Ns& latest) {
  cw::TimePoint due = ManualClock::now();
  for (int i = 0; i < ticks; ++i) {
    due += period;
    co_await cw::sleep_until(due);
    latest = std::max<Ns>(latest, ManualClock::now() - due);
    work(length);
  }
}

}  // namespace

TEST_CASE("a foreground task whose timer fires in a slice of the background runs after the resume underway") {
  // A request so short that no deadline of the background, however near, is before its own.
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_queue(background, 1)
                                   .with_queue(foreground, cw::QueueOptions{.weight = 10, .slice = 1us})
                                   .build();
  JumpHost host;
  Ns latest{0};
  executor.queue(background).spawn(steps, 10'000, 37us);
  executor.queue(foreground).spawn(ticker, 300, 1ms, 20us, std::ref(latest));
  executor.run_until_idle(host);
  CHECK(latest > 0us);
  CHECK(latest <= 37us);
  CHECK(executor.stats(background).preemptions > 100);
  CHECK(executor.stats(foreground).preemptions == 0);
  CHECK(executor.stats().preemptions == executor.stats(background).preemptions);
}

TEST_CASE("a foreground task that the background wakes runs when the waking resume is over") {
  VirtualExecutor<> executor = foreground_and_background();
  JumpHost host;
  cw::Waker waker;
  std::vector<int> order;
  executor.queue(foreground).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    order.push_back(foreground);
  });
  for (int task = 0; task < 2; ++task) {
    executor.queue(background).spawn([&]() -> cw::Task<> {
      work(50us);
      waker.wake();
      work(50us);
      order.push_back(background);
      co_await cw::yield_now();
      order.push_back(background);
    });
  }
  executor.run_until_idle(host);
  CHECK(order == std::vector<int>{background, foreground, background, background, background});
  CHECK(executor.stats(background).preemptions == 1);
}

TEST_CASE("a foreground task that the host wakes in the midst of a slice runs at once") {
  VirtualExecutor<> executor = foreground_and_background();
  JumpHost host;
  cw::Waker waker;
  std::vector<int> order;
  executor.queue(foreground).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    order.push_back(foreground);
  });
  executor.queue(background).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 10; ++i) {
      work(600us);  // the host is due after each, a slice lasts for 2 ms
      order.push_back(background);
      co_await cw::yield_now();
    }
  });
  host.on_poll = [&](cw::PollTimeout) {
    work(5ms);  // the host's own, charged to nobody
    waker.wake();
    return true;
  };
  executor.run_until_idle(host);
  REQUIRE(order.size() == 11);
  CHECK(executor.stats(background).service == 6ms);
  CHECK(order[0] == background);
  CHECK(order[1] == foreground);
  CHECK(executor.stats(background).preemptions == 1);
}

TEST_CASE("a guest's foreground task that is spawned between two calls runs ahead of the slice underway") {
  VirtualExecutor<> executor = foreground_and_background();
  RunLog log;
  executor.queue(background).spawn(logged, std::ref(log), background, 10us, 50);
  executor.run_ready(cw::Budget{10s, 3});
  executor.queue(foreground).spawn(logged, std::ref(log), foreground, 10us, 2);
  executor.run_ready(cw::Budget{10s, 3});
  CHECK(log.runs ==
        std::vector<RunLog::Run>{{background, 3, 30us}, {foreground, 2, 20us}, {background, 1, 10us}});
  CHECK(executor.stats(background).preemptions == 1);
}

TEST_CASE("should_yield tells a CPU loop of a foreground timer that fires in the midst of it") {
  VirtualExecutor<> executor = foreground_and_background();
  JumpHost host;
  Ns seen{0};
  Ns latest{0};
  executor.queue(foreground).spawn(ticker, 1, 300us, 1us, std::ref(latest));
  executor.queue(background).spawn([&]() -> cw::Task<> {
    Stopwatch watch;
    while (!cw::should_yield()) work(1us);
    seen = watch.elapsed();
    co_return;
  });
  executor.run_until_idle(host);
  CHECK(seen == 300us);
  CHECK(latest == 0us);
}

TEST_CASE(
    "without a slice of its own a queue's request is the latency period divided by the runnable queues") {
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_sched_latency(6ms).with_queue(0, 1).with_queue(1, 1).with_queue(2, 1).build();
  RunLog log;
  for (int queue = 0; queue < 3; ++queue)
    executor.queue(queue).spawn(logged, std::ref(log), queue, 10us, 2'000);
  executor.run_ready(cw::Budget{30ms, 0xffff'ffffU});
  REQUIRE(log.runs.size() > 9);
  for (std::size_t i = 3; i < 9; ++i)
    CHECK(log.runs[i].length == 2ms);  // the first requests began as queues joined
}

TEST_CASE("no request is below the least slice, however many queues are runnable") {
  VirtualBuilder<> builder;
  builder.with_min_slice(150us);
  for (int queue = 0; queue < 40; ++queue) builder.with_queue(queue, 1);
  VirtualExecutor<> executor = builder.build();
  RunLog log;
  for (int queue = 0; queue < 40; ++queue)
    executor.queue(queue).spawn(logged, std::ref(log), queue, 10us, 2'000);
  executor.run_ready(cw::Budget{60ms, 0xffff'ffffU});
  REQUIRE(log.runs.size() > 200);
  for (std::size_t i = 150; i < 200; ++i) CHECK(log.runs[i].length == 150us);
}

TEST_CASE("a slice goes on after the host was polled in the midst of it") {
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_host_poll_interval(100us).with_queue(0, 1).with_queue(1, 1).build();
  JumpHost host;
  RunLog log;
  for (int queue : {0, 1}) executor.queue(queue).spawn(logged, std::ref(log), queue, 10us, 1'000);
  executor.run_until_idle(host);
  REQUIRE(log.runs.size() > 10);
  for (std::size_t i = 2; i < 10; ++i) CHECK(log.runs[i].length == 1ms);
  CHECK(host.polls >= 190);
  CHECK(executor.stats(0).slices + executor.stats(1).slices == log.runs.size());
}

TEST_CASE("the host is polled when its interval is over, to the next resume") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_host_poll_interval(200us).with_queue(0, 1).build();
  JumpHost host;
  executor.queue(0).spawn(steps, 100, 30us);
  executor.run_until_idle(host);
  REQUIRE(host.polls == 14);  // 3 ms of work, 7 resumes between two polls
  for (std::size_t i = 1; i < host.polled_at.size(); ++i)
    CHECK(host.polled_at[i] - host.polled_at[i - 1] == 210us);
}

TEST_CASE("the host is polled after so many resumes, however short they are") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_max_polls_per_host_poll(7).with_queue(0, 1).build();
  JumpHost host;
  executor.queue(0).spawn(steps, 700, 10ns);
  executor.run_until_idle(host);
  CHECK(host.polls == 100);
  for (std::size_t i = 1; i < host.polled_at.size(); ++i)
    CHECK(host.polled_at[i] - host.polled_at[i - 1] == 70ns);
}

TEST_CASE("a host whose poll takes long is not polled before eight times as much work is done") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_max_polls_per_host_poll(7).with_queue(0, 1).build();
  JumpHost host;
  host.on_poll = [](cw::PollTimeout) {
    work(10us);
    return true;
  };
  executor.queue(0).spawn(steps, 1'000, 1us);
  executor.run_until_idle(host);
  REQUIRE(host.polls > 5);
  for (std::size_t i = 2; i < host.polled_at.size(); ++i) {
    Ns worked = host.polled_at[i] - host.polled_at[i - 1] - 10us;
    CHECK(worked >= 80us);
    CHECK(worked <= 80us + 7us);
  }
  CHECK(executor.stats().service == 1ms);  // time in the host is charged to nobody
}

TEST_CASE("timers fire while a slice goes on, each after the resume in which it fell due") {
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_sched_latency(100ms).with_host_poll_interval(1s).with_queue(0, 1).build();
  JumpHost host;
  Ns latest{0};
  executor.queue(0).spawn(steps, 1'000, 30us);
  executor.queue(0).spawn(ticker, 50, 500us, 1us, std::ref(latest));
  executor.run_until_idle(host);
  CHECK(executor.stats().timers_fired == 50);
  CHECK(executor.stats(0).slices == 1);
  CHECK(latest <=
        60us);  // the resume underway, and that of the other task, which is ahead of it in the queue
  CHECK(host.sleeps == 0);
}
