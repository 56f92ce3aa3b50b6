#include <clockworker/executor.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

cw::Task<> nothing() { co_return; }

cw::Task<> endless(int& resumes, std::chrono::nanoseconds each) {
  for (;;) {
    ++resumes;
    cw::ManualClock::advance(each);
    co_await cw::yield_now();
  }
}

cw::Task<> sleeps_until_woken(cw::Waker& waker, int& resumed) {
  auto keep = [&](cw::Waker given) { waker = std::move(given); };
  for (;;) {
    co_await cw::suspend(keep);
    ++resumed;
  }
}

struct Bell {
  int rings = 0;
  std::function<void()> callback() {
    return [this] { ++rings; };
  }
};

TEST_CASE("Guest: on_runnable calls at once if there is something to run, and else not", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.on_runnable(bell.callback());
  CHECK(bell.rings == 0);
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 1);
  executor.on_runnable(bell.callback());
  CHECK(bell.rings == 2);
}

TEST_CASE("Guest: on_runnable is called once an edge: by a spawn, a wake, a remote spawn", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 1).build();
  cw::Waker waker;
  int resumed = 0;
  executor.queue(0).spawn(sleeps_until_woken(waker, resumed));
  executor.run_ready();
  executor.on_runnable(bell.callback());
  REQUIRE(bell.rings == 0);

  executor.queue(0).spawn(nothing());
  executor.queue(1).spawn(nothing());
  executor.queue(0).spawn(nothing());
  waker.wake();
  CHECK(bell.rings == 1);
  executor.run_ready();
  CHECK(bell.rings == 1);

  waker.wake();
  waker.wake();
  executor.queue(1).spawn(nothing());
  CHECK(bell.rings == 2);
  executor.run_ready();
  CHECK(resumed == 2);

  auto handle = executor.remote().spawn(0, nothing);
  CHECK(bell.rings == 3);
  handle.abort();
  executor.remote().stop();
  CHECK(bell.rings == 3);
  executor.run_ready();
  executor.run_ready();
  CHECK(handle.done());
  CHECK(bell.rings == 3);
}

TEST_CASE("Guest: nothing rings while it runs, whatever becomes runnable then", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 1).build();
  executor.on_runnable(bell.callback());
  executor.queue(0).spawn([&]() -> cw::Task<> {
    executor.queue(1).spawn(nothing());
    auto remote = executor.remote().spawn(1, nothing);
    co_await cw::yield_now();
    static_cast<void>(co_await remote);
  });
  CHECK(bell.rings == 1);
  CHECK_FALSE(executor.run_ready().runnable);
  CHECK(bell.rings == 1);
}

TEST_CASE("Guest: what run_ready leaves runnable is told by its answer, not by the bell", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.on_runnable(bell.callback());
  int resumes = 0;
  auto handle = executor.queue(0).spawn(endless(resumes, 0ns));
  CHECK(bell.rings == 1);
  CHECK(executor.run_ready().runnable);
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 1);
  handle.abort();
  while (executor.run_ready().runnable) {
  }
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 2);
}

TEST_CASE("Guest: after an exception out of run_ready the bell rings for what is left, or for what comes",
          "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.on_runnable(bell.callback());
  auto throws = []() -> cw::Task<> {
    throw std::runtime_error("task");
    co_return;
  };
  executor.queue(0).spawn(throws);
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 1);
  CHECK_THROWS_AS(executor.run_ready(), std::runtime_error);
  CHECK(bell.rings == 2);  // there is one left
  CHECK(executor.run_ready().polls == 1);

  executor.queue(0).spawn(throws);
  CHECK(bell.rings == 3);
  CHECK_THROWS_AS(executor.run_ready(), std::runtime_error);
  CHECK(bell.rings == 3);  // nothing is left
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 4);
}

