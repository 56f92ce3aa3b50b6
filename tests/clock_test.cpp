#include <clockworker/clock.hpp>

#include "catch.hpp"

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using namespace std::chrono_literals;
using clockworker::Clock;
using clockworker::ManualClock;
using clockworker::SteadyClock;
using clockworker::TimePoint;
using clockworker::TscClock;
using std::chrono::nanoseconds;

// --- What is a clock, and what is not

struct Minimal {
  [[maybe_unused]] static constexpr bool is_steady = true;
  static TimePoint now() noexcept { return {}; }
};
struct MayThrow {
  [[maybe_unused]] static constexpr bool is_steady = true;
  static TimePoint now() { return {}; }
};
struct NotSteady {
  [[maybe_unused]] static constexpr bool is_steady = false;
  static TimePoint now() noexcept { return {}; }
};
struct SaysNothing {
  static TimePoint now() noexcept { return {}; }
};
struct Coarse {
  [[maybe_unused]] static constexpr bool is_steady = true;
  static std::chrono::time_point<std::chrono::steady_clock, std::chrono::milliseconds> now() noexcept {
    return {};
  }
};
struct NotStatic {
  [[maybe_unused]] static constexpr bool is_steady = true;
  TimePoint now() const noexcept { return {}; }
};

static_assert(Clock<Minimal> && Clock<SteadyClock> && Clock<ManualClock> && Clock<TscClock>);
static_assert(Clock<std::chrono::steady_clock> ==
              std::is_same_v<std::chrono::steady_clock::duration, std::chrono::nanoseconds>);
static_assert(!Clock<std::chrono::system_clock>);
// It is not steadiness that these lack.
static_assert(MayThrow::is_steady && Coarse::is_steady && NotStatic::is_steady);
static_assert(!Clock<MayThrow> && !Clock<NotSteady> && !Clock<SaysNothing> && !Clock<Coarse> &&
              !Clock<NotStatic>);
static_assert(!Clock<int>);

/// A model is also a clock in the sense of the standard.
template <class C>
constexpr bool is_standard_clock =
    std::is_same_v<typename C::duration, std::chrono::duration<typename C::rep, typename C::period>>&&
        std::is_same_v<typename C::time_point, TimePoint>&& C::is_steady;
static_assert(is_standard_clock<SteadyClock> && is_standard_clock<ManualClock> &&
              is_standard_clock<TscClock>);

template <class C>
int steps_back(int readings) {
  int back = 0;
  TimePoint last = C::now();
  for (int i = 0; i < readings; ++i) {
    TimePoint now = C::now();
    back += now < last;
    last = now;
  }
  return back;
}

TEST_CASE("Clock: SteadyClock never goes back, and is the standard's", "[clock]") {
  CHECK(steps_back<SteadyClock>(100'000) == 0);
  auto before = std::chrono::steady_clock::now();
  TimePoint now = SteadyClock::now();
  auto after = std::chrono::steady_clock::now();
  CHECK(before <= now);
  CHECK(now <= after);
}

TEST_CASE("Clock: ManualClock stands still until it is moved", "[clock]") {
  TimePoint before = ManualClock::now();
  CHECK(ManualClock::now() == before);
  ManualClock::advance(5ms);
  CHECK(ManualClock::now() == before + 5ms);
  ManualClock::advance(0ns);
  CHECK(ManualClock::now() == before + 5ms);
}

TEST_CASE("Clock: ManualClock refuses to go back, and then stands where it stood", "[clock]") {
  TimePoint before = ManualClock::now();
  CHECK_THROWS_AS(ManualClock::advance(-1ns), std::invalid_argument);
  CHECK(ManualClock::now() == before);
}

TEST_CASE("Clock: each thread has a ManualClock of its own, which starts at zero", "[clock]") {
  ManualClock::advance(1h);
  TimePoint mine = ManualClock::now();
  TimePoint theirs_at_first, theirs;
  std::thread thread{[&] {
    theirs_at_first = ManualClock::now();
    ManualClock::advance(3s);
    theirs = ManualClock::now();
  }};
  thread.join();
  CHECK(theirs_at_first == TimePoint{});
  CHECK(theirs == TimePoint{3s});
  CHECK(ManualClock::now() == mine);
}

TEST_CASE("Clock: TscClock never goes back on a thread", "[clock]") {
  CHECK(steps_back<TscClock>(100'000) == 0);
}

TEST_CASE("Clock: TscClock runs at the rate of the steady clock", "[clock]") {
  // Each reading of one lies between two of the other: a pause of this thread cannot make them differ.
  TimePoint outer_begin = SteadyClock::now();
  TimePoint begin = TscClock::now();
  TimePoint inner_begin = SteadyClock::now();
  std::this_thread::sleep_for(50ms);  // wall time is the subject
  TimePoint inner_end = SteadyClock::now();
  TimePoint end = TscClock::now();
  TimePoint outer_end = SteadyClock::now();
  nanoseconds ran = end - begin;
  auto with_drift = [](nanoseconds span, int parts_in_a_thousand) {
    return span + span * parts_in_a_thousand / 1000;
  };
  CHECK(ran >= with_drift(inner_end - inner_begin, -2));
  CHECK(ran <= with_drift(outer_end - outer_begin, 2));
}

TEST_CASE("Clock: TscClock counts from where the steady clock does, to within their drift", "[clock]") {
  static_cast<void>(TscClock::now());  // its scale is taken at the first call
  TimePoint before = SteadyClock::now();
  TimePoint now = TscClock::now();
  TimePoint after = SteadyClock::now();
  CHECK(now >= before - 10ms);
  CHECK(now <= after + 10ms);
}

TEST_CASE("Clock: TscClock may be read first by several threads at once, and they agree", "[clock]") {
  std::vector<std::thread> threads;
  std::vector<TimePoint> readings(4);
  std::vector<int> usable(4);
  TimePoint before = SteadyClock::now();
  for (std::size_t i = 0; i < readings.size(); ++i) {
    threads.emplace_back([&, i] {
      readings[i] = TscClock::now();
      usable[i] = TscClock::uses_tsc();
    });
  }
  for (std::thread& thread : threads) thread.join();
  TimePoint after = SteadyClock::now();
  for (TimePoint reading : readings) {
    CHECK(reading >= before - 10ms);
    CHECK(reading <= after + 10ms);
  }
  CHECK(usable == std::vector<int>(4, usable[0]));
}

}  // namespace
