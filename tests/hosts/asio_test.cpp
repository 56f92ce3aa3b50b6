// starts threads
#include <clockworker/hosts/asio.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker::AsioGuest;
using clockworker::AsioHost;
using std::chrono::nanoseconds;
using SteadyTime = std::chrono::steady_clock;

static_assert(cw::PollHook<AsioHost>);
static_assert(!std::is_copy_constructible_v<AsioHost> && !std::is_move_constructible_v<AsioHost>);
static_assert(!std::is_copy_constructible_v<AsioGuest> && !std::is_move_constructible_v<AsioGuest>);

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

TEST_CASE("AsioHost: a poll of no time does not block, and leaves a wake to the next sleep", "[asio]") {
  asio::io_context context;
  AsioHost host{context};
  host.poll(0ns);
  host.poll(-1ns);
  host.wake();
  host.poll(0ns);
  host.poll(std::nullopt);  // returns
}

TEST_CASE("AsioHost: a wake ends one sleep, wakes do not add up, and no sleep ends early", "[asio]") {
  asio::io_context context;
  AsioHost host{context};
  host.wake();
  host.wake();
  host.poll(std::nullopt);
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{5ms}, nanoseconds{1500us}}) {
    const auto before = SteadyTime::now();
    host.poll(timeout);
    CHECK(SteadyTime::now() - before >= timeout);
  }
}

TEST_CASE("AsioHost: the longest timeout there is does not overflow", "[asio]") {
  asio::io_context context;
  AsioHost host{context};
  std::atomic<bool> woken = false;
  std::thread waker{[&] {
    std::this_thread::sleep_for(20ms);
    woken = true;
    host.wake();
  }};
  host.poll(nanoseconds::max());
  CHECK(woken);
  waker.join();
}

TEST_CASE("AsioHost: handlers that come while it is asleep end the sleep, and all that are there are served",
          "[asio]") {
  asio::io_context context;
  AsioHost host{context};
  int served = 0;
  for (int i = 0; i < 10; ++i) asio::post(context, [&] { ++served; });
  host.poll(std::nullopt);
  CHECK(served == 10);
}

TEST_CASE("AsioHost: a handler that posts itself does not keep it in a poll", "[asio]") {
  asio::io_context context;
  AsioHost host{context};
  int calls = 0;
  std::function<void()> again = [&] {
    if (++calls < 100'000) asio::post(context, again);
  };
  asio::post(context, again);
  host.poll(0ns);
  CHECK(calls < 1000);
  host.poll(std::nullopt);
  CHECK(calls < 1000);
}

TEST_CASE("AsioHost: it may go with a wake on its way, before the context or with it", "[asio]") {
  const bool serve = GENERATE(false, true);
  asio::io_context context;
  {
    AsioHost host{context};
    host.wake();
  }
  if (serve) CHECK(context.poll() == 1);
}

TEST_CASE("AsioHost: a context that is stopped goes on at the next poll", "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  AsioHost host{context};
  context.stop();  // before
  int fired = 0;
  asio::steady_timer timer{context, 1ms};
  timer.async_wait([&](std::error_code) {
    ++fired;
    context.stop();  // in the midst
    timer.expires_after(1ms);
    timer.async_wait([&](std::error_code) {
      ++fired;
      executor.stop();
    });
  });
  executor.run(host);
  CHECK(fired == 2);
  CHECK(executor.stats().host_polls < 100);  // it has not spun
}

TEST_CASE("AsioHost: without any work the context does not stop, nor is it polled over and over", "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  AsioHost host{context};
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(50ms);
    executor.stop();
  });
  executor.run(host);
  CHECK(executor.stats().host_polls < 100);
}

TEST_CASE("AsioHost: wakes of another thread are not lost, and cost no more than one handler each",
          "[asio]") {
  asio::io_context context;
  AsioHost host{context};
  std::atomic<int> asked = 0;
  constexpr int rounds = 5000;
  std::thread waker{[&] {
    for (int i = 1; i <= rounds; ++i) {
      while (asked < i) std::this_thread::yield();
      host.wake();
      host.wake();
    }
  }};
  for (int i = 1; i <= rounds; ++i) {
    asked = i;
    host.poll(std::nullopt);
  }
  waker.join();
}

TEST_CASE("AsioGuest: the context runs as long as tasks live, whatever they wait for", "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  AsioGuest guest{executor, context};
  bool woken = false;
  std::thread waker;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker w) {
      waker = std::thread{[w] {
        std::this_thread::sleep_for(20ms);
        w.wake();
      }};
    });
    woken = true;
  });
  context.run();
  waker.join();
  CHECK(woken);
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  context.restart();
  context.run();
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("AsioGuest: the context does not run on for tasks of an executor that is gone", "[asio]") {
  asio::io_context context;
  struct Holder {
    cw::Executor<> executor = one_queue();
  };
  auto holder = std::make_unique<Holder>();
  AsioGuest guest{holder->executor, context};
  holder->executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  asio::steady_timer timer{context, 5ms};
  timer.async_wait([&](std::error_code) { holder.reset(); });
  context.run();
  CHECK(holder == nullptr);
}

