#include <clockworker/waker.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;

/// Hands one waker at a time from a task to another thread. The giver waits until the one before was taken.
class Slot {
 public:
  void put(cw::Waker waker) {
    while (full_.load(std::memory_order_acquire)) std::this_thread::yield();
    waker_ = std::move(waker);
    full_.store(true, std::memory_order_release);
  }
  /// Empty once `over`.
  cw::Waker take(const std::atomic<bool>& over) {
    while (!full_.load(std::memory_order_acquire)) {
      if (over) return {};
      std::this_thread::yield();
    }
    cw::Waker waker = std::move(waker_);
    full_.store(false, std::memory_order_release);
    return waker;
  }

 private:
  std::atomic<bool> full_{false};
  cw::Waker waker_;
};

/// A short time that differs from call to call, so that threads do not meet at the same point every time.
void dawdle(std::uint32_t& state, std::uint32_t longest = 63) {
  state = state * 1664525U + 1013904223U;
  for (std::uint32_t i = (state >> 16) & longest; i != 0; --i)
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

TEST_CASE("Waker: many threads that wake many tasks, each suspension twice, lose none", "[waker]") {
  constexpr std::size_t tasks = 32;
  constexpr int rounds = 500;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 3).build();
  std::vector<Slot> slots(4);
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  for (Slot& slot : slots) {
    threads.emplace_back([&slot, &over] {
      while (cw::Waker waker = slot.take(over)) {
        cw::Waker copy{waker};
        copy.wake();
        waker.wake();
      }
    });
  }
  int resumed = 0;
  for (std::size_t i = 0; i < tasks; ++i) {
    executor.queue(static_cast<int>(i % 2)).spawn([&slots, &resumed, i]() -> cw::Task<> {
      for (int round = 0; round < rounds; ++round) {
        auto to_two = [&](const cw::Waker& waker) {
          slots[i % 4].put(waker);
          slots[(i + 1) % 4].put(waker);
        };
        co_await cw::suspend(to_two);
        ++resumed;
      }
    });
  }
  executor.run_until_idle();
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(resumed == static_cast<int>(tasks) * rounds);
}

TEST_CASE("Waker: a task sees what the threads wrote before their wakes, whichever was first", "[waker]") {
  // The flags are relaxed, so that only the wakes themselves order the plain data. The task cannot resume
  // before both wakes are done: another one holds the executor's thread until then.
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int wrong = 0;
  for (int round = 0; round < 200; ++round) {
    cw::Waker first, second;
    int data_of_first = 0, data_of_second = 0;
    std::atomic<bool> first_has_woken = false, second_has_woken = false;
    executor.queue(0).spawn([&]() -> cw::Task<> {
      auto keep = [&](const cw::Waker& waker) { first = second = waker; };
      co_await cw::suspend(keep);
      wrong += data_of_first != 1 || data_of_second != 2;
    });
    executor.run_ready();
    std::thread winner{[&] {
      data_of_first = 1;
      first.wake();
      first_has_woken.store(true, std::memory_order_relaxed);
    }};
    std::thread loser{[&] {
      while (!first_has_woken.load(std::memory_order_relaxed)) std::this_thread::yield();
      data_of_second = 2;
      second.wake();
      second_has_woken.store(true, std::memory_order_relaxed);
    }};
    executor.queue(0).spawn([&]() -> cw::Task<> {
      while (!second_has_woken.load(std::memory_order_relaxed)) std::this_thread::yield();
      co_return;
    });
    executor.run_until_idle();
    winner.join();
    loser.join();
  }
  CHECK(wrong == 0);
}

TEST_CASE("Waker: what a thread wrote before its wake is seen also if the executor's own wake was first",
          "[waker]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int wrong = 0;
  for (int round = 0; round < 200; ++round) {
    cw::Waker local, remote;
    int data = 0;
    std::atomic<bool> local_has_woken = false, remote_has_woken = false;
    executor.queue(0).spawn([&]() -> cw::Task<> {
      auto keep = [&](const cw::Waker& waker) { local = remote = waker; };
      co_await cw::suspend(keep);
      wrong += data != 1;
    });
    executor.run_ready();
    std::thread loser{[&] {
      while (!local_has_woken.load(std::memory_order_relaxed)) std::this_thread::yield();
      data = 1;
      remote.wake();
      remote_has_woken.store(true, std::memory_order_relaxed);
    }};
    executor.queue(0).spawn([&]() -> cw::Task<> {
      local.wake();
      local_has_woken.store(true, std::memory_order_relaxed);
      while (!remote_has_woken.load(std::memory_order_relaxed)) std::this_thread::yield();
      co_return;
    });
    executor.run_until_idle();
    loser.join();
  }
  CHECK(wrong == 0);
}

