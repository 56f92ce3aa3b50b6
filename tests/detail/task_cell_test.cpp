#include "catch.hpp"

#include <chrono>
#include <concepts>
#include <coroutine>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <clockworker/clockworker.hpp>

// The size of what every task costs, and the counts by which cells, gates, names, groups and queues live.

namespace cw = clockworker;
namespace cwd = clockworker::detail;

// On a 64-bit machine a cell without result and callable is 112 bytes: the operations, the resume point,
// queue, group, extras, id, arrival (7 words), the scheduler's 24 bytes, three links, and one word of counts,
// status and flags. The design aims at 80; the list of the living (for tasks() and teardown) and the arrival
// are what is on top.
static_assert(sizeof(void*) != 8 || sizeof(cwd::TaskCell) == 112);
static_assert(sizeof(cwd::TaskCell) <= 128);
static_assert(cwd::scheduler_state_size == 24);
static_assert(sizeof(cwd::ResultCell<void>) <= sizeof(cwd::TaskCell) + 2 * sizeof(void*));

// What users hold is light.
static_assert(sizeof(cw::Task<int>) == sizeof(void*));
static_assert(sizeof(cw::Waker) <= 2 * sizeof(void*));
static_assert(sizeof(cw::JoinHandle<int>) <= 2 * sizeof(void*));
static_assert(sizeof(cw::QueueHandle) == 3 * sizeof(void*));
static_assert(sizeof(cw::Remote) == sizeof(void*));

static_assert(!std::copy_constructible<cwd::TaskCell> && !std::movable<cwd::TaskCell>);
static_assert(std::is_nothrow_move_constructible_v<cw::Task<int>> &&
              std::is_nothrow_move_assignable_v<cw::Task<int>>);
static_assert(std::is_nothrow_move_constructible_v<cw::JoinHandle<int>> &&
              std::is_nothrow_move_assignable_v<cw::JoinHandle<int>>);
static_assert(std::is_nothrow_copy_constructible_v<cw::Waker> &&
              std::is_nothrow_move_constructible_v<cw::Waker>);
static_assert(noexcept(std::declval<const cw::Waker&>().wake()));
static_assert(noexcept(std::declval<cw::JoinHandle<int>&>().abort()));

namespace {

/// A cell of its own, on no queue, that says when it is disposed of.
struct LoneCell : cwd::TaskCell {
  explicit LoneCell(cwd::WorkQueueBase& on) : TaskCell{operations, on} {}
  int disposed = 0;

 private:
  static void dispose_of(TaskCell& cell) noexcept { ++static_cast<LoneCell&>(cell).disposed; }
  static constexpr cwd::TaskOps operations{nullptr, &dispose_of, nullptr, nullptr};
};

auto make_executor() { return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).build(); }

cwd::WorkQueueBase& queue_of(cw::Executor<int, cw::ManualClock>& executor) {
  return cw::detail_queue_access::queue(executor.queue(1));
}

}  // namespace

TEST_CASE("A new cell is suspended, waits for nothing and is referred to once") {
  auto executor = make_executor();
  LoneCell cell{queue_of(executor)};
  CHECK(cell.status == cwd::TaskStatus::suspended);
  CHECK(cell.waits_for == cwd::WaitsFor::nothing);
  CHECK(cell.flags == 0);
  CHECK(cell.extras == nullptr);
  CHECK(cell.references.load() == 1);
}

TEST_CASE("A cell is disposed of with its last reference, once") {
  auto executor = make_executor();
  LoneCell cell{queue_of(executor)};
  cell.acquire();
  cell.acquire();
  cell.release();
  cell.release();
  CHECK(cell.disposed == 0);
  cell.release();
  CHECK(cell.disposed == 1);
}

TEST_CASE("A cell that is an orphan is disposed of with its last reference, too") {
  auto executor = make_executor();
  LoneCell cell{queue_of(executor)};
  cell.acquire();
  cell.set(cwd::orphaned);
  cell.release();
  CHECK(cell.disposed == 0);
  cell.release();
  CHECK(cell.disposed == 1);
}

TEST_CASE("Flags are set and taken back one by one") {
  auto executor = make_executor();
  LoneCell cell{queue_of(executor)};
  cell.set(cwd::abort_requested);
  cell.set(cwd::stranger_pending);
  CHECK(cell.has(cwd::abort_requested));
  cell.unset(cwd::abort_requested);
  CHECK_FALSE(cell.has(cwd::abort_requested));
  CHECK(cell.has(cwd::stranger_pending));
}

