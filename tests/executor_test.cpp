#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

VirtualExecutor<> two_queues() {
  return VirtualBuilder<>{}
      .with_queue(0, cw::QueueOptions{.weight = 1, .slice = 1ms})
      .with_queue(1, cw::QueueOptions{.weight = 1, .slice = 1ms})
      .build();
}

VirtualExecutor<> one_queue() {
  return VirtualBuilder<>{}.with_queue(0, cw::QueueOptions{.weight = 1, .slice = 1ms}).build();
}

}  // namespace

TEST_CASE("main runs one resume between two slices, ahead of the queues, and is charged to none") {
  VirtualExecutor<> executor = two_queues();
  JumpHost host;
  RunLog log;
  for (int queue : {0, 1}) executor.queue(queue).spawn(logged, std::ref(log), queue, 100us, 100);
  executor.run_until(host, [&]() -> cw::Task<> { return logged(log, 9, 250us, 5); });
  REQUIRE(log.runs.size() >= 9);
  for (std::size_t i = 0; i < 9; ++i) {
    if (i % 2 == 0) {
      CHECK(log.runs[i] == RunLog::Run{9, 1, 250us});
    } else {
      CHECK(log.runs[i].length <= 1ms);
    }
  }
  CHECK(executor.stats().main_service == 5 * 250us);
  CHECK(executor.stats().service == executor.stats(0).service + executor.stats(1).service);
  const Ns difference = executor.stats(0).service - executor.stats(1).service;
  CHECK(difference <= 1ms);
  CHECK(difference >= -1ms);
}

TEST_CASE("main in a loop of its own lets the queues run, and they it") {
  VirtualExecutor<> executor = one_queue();
  JumpHost host;
  bool done = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await steps(50, 1ms);
    done = true;
  });
  int turns = 0;
  executor.run_until(host, [&]() -> cw::Task<> {
    while (!done) {
      ++turns;
      co_await cw::yield_maybe();  // its slice is over from the start
    }
  });
  CHECK(turns >= 50);
  CHECK(executor.stats().main_service == 0ns);
}

TEST_CASE("a task that main wakes or spawns runs after main's resume") {
  VirtualExecutor<> executor = one_queue();
  JumpHost host;
  std::vector<std::string> order;
  const int result = executor.run_until(host, [&]() -> cw::Task<int> {
    auto handle = executor.queue(0).spawn([&]() -> cw::Task<int> {
      order.push_back("task");
      co_return 42;
    });
    order.push_back("main");
    co_return (co_await handle).value();
  });
  CHECK(result == 42);
  CHECK(order == std::vector<std::string>{"main", "task"});
}

