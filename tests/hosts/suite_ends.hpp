/// \file
/// The suite over all hosts: aborts, exceptions, and destruction in every order.
#pragma once

#include "suite_world.hpp"

#include <array>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace clockworker_test {

TEMPLATE_TEST_CASE("Host: a task aborted while it awaits the loop ends, and its frame goes", "[hosts]",
                   AsHost, AsGuest) {
  World<TestType> world;
  int alive = 0;
  bool cancelled = false;
  world.spawn(foreground, [&]() -> cw::Task<> {
    auto waiting = world.spawn(background, [&, here = Alive{alive}]() -> cw::Task<> {
      Alive local{alive};
      co_await world.loop.wait_for_ever();
    });
    co_await cw::sleep_for(2ms);
    CHECK(alive >= 2);
    waiting.abort();
    const auto result = co_await waiting;
    cancelled = !result && result.error().code() == cw::JoinErrc::cancelled;
    world.finish();
  });
  world.run();
  CHECK(cancelled);
  CHECK(alive == 0);
}

/// What is awaited, pending, asleep, or not yet begun when the end comes.
template <class E>
void fill(E& executor, SuiteLoop& loop, int& alive, int silent_fd) {
  for (Lane lane : {foreground, background}) {
    auto queue = executor.queue(lane);
    queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
      Alive local{alive};
      for (;;) co_await cw::yield_now();
    });
    queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
      Alive local{alive};
      co_await cw::sleep_for(1h);
    });
    queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
      Alive local{alive};
      co_await loop.wait_for_ever();
    });
    queue.spawn([&, here = Alive{alive}, silent_fd]() -> cw::Task<> {
      Alive local{alive};
      (void)co_await loop.read_byte(silent_fd);
    });
    queue.spawn([here = Alive{alive}]() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  }
}

TEST_CASE("Host: destroyed with tasks pending, sleeping and awaiting the loop, all is freed", "[hosts]") {
  const bool executor_first = GENERATE(false, true);
  const bool has_run = GENERATE(false, true);
  int alive = 0;
  Pipe silent;
  {
    struct Holder {
      Executor executor = two_lanes().build();
    };
    auto loop = std::make_unique<SuiteLoop>();
    auto holder = std::make_unique<Holder>();
    fill(holder->executor, *loop, alive, silent.reading());
    if (has_run) {
      holder->executor.queue(background).spawn([&]() -> cw::Task<> {  // behind those of fill()
        co_await cw::sleep_for(1ms);
        holder->executor.stop();
      });
      holder->executor.run(loop->host());
      CHECK(alive >= 18);
    }
    if (executor_first) {
      holder.reset();
    } else {
      loop.reset();
    }
  }
  CHECK(alive == 0);
}

TEST_CASE("Guest: destroyed with tasks pending, sleeping and awaiting the loop, all is freed", "[hosts]") {
  const int order = GENERATE(0, 1, 2);
  const bool has_run = GENERATE(false, true);
  int alive = 0;
  Pipe silent;
  {
    struct Holder {
      Executor executor = two_lanes().build();
    };
    auto loop = std::make_unique<SuiteLoop>();
    auto holder = std::make_unique<Holder>();
    auto guest = loop->guest(holder->executor);
    fill(holder->executor, *loop, alive, silent.reading());
    if (has_run) {
      bool done = false;
      holder->executor.queue(background).spawn([&]() -> cw::Task<> {  // behind those of fill()
        co_await cw::sleep_for(1ms);
        done = true;
      });
      loop->run_until([&] { return done; });
      CHECK(alive >= 18);
    }
    switch (order) {
      case 0:
        guest.reset();
        holder.reset();
        break;
      case 1:
        holder.reset();
        guest.reset();
        break;
      default:
        guest.reset();
        loop.reset();
    }
  }
  CHECK(alive == 0);
}

