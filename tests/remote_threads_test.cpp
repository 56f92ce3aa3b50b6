#include <clockworker/remote.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;

/// An executor that runs on a thread of its own until it is stopped.
class Running {
 public:
  Running() : thread_{[this] { serve(); }} {
    while (!remote_) std::this_thread::yield();
  }
  ~Running() {
    remote().stop();
    thread_.join();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  [[nodiscard]] cw::Remote remote() const { return *remote_.load(); }
  [[nodiscard]] std::thread::id id() const { return thread_.get_id(); }

 private:
  void serve() {
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 2).build();
    cw::Remote remote = executor.remote();
    remote_ = &remote;
    executor.run();
  }
  std::atomic<cw::Remote*> remote_ = nullptr;
  std::thread thread_;
};

TEST_CASE("Remote: each thread's spawns start in its order", "[remote]") {
  constexpr std::size_t threads = 4;
  constexpr int spawns = 2000;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  std::vector<int> next(threads, 0);
  int out_of_order = 0;
  std::size_t finished = 0;
  std::vector<std::thread> posters;
  for (std::size_t t = 0; t < threads; ++t) {
    posters.emplace_back([&, t, remote = executor.remote()] {
      for (int i = 0; i < spawns; ++i) {
        static_cast<void>(remote.spawn(0, [&, t, i]() -> cw::Task<> {
          out_of_order += next[t]++ != i;
          if (next[t] == spawns && ++finished == threads) executor.stop();
          co_return;
        }));
      }
    });
  }
  executor.run();
  for (std::thread& poster : posters) poster.join();
  CHECK(out_of_order == 0);
  CHECK(next == std::vector<int>(threads, spawns));
}

