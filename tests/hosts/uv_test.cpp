#include <clockworker/hosts/uv.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>

#include <uv.h>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

static_assert(cw::PollHook<cw::UvHost>);
static_assert(!std::is_copy_constructible_v<cw::UvHost> && !std::is_move_constructible_v<cw::UvHost>);

/// A loop that must be closed by its end, with nobody's handle left in it.
struct Loop {
  Loop() { REQUIRE(uv_loop_init(&loop) == 0); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() { CHECK(uv_loop_close(&loop) == 0); }
  operator uv_loop_t*() { return &loop; }  // NOLINT: as libuv's calls take it
  uv_loop_t loop;
};

/// A handle of the program's own, to be closed by close().
template <class Handle>
struct Own {
  template <class Init>
  Own(Init init, uv_loop_t* loop, std::function<void()> what) : f{std::move(what)} {
    REQUIRE(init(loop, &handle) == 0);
    handle.data = this;
  }
  static void call(Handle* handle) { static_cast<Own*>(handle->data)->f(); }
  void close() {
    uv_close(reinterpret_cast<uv_handle_t*>(&handle), nullptr);
    uv_run(handle.loop, UV_RUN_NOWAIT);
  }
  Handle handle;
  std::function<void()> f;
};
using OwnTimer = Own<uv_timer_t>;
using OwnPrepare = Own<uv_prepare_t>;

void wait_until_due(nanoseconds d) {
  const auto end = Clock::now() + d;
  while (Clock::now() < end) continue;
}

TEST_CASE("UvHost: a wake before a sleep ends that sleep, and only that", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  host.wake();
  host.wake();  // they do not add up
  host.poll(std::nullopt);
  const auto before = Clock::now();
  host.poll(20ms);
  CHECK(Clock::now() - before >= 18ms);  // libuv's present may lie in the past by two milliseconds
}

TEST_CASE("UvHost: a poll of no time leaves a wake to the next sleep", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  host.wake();
  host.poll(0ns);
  host.poll(-1ns);
  host.poll(std::nullopt);  // returns
}

TEST_CASE("UvHost: a timeout is waited for in few polls, however short", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{1500us}, nanoseconds{5ms}}) {
    int polls = 0;
    const auto due = Clock::now() + timeout;
    for (auto now = Clock::now(); now < due; now = Clock::now(), ++polls) host.poll(due - now);
    CHECK(polls <= 3);
  }
}

TEST_CASE("UvHost: the longest timeout there is does not overflow", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  bool fired = false;
  OwnTimer timer{uv_timer_init, loop, [&] { fired = true; }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 20, 0);
  int polls = 0;
  while (!fired) {
    host.poll(nanoseconds::max());
    ++polls;
  }
  CHECK(polls <= 3);
  timer.close();
}

TEST_CASE("UvHost: a wake from another thread ends a sleep, and the host may be destroyed right after",
          "[uv]") {
  Loop loop;
  for (int round = 0; round < 200; ++round) {
    std::optional<cw::UvHost> host{std::in_place, loop};
    std::thread waker{[&] { host->wake(); }};
    host->poll(round % 2 == 0 ? cw::PollTimeout{} : cw::PollTimeout{1h});
    waker.join();
  }
}

// libuv before 1.45 runs it and then blocks.
TEST_CASE("UvHost: a timer that is due does not let the loop block after it", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  host.poll(0ns);  // libuv has seen its handles
  int fired = 0;
  OwnTimer timer{uv_timer_init, loop, [&] { ++fired; }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 1, 0);
  wait_until_due(3ms);
  host.poll(std::nullopt);  // returns
  CHECK(fired == 1);
  timer.close();
}

TEST_CASE("UvHost: a task woken by a prepare callback runs, the loop does not block before", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  host.poll(0ns);  // libuv has seen its handles
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  cw::Waker waker;
  OwnPrepare prepare{uv_prepare_init, loop, [&] { waker.wake(); }};
  uv_prepare_start(&prepare.handle, &OwnPrepare::call);
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker given) { waker = std::move(given); });
  });
  waker = {};
  prepare.close();
}

TEST_CASE("UvHost: what a callback hands over leaves poll, from a timer and with nothing else due", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  OwnTimer timer{uv_timer_init, loop, [&] {
                   host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"first"}));
                   host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"second"}));
                 }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 5, 0);
  auto poll_until_it_throws = [&] {
    for (;;) host.poll(std::nullopt);
  };
  CHECK_THROWS_WITH(poll_until_it_throws(), "first");
  host.poll(1ms);  // it is thrown once
  timer.close();
}

