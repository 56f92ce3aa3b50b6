#include <clockworker/schedulers/quantized_las.hpp>

#include "catch.hpp"
#include "schedulers/fake_tasks.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using clockworker::QuantizedLAS;
using clockworker::QuantizedLASOptions;
using clockworker::TaskRef;
using clockworker_test::FakeTasks;
using std::chrono::nanoseconds;

static_assert(clockworker::TaskScheduler<QuantizedLAS>);
static_assert(clockworker::detail::Observes<QuantizedLAS>);
static_assert(noexcept(std::declval<QuantizedLAS&>().push(TaskRef{})));
static_assert(std::is_nothrow_default_constructible_v<QuantizedLAS>);

TaskRef run_next(QuantizedLAS& las, nanoseconds ran) {
  TaskRef task = las.pop();
  las.observe(task, ran, false);
  return task;
}

/// Whether a task that has run for `more` is put behind one that has run for `less` and became runnable later.
bool told_apart(nanoseconds quantum, nanoseconds less, nanoseconds more) {
  FakeTasks tasks;
  QuantizedLAS las{QuantizedLASOptions{.quantum = quantum}};
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn();
  las.observe(a, more, false);
  las.observe(b, less, false);
  las.push(a);
  las.push(b);
  return las.pop() == b;
}

TEST_CASE("QuantizedLAS: buckets begin at each power of two times the quantum", "[quantized_las]") {
  for (nanoseconds quantum : {1ns, 3ns, 7ns, 8ns, 1000ns, nanoseconds{1'000'000'007}}) {
    CHECK_FALSE(told_apart(quantum, 0ns, quantum - 1ns));
    for (int k = 0; k < 20; ++k) {
      const nanoseconds bound = quantum * (1 << k);
      CHECK(told_apart(quantum, bound - 1ns, bound));
      CHECK_FALSE(told_apart(quantum, bound, 2 * bound - 1ns));
    }
  }
}

TEST_CASE("QuantizedLAS: the quantum may be any positive duration and nothing else", "[quantized_las]") {
  CHECK_THROWS_AS(QuantizedLAS(QuantizedLASOptions{.quantum = 0ns}), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedLAS(QuantizedLASOptions{.quantum = -1ns}), std::invalid_argument);
  CHECK_NOTHROW(QuantizedLAS(QuantizedLASOptions{.quantum = nanoseconds::max()}));
  CHECK_NOTHROW(QuantizedLAS(QuantizedLASOptions{.quantum = 2ms}));
  CHECK(told_apart(nanoseconds::max(), 1h, nanoseconds::max()));
}

TEST_CASE("QuantizedLAS: service saturates in the last bucket", "[quantized_las]") {
  FakeTasks tasks;
  QuantizedLAS las{QuantizedLASOptions{.quantum = 1ns}};
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
  CHECK(las.empty());
}

TEST_CASE("QuantizedLAS: equals take turns", "[quantized_las]") {
  FakeTasks tasks;
  QuantizedLAS las{QuantizedLASOptions{.quantum = 1us}};
  FakeTasks::Group& group = tasks.group();
  TaskRef a = tasks.spawn();
  TaskRef x = tasks.spawn(&group);
  TaskRef y = tasks.spawn(&group);
  TaskRef b = tasks.spawn();
  for (TaskRef task : {a, x, y, b}) las.push(task);
  for (TaskRef task : {a, x, b, a, y, b, a, x, b}) {  // the group has one turn a round, and its tasks take turns in it
    CHECK(run_next(las, 1ns) == task);
    las.push(task);
  }
}

TEST_CASE("QuantizedLAS: what one task of a group uses moves the others of it at once", "[quantized_las]") {
  FakeTasks tasks;
  QuantizedLAS las{QuantizedLASOptions{.quantum = 1us}};
  FakeTasks::Group& crowd = tasks.group();
  TaskRef first = tasks.spawn(&crowd);
  TaskRef second = tasks.spawn(&crowd);
  TaskRef alone = tasks.spawn();
  for (TaskRef task : {first, second, alone}) las.push(task);
  CHECK(run_next(las, 5us) == first);
  for (int i = 0; i < 4; ++i) {
    CHECK(run_next(las, 1us) == alone);
    las.push(alone);
  }
  CHECK(las.pop() == second);
  CHECK(las.pop() == alone);
  CHECK(las.empty());
}

TEST_CASE("QuantizedLAS: a group can leave its bucket from the front, the middle and the back", "[quantized_las]") {
  for (std::size_t which = 0; which < 3; ++which) {
    FakeTasks tasks;
    QuantizedLAS las{QuantizedLASOptions{.quantum = 1us}};
    std::vector<TaskRef> waiting;
    std::vector<TaskRef> elsewhere;  // another task of the same group, which is not runnable
    for (int i = 0; i < 3; ++i) {
      FakeTasks::Group& group = tasks.group();
      waiting.push_back(tasks.spawn(&group));
      elsewhere.push_back(tasks.spawn(&group));
    }
    for (TaskRef task : waiting) las.push(task);
    las.observe(elsewhere[which], 1us, false);
    for (std::size_t i = 0; i < 3; ++i) {
      if (i != which) CHECK(las.pop() == waiting[i]);
    }
    CHECK(las.pop() == waiting[which]);
    CHECK(las.empty());
  }
}

TEST_CASE("QuantizedLAS: nothing is allocated for a task in no group", "[quantized_las]") {
  FakeTasks tasks;
  QuantizedLAS las;
  for (int i = 0; i < 10; ++i) las.push(tasks.spawn());
  for (int i = 0; i < 100; ++i) {
    TaskRef task = run_next(las, 10us);
    las.push(task);
  }
  CHECK_FALSE(tasks.extras_allocated());
}

/// How often each of three tasks in three buckets runs in 100 pops.
std::vector<int> turns(std::uint32_t aging) {
  FakeTasks tasks;
  QuantizedLAS las{QuantizedLASOptions{.quantum = 1us, .aging = aging}};
  TaskRef task[] = {tasks.spawn(), tasks.spawn(), tasks.spawn()};
  las.observe(task[1], 1ms, false);
  las.observe(task[2], 1s, false);
  for (TaskRef each : task) las.push(each);
  std::vector<int> result(3);
  for (int i = 0; i < 100; ++i) {
    TaskRef next = las.pop();
    ++result[next.id() - 1];
    las.push(next);
  }
  return result;
}

TEST_CASE("QuantizedLAS: without aging all but the least bucket starve", "[quantized_las]") {
  CHECK(turns(0) == std::vector<int>{100, 0, 0});
}

TEST_CASE("QuantizedLAS: with aging every N-th pop goes round the buckets", "[quantized_las]") {
  CHECK(turns(5) == std::vector<int>{87, 7, 6});
  CHECK(turns(1) == std::vector<int>{34, 33, 33});
}

}  // namespace
