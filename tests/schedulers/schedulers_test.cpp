#include <clockworker/schedulers/arrival_fifo.hpp>
#include <clockworker/schedulers/las.hpp>
#include <clockworker/schedulers/quantized_las.hpp>
#include <clockworker/schedulers/runnable_fifo.hpp>

#include "catch.hpp"
#include "schedulers/fake_tasks.hpp"
#include "schedulers/models.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace {

using namespace clockworker_test;
using clockworker::ArrivalFifo;
using clockworker::LAS;
using clockworker::LASOptions;
using clockworker::QuantizedLAS;
using clockworker::QuantizedLASOptions;
using clockworker::RunnableFifo;
using clockworker::TaskRef;
using std::chrono::nanoseconds;

struct RunnableFifoSubject {
  static RunnableFifo scheduler() { return {}; }
  static RunnableFifoModel model() { return {}; }
};

struct ArrivalFifoSubject {
  static ArrivalFifo scheduler() { return {}; }
  static ArrivalFifoModel model() { return {}; }
};

template <std::uint32_t Aging>
struct LasSubject {
  static LAS scheduler() { return LAS{LASOptions{.aging = Aging}}; }
  static LasModel model() { return LasModel{Aging}; }
};

template <std::uint32_t Quantum, std::uint32_t Aging>
struct QuantizedLasSubject {
  static QuantizedLAS scheduler() {
    return QuantizedLAS{QuantizedLASOptions{.quantum = nanoseconds{Quantum}, .aging = Aging}};
  }
  static QuantizedLasModel model() { return {Quantum, Aging}; }
};

template <class Scheduler>
void observe(Scheduler& scheduler, TaskRef task, nanoseconds ran, bool finished) {
  if constexpr (clockworker::detail::Observes<Scheduler>) scheduler.observe(task, ran, finished);
}

template <class Scheduler>
void reserve(Scheduler& scheduler, std::size_t live) {
  if constexpr (clockworker::detail::Reserves<Scheduler>) scheduler.reserve(live);
}

#define CLOCKWORKER_SUBJECTS                                                                                      \
  RunnableFifoSubject, ArrivalFifoSubject, LasSubject<0>, LasSubject<1>, LasSubject<3>, (QuantizedLasSubject<1, 0>), \
      (QuantizedLasSubject<3, 0>), (QuantizedLasSubject<1000, 3>), (QuantizedLasSubject<7, 1>)

TEMPLATE_TEST_CASE("a scheduler is empty until the first push and after the last pop", "[schedulers]",
                   CLOCKWORKER_SUBJECTS) {
  FakeTasks tasks;
  auto scheduler = TestType::scheduler();
  for (int round = 0; round < 3; ++round) {
    CHECK(scheduler.empty());
    TaskRef a = tasks.spawn();
    TaskRef b = tasks.spawn(&tasks.group());
    reserve(scheduler, 2);
    scheduler.push(a);
    CHECK_FALSE(scheduler.empty());
    scheduler.push(b);
    scheduler.pop();
    CHECK_FALSE(scheduler.empty());
    scheduler.pop();
  }
  CHECK(scheduler.empty());
}

TEMPLATE_TEST_CASE("a task that is alone is popped as often as it is pushed", "[schedulers]", CLOCKWORKER_SUBJECTS) {
  FakeTasks tasks;
  auto scheduler = TestType::scheduler();
  for (TaskRef task : {tasks.spawn(), tasks.spawn(&tasks.group())}) {
    for (int i = 0; i < 100; ++i) {
      scheduler.push(task);
      CHECK(scheduler.pop() == task);
      observe(scheduler, task, nanoseconds{50}, false);
      CHECK(scheduler.empty());
    }
  }
}

