#include <clockworker/host.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;

/// Sleeps in poll(2) on a pipe, to which wake() writes a byte.
class PipeHost {
 public:
  PipeHost() {
    if (::pipe(ends_) != 0) throw std::runtime_error("no pipe");
    for (int end : ends_) ::fcntl(end, F_SETFL, O_NONBLOCK);
  }
  PipeHost(const PipeHost&) = delete;
  PipeHost& operator=(const PipeHost&) = delete;
  ~PipeHost() {
    for (int end : ends_) ::close(end);
  }
  [[nodiscard]] auto hook() {
    return cw::poll_hook(
        [this](cw::PollTimeout timeout) {
          pollfd waits{ends_[0], POLLIN, 0};
          int ms =
              timeout ? static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(*timeout).count()) : -1;
          if (::poll(&waits, 1, ms) <= 0) return;
          char bytes[64];
          while (::read(ends_[0], bytes, sizeof bytes) == static_cast<ssize_t>(sizeof bytes)) {
          }
        },
        [this] {
          const char byte = 1;
          [[maybe_unused]] ssize_t written = ::write(ends_[1], &byte, 1);
        });
  }

 private:
  int ends_[2] = {-1, -1};
};

/// Counts what an executor asks of a host.
template <class Host>
class Counted {
 public:
  explicit Counted(Host& host) : host_{host} {}
  void poll(cw::PollTimeout timeout) {
    ++polls;
    if (!timeout) ++endless_polls;
    host_.poll(timeout);
  }
  void wake() noexcept {
    ++wakes;
    host_.wake();
  }
  std::atomic<int> polls = 0;
  std::atomic<int> endless_polls = 0;
  std::atomic<int> wakes = 0;

 private:
  Host& host_;
};

