#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;
using Catch::Matchers::WithinAbs;

namespace {

/// Two queues of equal weight, slices of 1 ms and 3 ms.
VirtualExecutor<> pair() {
  return VirtualBuilder<>{}
      .with_queue(0, cw::QueueOptions{.weight = 1, .slice = 1ms, .name = "quick"})
      .with_queue(1, cw::QueueOptions{.weight = 3, .slice = 3ms, .name = "slow"})
      .build();
}

std::vector<std::uint64_t> counts(const cw::Histogram& histogram) {
  std::vector<std::uint64_t> all;
  histogram.for_each_bucket([&](Ns, Ns, std::uint64_t count) { all.push_back(count); });
  return all;
}

}  // namespace

TEST_CASE("a new executor's numbers are all zero") {
  VirtualExecutor<> executor = pair();
  const cw::ExecutorStats all = executor.stats();
  CHECK(all.service == 0ns);
  CHECK(all.resumes + all.slices + all.preemptions + all.spawned + all.ended + all.host_polls + all.parks ==
        0);
  CHECK(all.timers_fired + all.remote_deliveries == 0);
  CHECK(all.live_tasks + all.runnable_tasks + all.armed_timers == 0);
  CHECK(all.queues == 2);
  const cw::QueueStats one = executor.stats(0);
  CHECK(one.name == "quick");
  CHECK(one.weight == 1);
  CHECK(one.service + one.lag + one.worst_lag + one.worst_debt + one.longest_resume == 0ns);
  CHECK(one.resumes + one.slices + one.preemptions == 0);
  CHECK(one.share_entitled == 0.0);
  CHECK(one.share_received == 0.0);
  CHECK(one.waits.count() + one.resume_lengths.count() == 0);
}

// Both start at v = 0; deadlines (by v) 1 ms of the quick queue, 1 ms of the slow one: the first to join goes first.
//   0 to 2 ms    quick, two resumes, one of which overruns: v = 2 ms, V = 0.5 ms
//   2 to 5 ms    slow: v = 1 ms; V = 1.25 ms; its request is over, its next deadline 2 ms, and it is eligible
//   5 to 8 ms    slow: v = 2 ms = V
TEST_CASE("a queue's numbers are those of a schedule worked out by hand") {
  VirtualExecutor<> executor = pair();
  executor.queue(0).spawn([]() -> cw::Task<> {
    work(500us);
    co_await cw::yield_now();
    work(1'500us);
    co_await cw::yield_now();
    work(100us);
  });
  executor.queue(1).spawn(steps, 20, 1ms);

  executor.run_ready(cw::Budget{1h, 2});
  cw::QueueStats quick = executor.stats(0);
  CHECK(quick.service == 2ms);
  CHECK(quick.resumes == 2);
  CHECK(quick.slices == 1);
  CHECK(quick.lag == -1'500us);
  CHECK(quick.worst_debt == -1'500us);
  CHECK(quick.worst_lag == 0us);
  CHECK_THAT(quick.share_entitled, WithinAbs(0.25, 1e-9));
  CHECK_THAT(quick.share_received, WithinAbs(1.0, 1e-9));
  CHECK(quick.longest_resume == 1'500us);
  CHECK(quick.live_tasks == 1);
  CHECK(quick.runnable_tasks == 1);

  executor.run_ready(cw::Budget{1h, 3});
  cw::QueueStats slow = executor.stats(1);
  CHECK(slow.service == 3ms);
  CHECK(slow.slices == 1);
  CHECK(slow.lag == 750us);
  CHECK(slow.worst_lag == 1'500us);
  CHECK(slow.worst_debt == 0us);
  CHECK_THAT(slow.share_entitled, WithinAbs(0.75, 1e-9));
  CHECK_THAT(slow.share_received, WithinAbs(0.6, 1e-9));

  executor.run_ready(cw::Budget{1h, 3});
  slow = executor.stats(1);
  CHECK(slow.service == 6ms);
  CHECK(slow.slices == 2);
  CHECK(slow.lag == 0us);
  CHECK(slow.preemptions == 0);
  CHECK(slow.resume_lengths.count() == 6);
  CHECK(slow.resume_lengths.sum() == 6ms);
  CHECK(slow.waits.count() == 2);
  CHECK(slow.waits.max() == 2ms);
  CHECK(slow.waits.sum() == 2ms);  // for the second slice it did not wait
  CHECK(counts(slow.waits) == std::vector<std::uint64_t>{1, 1});

  const cw::ExecutorStats all = executor.stats();
  CHECK(all.service == 8ms);
  CHECK(all.resumes == 8);
  CHECK(all.slices == 3);
  CHECK(all.runnable_tasks == 2);

  executor.run_ready(unbounded);
  quick = executor.stats(0);
  CHECK(quick.waits.count() == 2);
  CHECK(quick.waits.max() == 6ms);
  CHECK(quick.service == 2'100us);
  CHECK(quick.live_tasks + quick.runnable_tasks == 0);
  CHECK(quick.lag == 0us);  // it has nothing runnable
  CHECK(quick.worst_debt == -1'500us);
  CHECK(quick.worst_lag == 0us);
  CHECK(executor.stats(1).worst_lag == 1'500us);
  CHECK(executor.stats().ended == 2);
}

TEST_CASE("a queue's shares count the time only while it is runnable") {
  VirtualExecutor<> executor = pair();
  executor.queue(0).spawn(steps, 10, 1ms);
  executor.run_ready(unbounded);
  CHECK_THAT(executor.stats(0).share_received, WithinAbs(1.0, 1e-9));
  CHECK_THAT(executor.stats(0).share_entitled, WithinAbs(1.0, 1e-9));
  executor.queue(1).spawn(steps, 10, 1ms);
  executor.run_ready(cw::Budget{1h, 5});
  CHECK_THAT(executor.stats(1).share_received, WithinAbs(1.0, 1e-9));
  executor.run_ready(unbounded);
  CHECK_THAT(executor.stats(0).share_received, WithinAbs(1.0, 1e-9));
  CHECK_THAT(executor.stats(1).share_received, WithinAbs(1.0, 1e-9));
}

TEST_CASE("waits begin when a queue turns runnable: after a sleep in the host, and in the midst of a drive") {
  VirtualExecutor<> executor = pair();
  JumpHost host;
  cw::Waker waker;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(1s);
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
  });
  host.on_poll = [&](cw::PollTimeout timeout) {
    if (timeout) return false;
    work(10s);  // asleep; then an event comes in
    waker.wake();
    work(1ms);  // and the host has some more to do
    return true;
  };
  executor.run_until_idle(host);
  const cw::QueueStats stats = executor.stats(0);
  CHECK(stats.waits.count() == 3);
  CHECK(stats.waits.max() == 1ms);
  CHECK(stats.waits.sum() == 1ms);
}

TEST_CASE("a wait begins when a task is spawned between two drives, not at the end of the first") {
  VirtualExecutor<> executor = pair();
  executor.run_ready();
  work(1h);
  executor.queue(0).spawn(steps, 1, 1us);
  work(3ms);
  executor.run_ready();
  CHECK(executor.stats(0).waits.max() == 3ms);
}

TEST_CASE("a slice that main interrupts ends, and its queue waits from then on") {
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_queue(0, cw::QueueOptions{.weight = 1, .slice = 1s}).build();
  JumpHost host;
  executor.queue(0).spawn(steps, 100, 200us);
  cw::Waker waker;
  host.on_poll = [&](cw::PollTimeout) {
    waker.wake();
    return true;
  };
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    work(50us);
  });
  executor.run_until_idle(host);
  const cw::QueueStats stats = executor.stats(0);
  CHECK(stats.slices == 2);
  CHECK(stats.waits.max() == 50us);
  CHECK(executor.stats().main_service == 50us);
  CHECK(executor.stats().service == 20ms);
}

TEST_CASE("preemptions count slices that a better queue cut short") {
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_queue(0, cw::QueueOptions{.weight = 1, .slice = 10ms})
                                   .with_queue(1, cw::QueueOptions{.weight = 1, .slice = 1us})
                                   .build();
  JumpHost host;
  executor.queue(0).spawn(steps, 10, 1ms);
  executor.queue(1).spawn([]() -> cw::Task<> {
    for (int i = 0; i < 3; ++i) co_await cw::sleep_for(2ms);
  });
  executor.run_until_idle(host);
  CHECK(executor.stats(0).preemptions == 3);
  CHECK(executor.stats(1).preemptions == 0);
  CHECK(executor.stats().preemptions == 3);
  CHECK(executor.stats(0).slices == 4);
  CHECK(executor.stats(1).slices == 4);
}

TEST_CASE("timers, sleeps and polls of the host are counted") {
  VirtualExecutor<> executor = pair();
  JumpHost host;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    co_await cw::sleep_for(1ms);
  });
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(5ms); });
  executor.run_ready();
  CHECK(executor.stats().armed_timers == 2);
  executor.run_until_idle(host);
  const cw::ExecutorStats stats = executor.stats();
  CHECK(stats.timers_fired == 3);
  CHECK(stats.armed_timers == 0);
  CHECK(stats.parks == 3);
  CHECK(host.sleeps == 3);
  CHECK(stats.host_polls == host.polls);
}

