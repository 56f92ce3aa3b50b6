#include "catch.hpp"
#include "virtual_time.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

/// The manual clock, with its readings counted.
struct CountingClock {
  using duration = ManualClock::duration;
  using rep = ManualClock::rep;
  using period = ManualClock::period;
  using time_point = ManualClock::time_point;
  static constexpr bool is_steady = true;
  static inline thread_local std::uint64_t readings = 0;

  static cw::TimePoint now() noexcept {
    ++readings;
    return ManualClock::now();
  }
};
static_assert(cw::Clock<CountingClock>);

using Builder = cw::ExecutorBuilder<int, CountingClock>;

/// Readings during `f()`.
template <class F>
std::uint64_t readings_of(F f) {
  const std::uint64_t before = CountingClock::readings;
  f();
  return CountingClock::readings - before;
}

}  // namespace

TEST_CASE("short resumes are timed sixteen at a time if their scheduler has no observe") {
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn(steps, 16'000, 10ns);
  const std::uint64_t readings = readings_of([&] { executor.run_ready(unbounded); });
  CHECK(executor.stats().resumes == 16'000);
  CHECK(readings >= 1'000);
  CHECK(readings <= 1'000 + 10);  // the first strides are shorter
}

TEST_CASE("with observe the clock is read once a resume") {
  auto executor = Builder{}.with_queue(0, 1, cw::LAS{}).build();
  executor.queue(0).spawn(steps, 10'000, 10ns);
  const std::uint64_t readings = readings_of([&] { executor.run_ready(unbounded); });
  CHECK(readings >= 10'000);
  CHECK(readings <= 10'000 + 10);
}

TEST_CASE("with observe a slice costs at most one more reading") {
  auto executor = Builder{}.with_queue(0, 1, cw::LAS{}).with_queue(1, 1, cw::LAS{}).build();
  for (int queue : {0, 1}) executor.queue(queue).spawn(steps, 5'000, 20us);
  const std::uint64_t readings = readings_of([&] { executor.run_ready(unbounded); });
  REQUIRE(executor.stats().slices >= 100);
  CHECK(readings >= 10'000);
  CHECK(readings <= 10'000 + executor.stats().slices);
}

TEST_CASE("long resumes are timed one by one, without a further reading") {
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 1).build();
  for (int queue : {0, 1}) executor.queue(queue).spawn(steps, 5'000, 20us);
  const std::uint64_t readings = readings_of([&] { executor.run_ready(unbounded); });
  CHECK(readings >= 10'000);
  CHECK(readings <= 10'000 + 10);
}

TEST_CASE("after one long resume every resume is timed again, until they prove short") {
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> {
    for (int i = 0; i < 31; ++i) co_await cw::yield_now();  // strides of 1, 2, 4, 8 and 16
    work(100us);
    for (int i = 0; i < 15; ++i) co_await cw::yield_now();  // the rest of a stride
    CHECK(readings_of([] {}) == 0);
    for (std::uint64_t expected : {1U, 2U, 4U, 8U, 16U}) {
      const std::uint64_t before = CountingClock::readings;
      for (std::uint64_t i = 0; i < expected; ++i) co_await cw::yield_now();
      CHECK(CountingClock::readings - before == 1);
    }
  });
  executor.run_ready(unbounded);
  CHECK(executor.stats(0).longest_resume == 100us);
}

TEST_CASE("a queue of long resumes is watched at each, however short those of another queue are") {
  auto executor =
      Builder{}.with_queue(0, 1).with_queue(1, cw::QueueOptions{.weight = 100, .slice = 1us}).build();
  JumpHost host;
  Ns latest{0};
  executor.queue(1).spawn([&]() -> cw::Task<> {
    for (int tick = 0; tick < 200; ++tick) {
      for (int i = 0; i < 40; ++i) co_await cw::yield_now();  // as short as can be
      const cw::TimePoint due = ManualClock::now() + 100us;
      co_await cw::sleep_until(due);
      latest = std::max<Ns>(latest, ManualClock::now() - due);
    }
  });
  executor.queue(0).spawn(steps, 2'000, 30us);
  executor.run_until_idle(host);
  CHECK(latest > 0us);
  CHECK(latest <= 30us);
}

TEST_CASE("should_yield reads the clock at one of sixteen calls that come quickly") {
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> {
    const std::uint64_t readings = readings_of([] {
      for (int i = 0; i < 16'000; ++i) CHECK_FALSE(cw::should_yield());
    });
    CHECK(readings >= 1'000);
    CHECK(readings <= 1'000 + 10);
    co_return;
  });
  executor.run_ready(unbounded);
}

TEST_CASE("should_yield reads the clock at each call when they are far apart") {
  auto executor = Builder{}.with_queue(0, cw::QueueOptions{.weight = 1, .slice = 1s}).build();
  executor.queue(0).spawn([]() -> cw::Task<> {
    for (int i = 0; i < 1'000; ++i) static_cast<void>(cw::should_yield());
    for (int i = 0; i < 32; ++i) {  // the stride that has begun, and the first that is long as a whole
      work(2us);
      static_cast<void>(cw::should_yield());
    }
    CHECK(readings_of([] {
            for (int i = 0; i < 100; ++i) {
              work(2us);
              CHECK_FALSE(cw::should_yield());
            }
          }) == 100);
    co_return;
  });
  executor.run_ready(unbounded);
}

TEST_CASE("a CPU loop is watched at each call though another queue's calls come quickly") {
  auto executor =
      Builder{}.with_queue(0, cw::QueueOptions{.weight = 1, .slice = 1ms}).with_queue(1, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> {
    for (int i = 0; i < 1'000; ++i) CHECK_FALSE(cw::should_yield());
    co_return;
  });
  int calls = 0;
  executor.queue(1).spawn([&]() -> cw::Task<> {
    while (!cw::should_yield()) {
      work(2ms);
      ++calls;
    }
    co_return;
  });
  executor.run_ready(unbounded);
  CHECK(calls <= 2);  // the first call was quick, so the clock is read at every second
}

TEST_CASE("statistics and a list of the tasks cost no reading") {
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn(steps, 5, 10us);
  executor.run_ready(cw::Budget{1s, 2});
  CHECK(readings_of([&] {
          static_cast<void>(executor.stats());
          static_cast<void>(executor.stats(0));
          static_cast<void>(executor.tasks());
        }) == 0);
}
