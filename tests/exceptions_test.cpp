#include "catch.hpp"

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// What becomes of an exception that leaves a task, under the policy `rethrow`. For `capture` see
// exceptions_capture_test.cpp.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

struct Failure : std::runtime_error {
  explicit Failure(int n) : std::runtime_error{"failure " + std::to_string(n)}, number{n} {}
  int number;
};

auto make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).with_queue(2, 1).build();
}
using Ex = decltype(make_executor());

cw::Task<int> fails(int number) {
  co_await cw::yield_now();
  throw Failure{number};
}

/// Drives until nothing is runnable; the numbers of what was thrown, in order.
std::vector<int> failures_of(Ex& executor) {
  std::vector<int> thrown;
  for (;;) {
    try {
      if (!executor.run_ready().runnable) return thrown;
    } catch (const Failure& failure) {
      thrown.push_back(failure.number);
    }
  }
}

/// A host that fails the test if the executor would sleep for good.
struct Host {
  void poll(cw::PollTimeout timeout) {
    ++polls;
    if (timeout && *timeout > 0ns) cw::ManualClock::advance(*timeout);
    if (!timeout) throw std::logic_error("nothing will ever happen");
  }
  void wake() noexcept {}
  int polls = 0;
};

struct Stranger {
  std::coroutine_handle<> handle;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { handle = waiting; }
  void await_resume() const noexcept {}
};

/// Counts the living, to see that frames are gone.
struct Counted {
  explicit Counted(int& of) : count{of} { ++count; }
  Counted(const Counted& other) : count{other.count} { ++count; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count; }
  int& count;
};

}  // namespace

TEST_CASE("run throws a task's exception once, its handle has it too, and the next run goes on") {
  auto executor = make_executor();
  auto handle = executor.queue(1).spawn(fails(1));
  auto other = executor.queue(1).spawn([]() -> cw::Task<int> {
    for (int i = 0; i < 5; ++i) co_await cw::yield_now();
    co_return 9;
  });
  Host host;
  CHECK_THROWS_AS(executor.run_until_idle(host), Failure);
  CHECK(handle.done());
  CHECK_FALSE(other.done());
  CHECK(executor.stats().live_tasks == 1);
  CHECK_NOTHROW(executor.run_until_idle(host));
  CHECK(other.try_take()->value() == 9);
  auto result = handle.try_take();
  CHECK(result->error().code() == cw::JoinErrc::exception);
  CHECK_THROWS_AS(result->value(), Failure);
}

