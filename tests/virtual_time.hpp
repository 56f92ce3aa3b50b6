/// \file
/// Executors under virtual time: a task works by moving the clock on, a host sleeps by jumping to the end of the sleep.
#pragma once

#include <clockworker/clockworker.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace clockworker_test {

using Ns = std::chrono::nanoseconds;
using clockworker::ManualClock;

template <class Key = int>
using VirtualBuilder = clockworker::ExecutorBuilder<Key, ManualClock>;
template <class Key = int>
using VirtualExecutor = clockworker::Executor<Key, ManualClock>;

/// A budget that ends only when nothing is runnable.
inline constexpr clockworker::Budget unbounded{std::chrono::hours{1'000'000}, 0xffff'ffffU};

/// The running task uses the processor for so long.
inline void work(Ns d) { ManualClock::advance(d); }

/// Time since it was made.
class Stopwatch {
 public:
  [[nodiscard]] Ns elapsed() const { return ManualClock::now() - began_; }

 private:
  clockworker::TimePoint began_ = ManualClock::now();
};

/// A host whose sleep takes no real time. One that would never end throws.
class JumpHost {
 public:
  void poll(clockworker::PollTimeout timeout) {
    ++polls;
    if (!timeout || timeout->count() > 0) ++sleeps;
    polled_at.push_back(ManualClock::now());
    if (on_poll && on_poll(timeout)) return;
    if (!timeout) throw std::logic_error("the executor sleeps for ever");
    ManualClock::advance(*timeout);
  }
  void wake() noexcept {}

  /// True: it has seen to the poll by itself.
  std::function<bool(clockworker::PollTimeout)> on_poll;
  std::uint64_t polls = 0;
  std::uint64_t sleeps = 0;
  std::vector<clockworker::TimePoint> polled_at;
};

/// A task that never ends: works for `length()` a resume.
template <class Length>
clockworker::Task<> busy(Length length) {
  for (;;) {
    work(length());
    co_await clockworker::yield_now();
  }
}

/// A task that makes `resumes` resumes of `length` each.
inline clockworker::Task<> steps(int resumes, Ns length) {
  for (int i = 0; i < resumes; ++i) {
    if (i != 0) co_await clockworker::yield_now();
    work(length);
  }
}

/// The same numbers on every platform, unlike the distributions of the standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_{seed} {}
  /// Below `bound`, which is small against 2^32.
  std::uint64_t below(std::uint64_t bound) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return (state_ >> 33U) % bound;
  }

 private:
  std::uint64_t state_;
};

/// Who ran, and how often in a row.
class RunLog {
 public:
  struct Run {
    int who;
    int times;
    Ns length;
    friend bool operator==(const Run&, const Run&) = default;
  };

  void ran(int who, Ns length) {
    if (runs.empty() || runs.back().who != who) runs.push_back(Run{who, 0, Ns{0}});
    ++runs.back().times;
    runs.back().length += length;
  }

  std::vector<Run> runs;
};

/// As busy(), and writes a log.
inline clockworker::Task<> logged(RunLog& log, int who, Ns length, int resumes = 1'000'000'000) {
  for (int i = 0; i < resumes; ++i) {
    if (i != 0) co_await clockworker::yield_now();
    work(length);
    log.ran(who, length);
  }
}

}  // namespace clockworker_test
