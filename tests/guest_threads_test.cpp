#include <clockworker/executor.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;

/// The loop of an embedder: runs what is runnable, and sleeps until the bell rings. No timeout: a lost edge
/// hangs it.
class Loop {
 public:
  explicit Loop(cw::Executor<>& executor) : executor_{executor} {
    executor.on_runnable([this] {
      std::lock_guard lock{mutex_};
      ++rings;
      runnable_ = true;
      changed_.notify_one();
    });
  }
  ~Loop() { executor_.on_runnable({}); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  template <class Done>
  void run_until(Done done) {
    while (!done()) {
      if (executor_.run_ready().runnable) continue;
      if (done()) return;
      ++sleeps;
      std::unique_lock lock{mutex_};
      changed_.wait(lock, [&] { return runnable_; });
      runnable_ = false;
    }
  }
  int rings = 0;   // under the mutex
  int sleeps = 0;  // the loop's thread

 private:
  cw::Executor<>& executor_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool runnable_ = false;
};

TEST_CASE("Guest: no wake is lost while the executor turns idle", "[guest]") {
  constexpr int rounds = 100'000;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  Loop loop{executor};
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
  executor.queue(0).spawn([&]() -> cw::Task<> {
    auto hand_over = [&](cw::Waker given) {
      waker = std::move(given);
      full.store(true, std::memory_order_release);
    };
    for (int i = 0; i < rounds; ++i) {
      co_await cw::suspend(hand_over);
      ++resumed;
    }
  });
  loop.run_until([&] { return resumed == rounds; });
  thread.join();
  CHECK(resumed == rounds);
  CHECK(loop.rings <= loop.sleeps + 1);  // the first spawn rang too
}

TEST_CASE("Guest: spawns and wakes of several threads ring once an edge", "[guest]") {
  constexpr int threads = 3;
  constexpr int spawns = 3000;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  Loop loop{executor};
  auto remote = executor.remote();
  int ran = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t) {
    posters.emplace_back([&ran, remote] {
      for (int i = 0; i < spawns; ++i) {
        auto handle = remote.spawn(0, [&ran]() -> cw::Task<> {
          ++ran;
          co_return;
        });
        if (i % 16 == 0) handle.get().value();
      }
    });
  }
  loop.run_until([&] { return ran == threads * spawns; });
  for (std::thread& poster : posters) poster.join();
  CHECK(ran == threads * spawns);
  CHECK(loop.rings <= loop.sleeps + 1);
}

TEST_CASE("Guest: on_runnable can be replaced and removed while other threads post", "[guest]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  std::atomic<bool> over = false;
  std::atomic<int> spawned = 0;
  std::thread poster{[&, remote] {
    while (!over) {
      auto handle = remote.spawn(0, []() -> cw::Task<> { co_return; });
      ++spawned;
      while (!handle.done() && !over) std::this_thread::yield();
    }
  }};
  int too_late = 0;
  for (int round = 0; round < 2000; ++round) {
    struct Target {
      std::atomic<int> inside = 0;
      std::atomic<int> rings = 0;
    };
    auto target = std::make_unique<Target>();
    executor.on_runnable([at = target.get()] {
      ++at->inside;
      ++at->rings;
      std::this_thread::yield();
      --at->inside;
    });
    executor.run_ready();
    std::this_thread::yield();
    if (round % 2 == 0) {
      executor.on_runnable({});
    } else {
      executor.on_runnable([] {});
    }
    too_late += target->inside.load();
    target.reset();  // nobody is in it any more
    executor.run_ready();
  }
  over = true;
  poster.join();
  CHECK(too_late == 0);
  executor.on_runnable({});
  executor.run_until_idle();
  CHECK(executor.stats().spawned == static_cast<std::uint64_t>(spawned));
}

TEST_CASE("Guest: the executor may be destroyed while other threads ring", "[guest]") {
  for (int round = 0; round < 300; ++round) {
    std::atomic<bool> over = false;
    std::vector<std::thread> threads;
    auto rings = std::make_unique<std::atomic<int>>(0);
    {
      auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
      executor.on_runnable([at = rings.get()] { ++*at; });
      for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&over, remote = executor.remote()] {
          for (int i = 0; i < 50 || !over; ++i) {
            if (i % 2 == 0) remote.stop();
            if (i < 1000) static_cast<void>(remote.spawn(0, []() -> cw::Task<> { co_return; }));
            if (i > 50) std::this_thread::yield();
          }
        });
      }
      for (int i = 0; i < round % 10; ++i) executor.run_ready();
    }
    rings.reset();  // no callback after the destructor
    over = true;
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