TEST_CASE("A gate's claim succeeds once for its suspension, and never for an older one or after it is over") {
  auto executor = make_executor();
  cwd::Ring* ring = queue_of(executor).ring;
  LoneCell cell{queue_of(executor)};
  cwd::WakeGate& gate = *cwd::WakeGate::create(cell, ring->mailbox());
  CHECK(gate.state() == cwd::WakeGate::idle);
  const auto first = gate.arm();
  CHECK(gate.state() == cwd::WakeGate::armed);
  CHECK(gate.claim(first, cwd::WakeGate::fired));
  CHECK_FALSE(gate.claim(first, cwd::WakeGate::fired));
  CHECK_FALSE(gate.claim(first, cwd::WakeGate::posted));
  CHECK(gate.state() == cwd::WakeGate::fired);
  gate.disarm();
  CHECK_FALSE(gate.claim(first, cwd::WakeGate::fired));
  CHECK(gate.state() == cwd::WakeGate::idle);
  const auto second = gate.arm();
  CHECK(second != first);
  CHECK_FALSE(gate.claim(first, cwd::WakeGate::posted));
  CHECK(gate.state() == cwd::WakeGate::armed);
  CHECK(gate.claim(second, cwd::WakeGate::posted));
  gate.release();
}

TEST_CASE(
    "A waker counts on its gate: copies share it, moves do not count, and it outlives task and executor") {
  cw::Waker kept;
  cwd::WakeGate* gate = nullptr;
  {
    auto executor = make_executor();
    auto task = executor.queue(1).spawn([&]() -> cw::Task<> {
      co_await cw::suspend([&](cw::Waker w) {
        gate = cwd::thread_state.task->gate();
        CHECK(gate->references.load() == 2);
        cw::Waker copy = w;
        CHECK(gate->references.load() == 3);
        cw::Waker moved = std::move(copy);
        CHECK(gate->references.load() == 3);
        CHECK_FALSE(copy);  // moved from: empty, and to wake with it is nothing
        copy.wake();
        kept = std::move(moved);
      });
    });
    static_cast<void>(executor.run_ready());
    CHECK(gate->references.load() == 2);
  }
  CHECK(gate->references.load() == 1);
  CHECK(gate->cell == nullptr);
  kept.wake();
}

TEST_CASE(
    "A task's gate is made at its first suspend() and kept for all of them, yields and sleeps need none") {
  auto executor = make_executor();
  cwd::TaskExtras* extras_before = nullptr;
  cwd::WakeGate* first = nullptr;
  cwd::WakeGate* second = nullptr;
  executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await cw::yield_now();
    co_await cw::sleep_for(std::chrono::nanoseconds{0});
    extras_before = cwd::thread_state.task->extras;
    co_await cw::suspend([](cw::Waker w) { w.wake(); });
    first = cwd::thread_state.task->gate();
    co_await cw::suspend([](cw::Waker w) { w.wake(); });
    second = cwd::thread_state.task->gate();
  });
  while (executor.run_ready().runnable) {
  }
  CHECK(extras_before == nullptr);
  CHECK(first != nullptr);
  CHECK(first == second);
}

TEST_CASE("A group lives as long as a task of it or a handle to it") {
  struct Counts {
    int finished = 0;
  } counts;
  struct Fifo : cw::RunnableFifo {
    explicit Fifo(Counts& to) : counts{&to} {}
    void group_finished(cw::GroupRef group) {
      CHECK(group.live_tasks() == 0);
      ++counts->finished;
    }
    Counts* counts;
  };
  auto executor = cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1, Fifo{counts}).build();
  {
    cw::QueueHandle group = executor.queue(1).group(1);
    cw::QueueHandle copy = group;
    group = executor.queue(1);
    CHECK(counts.finished == 0);
  }
  CHECK(counts.finished == 1);
  auto task = executor.queue(1).group(1).spawn([]() -> cw::Task<> { co_await cw::yield_now(); });
  CHECK(counts.finished == 1);
  while (executor.run_ready().runnable) {
  }
  CHECK(counts.finished == 2);
}

TEST_CASE("A suspension that is taken back leaves the resume point where it was") {
  // The child has not suspended, so it ends within its parent's await_suspend, and so may the parent: the
  // cell has to know the root still.
  struct DoesNotSuspend {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
    void await_resume() const noexcept {}
  };
  struct CompletesAtOnce {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { waiting.resume(); }
    void await_resume() const noexcept {}
  };
  auto executor = make_executor();
  auto throws_in_suspend = []() -> cw::Task<> {
    try {
      co_await cw::suspend([](cw::Waker) { throw 1; });
    } catch (int) {
    }
  };
  auto declines = []() -> cw::Task<> { co_await DoesNotSuspend{}; };
  auto completes = []() -> cw::Task<> { co_await CompletesAtOnce{}; };
  int ended = 0;
  auto first = executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await throws_in_suspend();
    ++ended;
  });
  auto second = executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await declines();
    ++ended;
  });
  auto third = executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await completes();
    ++ended;
  });
  auto handle = executor.remote().spawn(1, []() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
  auto waits_twice = [&]() -> cw::Task<> {
    try {
      static_cast<void>(co_await handle);
    } catch (const std::logic_error&) {  // it is being awaited already
    }
  };
  auto fourth = executor.queue(1).spawn([&]() -> cw::Task<> { static_cast<void>(co_await handle); });
  auto fifth = executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await waits_twice();
    ++ended;
  });
  while (executor.run_ready().runnable) {
  }
  CHECK(ended == 4);
  CHECK(first.done());
  CHECK(second.done());
  CHECK(third.done());
  CHECK(fifth.done());
  CHECK(executor.stats().live_tasks == 2);
}