TEST_CASE("what comes from other threads is counted") {
  VirtualExecutor<> executor = pair();
  JumpHost host;
  cw::Waker waker;
  executor.queue(0).spawn(
      [&]() -> cw::Task<> { co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); }); });
  executor.run_ready();
  auto remote = executor.remote();
  std::thread{[&] {
    waker.wake();
    remote.spawn(1, []() -> cw::Task<> { co_return; });
  }}.join();
  executor.run_until_idle(host);
  CHECK(executor.stats().remote_deliveries == 2);
  remote.stop();
  executor.run(host);
  CHECK(executor.stats().remote_deliveries == 3);
  CHECK(executor.stats().spawned == 2);
  CHECK(executor.stats().ended == 2);
}

TEST_CASE("what a removed queue was given stays in the executor's sums") {
  VirtualExecutor<> executor = pair();
  executor.queue(0).spawn(steps, 3, 1ms);
  executor.queue(1).spawn(steps, 2, 1ms);
  executor.run_ready(unbounded);
  executor.remove_queue(0);
  CHECK(executor.stats().service == 5ms);
  CHECK(executor.stats().resumes == 5);
  CHECK(executor.stats().queues == 1);
}

TEST_CASE("frames that an abort destroys are destroyed in their queue's time") {
  struct Slow {
    ~Slow() { work(7ms); }
  };
  VirtualExecutor<> executor = pair();
  JumpHost host;
  auto handle = executor.queue(0).spawn([]() -> cw::Task<> {
    Slow slow;
    co_await cw::sleep_for(1h);
  });
  executor.run_ready();
  handle.abort();
  executor.queue(1).spawn(steps, 1, 1ms);
  executor.run_until_idle(host);
  CHECK(executor.stats(0).service == 7ms);
  CHECK(executor.stats(1).service == 1ms);
}
