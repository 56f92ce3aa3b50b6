#include <clockworker/hosts/glib.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"
#include "hosts/glib_loop.hpp"

#include <atomic>
#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>

#include <glib.h>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker_test::GlibLoop;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

static_assert(cw::PollHook<cw::GlibHost>);
static_assert(!std::is_copy_constructible_v<cw::GlibHost> && !std::is_move_constructible_v<cw::GlibHost>);

TEST_CASE("GlibHost: a wake before a sleep ends that sleep, and only that", "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  host.wake();
  host.wake();  // they do not add up
  host.poll(std::nullopt);
  const auto before = Clock::now();
  host.poll(20ms);
  CHECK(Clock::now() - before >= 20ms);
}

TEST_CASE("GlibHost: a poll of no time leaves a wake to the next sleep", "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  host.wake();
  host.poll(0ns);
  host.poll(-1ns);
  host.poll(std::nullopt);  // returns
}

TEST_CASE("GlibHost: it does not return before its timeout", "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{1500us}, nanoseconds{5ms}}) {
    const auto before = Clock::now();
    host.poll(timeout);
    CHECK(Clock::now() - before >= timeout);
  }
}

TEST_CASE("GlibHost: the longest timeout there is does not overflow", "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  // The second is 1 ms, if cut to 32 bits.
  for (nanoseconds timeout : {nanoseconds::max(), nanoseconds{std::chrono::milliseconds{(1LL << 32) + 1}}}) {
    bool fired = false;
    int polls = 0;
    loop.after(20ms, [&] { fired = true; });
    while (!fired) {
      host.poll(timeout);
      ++polls;
    }
    CHECK(polls <= 3);
  }
}

TEST_CASE("GlibHost: a wake from another thread ends a sleep, and the host may be destroyed right after",
          "[glib]") {
  GlibLoop loop;
  for (int round = 0; round < 200; ++round) {
    std::optional<cw::GlibHost> host{std::in_place, loop.get()};
    std::thread waker{[&] { host->wake(); }};
    host->poll(round % 2 == 0 ? cw::PollTimeout{} : cw::PollTimeout{1h});
    waker.join();
  }
}

TEST_CASE("GlibHost: without a context it drives the default one", "[glib]") {
  cw::GlibHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  CHECK(host.context() == g_main_context_default());
  bool called = false;
  g_idle_add(
      [](gpointer flag) -> gboolean {
        *static_cast<bool*>(flag) = true;
        return G_SOURCE_REMOVE;
      },
      &called);
  executor.run_until(host, [&]() -> cw::Task<> {
    while (!called) co_await cw::yield_now();
  });
  CHECK(called);
}

TEST_CASE("GlibHost: what a callback hands over leaves poll, once", "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  loop.after(2ms, [&] {
    host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"first"}));
    host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"second"}));
  });
  CHECK_THROWS_WITH(host.poll(std::nullopt), "first");
  host.poll(1ms);
  host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"later"}));
  CHECK_THROWS_WITH(host.poll(std::nullopt), "later");
}

TEST_CASE("GlibHost: a context that another thread runs is refused", "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  std::atomic<bool> owned = false;
  std::atomic<bool> tried = false;
  std::thread other{[&] {
    CHECK(g_main_context_acquire(loop.get()));
    owned = true;
    while (!tried) std::this_thread::yield();
    g_main_context_release(loop.get());
  }};
  while (!owned) std::this_thread::yield();
  CHECK_THROWS_AS(host.poll(0ns), std::logic_error);
  CHECK_THROWS_AS(host.poll(std::nullopt), std::logic_error);
  tried = true;
  other.join();
  host.poll(0ns);
}

TEST_CASE("GlibHost: a nested loop in an event that its poll delivers is not cut short by the poll's timeout",
          "[glib]") {
  GlibLoop loop;
  cw::GlibHost host{loop.get()};
  int iterations = 0;
  bool over = false;
  loop.after(5ms, [&] {
    loop.after(100ms, [&] { over = true; });
    while (!over) {
      ++iterations;
      g_main_context_iteration(loop.get(), TRUE);
    }
  });
  while (!over) host.poll(1ms);
  CHECK(iterations < 20);
}

TEST_CASE("GlibHost: hosts come and go on one context, nested too", "[glib]") {
  GlibLoop loop;
  int ticks = 0;
  std::function<void()> tick = [&] {
    ++ticks;
    loop.after(1ms, tick);
  };
  tick();
  for (int round = 0; round < 3; ++round) {
    cw::GlibHost one{loop.get()};
    {
      cw::GlibHost two{loop.get()};
      two.poll(std::nullopt);
    }
    one.poll(std::nullopt);
  }
  const int then = ticks;
  loop.run_until([&] { return ticks >= then + 3; });
  CHECK(ticks >= then + 3);
}

}  // namespace