TEST_CASE("AsioGuest: turns come behind the handlers that wait", "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  AsioGuest guest{executor, context, {.budget = {.time = 1h, .polls = 1}}};
  std::string order;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 3; ++i) {
      order += 't';
      asio::post(context, [&] { order += 'h'; });
      co_await cw::yield_now();
    }
  });
  context.run();
  CHECK(order == "ththth");
}

TEST_CASE("AsioGuest: what a task throws leaves the context's run, which goes on when called again",
          "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  AsioGuest guest{executor, context};
  int steps = 0;
  executor.queue(0).spawn([]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    throw std::runtime_error{"out of a task"};
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; steps < 10; ++steps) co_await cw::sleep_for(1ms);
  });
  CHECK_THROWS_WITH(context.run(), "out of a task");
  CHECK(steps < 10);
  context.run();
  CHECK(steps == 10);
}

/// Spawns a task that throws, and one that waits for ever.
void spawn_thrower(cw::Executor<>& executor) {
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw 1;
    co_return;
  });
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
}

TEST_CASE("AsioGuest: on_exception may destroy the guest, and goes on", "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  std::unique_ptr<AsioGuest> guest;
  std::string reported;
  const std::string big(1000, 'x');  // a capture beyond any small buffer, gone with the callable
  guest = std::make_unique<AsioGuest>(executor, context,
                                      cw::GuestOptions{.on_exception = [&, big](std::exception_ptr) {
                                        guest.reset();
                                        reported += big;
                                      }});
  spawn_thrower(executor);
  context.run();
  CHECK(reported == big);
}

TEST_CASE("AsioGuest: its destructor waits for on_exception on another thread", "[asio]") {
  const bool throws = GENERATE(false, true);
  asio::io_context context;
  auto executor = one_queue();
  std::atomic<bool> inside = false;
  std::atomic<bool> over = false;
  auto guest = std::make_unique<AsioGuest>(executor, context,
                                           cw::GuestOptions{.on_exception = [&](std::exception_ptr thrown) {
                                             inside = true;
                                             std::this_thread::sleep_for(20ms);
                                             over = true;
                                             if (throws) std::rethrow_exception(thrown);
                                           }});
  spawn_thrower(executor);
  std::thread loop{[&] {
    try {
      context.run();
    } catch (int) {
      context.run();
    }
  }};
  while (!inside) std::this_thread::yield();
  guest.reset();
  CHECK(over);
  loop.join();
}

TEST_CASE("AsioGuest: in a context of several threads turns are taken one at a time, and none is lost",
          "[asio]") {
  const bool pool_executor = GENERATE(false, true);
  asio::io_context context;
  asio::thread_pool pool{3};
  auto executor = one_queue();
  std::optional<AsioGuest> guest;
  if (pool_executor) {
    guest.emplace(executor, pool.get_executor());
  } else {
    guest.emplace(executor, context);
  }
  auto remote = executor.remote();
  std::atomic<int> inside = 0;
  std::atomic<int> together = 0;
  std::atomic<int> ended = 0;
  constexpr int tasks = 2000;
  auto task = [&]() -> cw::Task<> {
    for (int i = 0; i < 3; ++i) {
      if (inside.exchange(1) != 0) ++together;
      std::this_thread::yield();
      inside = 0;
      if (i == 1) co_await cw::sleep_for(100us);
      co_await cw::yield_now();
    }
    ++ended;
  };
  const auto working = asio::make_work_guard(context);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back([&] { context.run(); });
  for (int i = 0; i < tasks; ++i) {
    remote.spawn(0, std::ref(task));
    if (i % 50 == 0) std::this_thread::sleep_for(1ms);
  }
  while (ended < tasks) std::this_thread::sleep_for(1ms);
  CHECK(together == 0);
  guest.reset();  // while the threads run: waits for the turn that is taken
  context.stop();
  for (std::thread& thread : threads) thread.join();
  pool.join();
}

TEST_CASE("AsioGuest: it may go while turns are taken on another thread", "[asio]") {
  asio::io_context context;
  const auto working = asio::make_work_guard(context);
  std::thread loop{[&] { context.run(); }};
  for (int round = 0; round < 300; ++round) {
    auto executor = one_queue();
    std::atomic<int> steps = 0;
    executor.queue(0).spawn([&]() -> cw::Task<> {
      for (;; ++steps) co_await cw::yield_now();
    });
    auto guest = std::make_unique<AsioGuest>(executor, context);
    if (round % 2 == 0) {
      while (steps == 0) std::this_thread::yield();
    }
    guest.reset();
    const int then = steps;
    std::this_thread::yield();
    CHECK(steps == then);
  }
  context.stop();
  loop.join();
}

}  // namespace