TEST_CASE("Guest: after a run* the bell rings for what it left, or for what comes", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  executor.on_runnable(bell.callback());
  executor.run_until_idle();
  CHECK(bell.rings == 0);
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 1);
  executor.run_until_idle();
  CHECK(bell.rings == 1);
  auto handle = executor.queue(0).spawn(endless(resumes, 1us));
  CHECK(bell.rings == 2);
  executor.stop();
  executor.run();
  CHECK(bell.rings == 3);  // the endless one is still there
}

TEST_CASE("Guest: a run_until that is stopped before its end leaves the bell in order", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.on_runnable(bell.callback());
  cw::Waker waker;
  int resumed = 0;
  executor.queue(0).spawn(sleeps_until_woken(waker, resumed));
  executor.run_ready();
  int before = 0;
  auto stopped_main = [&]() -> cw::Task<> {
    before = bell.rings;
    executor.stop();
    co_await cw::suspend([](cw::Waker) {});
  };
  CHECK_THROWS_AS(executor.run_until(stopped_main), cw::JoinError);
  waker.wake();
  CHECK(bell.rings == before + 1);  // at the latest now
  executor.run_ready();
  CHECK(resumed == 1);
}

TEST_CASE("Guest: a callback can be replaced and removed", "[guest]") {
  Bell first, second;
  auto executor = Builder{}.with_queue(0, 1).build();
  auto token = std::make_shared<int>();
  executor.on_runnable([&first, token] { ++first.rings; });
  executor.on_runnable(second.callback());
  CHECK(token.use_count() == 1);
  executor.queue(0).spawn(nothing());
  CHECK(first.rings == 0);
  CHECK(second.rings == 1);
  executor.run_ready();
  executor.on_runnable({});
  executor.queue(0).spawn(nothing());
  auto handle = executor.remote().spawn(0, nothing);
  CHECK(second.rings == 1);
  CHECK(executor.run_ready().polls == 2);
  executor.on_runnable(second.callback());
  executor.queue(0).spawn(nothing());
  CHECK(second.rings == 2);
}

TEST_CASE("Guest: one that is given to a running executor hears of it afterwards", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    executor.on_runnable(bell.callback());
    co_return;
  });
  executor.run_until_idle();
  CHECK(bell.rings == 0);
  executor.queue(0).spawn(nothing());
  CHECK(bell.rings == 1);
}

TEST_CASE("Guest: no callback comes out of the executor's destructor", "[guest]") {
  Bell bell;
  cw::Waker waker;
  int resumed = 0;
  {
    auto executor = Builder{}.with_queue(0, 1).build();
    struct Wakes {
      cw::Waker& waker;
      ~Wakes() { waker.wake(); }
    };
    executor.queue(0).spawn(sleeps_until_woken(waker, resumed));
    executor.queue(0).spawn([&]() -> cw::Task<> {
      Wakes at_end{waker};
      co_await cw::suspend([](cw::Waker) {});
    });
    executor.run_ready();
    executor.on_runnable(bell.callback());
  }
  waker.wake();
  CHECK(bell.rings == 0);
  CHECK(resumed == 0);
}

TEST_CASE("Guest: a loop that sleeps until the bell or the next timer misses nothing", "[guest]") {
  Bell bell;
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 4).build();
  executor.on_runnable(bell.callback());
  int finished = 0;
  auto body = [&]() -> cw::Task<> {
    for (int i = 0; i < 50; ++i) {
      co_await cw::sleep_for(std::chrono::microseconds{10 + i});
      for (int j = 0; j < 20; ++j) co_await cw::yield_now();
    }
    ++finished;
  };
  for (int i = 0; i < 4; ++i) executor.queue(i % 2).spawn(body);
  int turns = 0;
  for (int heard = 0; finished < 4 && turns < 100'000; ++turns) {
    cw::Progress progress = executor.run_ready({.time = 50us, .polls = 5});
    if (progress.runnable) continue;
    if (progress.next_timer) {
      cw::ManualClock::advance(*progress.next_timer);
    } else {
      if (finished < 4) REQUIRE(std::exchange(heard, bell.rings) < bell.rings);
    }
  }
  CHECK(finished == 4);
}

}  // namespace