/// A task that suspends `rounds` times, and a thread that wakes it each time: as soon as it can, so that the
/// wakes come while the executor goes to sleep, is about to, or has.
template <class Host>
int rounds_of_sleep(Host& host, int rounds) {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  std::atomic<bool> full = false;
  cw::Waker waker;
  std::thread thread{[&] {
    std::uint32_t random = 1;
    for (int i = 0; i < rounds; ++i) {
      while (!full.load(std::memory_order_acquire)) std::this_thread::yield();
      cw::Waker mine = std::move(waker);
      full.store(false, std::memory_order_release);
      random = random * 1664525U + 1013904223U;
      for (std::uint32_t spin = (random >> 22) & 1023U; spin != 0; --spin) {
        std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      mine.wake();
    }
  }};
  int resumed = 0;
  executor.run_until(host, [&]() -> cw::Task<> {
    auto hand_over = [&](cw::Waker given) {
      waker = std::move(given);
      full.store(true, std::memory_order_release);
    };
    for (int i = 0; i < rounds; ++i) {
      co_await cw::suspend(hand_over);
      ++resumed;
    }
  });
  thread.join();
  return resumed;
}

TEST_CASE("Host: no wake is lost while the executor goes to sleep: ThreadHost", "[host]") {
  cw::ThreadHost host;
  CHECK(rounds_of_sleep(host, 100'000) == 100'000);
}

TEST_CASE("Host: no wake is lost while the executor goes to sleep: a pipe", "[host]") {
  PipeHost pipe;
  auto host = pipe.hook();
  CHECK(rounds_of_sleep(host, 100'000) == 100'000);
}

TEST_CASE("Host: an idle executor polls once, and again only when it is woken", "[host]") {
  cw::ThreadHost inner;
  Counted host{inner};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  std::atomic<int> polls_before = 0;
  std::atomic<int> polls_after = 0;
  std::thread thread{[&] {
    while (host.endless_polls == 0) std::this_thread::yield();
    polls_before = host.polls.load();
    std::this_thread::sleep_for(
        std::chrono::milliseconds{50});  // wall time is the subject: nothing happens in it
    polls_after = host.polls.load();
    remote.stop();
  }};
  executor.run(host);
  thread.join();
  CHECK(polls_after == polls_before);
  CHECK(polls_before == 1);
  CHECK(host.wakes == 1);
  CHECK(host.polls == 1);
}

TEST_CASE("Host: wake() is called at most once for each time the executor goes to sleep", "[host]") {
  cw::ThreadHost inner;
  Counted host{inner};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  constexpr int threads = 3;
  constexpr int spawns = 3000;
  int ran = 0;
  std::atomic<int> left = threads;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t) {
    posters.emplace_back([&, remote] {
      for (int i = 0; i < spawns; ++i) {
        static_cast<void>(remote.spawn(0, [&ran]() -> cw::Task<> {
          ++ran;
          co_return;
        }));
      }
      if (--left == 0) remote.stop();
    });
  }
  executor.run(host);
  for (std::thread& poster : posters) poster.join();
  executor.run_until_idle(host);
  CHECK(ran == threads * spawns);
  CHECK(host.wakes <= host.endless_polls);
  CHECK(executor.stats().parks == static_cast<std::uint64_t>(host.endless_polls));
}

/// Its poll() returns as soon as a thread is in wake(), which dawdles.
struct SlowBell {
  std::atomic<bool> rung = false;
  std::atomic<bool> left = false;
  void poll(cw::PollTimeout) {
    while (!rung) std::this_thread::yield();
  }
  void wake() noexcept {
    rung = true;
    for (int i = 0; i < 20; ++i) std::this_thread::yield();
    left = true;
  }
};

TEST_CASE("Host: nobody is in wake() any more when run() has returned: the host may be destroyed", "[host]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  int too_early = 0;
  for (int round = 0; round < 300; ++round) {
    auto host = std::make_unique<SlowBell>();
    std::thread thread{[&remote] {
      std::this_thread::yield();  // so that the executor mostly sleeps by then, and is to be rung
      remote.stop();
    }};
    executor.run(*host);
    too_early += host->rung && !host->left;
    host.reset();
    thread.join();
  }
  CHECK(too_early == 0);
}

TEST_CASE("Host: an exception out of poll() loses nothing that other threads post meanwhile", "[host]") {
  struct Throws {
    cw::ThreadHost host;
    int polls = 0;
    void poll(cw::PollTimeout timeout) {
      host.poll(timeout);
      if (++polls % 2 == 0) throw std::runtime_error("host");
    }
    void wake() noexcept { host.wake(); }
  };
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  constexpr int spawns = 2000;
  std::atomic<int> answered = 0;
  std::thread thread{[&answered, remote] {
    for (int i = 0; i < spawns; ++i) {
      auto handle = remote.spawn(0, [i]() -> cw::Task<int> { co_return i; });
      answered += handle.get().value() == i;
    }
    remote.stop();
  }};
  Throws host;
  int thrown = 0;
  for (bool stopped = false; !stopped;) {
    try {
      executor.run(host);
      stopped = true;
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  thread.join();
  CHECK(answered == spawns);
  CHECK(thrown > 0);
}

TEST_CASE("Host: the driving thread may change between two runs", "[host]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  cw::Waker waker;
  std::vector<std::thread::id> ran_on;
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    auto keep = [&](cw::Waker given) {
      waker = std::move(given);
      executor.stop();
    };
    for (int i = 0; i < 10; ++i) {
      ran_on.push_back(std::this_thread::get_id());
      co_await cw::suspend(keep);
    }
  });
  std::vector<std::thread::id> expected;
  for (int i = 0; i < 10; ++i) {
    std::thread driver{[&] { executor.run(); }};
    expected.push_back(driver.get_id());
    driver.join();
    waker.wake();  // from a thread that does not drive it, and never has
  }
  std::thread last{[&] { executor.run_until_idle(); }};
  last.join();
  CHECK(handle.done());
  CHECK(ran_on == expected);
}

TEST_CASE("Host: executors on two threads wake each other's tasks", "[host]") {
  constexpr int rounds = 5000;
  auto one = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto two = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  // A player without the ball lays its waker down and looks again; who passes the ball takes the waker up.
  struct Side {
    std::atomic<bool> ball = false;
    std::atomic<bool> waits = false;
    cw::Waker waker;
  };
  Side sides[2];
  sides[0].ball = true;
  auto player = [](Side& mine, Side& other) -> cw::Task<int> {
    int played = 0;
    while (played < rounds) {
      auto wait = [&](const cw::Waker& given) {
        mine.waker = given;
        mine.waits = true;
        if (mine.ball && mine.waits.exchange(false)) given.wake();
      };
      if (!mine.ball) co_await cw::suspend(wait);
      if (!mine.ball.exchange(false)) continue;
      ++played;
      other.ball = true;
      if (other.waits.exchange(false)) other.waker.wake();
    }
    co_return played;
  };
  int played_by_two = 0;
  std::thread second{
      [&] { played_by_two = two.run_until([&]() -> cw::Task<int> { return player(sides[1], sides[0]); }); }};
  int played_by_one = one.run_until([&]() -> cw::Task<int> { return player(sides[0], sides[1]); });
  second.join();
  CHECK(played_by_one == rounds);
  CHECK(played_by_two == rounds);
}

}  // namespace
