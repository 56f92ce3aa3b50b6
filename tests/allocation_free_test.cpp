#include "catch.hpp"
#include "heap_under_test.hpp"

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// What never allocates: resuming, yielding, waking, aborting, joining, sleeping, and the end of tasks and
// executors.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

using heap_under_test::heap;

using Ex = cw::Executor<int, cw::ManualClock>;

std::unique_ptr<Ex> make_executor() {
  return std::unique_ptr<Ex>{new Ex(cw::ExecutorBuilder<int, cw::ManualClock>{}
                                        .with_queue(1, 1, cw::LAS{cw::LASOptions{.aging = 3}})
                                        .with_queue(2, 1, cw::QuantizedLAS{})
                                        .with_queue(3, 1, cw::ArrivalFifo{})
                                        .with_queue(4, 1, cw::RunnableFifo{})
                                        .build())};
}

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

struct Stranger {
  std::coroutine_handle<>& handle;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { handle = waiting; }
  void await_resume() const noexcept {}
};

/// How many allocations `f` makes.
template <class F>
std::size_t allocations_of(F f) {
  const std::size_t before = heap.allocations;
  f();
  return heap.allocations - before;
}

/// On each queue a few tasks, half of them in a group.
template <class Body>
std::vector<cw::JoinHandle<>> spawn_everywhere(Ex& executor, Body body) {
  std::vector<cw::JoinHandle<>> handles;
  for (int i = 0; i < 24; ++i) {
    const int key = 1 + i % 4;
    cw::QueueHandle queue = i % 8 < 4 ? executor.queue(key) : executor.queue(key).group(i % 3);
    handles.push_back(queue.spawn(body));
  }
  return handles;
}

}  // namespace

TEST_CASE("Yields and sleeps never allocate, on any scheduler") {
  auto executor = make_executor();
  int left = 0;
  auto handles = spawn_everywhere(*executor, [&left]() -> cw::Task<> {
    ++left;
    for (int i = 0; i < 20; ++i) {
      cw::ManualClock::advance(3us);
      co_await cw::yield_now();
      co_await cw::yield_maybe();
      co_await cw::sleep_for(std::chrono::microseconds{i});
    }
    --left;
  });
  const std::size_t made = allocations_of([&] {
    for (int i = 0; i < 20'000; ++i) {
      static_cast<void>(executor->run_ready());
      cw::ManualClock::advance(1us);
    }
  });
  CHECK(left == 0);
  CHECK(made == 0);
}

TEST_CASE("From a task's second suspension of a kind on, wakes and what is awaited allocate nothing") {
  auto executor = make_executor();
  std::vector<cw::Waker> wakers(24);
  std::vector<std::coroutine_handle<>> strangers(24);
  std::size_t next = 0;
  auto handles = spawn_everywhere(*executor, [&]() -> cw::Task<> {
    const std::size_t self = next++;
    for (;;) {
      co_await cw::suspend([&](cw::Waker w) { wakers[self] = std::move(w); });
      co_await Stranger{strangers[self]};
    }
  });
  settle(*executor);
  // The first round makes each task's gate and shim.
  for (const cw::Waker& waker : wakers) waker.wake();
  settle(*executor);
  REQUIRE(next == 24);
  auto let_all_go = [&] {
    for (std::coroutine_handle<> stranger : strangers) stranger.resume();
    settle(*executor);
  };
  const std::size_t made = allocations_of([&] {
    for (const cw::Waker& waker : wakers) {
      waker.wake();  // stale
      cw::Waker copy = waker;
      copy.wake();
    }
    let_all_go();
    for (const cw::Waker& waker : wakers) waker.wake();
    settle(*executor);
    let_all_go();
  });
  CHECK(made == 0);
}

TEST_CASE("Posted wakes, and wakes within a task, allocate nothing") {
  auto executor = make_executor();
  std::vector<cw::Waker> wakers(24);
  std::size_t next = 0;
  std::size_t resumed = 0;
  auto handles = spawn_everywhere(*executor, [&]() -> cw::Task<> {
    const std::size_t self = next++;
    for (;;) {
      co_await cw::suspend([&](cw::Waker w) { wakers[self] = std::move(w); });
      ++resumed;
    }
  });
  std::vector<cw::Waker> alarm(1);
  auto wakes_all = executor->queue(4).spawn([&]() -> cw::Task<> {
    for (;;) {
      co_await cw::suspend([&](cw::Waker w) { alarm[0] = std::move(w); });
      for (const cw::Waker& waker : wakers) waker.wake();
    }
  });
  settle(*executor);
  const std::size_t made = allocations_of([&] {
    for (int round = 0; round < 5; ++round) {
      for (const cw::Waker& waker : wakers) waker.wake();  // from outside of a run: posted
      settle(*executor);
      alarm[0].wake();
      settle(*executor);
    }
  });
  CHECK(resumed == 240);
  CHECK(made == 0);
}

