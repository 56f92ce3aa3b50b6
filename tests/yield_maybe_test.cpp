#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

/// Works `length` at a time and asks each time; notes when it has indeed yielded.
cw::Task<> asks(int times, Ns length, std::vector<Ns>& yields, const VirtualExecutor<>& executor) {
  Stopwatch watch;
  for (int i = 0; i < times; ++i) {
    work(length);
    const Ns asked_at = watch.elapsed();
    const std::uint64_t resumes = executor.stats().resumes;
    co_await cw::yield_maybe();
    if (executor.stats().resumes != resumes) yields.push_back(asked_at);
  }
}

VirtualBuilder<> one_queue(Ns slice, Ns host_poll_interval = 1h) {
  VirtualBuilder<> builder;
  builder.with_host_poll_interval(host_poll_interval)
      .with_queue(0, cw::QueueOptions{.weight = 1, .slice = slice});
  return builder;
}

}  // namespace

TEST_CASE("yield_maybe yields when the slice is over, and not before") {
  VirtualExecutor<> executor = one_queue(100us).build();
  std::vector<Ns> yields;
  executor.queue(0).spawn(asks, 50, 10us, std::ref(yields), std::cref(executor));
  executor.run_ready(unbounded);
  CHECK(yields == std::vector<Ns>{100us, 200us, 300us, 400us, 500us});
}

TEST_CASE("yield_maybe yields when the host is due, and the slice goes on") {
  VirtualExecutor<> executor = one_queue(1h, 70us).build();
  JumpHost host;
  std::vector<Ns> yields;
  executor.queue(0).spawn(asks, 25, 10us, std::ref(yields), std::cref(executor));
  executor.run_until_idle(host);
  CHECK(yields == std::vector<Ns>{70us, 140us, 210us});
  CHECK(executor.stats().slices == 1);
  CHECK(host.polls == 3);
}

TEST_CASE("yield_maybe yields when a better queue has become runnable, and not for a worse one") {
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_host_poll_interval(1h)
                                   .with_queue(0, cw::QueueOptions{.weight = 1, .slice = 10ms})
                                   .with_queue(1, cw::QueueOptions{.weight = 1, .slice = 1ms})
                                   .with_queue(2, cw::QueueOptions{.weight = 1, .slice = 20ms})
                                   .build();
  std::vector<int> order;
  auto note = [&](int what) -> cw::Task<> {
    order.push_back(what);
    co_return;
  };
  executor.queue(0).spawn([&]() -> cw::Task<> {
    executor.queue(2).spawn(note, 2);
    co_await cw::yield_maybe();
    order.push_back(0);
    executor.queue(1).spawn(note, 1);
    co_await cw::yield_maybe();
    order.push_back(0);
  });
  executor.run_ready(unbounded);
  CHECK(order == std::vector<int>{0, 1, 0, 2});
  CHECK(executor.stats(0).preemptions == 1);
}

TEST_CASE("yield_maybe yields when a stop was asked for") {
  VirtualExecutor<> executor = one_queue(1h).build();
  JumpHost host;
  int times_asked = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;; ++times_asked) {
      if (times_asked == 10) executor.stop();
      co_await cw::yield_maybe();
    }
  });
  executor.run(host);
  CHECK(times_asked == 10);
  CHECK(executor.stats().resumes == 1);
}

TEST_CASE("yield_maybe does not yield for another task of the same queue") {
  VirtualExecutor<> executor = one_queue(1h).build();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 1'000; ++i) co_await cw::yield_maybe();
  });
  executor.queue(0).spawn(steps, 3, 1us);
  executor.run_ready(cw::Budget{1h, 1});
  CHECK(executor.stats().ended == 1);
}

TEST_CASE("should_yield stays true until the task has yielded") {
  VirtualExecutor<> executor = one_queue(100us).build();
  executor.queue(0).spawn([]() -> cw::Task<> {
    work(100us);
    CHECK(cw::should_yield());
    CHECK(cw::should_yield());
    co_await cw::yield_now();
    CHECK_FALSE(cw::should_yield());
  });
  executor.run_ready(unbounded);
}
