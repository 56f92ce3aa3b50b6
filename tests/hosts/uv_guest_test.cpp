#include <clockworker/hosts/uv.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <uv.h>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;

/// A loop that, run to its end, must be closed with nobody's handle left in it.
struct Loop {
  Loop() { REQUIRE(uv_loop_init(&loop) == 0); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() {
    run();
    CHECK(uv_loop_close(&loop) == 0);
  }
  void run() { uv_run(&loop, UV_RUN_DEFAULT); }
  operator uv_loop_t*() { return &loop; }  // NOLINT: as libuv's calls take it
  uv_loop_t loop;
};

/// Calls `f` once, after `ms`, in a callback of the loop.
void after(uv_loop_t* loop, std::uint64_t ms, std::function<void()> f) {
  struct Timer {
    uv_timer_t handle;
    std::function<void()> f;
  };
  auto* timer = new Timer{{}, std::move(f)};
  REQUIRE(uv_timer_init(loop, &timer->handle) == 0);
  timer->handle.data = timer;
  uv_update_time(loop);
  uv_timer_start(
      &timer->handle,
      [](uv_timer_t* handle) {
        static_cast<Timer*>(handle->data)->f();
        uv_close(reinterpret_cast<uv_handle_t*>(handle),
                 [](uv_handle_t* closed) { delete static_cast<Timer*>(closed->data); });
      },
      ms, 0);
}

cw::Executor<> make_executor() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

TEST_CASE("UvGuest: the loop ends when the executor has nothing to do", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop};
  loop.run();  // returns
  int slept = 0;
  for (int i = 1; i <= 3; ++i) {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      for (int step = 0; step < 100; ++step) co_await cw::yield_now();
      co_await cw::sleep_for(2ms);
      ++slept;
    });
    loop.run();  // and not before a sleep is over
    CHECK(slept == i);
  }
}

TEST_CASE("UvGuest: what the loop's last callback spawns is run before the loop ends", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop};
  loop.run();
  bool ran = false;
  after(loop, 2, [&] {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      ran = true;
      co_return;
    });
  });
  loop.run();
  CHECK(ran);
}

TEST_CASE("UvGuest: a wake from another thread is waited for if the loop is to be kept alive", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop};
  bool woken = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::thread other;
    co_await cw::suspend([&](cw::Waker waker) {
      other = std::thread{[waker] {
        std::this_thread::sleep_for(20ms);
        waker.wake();
      }};
    });
    other.join();
    woken = true;
    guest.keep_alive(false);
  });
  guest.keep_alive(true);
  loop.run();
  CHECK(woken);
}

TEST_CASE("UvGuest: a task that waits for another thread does not keep the loop by itself", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop};
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  loop.run();  // returns
}

TEST_CASE("UvGuest: it takes one turn an iteration", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop, {.budget = {.time = 1h, .polls = 1}, .on_exception = {}}};
  int iterations = 0;
  uv_check_t check;
  REQUIRE(uv_check_init(loop, &check) == 0);
  check.data = &iterations;
  uv_check_start(&check, [](uv_check_t* handle) { ++*static_cast<int*>(handle->data); });
  uv_unref(reinterpret_cast<uv_handle_t*>(&check));
  executor.queue(0).spawn([]() -> cw::Task<> {
    for (int i = 0; i < 50; ++i) co_await cw::yield_now();
  });
  loop.run();
  CHECK(iterations >= 50);
  CHECK(iterations <= 55);
  uv_close(reinterpret_cast<uv_handle_t*>(&check), nullptr);
}

TEST_CASE("UvGuest: it may be destroyed in a callback of the loop, with a turn pending or a sleep", "[uv]") {
  for (bool asleep : {false, true}) {
    Loop loop;
    auto executor = make_executor();
    std::optional<cw::UvGuest> guest{std::in_place, executor, loop};
    int steps = 0;
    executor.queue(0).spawn([&, asleep]() -> cw::Task<> {
      for (;; ++steps) {
        if (asleep) {
          co_await cw::sleep_for(1h);
        } else {
          co_await cw::yield_now();
        }
      }
    });
    after(loop, 3, [&] { guest.reset(); });
    loop.run();  // ends, as nothing is left
    const int then = steps;
    CHECK((asleep || then > 0));
    guest.emplace(executor, loop);
    after(loop, 3, [&] { guest.reset(); });
    loop.run();
    CHECK((asleep || steps > then));
  }
}