TEST_CASE("Every way of driving throws what a task threw") {
  auto executor = make_executor();
  Host host;
  executor.queue(1).spawn(fails(1));
  CHECK_THROWS_AS(executor.run(host), Failure);
  executor.queue(1).spawn(fails(1));
  CHECK_THROWS_AS(executor.run_until_idle(host), Failure);
  executor.queue(1).spawn(fails(1));
  CHECK_THROWS_AS(executor.run_ready(), Failure);
  executor.queue(1).spawn(fails(1));
  CHECK_THROWS_AS(executor.run_until(host,
                                     []() -> cw::Task<> {
                                       for (;;) co_await cw::yield_now();
                                     }),
                  Failure);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("Of several tasks that fail one after the other none is lost") {
  auto executor = make_executor();
  for (int i = 0; i < 40; ++i) executor.queue(1 + i % 2).spawn(fails(i));
  std::vector<int> thrown = failures_of(executor);
  std::sort(thrown.begin(), thrown.end());
  REQUIRE(thrown.size() == 40);
  for (int i = 0; i < 40; ++i) CHECK(thrown[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("Tasks that fail after the main that spawned them has ended are all thrown") {
  auto executor = make_executor();
  Host host;
  executor.run_until(host, [&]() -> cw::Task<> {
    executor.queue(1).spawn(fails(1));
    executor.queue(1).spawn(fails(2));
    executor.queue(1).spawn(fails(3));
    co_return;
  });
  std::vector<int> thrown = failures_of(executor);
  std::sort(thrown.begin(), thrown.end());
  CHECK(thrown == std::vector<int>{1, 2, 3});
}

TEST_CASE("A joiner gets the exception besides") {
  auto executor = make_executor();
  auto handle = executor.queue(1).spawn(fails(4));
  int joined = 0;
  auto joiner = executor.queue(2).spawn([&]() -> cw::Task<> {
    auto result = co_await handle;
    try {
      static_cast<void>(result.value());
    } catch (const Failure& failure) {
      joined = failure.number;
    }
  });
  CHECK(failures_of(executor) == std::vector<int>{4});
  CHECK(joined == 4);
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::result_taken);
}

TEST_CASE("run_until throws what its main throws, and that only once") {
  auto executor = make_executor();
  Host host;
  CHECK_THROWS_AS(executor.run_until(host, fails(1)), Failure);
  CHECK(failures_of(executor).empty());
  auto handle = executor.queue(1).spawn(fails(2));
  CHECK_THROWS_AS(executor.run_until(host, std::move(handle)), Failure);
  CHECK(failures_of(executor).empty());
}

TEST_CASE("Another task's exception leaves run_until only when main is gone, wherever that is") {
  auto executor = make_executor();
  Host host;
  int mains = 0;
  SECTION("runnable on its lane") {
    executor.queue(1).spawn(fails(1));
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<> {
                                         Counted local{mains};
                                         for (;;) co_await cw::yield_now();
                                       }),
                    Failure);
  }
  SECTION("waiting for a waker") {
    executor.queue(1).spawn(fails(1));
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<> {
                                         Counted local{mains};
                                         co_await cw::suspend([](cw::Waker) {});
                                       }),
                    Failure);
  }
  SECTION("sleeping") {
    executor.queue(1).spawn(fails(1));
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<> {
                                         Counted local{mains};
                                         co_await cw::sleep_for(1h);
                                       }),
                    Failure);
    CHECK(executor.stats().armed_timers == 0);
  }
  SECTION("joining the one that throws") {
    auto handle = executor.queue(1).spawn(fails(1));
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<> {
                                         Counted local{mains};
                                         co_await cw::switch_to(executor.queue(1));
                                         static_cast<void>(co_await handle);
                                         for (;;) co_await cw::yield_now();
                                       }),
                    Failure);
  }
  SECTION("in the scheduler of another queue") {
    CHECK_THROWS_AS(executor.run_until(host,
                                       [&]() -> cw::Task<> {
                                         Counted local{mains};
                                         co_await cw::switch_to(executor.queue(1));
                                         executor.queue(1).spawn(fails(1));
                                         for (;;) co_await cw::yield_now();
                                       }),
                    Failure);
  }
  CHECK(mains == 0);
  CHECK(executor.stats().live_tasks == 0);
  SECTION("and the executor may be driven again") {
    int again = 0;
    executor.run_until(host, [&]() -> cw::Task<> {
      co_await cw::switch_to(executor.queue(1));
      ++again;
    });
    CHECK(again == 1);
    CHECK(executor.stats().runnable_tasks == 0);
    CHECK_NOTHROW(executor.remove_queue(1));
  }
  SECTION("or destroyed at once") {}
}

TEST_CASE("If main waits for a stranger, the host is polled until that lets go, and then main is gone") {
  auto executor = make_executor();
  int mains = 0;
  Stranger stranger;
  int polls_until_done = 3;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout) {
        if (executor.stats(1).live_tasks == 0 && --polls_until_done == 0) stranger.handle.resume();
      },
      []() noexcept {});
  executor.queue(1).spawn(fails(1));
  CHECK_THROWS_AS(executor.run_until(host,
                                     [&]() -> cw::Task<> {
                                       Counted local{mains};
                                       co_await stranger;
                                       FAIL("main has gone on");
                                     }),
                  Failure);
  CHECK(polls_until_done <= 0);
  CHECK(mains == 0);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("What the host throws leaves run, the tasks stay, and main is gone before run_until throws") {
  auto executor = make_executor();
  int tasks = 0;
  int mains = 0;
  bool broken = true;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout timeout) {
        if (broken) throw Failure{8};
        if (timeout) cw::ManualClock::advance(*timeout);
      },
      []() noexcept {});
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<int> {
    Counted local{tasks};
    co_await cw::sleep_for(1ms);
    co_return 6;
  });
  CHECK_THROWS_AS(executor.run(host), Failure);
  CHECK(tasks == 1);
  CHECK_THROWS_AS(executor.run_until(host,
                                     [&]() -> cw::Task<> {
                                       Counted local{mains};
                                       co_await cw::sleep_for(1h);
                                     }),
                  Failure);
  CHECK(mains == 0);
  CHECK(tasks == 1);
  broken = false;
  executor.run_until_idle(host);
  CHECK(handle.try_take()->value() == 6);
}

