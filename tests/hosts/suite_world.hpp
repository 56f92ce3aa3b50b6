/// \file
/// What the tests of the suite are made of: a loop, an executor on it in either direction, and pipes.
/// `SuiteLoop` is the fixture of the host under test.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/guest.hpp>

#include "../catch.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

namespace clockworker_test {

namespace cw = clockworker;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

enum Lane { foreground, background };
using Executor = cw::Executor<Lane>;

inline cw::ExecutorBuilder<Lane> two_lanes() {
  cw::ExecutorBuilder<Lane> builder;
  builder.with_queue(foreground, 8).with_queue(background, 1);
  return builder;
}

struct AsHost {
  static constexpr bool guest = false;
};
struct AsGuest {
  static constexpr bool guest = true;
};

/// What the calling thread has computed.
inline nanoseconds cpu_time() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds{t.tv_sec} + nanoseconds{t.tv_nsec};
}

class Pipe {
 public:
  Pipe() { REQUIRE(::pipe2(ends_, O_NONBLOCK | O_CLOEXEC) == 0); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  [[nodiscard]] int reading() const { return ends_[0]; }
  void write(char byte) const {
    if (::write(ends_[1], &byte, 1) != 1) std::abort();
  }
  [[nodiscard]] char read() const {
    char byte = 0;
    return ::read(ends_[0], &byte, 1) == 1 ? byte : '\0';
  }

 private:
  int ends_[2];
};

/// Counts those of its kind that live: for the locals of tasks.
class Alive {
 public:
  explicit Alive(int& count) : count_{&count} { ++*count_; }
  Alive(const Alive& other) : count_{other.count_} { ++*count_; }
  Alive& operator=(const Alive&) = delete;
  ~Alive() { --*count_; }

 private:
  int* count_;
};

/// A loop that runs until finish(), with an executor on it: `Direction` says who drives whom.
template <class Direction>
class World {
 public:
  explicit World(cw::GuestOptions options = {}) {
    if constexpr (Direction::guest) guest_ = loop.guest(executor, std::move(options));
  }

  void run() {
    finished_ = false;
    if constexpr (Direction::guest) {
      loop.run_until([this] { return finished_; });
    } else {
      while (!finished_) executor.run(loop.host());
    }
  }
  /// On the loop's thread.
  void finish() {
    finished_ = true;
    if constexpr (Direction::guest) {
      loop.post([] {});  // an iteration, after which the loop asks whether it is done
    } else {
      executor.stop();
    }
  }
  /// Ends a run in which something starves, so that the test can say so. The loop's own means may be what
  /// starves: so a task looks, and posts look.
  [[nodiscard]] bool out_of_patience() const {
    return std::chrono::steady_clock::now() - began_at_ > std::chrono::seconds{30};
  }

  template <class F>
  auto spawn(Lane lane, F f) {
    return executor.queue(lane).spawn(std::move(f));
  }

  SuiteLoop loop;
  Executor executor = two_lanes().build();

 private:
  using GuestPointer = decltype(std::declval<SuiteLoop&>().guest(std::declval<Executor&>()));
  std::conditional_t<Direction::guest, GuestPointer, int> guest_{};
  bool finished_ = false;
  std::chrono::steady_clock::time_point began_at_ = std::chrono::steady_clock::now();
};

}  // namespace clockworker_test
