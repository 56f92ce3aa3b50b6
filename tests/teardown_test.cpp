#include "catch.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// The destructor of an executor: what it destroys, in which order, and what of it lives on.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).with_queue(2, 1, cw::LAS{}).build();
}
using Ex = decltype(make_executor());

/// An executor that a test destroys when it likes.
struct Owned {
  std::unique_ptr<Ex> executor{new Ex(make_executor())};
};

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

using Log = std::vector<std::string>;

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

template <class T>
bool cancelled(cw::JoinHandle<T>& handle) {
  auto result = handle.try_take();
  return result && !result->has_value() && result->error().code() == cw::JoinErrc::cancelled;
}

}  // namespace

TEST_CASE("An executor that never ran is destroyed, with tasks that never started and without any") {
  { auto executor = make_executor(); }
  bool started = false;
  Log log;
  cw::JoinHandle<> handle;
  {
    auto executor = make_executor();
    handle = executor.queue(1).spawn([&started, kept = logs(log, "callable")]() -> cw::Task<> {
      started = true;
      co_return;
    });
  }
  CHECK_FALSE(started);
  CHECK(log == Log{"callable"});
  CHECK(cancelled(handle));
}

TEST_CASE("Tasks go newest first, whatever they wait for, and the frames of each innermost first") {
  Owned owned;
  Ex& executor = *owned.executor;
  Log log;
  auto inner = [](Log& to) -> cw::Task<> {
    auto local = logs(to, "inner");
    co_await cw::suspend([](cw::Waker) {});
  };
  cw::Waker woken;
  auto never = executor.queue(1).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  auto sleeping = executor.queue(1).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "sleeping");
    co_await cw::sleep_for(1h);
  });
  auto nested = executor.queue(2).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "outer");
    co_await inner(log);
  });
  auto joining = executor.queue(2).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "joining");
    static_cast<void>(co_await never);
  });
  auto runnable = executor.queue(1).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "runnable");
    co_await cw::suspend([&](cw::Waker w) { woken = std::move(w); });
  });
  auto posted = executor.queue(1).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "posted");
    cw::Waker waker;
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
  });
  auto aborted = executor.queue(2).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "aborted");
    co_await cw::suspend([](cw::Waker) {});
  });
  settle(executor);
  auto unstarted = executor.queue(2).spawn([kept = logs(log, "unstarted")]() -> cw::Task<> { co_return; });
  woken.wake();  // outside of a run: posted, and still in the inbox
  aborted.abort();
  owned.executor.reset();
  CHECK(log == Log{"unstarted", "aborted", "posted", "runnable", "joining", "inner", "outer", "sleeping"});
  CHECK(cancelled(never));
  CHECK(cancelled(sleeping));
  CHECK(cancelled(nested));
  CHECK(cancelled(joining));
  CHECK(cancelled(runnable));
  CHECK(cancelled(posted));
  CHECK(cancelled(aborted));
  CHECK(cancelled(unstarted));
}

TEST_CASE("Everything that outlives an executor is inert") {
  Owned owned;
  Ex& executor = *owned.executor;
  cw::Waker waker;
  cw::QueueHandle queue = executor.queue(1);
  cw::QueueHandle grouped = queue.group(std::string{"a group"}).named("a name");
  cw::Remote remote = executor.remote();
  auto ended = grouped.spawn([]() -> cw::Task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); });
  auto waiting = grouped.spawn(
      [&]() -> cw::Task<> { co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); }); });
  settle(executor);
  cw::RemoteHandle<> remotely =
      remote.spawn(2, []() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  settle(executor);
  cw::RemoteHandle<> undelivered = remote.spawn(2, []() -> cw::Task<> { co_return; });
  remotely.abort();  // posted, never delivered
  owned.executor.reset();

  waker.wake();
  cw::Waker copy = waker;
  copy.wake();
  remote.stop();
  remote.stop();
  CHECK(remotely.get().error().code() == cw::JoinErrc::cancelled);
  CHECK(undelivered.get().error().code() == cw::JoinErrc::cancelled);
  remotely.abort();
  auto refused = remote.spawn(1, []() -> cw::Task<int> { co_return 1; });
  CHECK(refused.get().error().code() == cw::JoinErrc::cancelled);
  CHECK(cancelled(waiting));
  waiting.abort();
  CHECK(*ended.try_take()->value() == 4);
  auto late = grouped.spawn([]() -> cw::Task<int> { co_return 1; });
  CHECK(cancelled(late));
  CHECK(queue.same_queue(grouped));
  CHECK(queue.name() == "1");
  CHECK_THROWS_AS(queue.group(1), std::logic_error);
  CHECK_THROWS_AS(queue.set_weight(2), std::logic_error);
  CHECK_NOTHROW(static_cast<void>(queue.named("still")));
}

