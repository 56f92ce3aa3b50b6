#include <clockworker/schedulers/las.hpp>

#include "catch.hpp"
#include "schedulers/fake_tasks.hpp"

#include <chrono>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using clockworker::LAS;
using clockworker::LASOptions;
using clockworker::TaskRef;
using clockworker_test::FakeTasks;
using std::chrono::nanoseconds;

static_assert(clockworker::TaskScheduler<LAS>);
static_assert(clockworker::detail::Observes<LAS> && clockworker::detail::Reserves<LAS>);
static_assert(std::is_nothrow_move_constructible_v<LAS>);

/// Pops, and has the task run so long.
TaskRef run_next(LAS& las, nanoseconds ran) {
  TaskRef task = las.pop();
  las.observe(task, ran, false);
  return task;
}

TEST_CASE("LAS: the task that has run least goes first", "[las]") {
  FakeTasks tasks;
  LAS las;
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn();
  TaskRef c = tasks.spawn();
  for (TaskRef task : {a, b, c}) las.push(task);
  CHECK(run_next(las, 30ns) == a);
  CHECK(run_next(las, 10ns) == b);
  CHECK(run_next(las, 20ns) == c);
  for (TaskRef task : {a, b, c}) las.push(task);
  CHECK(las.pop() == b);
  CHECK(las.pop() == c);
  CHECK(las.pop() == a);
}

TEST_CASE("LAS: a new task overtakes all that have run", "[las]") {
  FakeTasks tasks;
  LAS las;
  TaskRef old = tasks.spawn();
  las.push(old);
  run_next(las, 1ns);
  las.push(old);
  TaskRef fresh = tasks.spawn();
  las.push(fresh);
  CHECK(las.pop() == fresh);
  CHECK(las.pop() == old);
}

TEST_CASE("LAS: a task is first until it has run longer than the next", "[las]") {
  FakeTasks tasks;
  LAS las;
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn();
  las.push(b);
  run_next(las, 100ns);
  las.push(b);
  las.push(a);
  for (int i = 0; i < 4; ++i) {
    CHECK(run_next(las, 25ns) == a);
    las.push(a);
  }
  CHECK(las.pop() == b);  // equal now, and b has waited longer
}

TEST_CASE("LAS: of equal service what has waited longest goes first", "[las]") {
  FakeTasks tasks;
  LAS las;
  TaskRef a = tasks.spawn();
  FakeTasks::Group& group = tasks.group();
  TaskRef b = tasks.spawn(&group);
  TaskRef c = tasks.spawn();
  std::vector<TaskRef> order{c, a, b};
  for (TaskRef task : order) las.push(task);
  for (int round = 0; round < 3; ++round) {
    for (TaskRef task : order) {
      CHECK(run_next(las, 10ns) == task);
      las.push(task);
    }
  }
}

TEST_CASE("LAS: what one task of a group uses counts for all of them, at once", "[las]") {
  FakeTasks tasks;
  LAS las;
  FakeTasks::Group& crowd = tasks.group();
  TaskRef first = tasks.spawn(&crowd);
  TaskRef second = tasks.spawn(&crowd);
  TaskRef third = tasks.spawn(&crowd);
  TaskRef alone = tasks.spawn();
  for (TaskRef task : {first, second, third, alone}) las.push(task);
  CHECK(run_next(las, 50ns) == first);
  CHECK(run_next(las, 10ns) == alone);  // overtakes two that waited before it
  las.push(alone);
  CHECK(run_next(las, 40ns) == alone);
  las.push(alone);
  CHECK(run_next(las, 1ns) == second);  // 50 both, and it has waited longer
  CHECK(las.pop() == alone);
  CHECK(las.pop() == third);
}

TEST_CASE("LAS: inside a group tasks go first in, first out", "[las]") {
  FakeTasks tasks;
  LAS las;
  FakeTasks::Group& group = tasks.group();
  TaskRef a = tasks.spawn(&group);
  TaskRef b = tasks.spawn(&group);
  TaskRef c = tasks.spawn(&group);
  for (TaskRef task : {c, a, b}) las.push(task);
  CHECK(run_next(las, 10ns) == c);
  las.push(c);
  CHECK(run_next(las, 10ns) == a);
  CHECK(run_next(las, 10ns) == b);
  CHECK(run_next(las, 10ns) == c);
  CHECK(las.empty());
}

