#include "catch.hpp"

#include <chrono>
#include <stdexcept>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// The three kinds of shutdown, from everywhere they may be asked for.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).with_queue(2, 1, cw::LAS{}).build();
}
using Ex = decltype(make_executor());

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

/// Lets the executor's time pass when it sleeps; a sleep without an end is an error.
struct Host {
  void poll(cw::PollTimeout timeout) {
    if (!timeout) throw std::logic_error("nothing will ever happen");
    cw::ManualClock::advance(*timeout);
  }
  void wake() noexcept {}
};

struct Counted {
  explicit Counted(int& of) : count{&of} { ++*count; }
  Counted(const Counted& other) : count{other.count} { ++*count; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*count; }
  int* count;
};

cw::Task<int> sleeps(std::chrono::nanoseconds d) {
  co_await cw::sleep_for(d);
  co_return 1;
}

bool cancelled(cw::JoinHandle<int>& handle) {
  auto result = handle.try_take();
  return result && !result->has_value() && result->error().code() == cw::JoinErrc::cancelled;
}

}  // namespace

TEST_CASE("Drain waits for every task, also those in no queue's sight, and then run returns") {
  auto executor = make_executor();
  Host host;
  auto sleeper = executor.queue(1).spawn(sleeps(1h));
  auto joiner = executor.queue(2).spawn([&]() -> cw::Task<int> {
    auto result = co_await sleeper;
    co_return result.value() + 1;
  });
  executor.shutdown(cw::Shutdown::drain());
  const cw::TimePoint before = executor.now();
  executor.run(host);
  CHECK(executor.now() - before == 1h);
  CHECK(joiner.try_take()->value() == 2);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE(
    "A spawn after a shutdown is refused: its handle is cancelled, and callable and arguments are gone") {
  auto executor = make_executor();
  Host host;
  int alive = 0;
  executor.shutdown(cw::Shutdown::drain());
  auto by_callable = executor.queue(1).spawn(
      [kept = Counted{alive}](const Counted&) -> cw::Task<int> { co_return 1; }, Counted{alive});
  CHECK(alive == 0);
  auto by_task = executor.queue(1).spawn([](Counted) -> cw::Task<int> { co_return 1; }(Counted{alive}));
  CHECK(alive == 0);
  auto remotely = executor.remote().spawn(1, [kept = Counted{alive}]() -> cw::Task<int> { co_return 1; });
  CHECK(alive == 1);
  settle(executor);
  CHECK(alive == 0);
  CHECK(by_callable.valid());
  CHECK(by_callable.done());
  CHECK(by_callable.id() == 0);
  CHECK(cancelled(by_callable));
  CHECK(cancelled(by_task));
  CHECK(remotely.try_take()->error().code() == cw::JoinErrc::cancelled);
  by_callable.abort();
  CHECK(executor.stats().spawned == 0);
  CHECK_NOTHROW(executor.run(host));
}

TEST_CASE("A refused handle can be awaited, and gives cancelled at once") {
  auto executor = make_executor();
  Host host;
  bool seen = false;
  auto task = executor.queue(1).spawn([&]() -> cw::Task<> {
    executor.shutdown(cw::Shutdown::drain());
    auto refused = executor.queue(2).spawn(sleeps(1ms));
    auto result = co_await refused;
    seen = result.error().code() == cw::JoinErrc::cancelled;
  });
  executor.run(host);
  CHECK(seen);
}

TEST_CASE("A callable that shuts its executor down while it is called by spawn is refused, too") {
  auto executor = make_executor();
  int alive = 0;
  auto handle = executor.queue(1).spawn([&executor, kept = Counted{alive}]() -> cw::Task<int> {
    executor.shutdown(cw::Shutdown::drain());
    return sleeps(1ms);
  });
  CHECK(cancelled(handle));
  CHECK(alive == 0);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("drain_for aborts what still lives when its patience is over, not earlier") {
  auto executor = make_executor();
  Host host;
  int frames = 0;
  auto quick = executor.queue(1).spawn(sleeps(9ms));
  auto slow = executor.queue(1).spawn([&]() -> cw::Task<int> {
    Counted local{frames};
    co_await cw::suspend([](cw::Waker) {});
    co_return 1;
  });
  const cw::TimePoint before = executor.now();
  executor.shutdown(cw::Shutdown::drain_for(10ms));
  executor.run(host);
  CHECK(executor.now() - before == 10ms);
  CHECK(quick.try_take()->value() == 1);
  CHECK(cancelled(slow));
  CHECK(frames == 0);
}

TEST_CASE("drain_for is over as soon as no task lives") {
  auto executor = make_executor();
  Host host;
  auto quick = executor.queue(1).spawn(sleeps(1ms));
  const cw::TimePoint before = executor.now();
  executor.shutdown(cw::Shutdown::drain_for(10h));
  executor.run(host);
  CHECK(executor.now() - before == 1ms);
}

TEST_CASE("A second shutdown may be stricter, and a weaker one relaxes nothing") {
  auto executor = make_executor();
  Host host;
  auto task = executor.queue(1).spawn(sleeps(10h));
  const cw::TimePoint before = executor.now();
  SECTION("drain, then drain_for") {
    executor.shutdown(cw::Shutdown::drain());
    executor.shutdown(cw::Shutdown::drain_for(5ms));
    executor.run(host);
    CHECK(executor.now() - before == 5ms);
  }
  SECTION("drain_for, then one with less patience") {
    executor.shutdown(cw::Shutdown::drain_for(10ms));
    executor.shutdown(cw::Shutdown::drain_for(5ms));
    executor.run(host);
    CHECK(executor.now() - before == 5ms);
  }
  SECTION("drain_for, then one with more") {
    executor.shutdown(cw::Shutdown::drain_for(5ms));
    executor.shutdown(cw::Shutdown::drain_for(10ms));
    executor.run(host);
    CHECK(executor.now() - before == 5ms);
  }
  SECTION("drain_for, then drain") {
    executor.shutdown(cw::Shutdown::drain_for(5ms));
    executor.shutdown(cw::Shutdown::drain());
    executor.run(host);
    CHECK(executor.now() - before == 5ms);
  }
  SECTION("drain_for, then abort") {
    executor.shutdown(cw::Shutdown::drain_for(5ms));
    executor.shutdown(cw::Shutdown::abort());
    executor.run(host);
    CHECK(executor.now() == before);
  }
  SECTION("abort, then drain_for and drain") {
    executor.shutdown(cw::Shutdown::abort());
    executor.shutdown(cw::Shutdown::drain_for(5ms));
    executor.shutdown(cw::Shutdown::drain());
    executor.run(host);
    CHECK(executor.now() == before);
  }
  SECTION("drain_for of no patience at all is abort") {
    executor.shutdown(cw::Shutdown::drain_for(0ms));
    executor.run(host);
    CHECK(executor.now() == before);
  }
  CHECK(cancelled(task));
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("Patience without end is drain") {
  auto executor = make_executor();
  Host host;
  auto task = executor.queue(1).spawn(sleeps(1000h));
  executor.shutdown(cw::Shutdown::drain_for(std::chrono::hours::max()));
  executor.run(host);
  CHECK(task.try_take()->value() == 1);
}

TEST_CASE("Abort ends every task in whatever state at its next turn") {
  auto executor = make_executor();
  Host host;
  int frames = 0;
  std::vector<cw::JoinHandle<int>> handles;
  auto body = [&frames](int kind) -> cw::Task<int> {
    Counted local{frames};
    if (kind == 0) co_await cw::suspend([](cw::Waker) {});
    if (kind == 1) co_await cw::sleep_for(1h);
    for (;;) {
      cw::ManualClock::advance(100us);
      co_await cw::yield_now();
    }
  };
  for (int i = 0; i < 9; ++i) handles.push_back(executor.queue(1 + i % 2).spawn(body, i % 3));
  for (int i = 0; i < 20; ++i) static_cast<void>(executor.run_ready());
  CHECK(frames == 9);
  handles.push_back(executor.queue(1).spawn(body, 0));  // does not start
  executor.shutdown(cw::Shutdown::abort());
  CHECK(frames == 9);
  executor.run(host);
  CHECK(frames == 0);
  for (auto& handle : handles) CHECK(cancelled(handle));
}

TEST_CASE("A shutdown asked for by a task: of itself and of others") {
  auto executor = make_executor();
  Host host;
  auto other = executor.queue(2).spawn(sleeps(1h));
  auto asks = executor.queue(1).spawn([&]() -> cw::Task<int> {
    co_await cw::sleep_for(1ms);
    executor.shutdown(cw::Shutdown::abort());
    co_return 3;
  });
  executor.run(host);
  CHECK(asks.try_take()->value() == 3);  // it had been running
  CHECK(cancelled(other));
}

TEST_CASE("Main of run_until goes on under a drain, and is cancelled by an abort") {
  auto executor = make_executor();
  Host host;
  SECTION("drain") {
    CHECK(executor.run_until(host, [&]() -> cw::Task<int> {
      executor.shutdown(cw::Shutdown::drain());
      co_await cw::sleep_for(1ms);
      co_return 4;
    }) == 4);
  }
  SECTION("abort") {
    int mains = 0;
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<int> {
                                         Counted local{mains};
                                         executor.shutdown(cw::Shutdown::abort());
                                         co_await cw::sleep_for(1ms);
                                         co_return 4;
                                       }),
                    cw::JoinError);
    CHECK(mains == 0);
  }
  SECTION("a main after the shutdown is refused") {
    executor.shutdown(cw::Shutdown::drain());
    bool called = false;
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<int> {
                                         called = true;
                                         co_return 4;
                                       }),
                    cw::JoinError);
    CHECK_FALSE(called);
  }
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("A shutdown under each way of driving") {
  auto executor = make_executor();
  Host host;
  auto task = executor.queue(1).spawn(sleeps(1h));
  executor.shutdown(cw::Shutdown::drain_for(2ms));
  SECTION("run_until_idle") { executor.run_until_idle(host); }
  SECTION("run_until of a handle") {
    CHECK_THROWS_AS(executor.run_until(host, std::move(task)), cw::JoinError);
  }
  SECTION("run_ready") {
    cw::Progress progress = executor.run_ready();
    CHECK(progress.next_timer == 2ms);
    cw::ManualClock::advance(2ms);
    settle(executor);
  }
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("A run after a finished shutdown returns at once, again and again") {
  auto executor = make_executor();
  Host host;
  auto task = executor.queue(1).spawn(sleeps(1ms));
  executor.shutdown(cw::Shutdown::drain());
  executor.run(host);
  const cw::ExecutorStats before = executor.stats();
  executor.run(host);
  executor.run(host);
  executor.run_until_idle(host);
  CHECK_FALSE(executor.run_ready().runnable);
  CHECK(executor.stats().host_polls == before.host_polls);
  CHECK(executor.stats().resumes == before.resumes);
}

TEST_CASE("A stop during a shutdown leaves the tasks, and the next run finishes it") {
  auto executor = make_executor();
  Host host;
  auto task = executor.queue(1).spawn([&]() -> cw::Task<int> {
    executor.stop();
    co_await cw::sleep_for(1ms);
    co_return 1;
  });
  executor.shutdown(cw::Shutdown::drain());
  executor.run(host);
  CHECK_FALSE(task.done());
  executor.run(host);
  CHECK(task.try_take()->value() == 1);
}
