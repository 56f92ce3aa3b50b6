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

// --- run_ready

TEST_CASE("Guest: run_ready without work says that there is none", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Progress progress = executor.run_ready();
  CHECK_FALSE(progress.runnable);
  CHECK_FALSE(progress.next_timer.has_value());
  CHECK(progress.polls == 0);
}

TEST_CASE("Guest: run_ready resumes as often as its budget says, and no more", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 5).build();
  int a = 0, b = 0;
  executor.queue(0).spawn(endless(a, 0ns));
  executor.queue(1).spawn(endless(b, 0ns));
  for (std::uint32_t polls : {1U, 2U, 3U, 7U, 16U, 17U, 100U, 1000U}) {
    int before = a + b;
    cw::Progress progress = executor.run_ready({.time = 1h, .polls = polls});
    CHECK(progress.polls == polls);
    CHECK(a + b - before == static_cast<int>(polls));
    CHECK(progress.runnable);
  }
}

TEST_CASE("Guest: run_ready ends with the resume that uses its time up", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes, 30us));
  cw::Progress progress = executor.run_ready({.time = 100us, .polls = 1000});
  CHECK(progress.polls == 4);
  CHECK(resumes == 4);
  CHECK(progress.runnable);
}

TEST_CASE("Guest: a budget of 0 is the executor's host-poll limit", "[guest]") {
  auto executor =
      Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(7).with_host_poll_interval(100us).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes, 0ns));
  CHECK(executor.run_ready().polls == 7);
  cw::ManualClock::advance(1s);  // the guest's own time costs the executor nothing
  CHECK(executor.run_ready().polls == 7);

  auto slow = Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(1000).with_host_poll_interval(100us).build();
  slow.queue(0).spawn(endless(resumes, 50us));
  CHECK(slow.run_ready().polls == 2);
}

TEST_CASE("Guest: run_ready tells the time to the next timer, 0 if it is due", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  bool woke = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(5ms);
    woke = true;
  });
  cw::Progress progress = executor.run_ready();
  CHECK_FALSE(progress.runnable);
  CHECK(progress.next_timer == 5ms);
  cw::ManualClock::advance(2ms);
  CHECK(executor.run_ready().next_timer == 3ms);
  CHECK_FALSE(woke);
  cw::ManualClock::advance(3ms);
  progress = executor.run_ready();
  CHECK(woke);
  CHECK_FALSE(progress.next_timer.has_value());
}

TEST_CASE("Guest: a timer that came due during run_ready is 0 away", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(5ms); });
  executor.queue(0).spawn([]() -> cw::Task<> {
    cw::ManualClock::advance(7ms);
    co_return;
  });
  cw::Progress progress = executor.run_ready({.time = 1ms, .polls = 2});
  CHECK(progress.polls == 2);
  CHECK(progress.next_timer == 0ms);
}

TEST_CASE("Guest: a stop ends run_ready early; it counts once, and tasks go on at the next call", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes, 0ns));
  executor.stop();
  executor.stop();
  cw::Progress progress = executor.run_ready();
  CHECK(progress.polls == 0);
  CHECK(progress.runnable);
  CHECK(executor.run_ready({.time = 1h, .polls = 5}).polls == 5);
}

TEST_CASE("Guest: what a task throws leaves run_ready, and the next call goes on", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  bool ran = false;
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error("task");
    co_return;
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    ran = true;
    co_return;
  });
  CHECK_THROWS_AS(executor.run_ready(), std::runtime_error);
  executor.run_ready();
  CHECK(ran);
}

TEST_CASE("Guest: the same executor may be driven by run* in between", "[guest]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumed = 0;
  cw::Waker waker;
  executor.queue(0).spawn(sleeps_until_woken(waker, resumed));
  executor.run_ready();
  executor.run_until([&]() -> cw::Task<> {
    waker.wake();
    while (resumed < 1) co_await cw::yield_now();
  });
  waker.wake();
  executor.run_ready();
  CHECK(resumed == 2);
}

TEST_CASE("Guest: two guests on one thread, one driven from within the other's callback", "[guest]") {
  auto one = Builder{}.with_queue(0, 1).build();
  auto two = Builder{}.with_queue(0, 1).build();
  std::vector<std::string> order;
  // A hook that the first executor calls outside of any task: that of an exception nobody took.
  auto capturing = Builder{}
                       .with_queue(0, 1)
                       .with_exception_policy(cw::ExceptionPolicy::capture)
                       .with_unhandled_exception([&](std::exception_ptr, cw::TaskInfo) { order.push_back("hook"); })
                       .build();
  two.queue(0).spawn([&]() -> cw::Task<> {
    order.push_back("two");
    co_return;
  });
  int hosts_polls = 0;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout) {
        if (++hosts_polls == 1) {
          two.run_ready();
          capturing.run_ready();
        }
        one.stop();
      },
      [] {});
  capturing.queue(0).spawn([]() -> cw::Task<> {
    throw 1;
    co_return;
  });
  one.run(host);
  CHECK(order == std::vector<std::string>{"two", "hook"});
}

// --- on_runnable

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

TEST_CASE("Guest: after an exception out of run_ready the bell rings for what is left, or for what comes", "[guest]") {
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
  CHECK_THROWS_AS(executor.run_until([&]() -> cw::Task<> {
    co_await cw::yield_now();
    executor.stop();
    co_await cw::suspend([](cw::Waker) {});
  }),
                  cw::JoinError);
  while (executor.run_ready().runnable) {
  }
  CHECK_THROWS_AS(executor.run_until([&]() -> cw::Task<> {
    executor.stop();
    co_await cw::suspend([](cw::Waker) {});
  }),
                  cw::JoinError);
  int before = bell.rings;
  waker.wake();
  CHECK(bell.rings == before + 1);
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
