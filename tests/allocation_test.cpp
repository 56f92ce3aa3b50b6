#include "catch.hpp"
#include "heap_under_test.hpp"

#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// Allocation failure: for a program that touches an operation, its n-th allocation fails, for every n until
// none does. Each time the operation has either worked or thrown std::bad_alloc and left everything as it
// was. And what promises not to allocate does not.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

using heap_under_test::heap;

/// In it the n-th allocation (from 0) fails, once.
class Failing {
 public:
  explicit Failing(std::size_t n) {
    heap.left = n;
    heap.failed = false;
    heap.armed = true;
  }
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;
  ~Failing() { heap.armed = false; }
};

using Ex = cw::Executor<int, cw::ManualClock>;

/// Everything that a failed operation may not have changed.
struct Snapshot {
  explicit Snapshot(Ex& executor) : all{executor.stats()}, one{executor.stats(1)}, two{executor.stats(2)} {}
  friend bool operator==(const Snapshot& a, const Snapshot& b) {
    return a.all.spawned == b.all.spawned && a.all.ended == b.all.ended &&
           a.all.live_tasks == b.all.live_tasks && a.all.runnable_tasks == b.all.runnable_tasks &&
           a.all.armed_timers == b.all.armed_timers && a.all.queues == b.all.queues &&
           a.one.live_tasks == b.one.live_tasks && a.one.runnable_tasks == b.one.runnable_tasks &&
           a.two.live_tasks == b.two.live_tasks && a.two.runnable_tasks == b.two.runnable_tasks;
  }
  cw::ExecutorStats all;
  cw::QueueStats one;
  cw::QueueStats two;
};

Ex make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}
      .with_queue(1, 1, cw::LAS{cw::LASOptions{.aging = 3}})
      .with_queue(2, 1, cw::QuantizedLAS{})
      .with_queue(3, 1, cw::ArrivalFifo{})
      .with_queue(4, 1, cw::RunnableFifo{})
      .build();
}

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

