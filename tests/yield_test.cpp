#include <clockworker/yield.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace clockworker_test;

TEST_CASE("yield_now: goes to the back of the task's own queue", "[yield]") {
  ManualExecutor executor = manual_executor();
  std::string order;
  auto three_turns = [&](char name) -> cw::Task<> {
    for (int turn = 0; turn < 3; ++turn) {
      order += name;
      co_await cw::yield_now();
    }
  };
  for (char name : {'a', 'b', 'c'}) static_cast<void>(executor.queue(0).spawn(three_turns, name));
  run_all(executor);
  CHECK(order == "abcabcabc");
}

TEST_CASE("yield_now: each is one resume", "[yield]") {
  ManualExecutor executor = manual_executor();
  static_cast<void>(executor.queue(0).spawn([]() -> cw::Task<> {
    for (int i = 0; i < 10; ++i) co_await cw::yield_now();
  }));
  run_all(executor);
  CHECK(executor.stats(0).resumes == 11);
}

TEST_CASE("yield_now: from within an awaited child comes back into the child", "[yield]") {
  ManualExecutor executor = manual_executor();
  Log log;
  auto child = [&]() -> cw::Task<> {
    log.push_back("before");
    co_await cw::yield_now();
    log.push_back("after");
  };
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await child();
    log.push_back("parent");
  }));
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    log.push_back("other");
    co_return;
  }));
  run_all(executor);
  CHECK(log == Log{"before", "other", "after", "parent"});
}

TEST_CASE("yield_now: the awaitable may be kept and awaited again", "[yield]") {
  ManualExecutor executor = manual_executor();
  int turns = 0;
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    auto yield = cw::yield_now();
    for (; turns < 3; ++turns) co_await yield;
  }));
  run_all(executor);
  CHECK(turns == 3);
}

TEST_CASE("yield_now: an aborted task that yields does not come back", "[yield]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle;
  bool came_back = false;
  handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    handle.abort();
    co_await cw::yield_now();
    came_back = true;
  });
  run_all(executor);
  CHECK(handle.done());
  CHECK_FALSE(came_back);
}

TEST_CASE("should_yield: outside a task it throws std::logic_error", "[yield]") {
  CHECK(thrown_text<std::logic_error>([] { static_cast<void>(cw::should_yield()); }) ==
        "clockworker: should_yield() was called outside a task");
}

/// How often `ask` says no before it says yes, while each question takes `step`; at most `limit` times.
template <class Ask>
int patience(std::chrono::nanoseconds step, int limit, Ask ask) {
  for (int asked = 0; asked < limit; ++asked) {
    if (ask()) return asked;
    cw::ManualClock::advance(step);
  }
  return limit;
}

TEST_CASE("should_yield: says no while the slice lasts and nothing else is due", "[yield]") {
  ManualExecutor executor = manual_executor();
  int asked = 0;
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    asked = patience(0ns, 10'000, [] { return cw::should_yield(); });
    co_return;
  }));
  run_all(executor);
  CHECK(asked == 10'000);
}

TEST_CASE("should_yield: says yes once the slice is over, by the executor's clock", "[yield]") {
  auto executor = cw::ExecutorBuilder<int, cw::ManualClock>{}
                      .with_queue(0, cw::QueueOptions{.slice = 1ms})
                      .with_queue(1, cw::QueueOptions{.slice = 1ms})
                      .build();
  int asked = 0;
  auto work = [&]() -> cw::Task<> {
    asked = patience(10us, 10'000, [] { return cw::should_yield(); });
    co_return;
  };
  static_cast<void>(executor.queue(0).spawn(work));
  static_cast<void>(executor.queue(1).spawn([]() -> cw::Task<> { co_return; }));
  run_all(executor);
  CHECK(asked >= 100 - 16);  // the clock is read at one call in 16 at least
  CHECK(asked <= 100 + 16);
}

TEST_CASE("should_yield: says yes when another task of the queue has asked for a stop", "[yield]") {
  ManualExecutor executor = manual_executor();
  bool before = true;
  bool after = false;
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    before = cw::should_yield();
    executor.stop();
    after = cw::should_yield();
    co_return;
  }));
  run_all(executor);
  CHECK_FALSE(before);
  CHECK(after);
}

TEST_CASE("yield_maybe: does not suspend while there is no need", "[yield]") {
  ManualExecutor executor = manual_executor();
  std::string order;
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 1000; ++i) co_await cw::yield_maybe();
    order += 'a';
  }));
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    order += 'b';
    co_return;
  }));
  run_all(executor);
  CHECK(order == "ab");
  CHECK(executor.stats(0).resumes == 2);
}

TEST_CASE("yield_maybe: gives way to another queue when the slice is over, and then goes on", "[yield]") {
  auto executor = cw::ExecutorBuilder<int, cw::ManualClock>{}
                      .with_queue(0, cw::QueueOptions{.slice = 1ms})
                      .with_queue(1, cw::QueueOptions{.slice = 1ms})
                      .build();
  std::string order;
  auto work = [&](char name) -> cw::Task<> {
    for (int i = 0; i < 300; ++i) {
      cw::ManualClock::advance(10us);  // 3 ms in all
      if (order.empty() || order.back() != name) order += name;
      co_await cw::yield_maybe();
    }
  };
  static_cast<void>(executor.queue(0).spawn(work, 'a'));
  static_cast<void>(executor.queue(1).spawn(work, 'b'));
  run_all(executor);
  CHECK(order.size() >= 5);  // they took turns, about a slice each
  CHECK(order.size() <= 8);
}

}  // namespace