TEST_CASE("Handles of a dead executor can be awaited on another, and its queues not be switched to") {
  Owned owned;
  auto cancelled_one = owned.executor->queue(1).spawn([]() -> cw::Task<int> { co_return 1; });
  cw::QueueHandle gone = owned.executor->queue(1);
  owned.executor.reset();
  auto executor = make_executor();
  executor.run_until([&]() -> cw::Task<> {
    auto result = co_await cancelled_one;
    CHECK(result.error().code() == cw::JoinErrc::cancelled);
    bool refused = false;
    try {
      co_await cw::switch_to(gone);
    } catch (const std::logic_error&) {
      refused = true;
    }
    CHECK(refused);
  });
}

TEST_CASE("While an executor is destroyed, destructors of locals may do anything to it but drive it") {
  Owned owned;
  Ex& executor = *owned.executor;
  int alive = 0;
  Log log;
  std::vector<cw::Waker> wakers(3);
  std::vector<cw::JoinHandle<>> handles;
  cw::JoinHandle<int> spawned;
  auto busy = [&](std::size_t self) -> cw::Task<> {
    AtEnd local{[&, self] {
      log.push_back(std::to_string(self));
      for (const cw::Waker& waker : wakers) waker.wake();
      for (cw::JoinHandle<>& handle : handles) handle.abort();
      ++alive;
      spawned = executor.queue(1).group(7).spawn(
          [kept = AtEnd{[&] { --alive; }}]() -> cw::Task<int> { co_return 1; });
      static_cast<void>(executor.remote().spawn(1, []() -> cw::Task<> { co_return; }));
      executor.stop();
      executor.shutdown(self == 0 ? cw::Shutdown::drain_for(1s) : cw::Shutdown::abort());
      executor.queue(2).set_weight(3);
      static_cast<void>(executor.stats());
      static_cast<void>(executor.tasks());
      static_cast<void>(cw::should_yield());
      bool refused = false;
      try {
        static_cast<void>(executor.run_ready());
      } catch (const std::logic_error&) {
        refused = true;
      }
      CHECK(refused);
      if (self == 1) handles.clear();
    }};
    co_await cw::suspend([&](cw::Waker w) { wakers[self] = std::move(w); });
  };
  for (std::size_t i = 0; i < 3; ++i)
    handles.push_back(executor.queue(1 + static_cast<int>(i % 2)).spawn(busy, i));
  settle(executor);
  owned.executor.reset();
  CHECK(log == Log{"2", "1", "0"});
  CHECK(alive == 0);
  CHECK(cancelled(spawned));
}

TEST_CASE("A stop callback runs before the frames go, and its wakes resume nobody") {
  Owned owned;
  Log log;
  cw::Waker waker;
  auto task = owned.executor->queue(1).spawn([&]() -> cw::Task<> {
    auto local = logs(log, "local");
    cw::stop_callback stop{cw::this_task::stop_token(), [&] {
                             log.push_back("stop");
                             waker.wake();
                           }};
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    log.push_back("woken");
  });
  settle(*owned.executor);
  owned.executor.reset();
  CHECK(log == Log{"stop", "local"});
}

TEST_CASE("A frame that owns handles of older and newer tasks, and of itself, goes without trouble") {
  Owned owned;
  Ex& executor = *owned.executor;
  int frames = 0;
  auto owner = std::make_shared<std::vector<cw::JoinHandle<>>>();
  auto body = [&frames, owner]() -> cw::Task<> {
    ++frames;
    AtEnd local{[&frames] { --frames; }};
    auto keep = owner;
    co_await cw::suspend([](cw::Waker) {});
  };
  for (int i = 0; i < 4; ++i) owner->push_back(executor.queue(1).spawn(body));
  owner.reset();
  settle(executor);
  CHECK(frames == 4);
  owned.executor.reset();
  CHECK(frames == 0);
}