TEST_CASE("run_ready makes exactly as many resumes as it may") {
  for (std::uint32_t polls : {1U, 2U, 7U, 16U, 17U, 61U, 100U}) {
    VirtualExecutor<> executor = two_queues();
    for (int queue : {0, 1}) executor.queue(queue).spawn(steps, 100'000, 10ns);
    std::uint64_t before = 0;
    for (int call = 0; call < 20; ++call) {
      const cw::Progress progress = executor.run_ready(cw::Budget{1h, polls});
      CHECK(progress.polls == polls);
      CHECK(progress.runnable);
      CHECK(executor.stats().resumes - before == polls);
      before = executor.stats().resumes;
    }
  }
}

TEST_CASE("run_ready by default takes the limits of the host's polls") {
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_host_poll_interval(1ms)
                                   .with_max_polls_per_host_poll(9)
                                   .with_queue(0, 1)
                                   .build();
  executor.queue(0).spawn(steps, 100, 1us);
  CHECK(executor.run_ready().polls == 9);
  executor.queue(0).spawn(steps, 100, 400us);
  Stopwatch watch;
  executor.run_ready();
  CHECK(watch.elapsed() >= 1ms);
  CHECK(watch.elapsed() <= 1'400us);
}

TEST_CASE("run_ready returns after the resume that uses up its time") {
  VirtualExecutor<> executor = two_queues();
  for (int queue : {0, 1}) executor.queue(queue).spawn(steps, 1'000, 70us);
  for (int call = 0; call < 20; ++call) {
    Stopwatch watch;
    const cw::Progress progress = executor.run_ready(cw::Budget{500us, 1'000});
    CHECK(watch.elapsed() == 560us);
    CHECK(progress.polls == 8);
  }
}

TEST_CASE("a slice goes on over calls of run_ready") {
  VirtualExecutor<> executor = two_queues();
  RunLog log;
  for (int queue : {0, 1}) executor.queue(queue).spawn(logged, std::ref(log), queue, 100us, 1'000);
  for (int call = 0; call < 200; ++call) {
    executor.run_ready(cw::Budget{1h, 1});
    work(3ms);  // the host's, charged to nobody
  }
  REQUIRE(log.runs.size() == 20);
  for (const RunLog::Run& run : log.runs) CHECK(run.length == 1ms);
  CHECK(executor.stats().slices == 20);
  CHECK(executor.stats().service == 20ms);
}

TEST_CASE("Progress tells what is left to do, and when") {
  VirtualExecutor<> executor = one_queue();
  cw::Progress progress = executor.run_ready();
  CHECK_FALSE(progress.runnable);
  CHECK_FALSE(progress.next_timer.has_value());
  CHECK(progress.polls == 0);

  executor.queue(0).spawn([]() -> cw::Task<> {
    work(1ms);
    co_await cw::sleep_for(20ms);
    co_await cw::sleep_for(5ms);
  });
  executor.queue(0).spawn([]() -> cw::Task<> {
    work(3ms);
    co_await cw::sleep_for(50ms);
  });
  progress = executor.run_ready(unbounded);
  CHECK_FALSE(progress.runnable);
  CHECK(progress.next_timer == 17ms);  // 20 ms from the end of the first millisecond
  CHECK(progress.polls == 2);

  work(16ms);
  progress = executor.run_ready(unbounded);
  CHECK(progress.polls == 0);
  CHECK(progress.next_timer == 1ms);
  work(1ms);
  progress = executor.run_ready(unbounded);
  CHECK(progress.polls == 1);
  CHECK(progress.next_timer == 5ms);
  work(6ms);
  CHECK(executor.run_ready(cw::Budget{1h, 1}).polls == 1);
  CHECK(executor.stats().ended == 1);
}

TEST_CASE("a timer that is due when run_ready returns is 0 away") {
  VirtualExecutor<> executor = one_queue();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  executor.queue(0).spawn(steps, 10, 10ms);
  CHECK_FALSE(executor.run_ready(cw::Budget{1h, 1}).next_timer == 0ns);
  const cw::Progress progress = executor.run_ready(cw::Budget{1h, 1});
  CHECK((progress.runnable || progress.next_timer == 0ns));
}

TEST_CASE("a host from two callables drives the executor") {
  VirtualExecutor<> executor = one_queue();
  int polls = 0;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout timeout) {
        ++polls;
        REQUIRE(timeout.has_value());
        ManualClock::advance(*timeout);
      },
      [] {});
  Stopwatch watch;
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(24h); });
  executor.run_until_idle(host);
  CHECK(polls == 1);
  CHECK(watch.elapsed() == 24h);
}

TEST_CASE("an executor that sleeps asks the host for the time to its next timer, and no less") {
  VirtualExecutor<> executor = one_queue();
  JumpHost host;
  std::vector<Ns> asked;
  host.on_poll = [&](cw::PollTimeout timeout) {
    asked.push_back(timeout.value());
    return false;
  };
  executor.queue(0).spawn([]() -> cw::Task<> {
    work(2ms);
    co_await cw::sleep_for(7ms);
    co_await cw::sleep_for(1ns);
  });
  executor.run_until_idle(host);
  CHECK(asked == std::vector<Ns>{0ns, 7ms, 1ns});  // the first: 2 ms are more than the interval
}

TEST_CASE("tasks lists the living, oldest first, with what each does and waits for") {
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_queue(0, cw::QueueOptions{.name = "a"})
                                   .with_queue(1, cw::QueueOptions{.name = "b"})
                                   .build();
  cw::Waker waker;
  auto sleeps = executor.queue(0).named("sleeps").spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  executor.queue(1).group(7).named("joins").spawn(
      [&]() -> cw::Task<> { static_cast<void>(co_await sleeps); });
  auto waits = executor.queue(0).spawn(
      [&]() -> cw::Task<> { co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); }); });
  executor.run_ready(unbounded);
  executor.queue(1).named("ends").spawn(steps, 1, 1us);
  executor.run_ready(unbounded);
  std::vector<cw::TaskInfo> seen;
  executor.queue(1).named("looks").spawn([&]() -> cw::Task<> {
    seen = executor.tasks();
    co_return;
  });
  executor.queue(1).named("ready").spawn(steps, 1, 1us);
  waits.abort();
  executor.run_ready(cw::Budget{1h, 2});

  REQUIRE(seen.size() >= 4);
  CHECK(seen[0].name == "sleeps");
  CHECK(seen[0].queue == "a");
  CHECK(seen[0].id == sleeps.id());
  CHECK(seen[0].group == sleeps.id());
  CHECK(seen[0].state == cw::TaskState::suspended);
  CHECK(seen[0].waits_for == "timer");
  CHECK_FALSE(seen[0].abort_requested);
  CHECK(seen[1].name == "joins");
  CHECK(seen[1].queue == "b");
  CHECK(seen[1].group == std::hash<int>{}(7));
  CHECK(seen[1].waits_for == "task");
  const cw::TaskInfo& looks = seen[seen.size() - 2];
  CHECK(looks.name == "looks");
  CHECK(looks.state == cw::TaskState::running);
  CHECK(looks.waits_for.empty());
  CHECK(seen.back().name == "ready");
  CHECK(seen.back().state == cw::TaskState::runnable);
  for (std::size_t i = 1; i < seen.size(); ++i) CHECK(seen[i - 1].id < seen[i].id);
}

TEST_CASE("tasks tells a task that waits for something foreign") {
  struct Foreign {
    std::coroutine_handle<>* waiting;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const noexcept { *waiting = frame; }
    void await_resume() const noexcept {}
  };
  VirtualExecutor<> executor = one_queue();
  std::coroutine_handle<> waiting;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    Foreign foreign{&waiting};
    co_await foreign;
  });
  executor.run_ready(unbounded);
  CHECK(executor.tasks().at(0).waits_for == "foreign awaitable");
  waiting.resume();
  executor.run_ready(unbounded);
  CHECK(executor.tasks().empty());
}

TEST_CASE("tasks tells a task that waits for a waker, and one that is to be aborted") {
  VirtualExecutor<> executor = one_queue();
  cw::Waker waker;
  auto waits = executor.queue(0).spawn(
      [&]() -> cw::Task<> { co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); }); });
  executor.run_ready(unbounded);
  CHECK(executor.tasks().at(0).waits_for == "waker");
  waits.abort();
  REQUIRE(executor.tasks().size() == 1);
  CHECK(executor.tasks()[0].abort_requested);
  CHECK(executor.tasks()[0].state == cw::TaskState::runnable);
  CHECK(executor.tasks()[0].waits_for.empty());
  executor.run_ready(unbounded);
  CHECK(executor.tasks().empty());
}
