#include <clockworker/schedulers/runnable_fifo.hpp>

#include "catch.hpp"
#include "schedulers/fake_tasks.hpp"

#include <utility>

namespace {

using clockworker::RunnableFifo;
using clockworker::RunnableFifoOptions;
using clockworker::TaskRef;
using clockworker_test::FakeTasks;

static_assert(clockworker::TaskScheduler<RunnableFifo>);
static_assert(!clockworker::detail::Observes<RunnableFifo>);  // or every resume would cost a clock read
static_assert(noexcept(std::declval<RunnableFifo&>().push(TaskRef{})));

/// As the executor does it: `task` is on the native stack.
class Running {
 public:
  explicit Running(TaskRef task) { clockworker::detail::thread_state.task = clockworker::detail_access::cell(task); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { clockworker::detail::thread_state.task = nullptr; }
};

TEST_CASE("RunnableFifo: tasks run in the order in which they became runnable", "[runnable_fifo]") {
  FakeTasks tasks;
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn();
  TaskRef c = tasks.spawn();
  RunnableFifo fifo;
  fifo.push(c);
  fifo.push(a);
  fifo.push(b);
  CHECK(fifo.pop() == c);
  fifo.push(c);
  CHECK(fifo.pop() == a);
  CHECK(fifo.pop() == b);
  CHECK(fifo.pop() == c);
  CHECK(fifo.empty());
}

TEST_CASE("RunnableFifo: without the lifo slot it does not matter who woke a task", "[runnable_fifo]") {
  FakeTasks tasks;
  TaskRef running = tasks.spawn();
  TaskRef waiting = tasks.spawn();
  TaskRef woken = tasks.spawn();
  RunnableFifo fifo;
  fifo.push(waiting);
  Running now{running};
  fifo.push(woken);
  CHECK(fifo.pop() == waiting);
  CHECK(fifo.pop() == woken);
}

TEST_CASE("RunnableFifo: with the lifo slot the task woken last by the running task goes first", "[runnable_fifo]") {
  FakeTasks tasks;
  TaskRef running = tasks.spawn();
  TaskRef waiting = tasks.spawn();
  TaskRef woken_first = tasks.spawn();
  TaskRef woken_last = tasks.spawn();
  RunnableFifo fifo{RunnableFifoOptions{.lifo_slot = true}};
  fifo.push(waiting);
  {
    Running now{running};
    fifo.push(woken_first);
    fifo.push(woken_last);
  }
  CHECK(fifo.pop() == woken_last);
  CHECK(fifo.pop() == waiting);
  CHECK(fifo.pop() == woken_first);
  CHECK(fifo.empty());
}

TEST_CASE("RunnableFifo: the lifo slot is neither for a task that yields nor for wakes from outside", "[runnable_fifo]") {
  FakeTasks tasks;
  TaskRef waiting = tasks.spawn();
  TaskRef yields = tasks.spawn();
  TaskRef woken_outside = tasks.spawn();
  RunnableFifo fifo{RunnableFifoOptions{.lifo_slot = true}};
  fifo.push(waiting);
  {
    Running now{yields};
    fifo.push(yields);
  }
  fifo.push(woken_outside);
  CHECK(fifo.pop() == waiting);
  CHECK(fifo.pop() == yields);
  CHECK(fifo.pop() == woken_outside);
}

TEST_CASE("RunnableFifo: two tasks that wake each other through the lifo slot let others in after 16 turns",
          "[runnable_fifo]") {
  FakeTasks tasks;
  TaskRef ping = tasks.spawn();
  TaskRef pong = tasks.spawn();
  TaskRef patient[] = {tasks.spawn(), tasks.spawn(), tasks.spawn()};
  RunnableFifo fifo{RunnableFifoOptions{.lifo_slot = true}};
  for (TaskRef task : patient) fifo.push(task);
  auto wake = [&](TaskRef woken, TaskRef by) {
    Running now{by};
    fifo.push(woken);
  };
  wake(ping, pong);
  for (TaskRef task : patient) {
    int in_a_row = 0;
    for (TaskRef next = fifo.pop(); next != task; next = fifo.pop()) {
      REQUIRE(++in_a_row <= 16);
      REQUIRE((next == ping || next == pong));
      wake(next == ping ? pong : ping, next);
    }
    CHECK(in_a_row == 16);
  }
  for (int i = 0; i < 100; ++i) {  // with nobody else there is nobody to let in
    TaskRef next = fifo.pop();
    REQUIRE((next == ping || next == pong));
    wake(next == ping ? pong : ping, next);
  }
}

}  // namespace