/// Tries `operation(executor)` on a fresh executor with its n-th allocation failing, for every n, until none
/// fails. Returns how many did. `prepare(executor)` runs first and returns what is to live as long as the
/// executor.
template <class Prepare, class Operation>
std::size_t for_every_allocation(Prepare prepare, Operation operation) {
  for (std::size_t n = 0;; ++n) {
    REQUIRE(n < 1000);
    const std::size_t before = heap.live;
    bool failed = false;
    {
      Ex executor = make_executor();
      auto prepared = prepare(executor);
      std::optional<Snapshot> found{executor};
      try {
        Failing failing{n};
        operation(executor, prepared);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      if (failed != heap.failed) FAIL("allocation " << n << " has failed and nobody was told");
      if (failed && !(Snapshot{executor} == *found))
        FAIL("the failure of allocation " << n << " has changed something");
      found.reset();
      settle(executor);
      if (!failed) operation(executor, prepared);  // and once more, with all that the first has left
      settle(executor);
    }
    if (const std::size_t after = heap.live; after != before) {
      FAIL("the failure of allocation " << n << " has leaked " << after - before << " blocks");
    }
    if (!failed) return n;
  }
}

constexpr auto nothing = [](Ex&) { return 0; };

/// The same for what a task does: `body(executor)` returns a Task that lets std::bad_alloc out.
template <class Body>
std::size_t for_every_allocation_in_a_task(Body body) {
  for (std::size_t n = 0;; ++n) {
    REQUIRE(n < 1000);
    const std::size_t before = heap.live;
    bool failed = false;
    {
      Ex executor = make_executor();
      auto task = executor.queue(1).group(9).spawn([&]() -> cw::Task<> { co_await body(executor); });
      try {
        Failing failing{n};
        settle(executor);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      if (failed != heap.failed) FAIL("allocation " << n << " has failed and nobody was told");
      try {
        settle(executor);
      } catch (const std::bad_alloc&) {  // of the task that awaited the one that failed
      }
      settle(executor);
      if (!task.done() || executor.stats().live_tasks != 0 || executor.stats().armed_timers != 0) {
        FAIL("after the failure of allocation " << n << " something is still alive");
      }
    }
    if (const std::size_t after = heap.live; after != before) {
      FAIL("the failure of allocation " << n << " has leaked " << after - before << " blocks");
    }
    if (!failed) return n;
  }
}

/// A stranger whose operation is over when it is asked to be.
struct Stranger {
  std::coroutine_handle<>& handle;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { handle = waiting; }
  void await_resume() const noexcept {}
};

}  // namespace

TEST_CASE("build() throws bad_alloc at every allocation that fails, and leaks nothing") {
  std::size_t n = 0;
  for (bool built = false; !built; ++n) {
    REQUIRE(n < 1000);
    const std::size_t before = heap.live;
    try {
      Failing failing{n};
      Ex executor = make_executor();
      built = !heap.failed;
    } catch (const std::bad_alloc&) {
    }
    heap.armed = false;
    const std::size_t after = heap.live;
    REQUIRE(after == before);
  }
  CHECK(n > 10);
}

TEST_CASE("A spawn that cannot get its memory throws bad_alloc, and nothing has been spawned") {
  CHECK(for_every_allocation(nothing, [](Ex& executor, int) {
          executor.queue(1).spawn([](std::string text) -> cw::Task<std::string> { co_return text; },
                                  std::string(100, 'x'));
        }) >= 3);
  CHECK(for_every_allocation(nothing, [](Ex& executor, int) {
          executor.queue(2).spawn([]() -> cw::Task<int> { co_return 1; }());
        }) >= 2);
  for (int key = 1; key <= 4; ++key) {
    // Into a scheduler that holds some already, so that room has to be made.
    CHECK(for_every_allocation(
              [key](Ex& executor) {
                for (int i = 0; i < 40; ++i)
                  executor.queue(key).group(i % 5).spawn([]() -> cw::Task<> { co_return; });
                return 0;
              },
              [key](Ex& executor, int) { executor.queue(key).spawn([]() -> cw::Task<> { co_return; }); }) >=
          2);
  }
}

TEST_CASE("Groups and names that cannot get their memory throw bad_alloc") {
  CHECK(for_every_allocation(nothing, [](Ex& executor, int) {
          executor.queue(1)
              .group(std::string{"one"})
              .named("a name too long for the small string")
              .spawn([]() -> cw::Task<> { co_return; });
        }) >= 5);
  CHECK(for_every_allocation(
            [](Ex& executor) { return executor.queue(2).group(1); },
            [](Ex&, cw::QueueHandle group) { group.spawn([]() -> cw::Task<> { co_return; }); }) >= 2);
}

TEST_CASE("A queue that cannot be added leaves the executor as it was") {
  CHECK(for_every_allocation(nothing, [next = 10](Ex& executor, int) mutable {
          executor.add_queue(next++, 5, cw::LAS{});
        }) >= 2);
}

TEST_CASE(
    "A remote spawn throws bad_alloc where it is called, what fails on the executor is in the handle or "
    "thrown") {
  CHECK(for_every_allocation(nothing, [](Ex& executor, int) {
          auto handle = executor.remote().spawn(
              2, [](int) -> cw::Task<int> { co_return 1; }, 1);
          heap.armed = false;
        }) >= 2);
  std::size_t failures = 0;
  for (std::size_t n = 0;; ++n) {
    const std::size_t before = heap.live;
    bool worked = false;
    bool told = false;
    {
      Ex executor = make_executor();
      auto handle = executor.remote().spawn(
          2, [](int) -> cw::Task<int> { co_return 1; }, 1);
      {
        Failing failing{n};
        settle(executor);
      }
      auto result = handle.try_take();
      if (!result.has_value() || executor.stats().live_tasks != 0) FAIL("the task has not ended");
      worked = result->has_value();
      if (!worked) {
        ++failures;
        try {
          static_cast<void>(result->value());
        } catch (const std::bad_alloc&) {
          told = true;
        }
      }
    }
    const std::size_t after = heap.live;
    REQUIRE(after == before);
    REQUIRE(worked != told);
    if (worked) break;
  }
  CHECK(failures >= 2);
}

TEST_CASE("The stats, the list of tasks and the guest's bell throw bad_alloc and change nothing") {
  auto with_tasks = [](Ex& executor) {
    std::vector<cw::JoinHandle<>> handles;
    for (int i = 0; i < 5; ++i) {
      handles.push_back(
          executor.queue(1).named("a name too long for the small string").spawn([]() -> cw::Task<> {
            co_await cw::yield_now();
          }));
    }
    return handles;
  };
  CHECK(for_every_allocation(with_tasks, [](Ex& executor, auto&) { static_cast<void>(executor.tasks()); }) >=
        1);
  for_every_allocation(with_tasks, [](Ex& executor, auto&) {
    static_cast<void>(executor.stats());
    static_cast<void>(executor.stats(1));
  });
  CHECK(for_every_allocation(nothing, [](Ex& executor, int) {
          std::array<char, 64> kept{};
          executor.on_runnable([kept] { static_cast<void>(kept); });
        }) >= 2);
}

TEST_CASE("run_until throws bad_alloc for a main that cannot be made, and its main's own") {
  std::size_t failures = 0;
  for (std::size_t n = 0;; ++n) {
    const std::size_t before = heap.live;
    bool failed = false;
    std::size_t live = 0;
    {
      Ex executor = make_executor();
      try {
        Failing failing{n};
        executor.run_until([]() -> cw::Task<std::unique_ptr<int>> {
          co_await cw::yield_now();
          co_return std::make_unique<int>(1);
        });
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      if (failed != heap.failed) FAIL("allocation " << n << " has failed and nobody was told");
      live = executor.stats().live_tasks;
      settle(executor);
    }
    const std::size_t after = heap.live;
    REQUIRE(after == before);
    REQUIRE(live == 0);
    if (!failed) break;
    ++failures;
  }
  CHECK(failures >= 3);
}

TEST_CASE("What a task awaits throws bad_alloc out of the co_await, and the task has not been suspended") {
  CHECK(for_every_allocation_in_a_task(
            [](Ex&) -> cw::Task<> { co_await cw::suspend([](cw::Waker w) { w.wake(); }); }) >= 3);
  CHECK(for_every_allocation_in_a_task([](Ex&) -> cw::Task<> {
          auto token = cw::this_task::stop_token();
          static_cast<void>(token);
          co_await cw::yield_now();
        }) >= 2);
  CHECK(for_every_allocation_in_a_task([](Ex& executor) -> cw::Task<> {
          co_await cw::switch_to(executor.queue(2));
          co_await cw::switch_to(executor.queue(3));
          co_await cw::switch_to(executor.queue(4).group(2));
        }) >= 4);
  CHECK(for_every_allocation_in_a_task([](Ex& executor) -> cw::Task<> {
          std::coroutine_handle<> handle;
          auto completes = executor.queue(3).spawn([&]() -> cw::Task<> {
            while (!handle) co_await cw::yield_now();
            handle.resume();
          });
          bool failed = false;
          try {
            co_await Stranger{handle};
          } catch (const std::bad_alloc&) {
            failed = true;
          }
          if (failed) {
            completes.abort();
            static_cast<void>(co_await completes);
            throw std::bad_alloc{};
          }
        }) >= 5);
  CHECK(for_every_allocation_in_a_task([](Ex& executor) -> cw::Task<> {
          auto handle = executor.remote().spawn(3, []() -> cw::Task<int> { co_return 2; });
          auto result = co_await handle;
          static_cast<void>(result.value());
        }) >= 5);
}

TEST_CASE("A task that fails for want of memory is thrown by run, and its joiner has it too") {
  CHECK(for_every_allocation_in_a_task([](Ex& executor) -> cw::Task<> {
          auto child = executor.queue(2).spawn([]() -> cw::Task<std::unique_ptr<int>> {
            co_await cw::yield_now();
            co_return std::make_unique<int>(4);
          });
          auto result = co_await child;
          static_cast<void>(result.value());
        }) >= 3);
}
