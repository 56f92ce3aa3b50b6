#include <clockworker/executor.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
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
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

cw::Task<> endless(int& resumes) {
  for (;;) {
    ++resumes;
    co_await cw::yield_now();
  }
}
cw::Task<> for_ever() {
  co_await cw::suspend([](cw::Waker) {});
}

/// Fails instead of sleeping for ever.
struct NeverSleeps {
  void poll(cw::PollTimeout timeout) {
    if (!timeout) throw std::logic_error("the executor went to sleep over a stop");
    cw::ManualClock::advance(*timeout);
  }
  void wake() noexcept {}
};

/// What a call of run_until() threw, if it was a JoinError.
template <class Executor, class Main>
std::optional<cw::JoinErrc> code_of(Executor& executor, Main&& main) {
  NeverSleeps host;
  try {
    executor.run_until(host, std::forward<Main>(main));
  } catch (const cw::JoinError& error) {
    return error.code();
  }
  return std::nullopt;
}

TEST_CASE("Stop: asked before a run, that run returns at once, asked twice, it counts once", "[stop]") {
  NeverSleeps host;
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  auto handle = executor.queue(0).spawn(endless(resumes));
  executor.stop();
  executor.remote().stop();
  executor.run(host);
  CHECK(resumes == 0);
  handle.abort();
  executor.run_until_idle(host);  // not stopped again
  CHECK(handle.done());
}

TEST_CASE("Stop: a task that stops its executor is the last to be resumed", "[stop]") {
  NeverSleeps host;
  auto executor = Builder{}.with_queue(0, 1).build();
  std::string order;
  for (char name : {'a', 'b', 'c'}) {
    executor.queue(0).spawn([&executor, &order, name]() -> cw::Task<> {
      for (int i = 0; i < 2; ++i) {
        order += name;
        if (name == 'b' && i == 0) executor.stop();
        co_await cw::yield_now();
      }
    });
  }
  executor.run(host);
  CHECK(order == "ab");
  executor.run_until_idle(host);
  CHECK(order == "abcabc");
}

TEST_CASE("Stop: asked in the host's poll, the run returns without another resume", "[stop]") {
  auto executor = Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(3).build();
  int resumes = 0;
  int polls = 0;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout) {
        ++polls;
        executor.stop();
      },
      [] {});
  executor.queue(0).spawn(endless(resumes));
  executor.run(host);
  CHECK(resumes == 3);
  CHECK(polls == 1);
}

TEST_CASE("Stop: run_until_idle returns with its tasks still living", "[stop]") {
  NeverSleeps host;
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.queue(0).spawn(for_ever);
  executor.stop();
  executor.run_until_idle(host);
  CHECK_FALSE(handle.done());
  CHECK(executor.stats().live_tasks == 1);
}

TEST_CASE("Stop: run_until throws JoinError when it is stopped before main has ended, wherever that was",
          "[stop]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  bool busy = GENERATE(false, true);
  if (busy) executor.queue(0).spawn(endless(resumes));

  executor.stop();
  CHECK(code_of(executor, for_ever) == cw::JoinErrc::cancelled);
  auto at_once = [&]() -> cw::Task<> {
    executor.stop();
    co_await cw::suspend([](cw::Waker) {});
  };
  CHECK(code_of(executor, at_once) == cw::JoinErrc::cancelled);
  auto after_a_turn = [&]() -> cw::Task<> {
    co_await cw::yield_now();
    executor.stop();
    co_await cw::sleep_for(std::chrono::hours{1});
  };
  CHECK(code_of(executor, after_a_turn) == cw::JoinErrc::cancelled);
  CHECK(executor.stats().live_tasks == (busy ? 1U : 0U));
}

TEST_CASE("Stop: the main of a run_until that was stopped is destroyed before the call returns", "[stop]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  bool destroyed = false;
  {
    struct Tells {
      bool* told;
      ~Tells() { *told = true; }
    };
    auto main = [&]() -> cw::Task<> {
      Tells here{&destroyed};
      executor.stop();
      for (;;) co_await cw::yield_now();
    };
    CHECK(code_of(executor, main) == cw::JoinErrc::cancelled);
    CHECK(destroyed);
  }
  CHECK(executor.tasks().empty());
}

TEST_CASE("Stop: the task of a JoinHandle given to run_until goes on at the next run", "[stop]") {
  NeverSleeps host;
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<int> {
    executor.stop();
    co_await cw::yield_now();
    co_return 7;
  });
  CHECK(code_of(executor, handle) == cw::JoinErrc::cancelled);
  CHECK_FALSE(handle.done());
  CHECK(executor.run_until(host, handle) == 7);
}

TEST_CASE("Stop: main's end is not held up by what else is runnable", "[stop]") {
  NeverSleeps host;
  auto executor = Builder{}.with_queue(0, 1).build();
  int resumes = 0;
  executor.queue(0).spawn(endless(resumes));
  int value = executor.run_until(host, []() -> cw::Task<int> { co_return 5; });
  CHECK(value == 5);
  CHECK(resumes == 0);
}

TEST_CASE("Stop: from another thread it wakes a sleeping executor", "[stop]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  for (int round = 0; round < 200; ++round) {
    std::thread thread{[&executor, round] {
      if (round % 2 == 0) {
        executor.stop();
      } else {
        executor.remote().stop();
      }
    }};
    executor.run();
    thread.join();
  }
}

TEST_CASE("Stop: from another thread it ends a run_until that sleeps", "[stop]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  for (int round = 0; round < 200; ++round) {
    std::thread thread;
    auto main = [&]() -> cw::Task<> {
      thread = std::thread{[remote] { remote.stop(); }};
      co_await cw::suspend([](cw::Waker) {});
    };
    bool stopped = false;
    try {
      executor.run_until(main);
    } catch (const cw::JoinError& error) {
      stopped = error.code() == cw::JoinErrc::cancelled;
    }
    thread.join();
    REQUIRE(stopped);
  }
}

}  // namespace
