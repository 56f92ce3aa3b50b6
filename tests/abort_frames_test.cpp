#include "catch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// The frames of an aborted task: in which order, when, where and by whom they are destroyed; and wakes that
// are on their way to them.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).with_queue(2, 1).build();
}
using Ex = decltype(make_executor());

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

using Log = std::vector<std::string>;

/// Runs `f` when it is destroyed, once, however often it has been moved.
template <class F>
class AtEnd {
 public:
  explicit AtEnd(F f) : f_{std::move(f)} {}
  AtEnd(AtEnd&& other) noexcept : f_{std::move(other.f_)} { other.f_.reset(); }
  AtEnd& operator=(AtEnd&&) = delete;
  ~AtEnd() {
    if (f_) (*f_)();
  }

 private:
  std::optional<F> f_;
};

auto logs(Log& log, std::string what) {
  return AtEnd{[&log, what = std::move(what)] { log.push_back(what); }};
}

cw::Task<> waits_forever() {
  co_await cw::suspend([](cw::Waker) {});
}

}  // namespace

TEST_CASE(
    "Frames go innermost first, locals before the callable and the arguments, all before the joiner goes "
    "on") {
  auto executor = make_executor();
  Log log;
  struct Inner {
    static cw::Task<> run(Log& to) {
      auto first = logs(to, "inner's first");
      auto second = logs(to, "inner's second");
      co_await waits_forever();
    }
  };
  struct Middle {
    static cw::Task<> run(Log& to) {
      auto local = logs(to, "middle's");
      co_await Inner::run(to);
    }
  };
  auto handle = executor.queue(1).spawn(
      [&log, in_callable = logs(log, "callable")](auto& argument) -> cw::Task<> {
        static_cast<void>(argument);
        auto local = logs(log, "root's");
        co_await Middle::run(log);
      },
      logs(log, "argument"));
  auto joiner = executor.queue(1).spawn([&]() -> cw::Task<> {
    auto result = co_await handle;
    log.push_back(result.error().code() == cw::JoinErrc::cancelled ? "joined" : "wrong");
  });
  settle(executor);
  handle.abort();
  settle(executor);
  REQUIRE(log.size() == 7);
  CHECK(Log(log.begin(), log.begin() + 4) == Log{"inner's second", "inner's first", "middle's", "root's"});
  CHECK(((log[4] == "callable" && log[5] == "argument") || (log[4] == "argument" && log[5] == "callable")));
  CHECK(log[6] == "joined");
}

TEST_CASE("While the frames go the handle does not say that the task is done") {
  auto executor = make_executor();
  cw::JoinHandle<> handle;
  std::vector<bool> seen;
  handle = executor.queue(1).spawn(
      [&, in_callable = AtEnd{[&] { seen.push_back(handle.done()); }}]() -> cw::Task<> {
        AtEnd local{[&] { seen.push_back(handle.done()); }};
        co_await waits_forever();
      });
  settle(executor);
  handle.abort();
  settle(executor);
  CHECK(seen == std::vector<bool>{false, false});
  CHECK(handle.done());
}

