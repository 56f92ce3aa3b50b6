#include <clockworker/hosts/glib.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"
#include "hosts/glib_loop.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <glib.h>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker_test::GlibLoop;
using Clock = std::chrono::steady_clock;

constexpr int gtk_redraw = G_PRIORITY_HIGH_IDLE + 20;

cw::Executor<> make_executor() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

void work_for(std::chrono::nanoseconds d) {
  const auto end = Clock::now() + d;
  while (Clock::now() < end) continue;
}

/// Counts the calls of a source that is always ready.
struct Busy {
  Busy(GlibLoop& loop, int priority, std::chrono::nanoseconds each)
      : source{loop.add(g_idle_source_new(), priority, [this, each] {
          ++calls;
          const auto begin = Clock::now();
          work_for(each);
          worked += Clock::now() - begin;
          return true;
        })} {}
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() { g_source_destroy(source); }
  int calls = 0;
  std::chrono::nanoseconds worked{0};
  GSource* source;
};

/// Never done; counts its steps.
auto endless(long& steps) {
  return [&steps]() -> cw::Task<> {
    for (;; ++steps) co_await cw::yield_now();
  };
}

/// Runs the loop until `done`, or until that is out of the question.
void run_until(GlibLoop& loop, const std::function<bool()>& done) {
  const auto end = Clock::now() + 30s;
  loop.run_until([&] { return done() || Clock::now() > end; });
  CHECK(done());
}

TEST_CASE("GlibGuest: a redraw of GTK that is always due is not starved by tasks, nor they by it", "[glib]") {
  const int guests = GENERATE(1, 2);
  const bool few_polls = GENERATE(false, true);
  GlibLoop loop;
  auto one = make_executor();
  auto two = make_executor();
  cw::GuestOptions options;
  options.budget.time = 500us;
  if (few_polls) options.budget = {.time = 1h, .polls = 1};
  cw::GlibGuest first{one, loop.get(), options};
  std::optional<cw::GlibGuest> second;
  if (guests == 2) second.emplace(two, loop.get(), options);
  long steps_of_one = 0;
  long steps_of_two = 0;
  one.queue(0).spawn(endless(steps_of_one));
  two.queue(0).spawn(endless(steps_of_two));
  Busy redraw{loop, gtk_redraw, 100us};
  run_until(loop, [&] {
    return redraw.calls > 100 && steps_of_one > 1000 && (guests == 1 || steps_of_two > 1000);
  });
}

TEST_CASE("GlibGuest: tasks that only ever sleep, and for no time, do not starve a redraw either", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get(), {.budget = {.time = 500us, .polls = 1}, .on_exception = {}}};
  long sleeps = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;; ++sleeps) co_await cw::sleep_for(1ns);
  });
  Busy redraw{loop, gtk_redraw, 100us};
  run_until(loop, [&] { return redraw.calls > 100 && sleeps > 1000; });
}

TEST_CASE("GlibGuest: a saturated source of its own priority does not starve it, nor it that", "[glib]") {
  const bool few_polls = GENERATE(false, true);
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{
      executor, loop.get(), {.budget = {.time = 500us, .polls = few_polls ? 1U : 0U}, .on_exception = {}}};
  long steps = 0;
  executor.queue(0).spawn(endless(steps));
  Busy busy{loop, G_PRIORITY_DEFAULT, 100us};
  run_until(loop, [&] { return busy.calls > 100 && steps > 1000; });
}

TEST_CASE("GlibGuest: sources of lower priorities, however low, have their share beside a saturated guest",
          "[glib]") {
  const int priority = GENERATE(G_PRIORITY_DEFAULT_IDLE, G_PRIORITY_LOW, G_PRIORITY_LOW + 1000);
  const int guests = GENERATE(1, 2);
  GlibLoop loop;
  auto one = make_executor();
  auto two = make_executor();
  cw::GlibGuest first{one, loop.get()};
  std::optional<cw::GlibGuest> second;
  if (guests == 2) second.emplace(two, loop.get());
  long steps = 0;
  one.queue(0).spawn(endless(steps));
  two.queue(0).spawn(endless(steps));
  int ticks = 0;
  GSource* timer = loop.add(g_timeout_source_new(1), priority, [&] {
    ++ticks;
    return true;
  });
  run_until(loop, [&] { return ticks > 20 && steps > 1000; });
  g_source_destroy(timer);
  Busy busy{loop, priority, 100us};
  const long then = steps;
  const auto begin = Clock::now();
  loop.run_until([&] { return Clock::now() > begin + 200ms; });
  CHECK(busy.worked > (Clock::now() - begin) * 3 / 10);  // half, but for what the loop needs
  CHECK(steps > then + 1000);
}

