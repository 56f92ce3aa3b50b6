#include <clockworker/timer.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <ratio>
#include <string>
#include <vector>

namespace {

using namespace clockworker_test;
using cw::detail::saturated_ns;

constexpr std::int64_t for_ever = cw::detail::never;

TEST_CASE("saturated_ns: rounds up and keeps within what nanoseconds can say", "[timer]") {
  using std::chrono::duration;
  CHECK(saturated_ns(5ms) == 5'000'000);
  CHECK(saturated_ns(duration<double>{0.5}) == 500'000'000);
  CHECK(saturated_ns(duration<float, std::micro>{0.25F}) == 250);
  CHECK(saturated_ns(duration<std::int64_t, std::pico>{1}) == 1);
  CHECK(saturated_ns(duration<std::int64_t, std::pico>{1001}) == 2);
  CHECK(saturated_ns(duration<std::int64_t, std::pico>{-1}) == 0);
  CHECK(saturated_ns(std::chrono::hours::max()) == for_ever);
  CHECK(saturated_ns(std::chrono::seconds::max()) == for_ever);
  CHECK(saturated_ns(std::chrono::nanoseconds::max()) == for_ever);
  CHECK(saturated_ns(duration<double>{std::numeric_limits<double>::infinity()}) == for_ever);
  CHECK(saturated_ns(duration<double>{std::numeric_limits<double>::quiet_NaN()}) == for_ever);
  CHECK(saturated_ns(duration<double>{1e300}) == for_ever);
  CHECK(saturated_ns(std::chrono::hours::min()) == -for_ever);
  CHECK(saturated_ns(duration<double>{-1e300}) == -for_ever);
  CHECK(saturated_ns(-3ms) == -3'000'000);
}

TEST_CASE("sleep_for: goes on at the moment the time has passed, not before", "[timer]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(10ms); });
  run_all(executor);
  CHECK(executor.stats().armed_timers == 1);
  CHECK(executor.run_ready().next_timer == 10ms);
  pass_time(executor, 10ms - 1ns);
  CHECK_FALSE(handle.done());
  CHECK(executor.run_ready().next_timer == 1ns);
  pass_time(executor, 1ns);
  CHECK(handle.done());
  CHECK(executor.stats().armed_timers == 0);
  CHECK(executor.run_ready().next_timer == std::nullopt);
}

TEST_CASE("sleep_for: counts from the await, not from the call", "[timer]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle = executor.queue(0).spawn([]() -> cw::Task<> {
    auto sleep = cw::sleep_for(10ms);
    cw::ManualClock::advance(8ms);
    co_await sleep;
    co_await sleep;  // and may be awaited again
  });
  run_all(executor);
  pass_time(executor, 10ms);
  CHECK_FALSE(handle.done());
  pass_time(executor, 10ms - 1ns);
  CHECK_FALSE(handle.done());
  pass_time(executor, 1ns);
  CHECK(handle.done());
}

TEST_CASE("sleep: wakes in the order of deadlines, however they were armed", "[timer]") {
  ManualExecutor executor = manual_executor();
  std::vector<int> order;
  auto sleeper = [&](int ms) -> cw::Task<> {
    co_await cw::sleep_for(std::chrono::milliseconds{ms});
    order.push_back(ms);
  };
  for (int ms : {5, 1, 4, 2, 3}) static_cast<void>(executor.queue(0).spawn(sleeper, ms));
  run_all(executor);
  pass_time(executor, 1s);
  CHECK(order == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("sleep: of equal deadlines the one armed first wakes first", "[timer]") {
  ManualExecutor executor = manual_executor();
  std::vector<int> order;
  cw::TimePoint when = executor.now() + 1ms;
  auto sleeper = [&](int number) -> cw::Task<> {
    co_await cw::sleep_until(when);
    order.push_back(number);
  };
  std::vector<int> expected;
  for (int number = 0; number < 100; ++number) {
    static_cast<void>(executor.queue(0).spawn(sleeper, number));
    expected.push_back(number);
  }
  run_all(executor);
  pass_time(executor, 1ms);
  CHECK(order == expected);
}

TEST_CASE("sleep_for: nothing or less gives way to others once", "[timer]") {
  ManualExecutor executor = manual_executor();
  for (std::chrono::nanoseconds d : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    Log log;
    static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
      co_await cw::sleep_for(d);
      log.push_back("sleeper");
    }));
    static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
      log.push_back("other");
      co_return;
    }));
    run_all(executor);
    CHECK(log == Log{"other", "sleeper"});
  }
}