TEST_CASE("LAS: a group keeps its service while no task of it is runnable", "[las]") {
  FakeTasks tasks;
  LAS las;
  FakeTasks::Group& group = tasks.group();
  las.push(tasks.spawn(&group));
  las.observe(las.pop(), 100ns, true);
  TaskRef later = tasks.spawn(&group);
  TaskRef alone = tasks.spawn();
  las.push(later);
  las.push(alone);
  CHECK(las.pop() == alone);
  CHECK(las.pop() == later);
}

TEST_CASE("LAS: tasks in no group cost no allocation", "[las]") {
  FakeTasks tasks;
  LAS las{LASOptions{.aging = 4}};
  for (int i = 0; i < 10; ++i) las.push(tasks.spawn());
  for (int i = 0; i < 100; ++i) {
    TaskRef task = run_next(las, 10ns);
    las.push(task);
  }
  CHECK_FALSE(tasks.extras_allocated());
}

TEST_CASE("LAS: service saturates, and a time that went backwards counts as none", "[las]") {
  FakeTasks tasks;
  LAS las;
  FakeTasks::Group& group = tasks.group();
  TaskRef old_alone = tasks.spawn();
  TaskRef old_grouped = tasks.spawn(&group);
  for (TaskRef task : {old_alone, old_grouped}) {
    for (int i = 0; i < 3; ++i) las.observe(task, nanoseconds::max(), false);
    las.observe(task, nanoseconds{-5}, false);
  }
  TaskRef young = tasks.spawn();
  for (TaskRef task : {old_grouped, old_alone, young}) las.push(task);
  CHECK(las.pop() == young);
  CHECK(las.pop() == old_grouped);
  CHECK(las.pop() == old_alone);
}

/// How many pops pass until `old`, which has run for long, runs beside a task that stays young; 1000: none.
int pops_until(TaskRef old, LAS& las, FakeTasks& tasks) {
  las.observe(old, 1h, false);
  las.push(old);
  for (int pops = 1; pops < 1000; ++pops) {
    las.push(tasks.spawn());
    las.push(tasks.spawn());
    TaskRef task = las.pop();
    las.observe(task, 1us, true);
    if (task == old) return pops;
  }
  return 1000;
}

TEST_CASE("LAS: without aging a long task starves while younger ones come", "[las]") {
  FakeTasks tasks;
  LAS las;
  CHECK(pops_until(tasks.spawn(), las, tasks) == 1000);
}

TEST_CASE("LAS: with aging every N-th pop takes the task that waits longest, in a group or not", "[las]") {
  FakeTasks tasks;
  LAS las{LASOptions{.aging = 8}};
  TaskRef alone = tasks.spawn();
  CHECK(pops_until(alone, las, tasks) == 8);
  while (!las.empty()) CHECK_FALSE(las.pop() == alone);

  LAS fifo{LASOptions{.aging = 3}};  // the longest waiting are those that would be last
  std::vector<TaskRef> old;
  for (int i = 0; i < 3; ++i) {
    old.push_back(tasks.spawn());
    fifo.observe(old.back(), 1h, false);
    fifo.push(old.back());
  }
  for (int i = 0; i < 6; ++i) fifo.push(tasks.spawn());
  for (TaskRef task : old) {
    CHECK(fifo.pop().id() > old.back().id());
    CHECK(fifo.pop().id() > old.back().id());
    CHECK(fifo.pop() == task);
  }
  CHECK(fifo.empty());

  LAS grouped{LASOptions{.aging = 8}};
  FakeTasks::Group& group = tasks.group();
  TaskRef first = tasks.spawn(&group);
  TaskRef second = tasks.spawn(&group);
  CHECK(pops_until(first, grouped, tasks) == 8);
  grouped.push(second);
  grouped.push(first);
  std::vector<TaskRef> rest;
  while (!grouped.empty()) rest.push_back(grouped.pop());
  CHECK(rest[rest.size() - 1] == first);
  CHECK(rest[rest.size() - 2] == second);
}

TEST_CASE("LAS: room that was reserved is used up before a push allocates", "[las]") {
  FakeTasks tasks;
  LAS las{LASOptions{.aging = 2}};
  las.reserve(3);
  las.reserve(100);
  las.reserve(1);
  std::vector<TaskRef> all;
  for (int i = 0; i < 100; ++i) all.push_back(tasks.spawn());
  for (TaskRef task : all) las.push(task);
  int popped = 0;
  for (; !las.empty(); ++popped) las.pop();
  CHECK(popped == 100);
}

}  // namespace