TEST_CASE("Guest: after it has gone the loop goes on, and another takes the tasks on", "[hosts]") {
  World<AsHost> world;  // whose own direction is not used before the end
  int steps = 0;
  world.spawn(background, [&]() -> cw::Task<> {
    for (;; ++steps) co_await cw::sleep_for(1ms);
  });
  auto run_for_20ms = [&] {
    bool done = false;
    world.loop.after(20ms, [&] { done = true; });
    world.loop.run_until([&] { return done; });
  };
  auto guest = world.loop.guest(world.executor);
  run_for_20ms();
  CHECK(steps > 0);
  guest.reset();
  const int then = steps;
  run_for_20ms();
  CHECK(steps == then);
  guest = world.loop.guest(world.executor);
  run_for_20ms();
  CHECK(steps > then);
  guest.reset();
  world.spawn(foreground, [&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    world.finish();
  });
  world.run();
}

TEST_CASE("Guest: two of one executor at a time are refused", "[hosts]") {
  World<AsGuest> world;
  CHECK_THROWS_AS(world.loop.guest(world.executor), std::logic_error);
  bool ran = false;
  world.spawn(foreground, [&]() -> cw::Task<> {
    ran = true;
    world.finish();
    co_return;
  });
  world.run();
  CHECK(ran);
}

TEST_CASE("Host: what its poll throws leaves run, and the next run goes on", "[hosts]") {
  World<AsHost> world;
  int steps = 0;
  world.spawn(background, [&]() -> cw::Task<> {
    for (; steps < 50; ++steps) co_await cw::sleep_for(1ms);
    world.finish();
  });
  world.spawn(foreground, [&]() -> cw::Task<> {
    co_await cw::sleep_for(5ms);
    world.loop.fail(std::make_exception_ptr(std::runtime_error{"out of the loop"}));
  });
  CHECK_THROWS_WITH(world.run(), "out of the loop");
  const int then = steps;
  CHECK(then < 50);
  world.run();
  CHECK(steps == 50);
}

TEST_CASE("Guest: what its tasks throw is reported, and the others go on", "[hosts]") {
  std::vector<std::string> reported;
  cw::GuestOptions options;
  options.on_exception = [&](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      reported.emplace_back(error.what());
    }
  };
  World<AsGuest> world{options};
  for (const char* what : {"one", "two"}) {
    world.spawn(foreground, [what]() -> cw::Task<> {
      co_await cw::sleep_for(1ms);
      throw std::runtime_error{what};
    });
  }
  world.spawn(background, [&]() -> cw::Task<> {
    co_await cw::sleep_for(10ms);
    world.finish();
  });
  world.run();
  CHECK(reported == std::vector<std::string>{"one", "two"});
}

TEST_CASE("Guest: the callback for exceptions may destroy it", "[hosts]") {
  SuiteLoop loop;
  Executor executor = two_lanes().build();
  using Pointer = decltype(loop.guest(executor));
  auto guest = std::make_unique<Pointer>();
  std::string reported;
  cw::GuestOptions options;
  options.on_exception = [&, text = std::string(100, 'x'), more = std::array<int, 32>{}](std::exception_ptr) {
    guest->reset();
    reported = text;  // the callback itself is still there
    CHECK(more[31] == 0);
  };
  *guest = loop.guest(executor, std::move(options));
  executor.queue(foreground).spawn([]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    throw std::runtime_error{"reported"};
  });
  bool ran_on = false;
  executor.queue(background).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(10ms);
    ran_on = true;
  });
  bool done = false;
  loop.after(30ms, [&] { done = true; });
  loop.run_until([&] { return done; });
  CHECK(reported == std::string(100, 'x'));
  CHECK_FALSE(ran_on);
}

TEMPLATE_TEST_CASE("Host: an abort of all while tasks await the loop ends them", "[hosts]", AsHost, AsGuest) {
  World<TestType> world;
  Pipe silent;
  int alive = 0;
  fill(world.executor, world.loop, alive, silent.reading());
  world.loop.after(5ms, [&] { world.executor.shutdown(cw::Shutdown::abort()); });
  auto gone = [&] { return world.executor.stats().live_tasks == 0; };
  if constexpr (TestType::guest) {
    world.loop.run_until([&] { return gone() || world.out_of_patience(); });
  } else {
    world.executor.run(world.loop.host());
  }
  CHECK(gone());
  CHECK(alive == 0);
}

}  // namespace clockworker_test
