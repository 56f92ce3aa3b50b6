#include <clockworker/waker.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <coroutine>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

static_assert(std::is_nothrow_copy_constructible_v<cw::Waker> &&
              std::is_nothrow_move_constructible_v<cw::Waker>);
static_assert(std::is_nothrow_copy_assignable_v<cw::Waker> && std::is_nothrow_move_assignable_v<cw::Waker>);
static_assert(std::is_nothrow_default_constructible_v<cw::Waker>&& noexcept(cw::Waker{}.wake()));

/// A task that suspends over and over: it lays its waker down in `waker`, and counts its resumes.
cw::Task<> sleeper(cw::Waker& waker, int& resumed, int times) {
  for (int i = 0; i < times; ++i) {
    auto keep = [&](cw::Waker given) { waker = std::move(given); };
    co_await cw::suspend(keep);
    ++resumed;
  }
}

template <class Executor>
void turn(Executor& executor) {
  executor.run_ready();
}

TEST_CASE("Waker: a default-constructed one wakes nothing", "[waker]") {
  cw::Waker none;
  CHECK_FALSE(static_cast<bool>(none));
  none.wake();
  cw::Waker copy{none};
  copy.wake();
}

TEST_CASE("Waker: a suspended task goes on when it is woken, and not before", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  int resumed = 0;
  auto handle = executor.queue(0).spawn(sleeper(waker, resumed, 1));
  turn(executor);
  turn(executor);
  CHECK(resumed == 0);
  CHECK(static_cast<bool>(waker));
  waker.wake();
  CHECK(resumed == 0);  // brought back to its queue, not run
  turn(executor);
  CHECK(resumed == 1);
  CHECK(handle.done());
}

TEST_CASE("Waker: copies, moves and assignments wake the same suspension, once", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  int resumed = 0;
  auto handle = executor.queue(0).spawn(sleeper(waker, resumed, 2));
  turn(executor);
  cw::Waker copy{waker};
  cw::Waker moved{std::move(copy)};
  CHECK_FALSE(static_cast<bool>(copy));
  copy.wake();  // an empty one now
  cw::Waker assigned;
  assigned = moved;
  const cw::Waker& same = assigned;
  assigned = same;
  turn(executor);
  CHECK(resumed == 0);
  assigned.wake();
  moved.wake();
  turn(executor);
  turn(executor);
  CHECK(resumed == 1);  // the second wake ended nothing
}

TEST_CASE("Waker: waking twice queues once", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  int resumed = 0;
  auto handle = executor.queue(0).spawn(sleeper(waker, resumed, 3));
  turn(executor);
  cw::Waker first{waker};
  first.wake();
  first.wake();
  auto progress = executor.run_ready();
  CHECK(progress.polls == 1);
  CHECK(resumed == 1);
}

TEST_CASE("Waker: a stale wake does not end a later suspension of the task", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  int resumed = 0;
  auto handle = executor.queue(0).spawn(sleeper(waker, resumed, 3));
  turn(executor);
  cw::Waker old{waker};
  old.wake();
  turn(executor);
  REQUIRE(resumed == 1);
  old.wake();
  turn(executor);
  CHECK(resumed == 1);
  waker.wake();
  old.wake();
  turn(executor);
  CHECK(resumed == 2);
}

TEST_CASE("Waker: a stale wake ends neither a sleep, nor a join, nor a yield", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker old;
  int at = 0;
  auto endless = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    auto keep = [&](cw::Waker given) {
      old = given;
      given.wake();
    };
    co_await cw::suspend(keep);
    at = 1;
    co_await cw::sleep_for(std::chrono::hours{1});
    at = 2;
    static_cast<void>(co_await endless);
    at = 3;
  });
  turn(executor);
  REQUIRE(at == 1);
  old.wake();
  turn(executor);
  CHECK(at == 1);
  cw::ManualClock::advance(std::chrono::hours{1});
  turn(executor);
  REQUIRE(at == 2);
  old.wake();
  turn(executor);
  CHECK(at == 2);
  endless.abort();
  turn(executor);
  CHECK(at == 3);
}

TEST_CASE("Waker: a wake from inside suspend's callable brings the task back by way of its queue",
          "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  std::vector<std::string> order;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    auto at_once = [&](const cw::Waker& given) {
      given.wake();
      given.wake();
      order.push_back("woken");
    };
    co_await cw::suspend(at_once);
    order.push_back("back");
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    order.push_back("other");
    co_return;
  });
  turn(executor);
  CHECK(order == std::vector<std::string>{"woken", "other", "back"});
}

TEST_CASE("Waker: a running task's wake of itself, for the suspension before, is ignored", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  int resumed = 0;
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    auto keep = [&](cw::Waker given) { waker = std::move(given); };
    co_await cw::suspend(keep);
    waker.wake();
    ++resumed;
    co_await cw::suspend([](cw::Waker) {});
    ++resumed;
  });
  turn(executor);
  waker.wake();
  turn(executor);
  turn(executor);
  CHECK(resumed == 1);
  CHECK_FALSE(handle.done());
}