TEST_CASE("sleep_until: a point in the past gives way to others once", "[timer]") {
  ManualExecutor executor = manual_executor();
  cw::ManualClock::advance(1h);
  for (cw::TimePoint when : {executor.now() - 1h, executor.now(), cw::TimePoint::min()}) {
    Log log;
    static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
      co_await cw::sleep_until(when);
      log.push_back("sleeper");
    }));
    static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
      log.push_back("other");
      co_return;
    }));
    run_all(executor);
    CHECK(log == Log{"other", "sleeper"});
  }
}

TEST_CASE("sleep: what is too long to count is for ever, and can be aborted", "[timer]") {
  ManualExecutor executor = manual_executor();
  std::vector<cw::JoinHandle<>> handles;
  auto sleep_for = [](auto d) -> cw::Task<> { co_await cw::sleep_for(d); };
  auto sleep_until = [](auto t) -> cw::Task<> { co_await cw::sleep_until(t); };
  handles.push_back(executor.queue(0).spawn(sleep_for, std::chrono::hours::max()));
  handles.push_back(executor.queue(0).spawn(sleep_for, std::chrono::nanoseconds::max()));
  handles.push_back(executor.queue(0).spawn(sleep_for, std::chrono::duration<float>{1e30F}));
  handles.push_back(executor.queue(0).spawn(sleep_until, cw::TimePoint::max()));
  handles.push_back(executor.queue(0).spawn(
      sleep_until, std::chrono::time_point<std::chrono::steady_clock, std::chrono::hours>::max()));
  run_all(executor);
  pass_time(executor, std::chrono::hours{24 * 365 * 50});
  for (const cw::JoinHandle<>& handle : handles) {
    CHECK_FALSE(handle.done());
    handle.abort();
  }
  run_all(executor);
  for (const cw::JoinHandle<>& handle : handles) CHECK(handle.done());
  CHECK(executor.stats().armed_timers == 0);
}

TEST_CASE("sleep: takes durations of floating point", "[timer]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle = executor.queue(0).spawn(
      []() -> cw::Task<> { co_await cw::sleep_for(std::chrono::duration<double, std::milli>{1.5}); });
  run_all(executor);
  pass_time(executor, 1500us - 1ns);
  CHECK_FALSE(handle.done());
  pass_time(executor, 1ns);
  CHECK(handle.done());
}

TEST_CASE("sleep: an abort disarms the timer, and so does the executor's end", "[timer]") {
  cw::JoinHandle<> left;
  {
    ManualExecutor executor = manual_executor();
    auto sleeper = []() -> cw::Task<> { co_await cw::sleep_for(1ms); };
    cw::JoinHandle<> aborted = executor.queue(0).spawn(sleeper);
    left = executor.queue(0).spawn(sleeper);
    run_all(executor);
    CHECK(executor.stats().armed_timers == 2);
    aborted.abort();
    run_all(executor);
    CHECK(executor.stats().armed_timers == 1);
  }
  CHECK(left.done());
}

TEST_CASE("sleep: an abort at the very moment it is due ends the task once", "[timer]") {
  ManualExecutor executor = manual_executor();
  bool went_on = false;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    went_on = true;
  });
  run_all(executor);
  cw::ManualClock::advance(1ms);
  handle.abort();
  run_all(executor);
  CHECK(handle.done());
  CHECK_FALSE(went_on);
}

TEST_CASE("sleep: 100,000 sleepers wake, each at its time, in order", "[timer]") {
  ManualExecutor executor = manual_executor();
  constexpr int count = 100'000;
  std::mt19937 random{20};
  cw::TimePoint start = executor.now();
  int woken = 0;
  int early_or_late = 0;
  int out_of_order = 0;
  std::chrono::nanoseconds last{0};
  auto sleeper = [&](std::chrono::nanoseconds d) -> cw::Task<> {
    co_await cw::sleep_for(d);
    ++woken;
    if (d < last) ++out_of_order;
    last = d;
    std::chrono::nanoseconds slept = executor.now() - start;
    if (slept < d || slept >= d + 1ms) ++early_or_late;  // the clock steps by 1 ms
  };
  for (int i = 0; i < count; ++i) {
    static_cast<void>(executor.queue(0).spawn(sleeper, std::chrono::nanoseconds{random() % 100'000'000}));
  }
  run_all(executor);
  CHECK(executor.stats().armed_timers + static_cast<std::size_t>(woken) == count);
  for (int step = 0; step < 101; ++step) pass_time(executor, 1ms);
  CHECK(woken == count);
  CHECK(early_or_late == 0);
  CHECK(out_of_order == 0);
  CHECK(executor.stats().timers_fired == count);
}

}  // namespace
