// starts threads
// Defects that a review found, each with the smallest program that showed it.
#include <clockworker/clockworker.hpp>

#include <chrono>
#include <coroutine>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "catch.hpp"

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

/// Completes when somebody resumes what it puts into `handle`.
struct Stranger {
  std::coroutine_handle<>& handle;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) const noexcept { handle = frame; }
  void await_resume() const noexcept {}
};

struct Flag {
  bool& raised;
  explicit Flag(bool& of) : raised{of} {}
  Flag(const Flag&) = delete;
  Flag& operator=(const Flag&) = delete;
  ~Flag() { raised = true; }
};

}  // namespace

TEST_CASE("A main left to a stranger by a host that throws is buried when another thread resumes it") {
  std::coroutine_handle<> handle;
  bool destroyed = false;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto broken = cw::poll_hook([](cw::PollTimeout) { throw std::runtime_error("broken host"); }, [] {});
  auto main = [&]() -> cw::Task<> {
    Flag flag{destroyed};
    co_await Stranger{handle};
  };
  CHECK_THROWS_AS(executor.run_until(broken, main), std::runtime_error);
  CHECK_FALSE(destroyed);
  std::thread([&] { handle.resume(); }).join();
  try {
    executor.run_until_idle();
  } catch (const std::runtime_error&) {  // the host threw a second time, while main was being waited for
  }
  CHECK(destroyed);
}

TEST_CASE("A main that waits for a stranger whom only another task resumes does not keep run_until for ever") {
  std::coroutine_handle<> handle;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 10; ++i) co_await cw::yield_now();
    handle.resume();
  });
  executor.queue(0).spawn([]() -> cw::Task<> {
    co_await cw::yield_now();
    throw std::runtime_error("another task");
  });
  auto main = [&]() -> cw::Task<> { co_await Stranger{handle}; };
  CHECK_THROWS_AS(executor.run_until(main), std::runtime_error);
  executor.run_until_idle();
}

namespace {

struct AsksForItsToken {
  bool armed = true;
  AsksForItsToken() = default;
  AsksForItsToken(AsksForItsToken&& other) noexcept : armed{std::exchange(other.armed, false)} {}
  AsksForItsToken& operator=(AsksForItsToken&&) = delete;
  ~AsksForItsToken() {
    if (!armed) return;
    try {
      (void)cw::this_task::stop_token();
    } catch (const std::logic_error&) {  // outside a task
    }
  }
};

}  // namespace

TEST_CASE("A result's destructor may ask this_task for what the task had") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<AsksForItsToken> {
    (void)cw::this_task::stop_token();
    co_return AsksForItsToken{};
  });
  executor.run_until_idle();
  CHECK(executor.tasks().empty());
}

TEST_CASE("A stop callback must not drive the executor, and is told so") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int refused = 0;
  auto drive = [&] {
    try {
      executor.run_ready();
    } catch (const std::logic_error&) {
      ++refused;
    }
  };
  for (int i = 0; i < 3; ++i) {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      cw::stop_callback callback{cw::this_task::stop_token(), std::function<void()>{drive}};
      for (;;) co_await cw::yield_now();
    });
  }
  executor.run_ready({.time = 1s, .polls = 3});
  executor.shutdown(cw::Shutdown::abort());
  CHECK(refused == 3);
  executor.run();
  CHECK(executor.tasks().empty());
}

TEST_CASE("Durations too long to count are for ever") {
  auto executor =
      cw::ExecutorBuilder<>{}.with_queue(0, 1).with_host_poll_interval(std::chrono::hours::max()).build();
  int polls = 0;
  auto host = cw::poll_hook([&](cw::PollTimeout) { ++polls; }, [] {});
  executor.run_until(host, []() -> cw::Task<> {
    for (int i = 0; i < 20; ++i) co_await cw::yield_now();
  });
  CHECK(polls == 0);
  auto remote = executor.remote();
  auto handle = remote.spawn(0, []() -> cw::Task<int> { co_return 1; });
  bool ended = false;
  std::thread waits{[&] { ended = handle.wait_for(std::chrono::hours::max()); }};
  executor.run_until_idle();
  executor.run_until([]() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  waits.join();
  CHECK(ended);
}

TEST_CASE("run_until returns a reference where main does") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto value = std::make_unique<int>(7);
  std::unique_ptr<int>& got =
      executor.run_until([&]() -> cw::Task<std::unique_ptr<int>&> { co_return value; });
  CHECK(&got == &value);
}

TEST_CASE("Of several exceptions at once each comes out of a run") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  remote.spawn(7, []() -> cw::Task<> { co_return; });  // no such queues, and nobody holds the handles
  remote.spawn(8, []() -> cw::Task<> { co_return; });
  std::string texts;
  for (int i = 0; i < 2; ++i) {
    try {
      executor.run_until_idle();
    } catch (const std::out_of_range& error) {
      texts += error.what();
    }
  }
  CHECK(texts.find("'7'") != std::string::npos);
  CHECK(texts.find("'8'") != std::string::npos);
  executor.run_until_idle();
}

TEST_CASE("A builder is moved, not copied: its schedulers need not be copyable") {
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<cw::ExecutorBuilder<>>);
  STATIC_REQUIRE(std::is_move_constructible_v<cw::ExecutorBuilder<>>);
}

namespace {

struct ThrowsAtTheSecondMove {
  int moves = 0;
  ThrowsAtTheSecondMove() = default;
  ThrowsAtTheSecondMove(ThrowsAtTheSecondMove&& other) : moves{other.moves + 1} {
    if (moves >= 2) throw std::runtime_error("moved too often");
  }
  ThrowsAtTheSecondMove& operator=(ThrowsAtTheSecondMove&&) = delete;
};

}  // namespace

TEST_CASE("A remote task's value whose move throws arrives as that exception") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  auto handle = remote.spawn(0, []() -> cw::Task<ThrowsAtTheSecondMove> { co_return ThrowsAtTheSecondMove{}; });
  executor.run_until([]() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  CHECK(handle.done());
  auto taken = handle.try_take();
  REQUIRE(taken);
  CHECK_FALSE(taken->has_value());
  CHECK(taken->error().code() == cw::JoinErrc::exception);
}

TEST_CASE("A remote spawn delivered in the midst of a task's resume does not run inside that task") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto remote = executor.remote();
  bool inside = false;
  bool called = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    remote.spawn(0, [&]() -> cw::Task<> {
      called = true;
      try {
        (void)cw::this_task::id();
        inside = true;
      } catch (const std::logic_error&) {
      }
      return []() -> cw::Task<> { co_return; }();
    });
    (void)cw::should_yield();
    co_return;
  });
  executor.run_until_idle();
  CHECK(called);
  CHECK_FALSE(inside);
}

TEST_CASE("A shutdown with patience rings the bell of a guest that sleeps") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int rings = 0;
  executor.on_runnable([&] { ++rings; });
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  CHECK(rings == 1);
  CHECK_FALSE(executor.run_ready().runnable);
  executor.shutdown(cw::Shutdown::drain_for(1h));
  CHECK(rings == 2);
  CHECK(executor.run_ready().next_timer);
}