TEST_CASE("UvHost: what a prepare callback hands over keeps poll from blocking", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  host.poll(0ns);  // libuv has seen its handles
  OwnPrepare prepare{uv_prepare_init, loop,
                     [&] { host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"it"})); }};
  uv_prepare_start(&prepare.handle, &OwnPrepare::call);
  CHECK_THROWS_WITH(host.poll(std::nullopt), "it");
  prepare.close();
}

TEST_CASE("UvHost: what is handed over between two polls leaves the next", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"later"}));
  CHECK_THROWS_WITH(host.poll(std::nullopt), "later");
}

TEST_CASE("UvHost: a poll from within a callback of its loop is refused", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  bool refused = false;
  OwnTimer timer{uv_timer_init, loop, [&] {
                   try {
                     host.poll(0ns);
                   } catch (const std::logic_error&) {
                     refused = true;
                   }
                 }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 0, 0);
  host.poll(10ms);
  CHECK(refused);
  timer.close();
}

TEST_CASE("UvHost: after it a loop that has nothing else may be closed at once", "[uv]") {
  Loop loop;
  for (int round = 0; round < 3; ++round) {
    cw::UvHost host{loop};
    if (round > 0) host.poll(1ms);
    if (round > 1) uv_stop(loop);
  }
}

TEST_CASE("UvHost: its destructor runs no callback of the program", "[uv]") {
  const bool unrefd = GENERATE(false, true);
  Loop loop;
  int calls = 0;
  OwnTimer timer{uv_timer_init, loop, [&] { ++calls; }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 0, 0);
  if (unrefd) uv_unref(reinterpret_cast<uv_handle_t*>(&timer.handle));
  { cw::UvHost host{loop}; }
  CHECK(calls == 0);
  uv_run(loop, UV_RUN_NOWAIT);
  CHECK(calls == 1);
  timer.close();
}

TEST_CASE("UvHost: hosts come and go on a loop that goes on", "[uv]") {
  Loop loop;
  int ticks = 0;
  OwnTimer timer{uv_timer_init, loop, [&] { ++ticks; }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 1, 1);
  {
    cw::UvHost one{loop};
    {
      cw::UvHost two{loop};
      two.poll(5ms);
    }
    one.poll(5ms);
  }
  const int then = ticks;
  while (ticks < then + 3) uv_run(loop, UV_RUN_ONCE);
  timer.close();
}

TEST_CASE("UvHost: a task may run the loop itself", "[uv]") {
  Loop loop;
  cw::UvHost host{loop};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int ticks = 0;
  OwnTimer timer{uv_timer_init, loop, [&] {
                   if (++ticks == 3) uv_stop(loop);
                 }};
  uv_timer_start(&timer.handle, &OwnTimer::call, 1, 1);
  cw::Waker waker;
  int woken = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker given) { waker = std::move(given); });
    ++woken;
  });
  executor.run_until(host, [&]() -> cw::Task<> {
    while (!waker) co_await cw::yield_now();
    std::thread other{[&] { waker.wake(); }};
    uv_run(loop, UV_RUN_DEFAULT);
    other.join();
    CHECK(ticks == 3);
    CHECK(woken == 0);
    while (woken == 0) co_await cw::sleep_for(1ms);
  });
  CHECK(woken == 1);
  timer.close();
}

TEST_CASE("UvHost: when uv_walk() has closed its handles it may go before the loop has run, or after",
          "[uv]") {
  const bool before = GENERATE(true, false);
  std::optional<cw::UvHost> host;
  {
    Loop loop;
    host.emplace(loop);
    uv_walk(
        loop, [](uv_handle_t* handle, void*) { uv_close(handle, nullptr); }, nullptr);
    if (before) host.reset();  // libuv still writes to the handles
    uv_run(loop, UV_RUN_DEFAULT);
  }
  host.reset();
}

TEST_CASE("UvHost: after several on a loop that has nothing else, one run of the loop gives back all",
          "[uv]") {
  Loop loop;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  {
    cw::UvHost one{loop};
    cw::UvHost two{loop};
    executor.run_until(one, []() -> cw::Task<> { co_await cw::sleep_for(1ms); });
    executor.run_until(two, []() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  }
  uv_run(loop, UV_RUN_NOWAIT);
}

TEST_CASE("UvHost: without a loop there is none", "[uv]") {
  CHECK_THROWS_AS(cw::UvHost{nullptr}, std::invalid_argument);
}

}  // namespace
