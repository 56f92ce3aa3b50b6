#include <clockworker/executor.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

cw::Task<> endless(int& resumes, std::chrono::nanoseconds each) {
  for (;;) {
    ++resumes;
    cw::ManualClock::advance(each);
    co_await cw::yield_now();
  }
}

cw::Task<> sleeps_until_woken(cw::Waker& waker, int& resumed) {
  auto keep = [&](cw::Waker given) { waker = std::move(given); };
  for (;;) {
    co_await cw::suspend(keep);
    ++resumed;
  }
}

TEST_CASE("Guest: run_ready without work says that there is none", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Progress progress = executor.run_ready();
  CHECK_FALSE(progress.runnable);
  CHECK_FALSE(progress.next_timer.has_value());
  CHECK(progress.polls == 0);
}

TEST_CASE("Guest: run_ready resumes as often as its budget says, and no more", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 5).build();
  int a = 0, b = 0;
  executor.queue(0).spawn(endless(a, 0ns));
  executor.queue(1).spawn(endless(b, 0ns));
  for (std::uint32_t polls : {1U, 2U, 3U, 7U, 16U, 17U, 100U, 1000U}) {
    int before = a + b;
    cw::Progress progress = executor.run_ready({.time = 1h, .polls = polls});
    CHECK(progress.polls == polls);
    CHECK(a + b - before == static_cast<int>(polls));
    CHECK(progress.runnable);
  }
}

TEST_CASE("Guest: run_ready ends with the resume that uses its time up", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes, 30us));
  cw::Progress progress = executor.run_ready({.time = 100us, .polls = 1000});
  CHECK(progress.polls == 4);
  CHECK(resumes == 4);
  CHECK(progress.runnable);
}

TEST_CASE("Guest: a budget of 0 is the executor's host-poll limit", "[guest]") {
  auto executor =
      Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(7).with_host_poll_interval(100us).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes, 0ns));
  CHECK(executor.run_ready().polls == 7);
  cw::ManualClock::advance(1s);  // the guest's own time costs the executor nothing
  CHECK(executor.run_ready().polls == 7);

  auto slow =
      Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(1000).with_host_poll_interval(100us).build();
  slow.queue(0).spawn(endless(resumes, 50us));
  CHECK(slow.run_ready().polls == 2);
}

TEST_CASE("Guest: run_ready tells the time to the next timer", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  bool woke = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(5ms);
    woke = true;
  });
  cw::Progress progress = executor.run_ready();
  CHECK_FALSE(progress.runnable);
  CHECK(progress.next_timer == 5ms);
  cw::ManualClock::advance(2ms);
  CHECK(executor.run_ready().next_timer == 3ms);
  CHECK_FALSE(woke);
  cw::ManualClock::advance(3ms);
  progress = executor.run_ready();
  CHECK(woke);
  CHECK_FALSE(progress.next_timer.has_value());
}

TEST_CASE("Guest: what a timer that came due during run_ready woke counts as runnable", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(5ms); });
  executor.queue(0).spawn([]() -> cw::Task<> {
    cw::ManualClock::advance(7ms);
    co_return;
  });
  cw::Progress progress = executor.run_ready({.time = 1ms, .polls = 2});
  CHECK(progress.polls == 2);
  CHECK(progress.runnable);
  CHECK_FALSE(progress.next_timer.has_value());
}

TEST_CASE("Guest: a stop ends run_ready early, it counts once, and tasks go on at the next call", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes, 0ns));
  executor.stop();
  executor.stop();
  cw::Progress progress = executor.run_ready();
  CHECK(progress.polls == 0);
  CHECK(progress.runnable);
  CHECK(executor.run_ready({.time = 1h, .polls = 5}).polls == 5);
}

TEST_CASE("Guest: what a task throws leaves run_ready, and the next call goes on", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  bool ran = false;
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error("task");
    co_return;
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    ran = true;
    co_return;
  });
  CHECK_THROWS_AS(executor.run_ready(), std::runtime_error);
  executor.run_ready();
  CHECK(ran);
}

TEST_CASE("Guest: the same executor may be driven by run* in between", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumed = 0;
  cw::Waker waker;
  executor.queue(0).spawn(sleeps_until_woken(waker, resumed));
  executor.run_ready();
  executor.run_until([&]() -> cw::Task<> {
    waker.wake();
    while (resumed < 1) co_await cw::yield_now();
  });
  waker.wake();
  executor.run_ready();
  CHECK(resumed == 2);
}

TEST_CASE("Guest: two guests on one thread, one driven from within the other's callback", "[guest]") {
  auto one = Builder{}.with_queue(0, 1).build();
  auto two = Builder{}.with_queue(0, 1).build();
  std::vector<std::string> order;
  // A hook that the first executor calls outside of any task: that of an exception nobody took.
  auto capturing =
      Builder{}
          .with_queue(0, 1)
          .with_exception_policy(cw::ExceptionPolicy::capture)
          .with_unhandled_exception([&](std::exception_ptr, cw::TaskInfo) { order.push_back("hook"); })
          .build();
  two.queue(0).spawn([&]() -> cw::Task<> {
    order.push_back("two");
    co_return;
  });
  int hosts_polls = 0;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout) {
        if (++hosts_polls == 1) {
          two.run_ready();
          capturing.run_ready();
        }
        one.stop();
      },
      [] {});
  capturing.queue(0).spawn([]() -> cw::Task<> {
    throw 1;
    co_return;
  });
  one.run(host);
  CHECK(order == std::vector<std::string>{"two", "hook"});
}

}  // namespace