TEST_CASE("After an exception has left run_until, the guest's bell is on again") {
  auto executor = make_executor();
  Host host;
  int rings = 0;
  cw::Waker waker;
  auto waiting = executor.queue(1).spawn(
      [&]() -> cw::Task<> { co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); }); });
  CHECK(failures_of(executor).empty());
  executor.on_runnable([&] { ++rings; });
  executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await cw::yield_now();
    rings = 0;
    throw Failure{1};
  });
  CHECK_THROWS_AS(executor.run_until(host, []() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); }),
                  Failure);
  waker.wake();  // from outside of a run: posted
  CHECK(rings > 0);
  CHECK(failures_of(executor).empty());
  CHECK(waiting.done());
  rings = 0;
  executor.queue(1).spawn([]() -> cw::Task<> { co_return; });
  CHECK(rings == 1);
}

TEST_CASE("An exception of an awaited child comes out of the co_await, with the frames of both in order") {
  auto executor = make_executor();
  int locals = 0;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<int> {
    Counted outer{locals};
    int caught = 0;
    for (int i = 0; i < 3; ++i) {
      try {
        Counted inner{locals};
        static_cast<void>(co_await fails(i));
      } catch (const Failure& failure) {
        caught += failure.number;
      }
    }
    CHECK(locals == 1);
    co_return caught;
  });
  CHECK(failures_of(executor).empty());
  CHECK(handle.try_take()->value() == 3);
  CHECK(locals == 0);
}

TEST_CASE("A destructor of a local that throws after co_return makes the exception the result") {
  struct Throws {
    ~Throws() noexcept(false) { throw Failure{5}; }
  };
  auto executor = make_executor();
  int values = 0;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<Counted> {
    Throws local;
    co_await cw::yield_now();
    co_return Counted{values};
  });
  CHECK(failures_of(executor) == std::vector<int>{5});
  CHECK(values == 0);
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::exception);
}

TEST_CASE("A spawn whose callable throws, in a copy or a call, throws that and spawns nothing") {
  auto executor = make_executor();
  struct ThrowsOnCopy {
    ThrowsOnCopy() = default;
    ThrowsOnCopy(const ThrowsOnCopy&) { throw Failure{2}; }
    cw::Task<> operator()() const { co_return; }
  };
  const ThrowsOnCopy callable;
  int arguments = 0;
  Counted argument{arguments};
  CHECK_THROWS_AS(executor.queue(1).spawn(callable), Failure);
  CHECK_THROWS_AS(executor.queue(1).spawn([](const Counted&) -> cw::Task<> { throw Failure{3}; }, argument),
                  Failure);
  CHECK_THROWS_AS(executor.queue(1).spawn([](const Counted&) { return cw::Task<>{}; }, argument),
                  std::invalid_argument);
  CHECK(arguments == 1);
  CHECK(executor.stats().spawned == 0);
  CHECK(executor.stats(1).live_tasks == 0);
  CHECK_FALSE(executor.run_ready().runnable);
}

TEST_CASE("A result whose move throws stays with its handle") {
  struct Touchy {
    explicit Touchy(bool& of) : armed{of} {}
    Touchy(Touchy&& other) : armed{other.armed} {
      if (armed) throw Failure{7};
    }
    bool& armed;
  };
  auto executor = make_executor();
  bool armed = false;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<Touchy> { co_return Touchy{armed}; });
  CHECK(failures_of(executor).empty());
  armed = true;
  CHECK_THROWS_AS(handle.try_take(), Failure);
  armed = false;
  CHECK(handle.try_take()->has_value());
}