TEST_CASE("GlibGuest: one of idle priority leaves the thread to all others", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get(), {}, G_PRIORITY_LOW};
  long steps = 0;
  executor.queue(0).spawn(endless(steps));
  {
    Busy busy{loop, G_PRIORITY_DEFAULT_IDLE, 100us};
    run_until(loop, [&] { return busy.calls > 100; });
    CHECK(steps == 0);
  }
  run_until(loop, [&] { return steps > 1000; });
}

TEST_CASE("GlibGuest: alone in the loop it never rests", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get(), {.budget = {.time = 1ms, .polls = 0}, .on_exception = {}}};
  int steps = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; steps < 20; ++steps) {
      work_for(5ms);  // each is a turn, and a rest of 5 ms is due after it
      co_await cw::yield_now();
    }
  });
  int idle_iterations = 0;
  while (steps < 20) {
    if (!g_main_context_iteration(loop.get(), FALSE)) ++idle_iterations;
  }
  CHECK(idle_iterations <= 20);  // while it waits for the rest to be over there are thousands
}

TEST_CASE("GlibGuest: a wake does not cut short the rest that is due to others", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get()};
  cw::Waker waker;
  int redraws = 0;
  int most_redraws = 0;
  int turns = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; turns < 5; ++turns) {
      most_redraws = std::max(most_redraws, redraws);
      work_for(20ms);
      redraws = 0;
      co_await cw::suspend([&](cw::Waker given) { waker = std::move(given); });
    }
  });
  GSource* redraw = loop.add(g_idle_source_new(), gtk_redraw, [&] {
    ++redraws;
    waker.wake();
    return true;
  });
  run_until(loop, [&] { return turns == 5; });
  g_source_destroy(redraw);
  CHECK(most_redraws > 3);
}

TEST_CASE("GlibGuest: a loop nested in a turn that comes after a rest can sleep", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get()};
  int nested_iterations = 0;
  bool over = false;
  std::optional<Busy> busy{std::in_place, loop, G_PRIORITY_DEFAULT, 100us};  // keeps it to its own priority
  executor.queue(0).spawn([&]() -> cw::Task<> {
    work_for(5ms);
    co_await cw::yield_now();
    busy.reset();
    loop.after(50ms, [&] { over = true; });
    while (!over) {
      g_main_context_iteration(loop.get(), TRUE);
      ++nested_iterations;
    }
  });
  run_until(loop, [&] { return over; });
  CHECK(nested_iterations < 20);
}

TEST_CASE("GlibGuest: after a long nested loop in a task it has its share again soon", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  auto other_executor = make_executor();
  cw::GlibGuest guest{executor, loop.get()};
  cw::GlibGuest other{other_executor, loop.get()};
  long steps = 0;
  long steps_of_other = 0;
  std::optional<Clock::time_point> nest_ended;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    loop.run_nested_for(600ms);
    nest_ended = Clock::now();
    for (;; ++steps) co_await cw::yield_now();
  });
  other_executor.queue(0).spawn(endless(steps_of_other));
  Busy busy{loop, G_PRIORITY_DEFAULT, 100us};
  loop.run_until([&] { return nest_ended.has_value(); });
  const long then = steps_of_other;
  run_until(loop, [&] { return steps > 1000 && steps_of_other > then + 1000; });
  CHECK(Clock::now() - *nest_ended < 500ms);
}

TEST_CASE("GlibGuest: turns go on in a loop nested in on_exception", "[glib]") {
  const bool by_another_thread = GENERATE(false, true);
  GlibLoop loop;
  auto executor = make_executor();
  cw::GuestOptions options;
  bool ran_nested = false;
  bool over = false;
  options.on_exception = [&](std::exception_ptr) {
    auto task = [&]() -> cw::Task<> {
      for (int i = 0; i < 3; ++i) co_await cw::sleep_for(1ms);
      ran_nested = true;
    };
    if (by_another_thread) {
      std::thread{[&, remote = executor.remote()]() mutable { remote.spawn(0, task); }}.join();
    } else {
      executor.queue(0).spawn(task);
    }
    run_until(loop, [&] { return ran_nested; });
    over = true;
  };
  cw::GlibGuest guest{executor, loop.get(), std::move(options)};
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error{"out of a task"};
    co_return;
  });
  loop.run_until([&] { return over; });
  bool ran_after = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    ran_after = true;
    co_return;
  });
  run_until(loop, [&] { return ran_after; });
}

