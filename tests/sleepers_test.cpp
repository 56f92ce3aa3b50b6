#include "catch.hpp"
#include "virtual_time.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

constexpr int always = 0;
constexpr int sleeper = 1;

VirtualExecutor<> contest(std::uint64_t weight_of_sleeper = 1) {
  return VirtualBuilder<>{}.with_queue(always, 1).with_queue(sleeper, weight_of_sleeper).build();
}

VirtualExecutor<> contest_of_short_slices() {
  return VirtualBuilder<>{}
      .with_queue(always, cw::QueueOptions{.weight = 1, .slice = 1ms})
      .with_queue(sleeper, cw::QueueOptions{.weight = 1, .slice = 1ms})
      .build();
}

/// Works, `resume` at a time, then sleeps; over and over.
cw::Task<> duty(Ns length, Ns resume, Ns pause) {
  for (;;) {
    for (Ns worked{0}; worked < length; worked += resume) {
      work(resume);
      co_await cw::yield_now();
    }
    co_await cw::sleep_for(pause);
  }
}

void start(VirtualExecutor<>& executor, Ns resume) {
  executor.queue(always).spawn([resume] { return busy([resume] { return resume; }); });
}

/// For a time of work and sleep together.
void run_for(VirtualExecutor<>& executor, Ns time) {
  JumpHost host;
  executor.queue(always).spawn([&executor, time]() -> cw::Task<> {
    co_await cw::sleep_for(time);
    executor.stop();
  });
  executor.run(host);
}

double share(const VirtualExecutor<>& executor, int queue) {
  return static_cast<double>(executor.stats(queue).service.count()) /
         static_cast<double>(executor.stats().service.count());
}

}  // namespace

TEST_CASE("a queue that needs less than its share gets all it needs") {
  VirtualExecutor<> executor = contest();
  start(executor, 10us);
  executor.queue(sleeper).spawn(duty, 100us, 10us, 900us);
  run_for(executor, 1s);
  // Each period is 1 ms and the wait, which is at most a request of the other and its last resume.
  CHECK(share(executor, sleeper) > 0.1 / (1 + 1.01));
  CHECK(executor.stats(sleeper).waits.max() <= 1ms + 10us);
}

TEST_CASE("a long sleep earns nothing: on its return a queue gets its share and no more") {
  VirtualExecutor<> executor = contest();
  start(executor, 10us);
  Ns before{0};
  executor.queue(sleeper).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(10s);
    before = executor.stats(always).service;
    co_await duty(1h, 10us, 1s);
  });
  run_for(executor, 10s + 20ms);
  CHECK(executor.stats(always).service - before >= 10ms - 2ms);
  CHECK(executor.stats(sleeper).service >= 10ms - 2ms);
  CHECK(executor.stats(sleeper).worst_lag <= 2ms + 20us);
}

TEST_CASE("naps do not win more than the share, and cost no more than they last") {
  for (Ns pause : {Ns{1ns}, Ns{1us}, Ns{50us}}) {
    VirtualExecutor<> executor = contest();
    start(executor, 10us);
    executor.queue(sleeper).spawn(duty, 990us, 10us, pause);  // always just short of its request
    run_for(executor, 2s);
    INFO(pause.count());
    CHECK(executor.stats(sleeper).service <= 1s + 1ms);
    CHECK(executor.stats(sleeper).service >= 900ms);
  }
}

TEST_CASE("naps after an overrun do not wipe the debt") {
  VirtualExecutor<> executor = contest();
  start(executor, 10us);
  executor.queue(sleeper).spawn(duty, 30ms, 30ms, 1us);  // one resume of 30 ms, and away
  run_for(executor, 3s);
  CHECK(executor.stats(sleeper).service <= 1'500ms + 31ms);
  CHECK(executor.stats(sleeper).service >= 1'300ms);
}

TEST_CASE("duty cycles of many lengths never bring a queue more than its share and its bound") {
  Random random{11};
  for (int round = 0; round < 30; ++round) {
    const std::uint64_t weight = 1 + random.below(8);
    const Ns length{static_cast<std::int64_t>(1'000 + random.below(3'000'000))};
    const Ns pause{static_cast<std::int64_t>(1 + random.below(200'000))};
    const Ns resume = std::max<Ns>(1us, length / static_cast<int>(1 + random.below(20)));
    VirtualExecutor<> executor = contest(weight);
    start(executor, 20us);
    executor.queue(sleeper).spawn(duty, length, resume, pause);
    run_for(executor, 300ms);
    INFO("weight " << weight << ", works " << length.count() << " by " << resume.count() << ", sleeps "
                   << pause.count());
    const double due = static_cast<double>(weight) / static_cast<double>(weight + 1) *
                       static_cast<double>(executor.stats().service.count());
    CHECK(static_cast<double>(executor.stats(sleeper).service.count()) <=
          due + 2e6 + static_cast<double>(resume.count()));
  }
}

TEST_CASE("virtual time stands still while nothing is runnable: a debt outlasts a long sleep") {
  VirtualExecutor<> executor = contest_of_short_slices();
  JumpHost host;
  RunLog log;
  const cw::TimePoint morning = ManualClock::now() + 10s;
  executor.queue(always).spawn([&]() -> cw::Task<> {
    work(8ms);  // while the other is runnable
    co_await cw::sleep_until(morning);
    co_await logged(log, always, 10us, 1'000);
  });
  executor.queue(sleeper).spawn([&]() -> cw::Task<> {
    work(10us);
    co_await cw::sleep_until(morning - 10us);
    co_await logged(log, sleeper, 10us, 2'000);
  });
  executor.run_until_idle(host);
  REQUIRE(log.runs.size() > 1);
  CHECK(log.runs[0] ==
        RunLog::Run{sleeper, 800, 8ms});  // until it has had 8 ms, too, and its request is over
  CHECK(log.runs[1].who == always);
}

TEST_CASE("virtual time stands still while nothing is runnable: a claim outlasts a long sleep") {
  VirtualExecutor<> executor = contest_of_short_slices();
  JumpHost host;
  RunLog log;
  const cw::TimePoint morning = ManualClock::now() + 10s;
  executor.queue(always).spawn([&]() -> cw::Task<> {
    work(8ms);
    co_await cw::yield_now();
    work(10us);
    CHECK(executor.stats(sleeper).live_tasks == 1);
    co_await cw::sleep_until(morning - 10us);
    co_await logged(log, always, 10us, 1'000);
  });
  executor.queue(sleeper).spawn([&]() -> cw::Task<> {
    work(10us);
    co_await cw::sleep_until(morning);  // leaves while the other is runnable, and is owed nearly 4 ms
    co_await logged(log, sleeper, 10us, 2'000);
  });
  executor.run_until_idle(host);
  REQUIRE(log.runs.size() > 2);
  CHECK(log.runs[0] == RunLog::Run{always, 1, 10us});
  CHECK(log.runs[1].who == sleeper);
  CHECK(log.runs[1].length >= 7'900us);
  CHECK(log.runs[1].length <= 8'100us);
}
