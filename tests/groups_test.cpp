#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

/// First in, first out; keeps what it sees of groups.
struct Recorder {
  struct Log {
    std::vector<std::uint64_t> groups_finished;
    std::vector<std::size_t> live_at_push;
    std::vector<std::uint64_t> pushed_groups;
    std::vector<std::uint64_t> services;  // of the group, in us, as counted in the group's state
  };
  struct State {
    std::uint64_t us;
    std::uint64_t more[2];
  };

  Log* log;
  std::vector<cw::TaskRef> ready{};

  void push(cw::TaskRef task) {
    log->live_at_push.push_back(task.group().live_tasks());
    log->pushed_groups.push_back(task.group().id());
    ready.push_back(task);
  }
  cw::TaskRef pop() {
    cw::TaskRef task = ready.front();
    ready.erase(ready.begin());
    return task;
  }
  [[nodiscard]] bool empty() const { return ready.empty(); }
  void observe(cw::TaskRef task, Ns ran, bool finished) {
    State& state = task.group().state<State>();
    state.us += static_cast<std::uint64_t>(ran / 1us);
    if (finished) log->services.push_back(state.us);
  }
  void group_finished(cw::GroupRef group) {
    log->groups_finished.push_back(group.id());
    CHECK(group.live_tasks() == 0);
    CHECK_FALSE(group.is_single());
  }
};

}  // namespace

TEST_CASE("LAS shares a queue's time by group, however many tasks a group has") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, cw::LAS{}).build();
  Ns service[3] = {};
  auto worker = [&](int who) -> cw::Task<> {
    for (;;) {
      work(10us);
      service[who] += 10us;
      co_await cw::yield_now();
    }
  };
  cw::QueueHandle queue = executor.queue(0);
  for (int task = 0; task < 9; ++task) queue.group("many").spawn(worker, 0);
  queue.group("one").spawn(worker, 1);
  queue.spawn(worker, 2);  // in no group: as much as any group
  executor.run_ready(cw::Budget{30ms, 0xffff'ffffU});
  for (Ns got : service) {
    CHECK(got >= 10ms - 20us);
    CHECK(got <= 10ms + 20us);
  }
}

TEST_CASE("inside a group LAS lets tasks go round") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, cw::LAS{}).build();
  RunLog log;
  for (int task : {0, 1, 2}) executor.queue(0).group(7).spawn(logged, std::ref(log), task, 10us, 2);
  executor.run_ready(unbounded);
  std::vector<int> order;
  for (const RunLog::Run& run : log.runs) order.push_back(run.who);
  CHECK(order == std::vector<int>{0, 1, 2, 0, 1, 2});
}

TEST_CASE("a group's service is forgotten with its last task and handle") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, cw::LAS{}).build();
  RunLog log;
  executor.queue(0).group("g").spawn(logged, std::ref(log), 0, 1ms, 1);
  executor.run_ready(unbounded);
  // A group without a past: it and the other start level, and the one that was runnable first is first.
  executor.queue(0).group("g").spawn(logged, std::ref(log), 1, 10us, 1);
  executor.queue(0).spawn(logged, std::ref(log), 2, 10us, 1);
  executor.run_ready(unbounded);
  REQUIRE(log.runs.size() == 3);
  CHECK(log.runs[1].who == 1);
}

TEST_CASE("a handle keeps a group's service while the group has no task") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, cw::LAS{}).build();
  RunLog log;
  cw::QueueHandle group = executor.queue(0).group("g");
  group.spawn(logged, std::ref(log), 0, 1ms, 1);
  executor.run_ready(unbounded);
  group.spawn(logged, std::ref(log), 1, 10us, 1);
  executor.queue(0).spawn(logged, std::ref(log), 2, 10us, 1);
  executor.run_ready(unbounded);
  REQUIRE(log.runs.size() == 3);
  CHECK(log.runs[1].who == 2);
}

TEST_CASE("a scheduler finds each group's storage zeroed at first, and its own afterwards") {
  Recorder::Log log;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Recorder{&log}).build();
  executor.queue(0).group(1).spawn(steps, 2, 10us);
  executor.queue(0).group(1).spawn(steps, 3, 10us);
  executor.queue(0).spawn(steps, 2, 5us);
  executor.queue(0).spawn(steps, 4, 5us);
  executor.run_ready(unbounded);
  CHECK(log.services == std::vector<std::uint64_t>{30, 10, 50, 20});
}

TEST_CASE("a group's id is the hash of what it was made of, a single task's is its own") {
  Recorder::Log log;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Recorder{&log}).build();
  executor.queue(0).group(std::string{"tenant"}).spawn(steps, 1, 1us);
  auto single = executor.queue(0).spawn(steps, 1, 1us);
  CHECK(log.pushed_groups == std::vector<std::uint64_t>{std::hash<std::string>{}("tenant"), single.id()});
  CHECK(executor.tasks().at(0).group == std::hash<std::string>{}("tenant"));
  CHECK(executor.tasks().at(1).group == single.id());
}

TEST_CASE("live_tasks counts a group's tasks, the one being pushed included") {
  Recorder::Log log;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Recorder{&log}).build();
  for (int task = 0; task < 3; ++task) executor.queue(0).group(1).spawn(steps, 1, 1us);
  executor.queue(0).spawn(steps, 1, 1us);
  CHECK(log.live_at_push == std::vector<std::size_t>{1, 2, 3, 1});
}

TEST_CASE("group_finished comes once, after the last task and the last handle, whichever goes last") {
  Recorder::Log log;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Recorder{&log}).build();
  std::optional<cw::QueueHandle> handle = executor.queue(0).group(5);
  handle->spawn(steps, 1, 1us);
  executor.run_ready(unbounded);
  CHECK(log.groups_finished.empty());
  handle.reset();
  CHECK(log.groups_finished == std::vector<std::uint64_t>{std::hash<int>{}(5)});

  executor.queue(0).group(6).spawn(steps, 2, 1us);
  executor.queue(0).group(6).spawn(steps, 1, 1us);
  executor.run_ready(cw::Budget{1h, 2});
  CHECK(log.groups_finished.size() == 1);
  executor.run_ready(unbounded);
  CHECK(log.groups_finished == std::vector<std::uint64_t>{std::hash<int>{}(5), std::hash<int>{}(6)});

  executor.queue(0).spawn(steps, 1, 1us);  // a group of its own: nothing is said of it
  executor.run_ready(unbounded);
  CHECK(log.groups_finished.size() == 2);
}

TEST_CASE("a group that is aborted as a whole is finished once") {
  Recorder::Log log;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Recorder{&log}).build();
  std::vector<cw::JoinHandle<>> handles;
  for (int task = 0; task < 3; ++task) handles.push_back(executor.queue(0).group(1).spawn(steps, 100, 1us));
  executor.run_ready(cw::Budget{1h, 4});
  for (auto& handle : handles) handle.abort();
  executor.run_ready(unbounded);
  CHECK(log.groups_finished == std::vector<std::uint64_t>{std::hash<int>{}(1)});
}