TEST_CASE("A join, and the end of the joined task, allocate nothing") {
  auto executor = make_executor();
  cw::Waker start;
  cw::Waker end;
  int joined = 0;
  auto task = executor->queue(1).spawn([&]() -> cw::Task<int> {
    co_await cw::suspend([&](cw::Waker w) { end = std::move(w); });
    co_return 1;
  });
  auto joiner = executor->queue(2).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker w) { start = std::move(w); });
    auto result = co_await task;
    joined = result.value();
  });
  settle(*executor);
  const std::size_t made = allocations_of([&] {
    start.wake();
    settle(*executor);
    end.wake();
    settle(*executor);
  });
  CHECK(joined == 1);
  CHECK(made == 0);
}

TEST_CASE("Abort, of tasks in every state, allocates nothing, and nor does a shutdown") {
  auto executor = make_executor();
  std::vector<cw::Waker> wakers;
  wakers.reserve(24);
  int frames = 0;
  struct Frame {
    explicit Frame(int& of) : count{of} { ++count; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    ~Frame() { --count; }
    int& count;
  };
  int kind = 0;
  auto handles = spawn_everywhere(*executor, [&]() -> cw::Task<> {
    Frame frame{frames};
    cw::stop_callback stop{cw::this_task::stop_token(), [] {}};
    // Not on queue 3: a task that yields stays ahead of all that arrived later there.
    const bool may_yield = cw::this_task::queue().name() != "3";
    switch (kind++ % (may_yield ? 3 : 2)) {
      case 0:
        co_await cw::suspend([&](cw::Waker w) { wakers.push_back(std::move(w)); });
        break;
      case 1:
        co_await cw::sleep_for(1h);
        break;
      default:
        for (;;) {
          cw::ManualClock::advance(100us);
          co_await cw::yield_now();
        }
    }
  });
  for (int i = 0; i < 200; ++i) static_cast<void>(executor->run_ready());
  REQUIRE(frames == 24);
  auto unstarted = executor->queue(1).spawn([]() -> cw::Task<> { co_return; });
  bool by_shutdown = false;
  SECTION("one by one") {}
  SECTION("by a shutdown") { by_shutdown = true; }
  const std::size_t made = allocations_of([&] {
    for (const cw::Waker& waker : wakers) waker.wake();
    if (by_shutdown) {
      executor->shutdown(cw::Shutdown::drain_for(1ms));
      executor->shutdown(cw::Shutdown::abort());
    } else {
      for (auto& handle : handles) handle.abort();
      unstarted.abort();
    }
    settle(*executor);
  });
  CHECK(frames == 0);
  CHECK(unstarted.done());
  CHECK(made == 0);
}

TEST_CASE("Stops, aborts from another thread's point of view and run_ready itself allocate nothing") {
  auto executor = make_executor();
  cw::Remote remote = executor->remote();
  auto handle = remote.spawn(1, []() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  settle(*executor);
  const std::size_t made = allocations_of([&] {
    remote.stop();
    handle.abort();
    executor->stop();
    static_cast<void>(executor->run_ready());
    settle(*executor);
  });
  CHECK(handle.done());
  CHECK(made == 0);
}

TEST_CASE("The destruction of an executor allocates nothing, and gives everything back") {
  const std::size_t blocks_before = heap.live;
  std::size_t made = 0;
  {
    auto executor = make_executor();
    std::vector<cw::Waker> wakers;
    std::coroutine_handle<> stranger;
    auto handles = spawn_everywhere(*executor, [&]() -> cw::Task<> {
      co_await cw::suspend([&](cw::Waker w) { wakers.push_back(std::move(w)); });
    });
    auto named =
        executor->queue(1).group(1).named("a name too long for the small string").spawn([&]() -> cw::Task<> {
          cw::stop_callback stop{cw::this_task::stop_token(), [&] { stranger.resume(); }};
          co_await Stranger{stranger};
        });
    auto sleeping = executor->queue(2).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
    settle(*executor);
    auto remote = executor->remote().spawn(1, []() -> cw::Task<> { co_return; });
    wakers.at(0).wake();  // posted
    executor->shutdown(cw::Shutdown::drain_for(1h));
    made = allocations_of([&] { executor.reset(); });
  }
  const std::size_t blocks_after = heap.live;
  CHECK(made == 0);
  CHECK(blocks_after == blocks_before);
}