TEST_CASE("GlibGuest: no wake is lost between a turn that leaves a timer and its being set", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get()};
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  std::atomic<bool> handed_over = false;
  std::atomic<bool> over = false;
  cw::Waker waker;
  std::thread other{[&] {
    for (unsigned n = 0; !over; ++n) {
      if (!handed_over.load(std::memory_order_acquire)) continue;
      cw::Waker mine = std::move(waker);
      handed_over = false;
      for (unsigned spins = (n * 37) % 2048; spins > 0; --spins)
        std::atomic_signal_fence(std::memory_order_seq_cst);
      mine.wake();
    }
  }};
  int woken = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; woken < 50'000; ++woken) {
      co_await cw::suspend([&](cw::Waker given) {
        waker = std::move(given);
        handed_over.store(true, std::memory_order_release);
      });
    }
  });
  loop.run_until([&] { return woken == 50'000; });  // one that is lost is waited for an hour
  over = true;
  other.join();
}

TEST_CASE("GlibGuest: it may be destroyed in an event of the loop, with a turn pending or a sleep",
          "[glib]") {
  for (bool asleep : {false, true}) {
    GlibLoop loop;
    auto executor = make_executor();
    std::optional<cw::GlibGuest> guest{std::in_place, executor, loop.get()};
    long steps = 0;
    executor.queue(0).spawn([&, asleep]() -> cw::Task<> {
      for (;; ++steps) {
        if (asleep) {
          co_await cw::sleep_for(1h);
        } else {
          co_await cw::yield_now();
        }
      }
    });
    loop.after(3ms, [&] { guest.reset(); });
    loop.run_until([&] { return !guest; });
    const long then = steps;
    while (g_main_context_iteration(loop.get(), FALSE)) continue;
    CHECK(steps == then);
    guest.emplace(executor, loop.get());
    loop.after(3ms, [&] { guest.reset(); });
    loop.run_until([&] { return !guest; });
    CHECK((asleep || steps > then));
  }
}

TEST_CASE("GlibGuest: it may be destroyed in on_exception, which goes on with what it has captured",
          "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  std::unique_ptr<cw::GlibGuest> guest;
  cw::GuestOptions options;
  int sum = 0;
  options.on_exception = [&guest, &sum, captured = std::vector<int>(100, 1)](std::exception_ptr) {
    guest.reset();
    sum = std::accumulate(captured.begin(), captured.end(), 0);
  };
  guest = std::make_unique<cw::GlibGuest>(executor, loop.get(), std::move(options));
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error{"out of a task"};
    co_return;
  });
  run_until(loop, [&] { return sum != 0; });
  while (g_main_context_iteration(loop.get(), FALSE)) continue;
  CHECK(sum == 100);
}

TEST_CASE("GlibGuest: of an executor that is gone it does nothing", "[glib]") {
  GlibLoop loop;
  struct Holder {
    cw::Executor<> executor = make_executor();
  };
  auto holder = std::make_unique<Holder>();
  cw::GlibGuest guest{holder->executor, loop.get()};
  long steps = 0;
  holder->executor.queue(0).spawn(endless(steps));
  loop.after(2ms, [&] { holder.reset(); });
  loop.run_until([&] { return holder == nullptr; });
  while (g_main_context_iteration(loop.get(), FALSE)) continue;  // it comes to rest
  CHECK(steps > 0);
}

TEST_CASE("GlibGuest: one that is refused leaves the loop as it was", "[glib]") {
  GlibLoop loop;
  auto executor = make_executor();
  cw::GlibGuest guest{executor, loop.get()};
  CHECK_THROWS_AS((cw::GlibGuest{executor, loop.get()}), std::logic_error);
  long steps = 0;
  executor.queue(0).spawn(endless(steps));
  run_until(loop, [&] { return steps > 1000; });
}

}  // namespace