TEST_CASE("Two executors whose tasks hold each other's wakers and handles may go in either order") {
  for (bool first_goes_first : {true, false}) {
    Owned first;
    Owned second;
    std::vector<cw::Waker> of_first;
    std::vector<cw::Waker> of_second;
    cw::RemoteHandle<int> remote = second.executor->remote().spawn(1, [&]() -> cw::Task<int> {
      AtEnd wakes{[&] {
        for (const cw::Waker& waker : of_first) waker.wake();
      }};
      co_await cw::suspend([&](cw::Waker w) { of_second.push_back(std::move(w)); });
      co_return 1;
    });
    std::optional<cw::JoinErrc> seen;
    auto local = first.executor->queue(1).spawn([&]() -> cw::Task<> {
      AtEnd wakes{[&] {
        for (const cw::Waker& waker : of_second) waker.wake();
      }};
      auto result = co_await remote;
      seen = result.error().code();
      co_await cw::suspend([&](cw::Waker w) { of_first.push_back(std::move(w)); });
    });
    settle(*second.executor);
    settle(*first.executor);
    if (first_goes_first) {
      first.executor.reset();
      CHECK(cancelled(local));
      settle(*second.executor);  // woken by the frame that has just gone
      CHECK(remote.get().value() == 1);
      second.executor.reset();
    } else {
      second.executor.reset();
      settle(*first.executor);
      CHECK(seen == cw::JoinErrc::cancelled);
      first.executor.reset();
    }
  }
}

TEST_CASE("A task of one executor may destroy another") {
  Owned other;
  Log log;
  cw::TaskId inside = 0;
  auto task = other.executor->queue(1).spawn([&]() -> cw::Task<> {
    AtEnd local{[&] {
      inside = cw::this_task::id();
      log.push_back("other");
    }};
    co_await cw::suspend([](cw::Waker) {});
  });
  settle(*other.executor);
  auto executor = make_executor();
  executor.queue(1).spawn([]() -> cw::Task<> { co_return; });
  executor.queue(1).spawn([&]() -> cw::Task<> {
    const cw::TaskId mine = cw::this_task::id();
    other.executor.reset();
    log.push_back(cw::this_task::id() == mine ? "self" : "lost");
    co_await cw::yield_now();
    log.push_back("on");
  });
  settle(executor);
  CHECK(log == Log{"other", "self", "on"});
  CHECK(inside == task.id());
}

TEST_CASE("A main of run_until that an exception has ended in a scheduler leaves nothing behind") {
  // Its frames are gone, but its scheduler still holds the task when the executor is destroyed.
  for (bool elsewhere : {false, true}) {
    Owned owned;
    Ex& executor = *owned.executor;
    executor.queue(1).spawn([]() -> cw::Task<> {
      for (int i = 0; i < 5; ++i) co_await cw::yield_now();
      throw 1;
    });
    auto held = std::make_shared<int>(1);
    CHECK_THROWS_AS(executor.run_until([&, held, elsewhere]() -> cw::Task<std::shared_ptr<int>> {
      if (elsewhere) co_await cw::switch_to(executor.queue(1).group(3));
      for (;;) co_await cw::yield_now();
      co_return held;
    }),
                    int);
    CHECK(held.use_count() == 1);
    owned.executor.reset();  // the leak, if there is one, is the leak checker's to find
  }
}

TEST_CASE("An executor with a guest's bell is destroyed, and the bell with it, its tasks ring no more") {
  Owned owned;
  auto bell = std::make_shared<int>(0);
  owned.executor->on_runnable([bell] { ++*bell; });
  cw::Waker waker;
  auto task = owned.executor->queue(1).spawn([&]() -> cw::Task<> {
    AtEnd wakes{[&] { waker.wake(); }};
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
  });
  settle(*owned.executor);
  const int rings = *bell;
  owned.executor.reset();
  waker.wake();
  CHECK(*bell == rings);
  CHECK(bell.use_count() == 1);
}