TEST_CASE("UvGuest: of an executor that is gone it does nothing, and the loop ends", "[uv]") {
  Loop loop;
  struct Holder {
    cw::Executor<> executor = make_executor();
  };
  auto holder = std::make_unique<Holder>();
  cw::UvGuest guest{holder->executor, loop};
  holder->executor.queue(0).spawn([]() -> cw::Task<> {
    for (;;) co_await cw::yield_now();
  });
  after(loop, 2, [&] { holder.reset(); });
  loop.run();
  CHECK(holder == nullptr);
}

TEST_CASE("UvGuest: one that is refused leaves the loop as it was", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop};
  CHECK_THROWS_AS((cw::UvGuest{executor, loop}), std::logic_error);
  CHECK_THROWS_AS((cw::UvGuest{executor, nullptr}), std::invalid_argument);
  bool ran = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    ran = true;
    co_return;
  });
  loop.run();
  CHECK(ran);
}

TEST_CASE("UvGuest: after an exception the next turn comes, also if the report spawns and the loop would end",
          "[uv]") {
  Loop loop;
  auto executor = make_executor();
  std::string reported;
  bool ran = false;
  cw::GuestOptions options;
  options.on_exception = [&](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      reported = error.what();
    }
    executor.queue(0).spawn([&]() -> cw::Task<> {
      ran = true;
      co_return;
    });
  };
  cw::UvGuest guest{executor, loop, options};
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error{"out of a task"};
    co_return;
  });
  loop.run();
  CHECK(reported == "out of a task");
  CHECK(ran);
}

TEST_CASE("UvGuest: it may be destroyed in on_exception, which goes on with what it has captured", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  std::unique_ptr<cw::UvGuest> guest;
  cw::GuestOptions options;
  int sum = 0;
  options.on_exception = [&guest, &sum, captured = std::vector<int>(100, 1)](std::exception_ptr) {
    guest.reset();
    sum = std::accumulate(captured.begin(), captured.end(), 0);
  };
  guest = std::make_unique<cw::UvGuest>(executor, loop, std::move(options));
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error{"out of a task"};
    co_return;
  });
  loop.run();
  CHECK(guest == nullptr);
  CHECK(sum == 100);
}

/// Runs the loop to its end, which must come long before that of a sleep of an hour.
void check_it_ends(Loop& loop) {
  bool hangs = false;
  uv_timer_t watchdog;
  REQUIRE(uv_timer_init(loop, &watchdog) == 0);
  watchdog.data = &hangs;
  uv_timer_start(
      &watchdog,
      [](uv_timer_t* handle) {
        *static_cast<bool*>(handle->data) = true;
        uv_stop(handle->loop);
      },
      10'000, 0);
  uv_unref(reinterpret_cast<uv_handle_t*>(&watchdog));
  loop.run();
  CHECK_FALSE(hangs);
  uv_close(reinterpret_cast<uv_handle_t*>(&watchdog), nullptr);
  uv_run(loop, UV_RUN_NOWAIT);
}

TEST_CASE("UvGuest: when its executor goes with a task asleep, the loop ends", "[uv]") {
  Loop loop;
  struct Holder {
    cw::Executor<> executor = make_executor();
  };
  auto holder = std::make_unique<Holder>();
  cw::UvGuest guest{holder->executor, loop};
  holder->executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  after(loop, 2, [&] { holder.reset(); });
  check_it_ends(loop);
  CHECK(holder == nullptr);
}

TEST_CASE("UvGuest: when a run in between has ended the last sleep, the loop ends", "[uv]") {
  Loop loop;
  auto executor = make_executor();
  cw::UvGuest guest{executor, loop};
  auto sleeper = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  after(loop, 2, [&] {
    executor.run_until([&]() -> cw::Task<> {
      sleeper.abort();
      (void)co_await sleeper;
    });
  });
  check_it_ends(loop);
  CHECK(executor.stats().live_tasks == 0);
}

void close_all_of(uv_loop_t* loop) {
  uv_walk(
      loop,
      [](uv_handle_t* handle, void*) {
        if (uv_is_closing(handle) == 0) uv_close(handle, nullptr);
      },
      nullptr);
}

TEST_CASE("UvGuest: when uv_walk() has closed its handles it may go before the loop has run, or after",
          "[uv]") {
  const bool before = GENERATE(true, false);
  auto executor = make_executor();
  std::optional<cw::UvGuest> guest;
  {
    Loop loop;
    guest.emplace(executor, loop);
    loop.run();
    close_all_of(loop);
    if (before) guest.reset();  // libuv still writes to the handles
  }
  guest.reset();
}

}  // namespace