TEST_CASE("Waker: an abort and a wake from another thread may meet", "[waker]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  Slot slot;
  std::atomic<bool> over = false;
  std::thread thread{[&] {
    std::uint32_t random = 1;
    while (cw::Waker waker = slot.take(over)) {
      dawdle(random);
      waker.wake();
    }
  }};
  constexpr int rounds = 10'000;
  int cancelled = 0, completed = 0;
  executor.run_until([&]() -> cw::Task<> {
    std::uint32_t random = 2;
    for (int round = 0; round < rounds; ++round) {
      auto handle = executor.queue(0).spawn([&slot]() -> cw::Task<> {
        auto hand_over = [&](cw::Waker waker) { slot.put(std::move(waker)); };
        co_await cw::suspend(hand_over);
      });
      co_await cw::yield_now();
      dawdle(random, 4095);
      handle.abort();
      auto result = co_await handle;
      ++(result.has_value() ? completed : cancelled);
    }
  });
  over = true;
  thread.join();
  CHECK(cancelled + completed == rounds);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("Waker: a callable that throws after it has given its waker away takes the suspension back",
          "[waker]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  Slot slot;
  std::atomic<bool> over = false;
  std::thread thread{[&] {
    std::uint32_t random = 3;
    while (cw::Waker waker = slot.take(over)) {
      dawdle(random);
      waker.wake();
    }
  }};
  constexpr int rounds = 10'000;
  int caught = 0, ended_by_a_stale_wake = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::uint32_t random = 4;
    for (int round = 0; round < rounds; ++round) {
      auto throws = [&](cw::Waker waker) {
        slot.put(std::move(waker));
        dawdle(random, 4095);  // so that the wake comes now before the throw and now after it
        throw round;
      };
      try {
        co_await cw::suspend(throws);
      } catch (int) {
        ++caught;
      }
      bool released = false;
      auto let_another_wake = [&](const cw::Waker& waker) {
        executor.queue(0).spawn([&released, waker]() -> cw::Task<> {
          for (int i = 0; i < 3; ++i) co_await cw::yield_now();
          released = true;
          waker.wake();
        });
      };
      co_await cw::suspend(let_another_wake);
      ended_by_a_stale_wake += !released;
      while (!released) co_await cw::yield_now();
    }
  });
  executor.run_until_idle();
  over = true;
  thread.join();
  CHECK(caught == rounds);
  CHECK(ended_by_a_stale_wake == 0);
}

TEST_CASE("Waker: copies may be made and dropped on any thread, the last one after the executor is gone",
          "[waker]") {
  for (int round = 0; round < 200; ++round) {
    std::array<cw::Waker, 3> wakers;
    std::vector<std::thread> threads;
    {
      auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
      executor.queue(0).spawn([&]() -> cw::Task<> {
        auto keep = [&](const cw::Waker& waker) { wakers.fill(waker); };
        co_await cw::suspend(keep);
      });
      executor.run_ready();
      for (cw::Waker& waker : wakers) {
        threads.emplace_back([mine = std::move(waker)]() mutable {
          for (int i = 0; i < 10; ++i) {
            cw::Waker copy{mine};
            cw::Waker other{std::move(copy)};
            copy = other;
          }
          mine.wake();
          mine = cw::Waker{};
        });
      }
      if (round % 2 == 0) executor.run_ready();
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_CASE("Waker: an executor may be destroyed while other threads wake its tasks", "[waker]") {
  struct Counts {
    std::atomic<int>* destroyed;
    ~Counts() { ++*destroyed; }
  };
  constexpr int rounds = 200;
  constexpr int tasks = 16;
  std::atomic<int> destroyed = 0;
  for (int round = 0; round < rounds; ++round) {
    std::array<Slot, 3> slots;
    std::atomic<bool> over = false;
    std::vector<std::thread> threads;
    for (Slot& slot : slots) {
      threads.emplace_back([&] {
        while (cw::Waker waker = slot.take(over)) waker.wake();
      });
    }
    {
      auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
      for (std::size_t i = 0; i < tasks; ++i) {
        executor.queue(0).spawn([&slots, &destroyed, i]() -> cw::Task<> {
          Counts here{&destroyed};
          for (;;) {
            auto hand_over = [&](cw::Waker waker) { slots[i % 3].put(std::move(waker)); };
            co_await cw::suspend(hand_over);
          }
        });
      }
      // A task that does not wait stops it: at a moment when most others are suspended, or on their way.
      executor.queue(0).spawn([&executor, round]() -> cw::Task<> {
        for (int i = 0; i < round % 20 + 1; ++i) co_await cw::yield_now();
        executor.stop();
      });
      executor.run();
    }
    over = true;
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(destroyed == rounds * tasks);
}

}  // namespace