TEST_CASE("The frames of a deep chain of awaits go without using up the native stack") {
  auto executor = make_executor();
  struct Deep {
    static cw::Task<> down(int left, int& gone) {
      AtEnd local{[&gone] { ++gone; }};
      if (left == 0) {
        co_await waits_forever();
      } else {
        co_await down(left - 1, gone);
      }
    }
  };
  int gone = 0;
  auto handle = executor.queue(1).spawn([&] { return Deep::down(100'000, gone); });
  settle(executor);
  handle.abort();
  settle(executor);
  CHECK(gone == 100'001);
}

TEST_CASE("Frames go at their task's turn, in the order of its queue and in that queue's time") {
  auto executor = make_executor();
  Log log;
  auto aborted = executor.queue(1).spawn([&]() -> cw::Task<> {
    AtEnd local{[&] {
      cw::ManualClock::advance(3ms);
      log.push_back("frames");
    }};
    co_await waits_forever();
  });
  settle(executor);
  auto ahead = executor.queue(1).spawn([&]() -> cw::Task<> {
    log.push_back("ahead");
    co_return;
  });
  aborted.abort();
  auto behind = executor.queue(1).spawn([&]() -> cw::Task<> {
    log.push_back("behind");
    co_return;
  });
  auto elsewhere = executor.queue(2).spawn([]() -> cw::Task<> { co_return; });
  settle(executor);
  CHECK(log == Log{"ahead", "frames", "behind"});
  CHECK(executor.stats(1).service == 3ms);
  CHECK(executor.stats(2).service == 0ms);
}

TEST_CASE("Inside a frame that is being destroyed, this_task is the task whose frame it is") {
  auto executor = make_executor();
  cw::TaskId seen = 0;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    AtEnd local{[&] { seen = cw::this_task::id(); }};
    co_await waits_forever();
  });
  settle(executor);
  handle.abort();
  settle(executor);
  CHECK(seen == handle.id());
}

TEST_CASE("Destructors of locals may abort, wake, spawn and drop handles") {
  auto executor = make_executor();
  Log log;
  cw::Waker own;
  cw::Waker others;
  cw::JoinHandle<> itself;
  auto aborted_by_it = executor.queue(2).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "aborted");
    co_await waits_forever();
  });
  auto dropped_by_it = executor.queue(2).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker w) { others = std::move(w); });
    log.push_back("woken");
  });
  cw::JoinHandle<> spawned_by_it;
  itself = executor.queue(1).spawn([&]() -> cw::Task<> {
    AtEnd local{[&] {
      itself.abort();
      own.wake();
      others.wake();
      aborted_by_it.abort();
      dropped_by_it = cw::JoinHandle<>{};
      spawned_by_it = executor.queue(1).spawn([&]() -> cw::Task<> {
        log.push_back("spawned");
        co_return;
      });
      itself = cw::JoinHandle<>{};
    }};
    co_await cw::suspend([&](cw::Waker w) { own = std::move(w); });
    FAIL("the aborted task has gone on");
  });
  settle(executor);
  itself.abort();
  settle(executor);
  std::sort(log.begin(), log.end());
  CHECK(log == Log{"aborted", "spawned", "woken"});
  CHECK(spawned_by_it.done());
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("A task may be aborted after its wake, and after two, and is not resumed any more") {
  auto executor = make_executor();
  bool gone = false;
  cw::Waker waker;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    AtEnd local{[&] { gone = true; }};
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    FAIL("the aborted task has gone on");
  });
  settle(executor);
  SECTION("the wake is posted, the abort comes from outside") {
    waker.wake();
    waker.wake();
    handle.abort();
  }
  SECTION("both within one task") {
    auto both = executor.queue(2).spawn([&]() -> cw::Task<> {
      waker.wake();
      handle.abort();
      waker.wake();
      co_return;
    });
  }
  settle(executor);
  CHECK(gone);
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("A second abort changes nothing, also one from its own stop callback") {
  auto executor = make_executor();
  Log log;
  cw::JoinHandle<> handle;
  int stops = 0;
  handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "local");
    cw::stop_callback again{cw::this_task::stop_token(), [&] {
                              ++stops;
                              handle.abort();
                            }};
    co_await cw::suspend([](cw::Waker) {});
  });
  settle(executor);
  handle.abort();
  handle.abort();
  settle(executor);
  handle.abort();
  CHECK(stops == 1);
  CHECK(log == Log{"local"});
}

TEST_CASE("A stop callback may drop the handle that the abort came through") {
  auto executor = make_executor();
  Log log;
  auto handle = std::make_unique<cw::JoinHandle<>>();
  *handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "local");
    cw::stop_callback drop{cw::this_task::stop_token(), [&] { handle.reset(); }};
    co_await cw::suspend([](cw::Waker) {});
  });
  settle(executor);
  handle->abort();
  CHECK(handle == nullptr);
  settle(executor);
  CHECK(log == Log{"local"});
}

TEST_CASE("Wakes that another thread posts race an abort: the frames go once, on the executor's thread") {
  auto executor = make_executor();
  const std::thread::id mine = std::this_thread::get_id();
  for (int round = 0; round < 300; ++round) {
    int gone = 0;
    bool on_own_thread = true;
    cw::Waker waker;
    auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
      AtEnd local{[&] {
        ++gone;
        on_own_thread = on_own_thread && std::this_thread::get_id() == mine;
      }};
      for (;;) co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    });
    static_cast<void>(executor.run_ready());
    std::atomic<bool> go{false};
    std::thread other{[&go, copy = waker] {
      while (!go.load(std::memory_order_acquire)) {
      }
      copy.wake();
      copy.wake();
    }};
    go.store(true, std::memory_order_release);
    if (round % 2 == 0) static_cast<void>(executor.run_ready());
    handle.abort();
    settle(executor);
    other.join();
    settle(executor);
    waker.wake();
    settle(executor);
    REQUIRE(gone == 1);
    REQUIRE(on_own_thread);
    REQUIRE(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
  }
}

TEST_CASE(
    "RemoteHandle::abort from another thread ends a sleeping executor's task on the executor's thread") {
  auto executor = cw::ExecutorBuilder<int>{}.with_queue(1, 1).build();
  std::thread::id destroyed_on;
  std::atomic<bool> started{false};
  auto remote = executor.remote().spawn(1, [&]() -> cw::Task<> {
    AtEnd local{[&] { destroyed_on = std::this_thread::get_id(); }};
    started.store(true, std::memory_order_release);
    co_await waits_forever();
  });
  std::thread other{[&] {
    while (!started.load(std::memory_order_acquire)) std::this_thread::yield();
    remote.abort();
    remote.abort();
  }};
  executor.run_until([&]() -> cw::Task<> {
    auto result = co_await remote;
    CHECK(result.error().code() == cw::JoinErrc::cancelled);
  });
  other.join();
  CHECK(destroyed_on == std::this_thread::get_id());
}