TEST_CASE("Waker: a wake out of a destructor of the task's own locals, at its end, is ignored", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  struct WakesAtEnd {
    cw::Waker waker;
    ~WakesAtEnd() { waker.wake(); }
  };
  auto handle = executor.queue(0).spawn([]() -> cw::Task<> {
    WakesAtEnd last;
    auto keep = [&](cw::Waker given) {
      last.waker = given;
      given.wake();
    };
    co_await cw::suspend(keep);
  });
  turn(executor);
  CHECK(handle.done());
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("Waker: waking a task that has ended, by itself or by abort, is ignored", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker ended, aborted;
  int resumed = 0;
  auto one = executor.queue(0).spawn(sleeper(ended, resumed, 1));
  auto two = executor.queue(0).spawn(sleeper(aborted, resumed, 1));
  turn(executor);
  ended.wake();
  two.abort();
  aborted.wake();
  turn(executor);
  CHECK(resumed == 1);
  REQUIRE(one.done());
  REQUIRE(two.done());
  ended.wake();
  aborted.wake();
  CHECK_FALSE(executor.run_ready().runnable);
  CHECK(executor.run_ready().polls == 0);
}

TEST_CASE("Waker: one that outlives the executor is inert", "[waker]") {
  cw::Waker waker;
  int resumed = 0;
  {
    auto executor = Builder{}.with_queue(0, 1).build();
    executor.queue(0).spawn(sleeper(waker, resumed, 1));
    turn(executor);
  }
  cw::Waker copy{waker};
  waker.wake();
  copy.wake();
  waker = cw::Waker{};
  CHECK(resumed == 0);
}

TEST_CASE("Waker: a wake while nobody drives is found by the next drive", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  int resumed = 0;
  executor.queue(0).spawn(sleeper(waker, resumed, 1));
  turn(executor);
  waker.wake();
  executor.run_until_idle();
  CHECK(resumed == 1);
}

TEST_CASE("Waker: a suspended task whose wakers are all dropped can still be aborted", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  turn(executor);
  handle.abort();
  turn(executor);
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("Waker: what suspend's callable throws comes out of the await, and the task is not suspended",
          "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker stale;
  int resumed = 0;
  std::string caught;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    auto throws = [&](cw::Waker given) {
      stale = std::move(given);
      throw std::runtime_error("no waker wanted");
    };
    try {
      co_await cw::suspend(throws);
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
    co_await cw::suspend([](cw::Waker) {});
    ++resumed;
  });
  auto progress = executor.run_ready();
  CHECK(progress.polls == 1);  // it went on at once
  CHECK(caught == "no waker wanted");
  stale.wake();
  turn(executor);
  CHECK(resumed == 0);
}

TEST_CASE("Waker: a callable that wakes and then throws leaves no wake behind", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int caught = 0;
  int resumed = 0;
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    auto throws = [](const cw::Waker& given) {
      given.wake();
      throw 1;
    };
    try {
      co_await cw::suspend(throws);
    } catch (int) {
      ++caught;
    }
    co_await cw::suspend([](cw::Waker) {});
    ++resumed;
  });
  turn(executor);
  turn(executor);
  CHECK(caught == 1);
  CHECK(resumed == 0);
  handle.abort();
  turn(executor);
  CHECK(handle.done());
}

TEST_CASE("Waker: one task can be woken by another, and in turn", "[waker]") {
  auto executor = Builder{}.with_queue(0, 1).with_queue(1, 1).build();
  cw::Waker ping, pong;
  int rounds = 0;
  auto player = [&rounds](cw::Waker& mine, cw::Waker& others) -> cw::Task<> {
    for (int i = 0; i < 1000; ++i) {
      auto pass = [&](cw::Waker given) {
        mine = std::move(given);
        others.wake();
      };
      co_await cw::suspend(pass);
      ++rounds;
    }
    others.wake();
  };
  executor.queue(0).spawn(player, std::ref(ping), std::ref(pong));
  executor.queue(1).spawn(player, std::ref(pong), std::ref(ping));
  executor.run_until_idle();
  CHECK(rounds == 2000);
}

/// An awaitable that is none of the library's; it keeps the handle that it was given.
struct Stranger {
  std::coroutine_handle<>& handle;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> given) const noexcept { handle = given; }
  void await_resume() const noexcept {}
};

TEST_CASE(
    "Waker: a local's destructor may complete another task's foreign await while the executor is destroyed",
    "[waker]") {
  std::coroutine_handle<> handle;
  int destroyed = 0;
  struct Counts {
    int& count;
    ~Counts() { ++count; }
  };
  struct Completes {
    std::coroutine_handle<>& handle;
    ~Completes() {
      if (handle) std::exchange(handle, nullptr).resume();
    }
  };
  {
    auto executor = Builder{}.with_queue(0, 1).build();
    executor.queue(0).spawn([&]() -> cw::Task<> {
      Completes at_end{handle};
      co_await cw::suspend([](cw::Waker) {});
    });
    executor.queue(0).spawn([&]() -> cw::Task<> {
      Counts here{destroyed};
      co_await Stranger{handle};
    });
    turn(executor);
    REQUIRE(handle);
  }
  CHECK_FALSE(handle);
  CHECK(destroyed == 1);
}

}  // namespace