TEMPLATE_TEST_CASE("nothing is lost and nothing comes twice", "[schedulers]", CLOCKWORKER_SUBJECTS) {
  FakeTasks tasks;
  auto scheduler = TestType::scheduler();
  std::mt19937 random{1};
  std::vector<TaskRef> all;
  FakeTasks::Group* groups[] = {nullptr, nullptr, &tasks.group(), &tasks.group()};
  for (std::size_t i = 0; i < 500; ++i) all.push_back(tasks.spawn(groups[i % 4]));
  reserve(scheduler, all.size());
  for (int round = 0; round < 5; ++round) {
    std::shuffle(all.begin(), all.end(), random);
    for (TaskRef task : all) scheduler.push(task);
    std::vector<clockworker::TaskId> popped;
    while (!scheduler.empty()) {
      TaskRef task = scheduler.pop();
      popped.push_back(task.id());
      observe(scheduler, task, nanoseconds{random() % 10'000}, round == 4);
    }
    std::sort(popped.begin(), popped.end());
    REQUIRE(popped.size() == all.size());
    CHECK(std::adjacent_find(popped.begin(), popped.end()) == popped.end());
  }
}

TEMPLATE_TEST_CASE("the order is the one that is promised, whatever happens", "[schedulers]", CLOCKWORKER_SUBJECTS) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random{seed};
    auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    FakeTasks tasks;
    auto scheduler = TestType::scheduler();
    auto model = TestType::model();
    std::vector<FakeTasks::Group*> groups;
    for (unsigned i = 0; i < seed % 4; ++i) groups.push_back(&tasks.group());
    auto any_group = [&] { return groups.empty() || chance(40) ? nullptr : groups[random() % groups.size()]; };
    auto any_time = [&]() -> nanoseconds {
      if (chance(10)) return nanoseconds{0};
      if (chance(1)) return nanoseconds::max();
      return nanoseconds{random() % (chance(20) ? 100'000 : 20)};
    };

    std::vector<TaskRef> suspended;
    const std::size_t most = seed % 3 == 0 ? 4 : 60;
    const unsigned pushes = 20 + 15 * (seed % 5);
    bool equal = true;
    auto push = [&](TaskRef task) {
      scheduler.push(task);
      model.push(task);
    };
    auto wake_one = [&] {
      const std::size_t which = random() % suspended.size();
      push(std::exchange(suspended[which], suspended.back()));
      suspended.pop_back();
    };
    for (int step = 0; step < 3000 && equal; ++step) {
      if (suspended.size() + model.size() < most && chance(30)) {
        push(tasks.spawn(any_group()));
      } else if (chance(pushes) && !suspended.empty()) {
        wake_one();
      } else if (model.size() != 0) {
        const TaskRef task = scheduler.pop();
        equal = task == model.pop();
        const nanoseconds ran = any_time();
        const bool finished = chance(5);
        while (!suspended.empty() && chance(30)) wake_one();  // the running task does that
        observe(scheduler, task, ran, finished);
        model.observe(task, ran);
        if (!finished && chance(50)) {
          push(task);  // it yielded
        } else if (!finished) {
          suspended.push_back(task);
        }
      }
      equal = equal && scheduler.empty() == (model.size() == 0);
    }
    while (equal && model.size() != 0) equal = scheduler.pop() == model.pop();
    INFO("seed " << seed);
    REQUIRE(equal);
    REQUIRE(scheduler.empty());
    REQUIRE_FALSE(tasks.extras_allocated());
  }
}

TEMPLATE_TEST_CASE("a scheduler that was moved goes on where the other stopped", "[schedulers]", CLOCKWORKER_SUBJECTS) {
  FakeTasks tasks;
  auto first = TestType::scheduler();
  auto model = TestType::model();
  for (int i = 0; i < 20; ++i) {
    TaskRef task = tasks.spawn();
    first.push(task);
    model.push(task);
  }
  CHECK(first.pop() == model.pop());
  auto second = std::move(first);
  while (model.size() != 0) CHECK(second.pop() == model.pop());
  CHECK(second.empty());
}

}  // namespace
