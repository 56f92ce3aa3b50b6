#include <clockworker/schedulers/arrival_fifo.hpp>

#include "catch.hpp"
#include "schedulers/fake_tasks.hpp"


namespace {

using clockworker::ArrivalFifo;
using clockworker::TaskRef;
using clockworker_test::FakeTasks;

static_assert(clockworker::TaskScheduler<ArrivalFifo>);
static_assert(clockworker::detail::Reserves<ArrivalFifo>);
static_assert(!clockworker::detail::Observes<ArrivalFifo>);  // or every resume would cost a clock read

TEST_CASE("ArrivalFifo: tasks run in the order of spawning, in whatever order they became runnable", "[arrival_fifo]") {
  FakeTasks tasks;
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn(&tasks.group());
  TaskRef c = tasks.spawn();
  ArrivalFifo fifo;
  fifo.push(c);
  fifo.push(a);
  fifo.push(b);
  CHECK(fifo.pop() == a);
  CHECK(fifo.pop() == b);
  CHECK(fifo.pop() == c);
}

TEST_CASE("ArrivalFifo: a task that yields goes before all that were spawned after it", "[arrival_fifo]") {
  FakeTasks tasks;
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn();
  TaskRef c = tasks.spawn();
  ArrivalFifo fifo;
  for (TaskRef task : {a, b, c}) fifo.push(task);
  for (int i = 0; i < 5; ++i) {
    CHECK(fifo.pop() == a);
    fifo.push(a);
  }
  CHECK(fifo.pop() == a);
  CHECK(fifo.pop() == b);
  fifo.push(a);
  CHECK(fifo.pop() == a);
  fifo.push(b);
  CHECK(fifo.pop() == b);
  CHECK(fifo.pop() == c);
  CHECK(fifo.empty());
}

}  // namespace