TEST_CASE("Remote: get() and wait_for() wait for the end of the task, from several threads", "[remote]") {
  Running executor;
  std::atomic<int> sum = 0;
  std::atomic<int> on_own_thread = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, remote = executor.remote()] {
      for (int i = 0; i < 500; ++i) {
        auto handle = remote.spawn(i % 2, [&, i]() -> cw::Task<int> {
          on_own_thread += std::this_thread::get_id() == executor.id();
          if (i % 3 == 0) co_await cw::yield_now();
          if (i % 50 == 0) co_await cw::sleep_for(100us);
          co_return i;
        });
        if (i % 5 == 0) {
          while (!handle.wait_for(1h)) {
          }
          sum += handle.try_take()->value();
        } else {
          sum += handle.get().value();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(sum == 4 * (499 * 500 / 2));
  CHECK(on_own_thread == 4 * 500);
}

TEST_CASE("Remote: wait_for gives up, and the task goes on", "[remote]") {
  Running executor;
  std::atomic<bool> go = false;
  auto handle = executor.remote().spawn(0, [&go]() -> cw::Task<int> {
    while (!go) co_await cw::sleep_for(1ms);
    co_return 1;
  });
  CHECK_FALSE(handle.wait_for(5ms));
  CHECK_FALSE(handle.done());
  go = true;
  CHECK(handle.get().value() == 1);
}

TEST_CASE("Remote: the callable and its arguments live and die on the executor's thread", "[remote]") {
  struct Notes {
    std::atomic<int> elsewhere = 0;
    std::atomic<int> died = 0;
    std::atomic<std::thread::id> owner;
  };
  struct Traced {
    Notes* notes;
    bool live = true;
    explicit Traced(Notes& to) : notes{&to} {}
    Traced(Traced&& other) noexcept : notes{other.notes}, live{std::exchange(other.live, false)} {}
    ~Traced() {
      if (!live) return;
      ++notes->died;
      notes->elsewhere += std::this_thread::get_id() != notes->owner.load();
    }
  };
  Notes notes;
  {
    Running executor;
    notes.owner = executor.id();
    for (int i = 0; i < 200; ++i) {
      auto body = [held = Traced{notes}](Traced) -> cw::Task<> {
        co_await cw::yield_now();
        static_cast<void>(held);
      };
      auto handle = executor.remote().spawn(0, std::move(body), Traced{notes});
      if (i % 2 == 0) handle.abort();
      static_cast<void>(handle.get());
      CHECK(notes.died == 2 * (i + 1));  // before anybody is told
    }
    static_cast<void>(
        executor.remote().spawn(99, [held = Traced{notes}]() -> cw::Task<> { co_return; }).get());
  }
  CHECK(notes.elsewhere == 0);
  CHECK(notes.died == 401);
}

TEST_CASE("Remote: a task may await one of another executor, and one of its own", "[remote]") {
  Running other;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto own = executor.remote();
  int wrong = 0;
  executor.run_until([&]() -> cw::Task<> {
    for (int i = 0; i < 1000; ++i) {
      auto theirs = other.remote().spawn(0, [i]() -> cw::Task<int> {
        if (i % 2 == 0) co_await cw::yield_now();
        co_return i;
      });
      auto mine = own.spawn(0, [i]() -> cw::Task<int> { co_return -i; });
      auto first = co_await theirs;
      auto second = co_await mine;
      wrong += first.value() + second.value() != 0;
      auto again = co_await mine;
      wrong += again.error().code() != cw::JoinErrc::result_taken;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Remote: a task that awaits a handle may be aborted at the moment the other one ends", "[remote]") {
  Running other;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int cancelled = 0;
  int ended = 0;
  constexpr int rounds = 2000;
  executor.run_until([&]() -> cw::Task<> {
    for (int i = 0; i < rounds; ++i) {
      auto waiting = executor.queue(0).spawn([&, i]() -> cw::Task<> {
        auto handle = other.remote().spawn(0, [i]() -> cw::Task<> {
          for (int j = i % 5; j > 0; --j) co_await cw::yield_now();
        });
        static_cast<void>(co_await handle);
      });
      for (int j = i % 7; j > 0; --j) co_await cw::yield_now();
      waiting.abort();
      auto result = co_await waiting;
      ++(result.has_value() ? ended : cancelled);
    }
  });
  CHECK(ended + cancelled == rounds);
}

TEST_CASE("Remote: only one may await a handle at a time", "[remote]") {
  Running other;
  std::atomic<bool> go = false;
  auto handle = other.remote().spawn(0, [&go]() -> cw::Task<> {
    while (!go) co_await cw::sleep_for(100us);
  });
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  bool refused = false;
  bool joined = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    auto result = co_await handle;
    joined = result.has_value();
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    try {
      static_cast<void>(co_await handle);
    } catch (const std::logic_error&) {
      refused = true;
    }
    go = true;
  });
  executor.run_until_idle();
  CHECK(refused);
  CHECK(joined);
}

TEST_CASE("Remote: aborts from other threads meet the ends of their tasks", "[remote]") {
  Running executor;
  std::atomic<int> resolved = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, remote = executor.remote()] {
      for (int i = 0; i < 1000; ++i) {
        auto handle = remote.spawn(0, [i]() -> cw::Task<> {
          for (int j = i % 4; j > 0; --j) co_await cw::yield_now();
        });
        if (i % 2 == 0) std::this_thread::yield();
        handle.abort();
        handle.abort();
        auto result = handle.get();
        resolved += result.has_value() || result.error().code() == cw::JoinErrc::cancelled;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(resolved == 3000);
}

TEST_CASE(
    "Remote: every handle resolves, and everything dies once, when the executor goes in the midst of it",
    "[remote]") {
  struct Counted {
    std::atomic<int>* living;
    explicit Counted(std::atomic<int>& in) : living{&in} { ++in; }
    Counted(Counted&& other) noexcept : living{other.living} { ++*living; }
    ~Counted() { --*living; }
  };
  std::atomic<int> living = 0;
  std::atomic<int> resolved = 0;
  constexpr int rounds = 100;
  constexpr int threads = 3;
  constexpr int spawns = 30;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::thread> posters;
    std::atomic<int> finished = 0;
    {
      auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
      for (int t = 0; t < threads; ++t) {
        posters.emplace_back([&, t, remote = executor.remote()] {
          for (int i = 0; i < spawns; ++i) {
            auto handle = remote.spawn(0, [here = Counted{living}, i]() -> cw::Task<int> {
              Counted inside{*here.living};
              if (i % 3 == 0) co_await cw::suspend([](cw::Waker) {});
              co_return i;
            });
            if (i % 3 == 0 && i % 2 == 0) handle.abort();
            if (i % 3 != 0) resolved += handle.get().has_value() || true;
            if (i % 10 == t) remote.stop();
          }
          // Stops that come together count once: without a last one a run might wait for more than will come.
          ++finished;
          remote.stop();
        });
      }
      for (int i = 0; i < round % 8 && finished < threads; ++i) executor.run();
    }
    for (std::thread& poster : posters) poster.join();
  }
  CHECK(living == 0);
  CHECK(resolved == rounds * threads * spawns * 2 / 3);
}

TEST_CASE(
    "Remote: a handle may be dropped on its thread at the moment its task fails, the hook hears of each",
    "[remote]") {
  std::atomic<int> heard = 0;
  constexpr int spawns = 3000;
  {
    auto executor = cw::ExecutorBuilder<>{}
                        .with_queue(0, 1)
                        .with_exception_policy(cw::ExceptionPolicy::capture)
                        .with_unhandled_exception([&](std::exception_ptr, const cw::TaskInfo&) { ++heard; })
                        .build();
    std::thread thread{[remote = executor.remote()] {
      for (int i = 0; i < spawns; ++i) {
        auto handle = remote.spawn(0, []() -> cw::Task<> {
          throw std::runtime_error("untaken");
          co_return;
        });
        if (i % 2 == 0) std::this_thread::yield();
        if (i % 64 == 0) {
          while (!handle.done()) std::this_thread::yield();
        }
      }
      remote.stop();
    }};
    executor.run();
    executor.run_until_idle();
    thread.join();
  }
  CHECK(heard == spawns);
}

}  // namespace
