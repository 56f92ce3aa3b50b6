#include "catch.hpp"
#include "virtual_time.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

/// Writes down what it is told, with its name.
struct Tell {
  std::vector<std::string>* log;
  std::string name;
  std::vector<cw::TaskRef> ready{};
  std::size_t reserved = 0;
  std::size_t most = 100;

  void push(cw::TaskRef task) {
    log->push_back(name + " push " + std::to_string(task.state<int>()));
    ready.push_back(task);
  }
  cw::TaskRef pop() {
    cw::TaskRef task = ready.back();
    ready.pop_back();
    task.state<int>() = 7;
    return task;
  }
  [[nodiscard]] bool empty() const { return ready.empty(); }
  void observe(cw::TaskRef, Ns ran, bool finished) {
    log->push_back(name + " observe " + std::to_string(ran / 1us) + (finished ? " finished" : ""));
  }
  void finished(cw::TaskRef) { log->push_back(name + " finished"); }
  void group_finished(cw::GroupRef) { log->push_back(name + " group_finished"); }
  void reserve(std::size_t live) {
    if (live > most) throw std::length_error("full");
    reserved = live;
  }
};

VirtualExecutor<> two_queues() { return VirtualBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build(); }

}  // namespace

TEST_CASE("the rest of a task that switches is charged to the new queue") {
  VirtualExecutor<> executor = two_queues();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    work(10us);
    co_await cw::switch_to(executor.queue(1));
    CHECK(cw::this_task::queue().same_queue(executor.queue(1)));
    work(200us);
    co_await cw::yield_now();
    work(3ms);
  });
  executor.run_ready(unbounded);
  CHECK(executor.stats(0).service == 10us);
  CHECK(executor.stats(1).service == 3'200us);
  CHECK(executor.stats(0).resumes == 1);
  CHECK(executor.stats(1).resumes == 2);
}

TEST_CASE("a switch takes the task off one queue's count and puts it on the other's") {
  VirtualExecutor<> executor = two_queues();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::switch_to(executor.queue(1));
    co_await cw::sleep_for(1h);
  });
  CHECK(executor.stats(0).live_tasks == 1);
  executor.run_ready(cw::Budget{1h, 1});
  CHECK(executor.stats(0).live_tasks == 0);
  CHECK(executor.stats(1).live_tasks == 1);
  CHECK(executor.stats(1).runnable_tasks == 1);
  CHECK(executor.tasks().at(0).queue == "1");
  executor.remove_queue(0);  // nobody lives on it
  executor.run_ready(unbounded);
  CHECK(executor.tasks().at(0).waits_for == "timer");
}

TEST_CASE("for the old queue's scheduler the task is finished, for the new one's it is new") {
  std::vector<std::string> log;
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_queue(0, 1, Tell{&log, "old"}).with_queue(1, 1, Tell{&log, "new"}).build();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    work(10us);
    co_await cw::switch_to(executor.queue(1));
    work(20us);
  });
  executor.run_ready(unbounded);
  CHECK(log == std::vector<std::string>{"old push 0", "old observe 10 finished", "old finished", "new push 0",
                                        "new observe 20 finished", "new finished"});
}

TEST_CASE("a grouped task goes into the group of the same id, and leaves the old one") {
  std::vector<std::string> log;
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_queue(0, 1, Tell{&log, "old"}).with_queue(1, 1, Tell{&log, "new"}).build();
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  std::size_t live = 0;
  cw::QueueHandle there = executor.queue(1).group("g");
  there.spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  executor.queue(0).group("g").spawn([&]() -> cw::Task<> {
    before = cw::this_task::group().id();
    co_await cw::switch_to(executor.queue(1));
    after = cw::this_task::group().id();
    live = cw::this_task::group().live_tasks();
  });
  executor.run_ready(unbounded);
  CHECK(before == after);
  CHECK(live == 2);
  CHECK(std::count(log.begin(), log.end(), "old group_finished") == 1);
  CHECK(std::count(log.begin(), log.end(), "new group_finished") == 0);
}

TEST_CASE("a task goes into the group of the handle that it switches to") {
  VirtualExecutor<> executor = two_queues();
  std::vector<std::uint64_t> groups;
  cw::QueueHandle other = executor.queue(1).group("other");
  cw::QueueHandle mine = executor.queue(0).group("mine");
  other.spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  auto handle = mine.spawn([&]() -> cw::Task<> {
    groups.push_back(cw::this_task::group().id());
    co_await cw::switch_to(other);
    groups.push_back(cw::this_task::group().id());
    CHECK(cw::this_task::group().live_tasks() == 2);
    co_await cw::switch_to(executor.queue(1).group("third"));  // another group of the same queue
    groups.push_back(cw::this_task::group().id());
    CHECK(cw::this_task::group().live_tasks() == 1);
  });
  executor.run_ready(unbounded);
  CHECK(handle.done());
  std::hash<std::string_view> hash;
  CHECK(groups == std::vector<std::uint64_t>{hash("mine"), hash("other"), hash("third")});
}

TEST_CASE("a switch to the queue that the task is on does nothing") {
  VirtualExecutor<> executor = two_queues();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 100; ++i) co_await cw::switch_to(executor.queue(0));
  });
  executor.run_ready(unbounded);
  CHECK(executor.stats(0).resumes == 1);
}

TEST_CASE("a switch to another executor's queue is refused, and the task goes on where it is") {
  VirtualExecutor<> executor = two_queues();
  VirtualExecutor<> other = VirtualBuilder<>{}.with_queue(0, cw::QueueOptions{.name = "elsewhere"}).build();
  bool went_on = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    try {
      co_await cw::switch_to(other.queue(0));
      FAIL("not refused");
    } catch (const std::invalid_argument& error) {
      CHECK(std::string{error.what()}.find("'elsewhere'") != std::string::npos);
    }
    CHECK(cw::this_task::queue().same_queue(executor.queue(0)));
    co_await cw::yield_now();
    went_on = true;
  });
  executor.run_ready(unbounded);
  CHECK(went_on);
  CHECK(other.stats().live_tasks == 0);
}

TEST_CASE("a switch to a queue that is gone is refused, and the task goes on where it is") {
  VirtualExecutor<> executor = two_queues();
  cw::QueueHandle removed = executor.queue(1);
  executor.remove_queue(1);
  std::optional<cw::QueueHandle> of_the_dead;
  {
    VirtualExecutor<> dead = two_queues();
    of_the_dead = dead.queue(0);
  }
  const std::vector<cw::QueueHandle> gone_queues{removed, *of_the_dead};
  int refused = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (const cw::QueueHandle& gone : gone_queues) {
      try {
        co_await cw::switch_to(gone);
      } catch (const std::logic_error& error) {
        ++refused;
        CHECK(std::string{error.what()}.find("'" + std::string{gone.name()} + "'") != std::string::npos);
      }
      co_await cw::yield_now();
    }
  });
  executor.run_ready(unbounded);
  CHECK(refused == 2);
  CHECK(executor.stats().ended == 1);
}

TEST_CASE("a switch that the new queue's reserve refuses leaves the task where it is") {
  std::vector<std::string> log;
  Tell full{&log, "new"};
  full.most = 0;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1).with_queue(1, 1, full).build();
  bool refused = false;
  executor.queue(0).group("g").spawn([&]() -> cw::Task<> {
    try {
      co_await cw::switch_to(executor.queue(1));
    } catch (const std::length_error&) {
      refused = true;
    }
    co_await cw::yield_now();
    work(1us);
  });
  executor.run_ready(unbounded);
  CHECK(refused);
  CHECK(log.empty());
  CHECK(executor.stats(0).service == 1us);
  CHECK(executor.stats(0).live_tasks + executor.stats(1).live_tasks == 0);
}

TEST_CASE("main goes to a queue, where it is charged, and comes back ahead of every queue") {
  VirtualExecutor<> executor = two_queues();
  JumpHost host;
  executor.queue(0).spawn(steps, 100, 1ms);
  executor.run_until(host, [&]() -> cw::Task<> {
    cw::QueueHandle home = cw::this_task::queue();
    work(1us);
    co_await cw::switch_to(executor.queue(1));
    work(1ms);
    co_await cw::switch_to(home);
    CHECK(cw::this_task::queue().same_queue(home));
    work(4us);
  });
  CHECK(executor.stats(1).service == 1ms);
  CHECK(executor.stats().main_service == 5us);
  CHECK(executor.stats(0).live_tasks == 1);
}

TEST_CASE("a task that is aborted while it switches ends on the new queue, in that queue's time") {
  struct Local {
    ~Local() {
      work(5us);
      if (on) *on = cw::this_task::queue().name();
    }
    std::string* on;
  };
  VirtualExecutor<> executor = two_queues();
  std::string destroyed_on;
  cw::JoinHandle<> handle;
  handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    Local local{&destroyed_on};
    handle.abort();
    co_await cw::switch_to(executor.queue(1));
    FAIL("resumed after its abort");
  });
  executor.run_ready(unbounded);
  CHECK(handle.done());
  CHECK(destroyed_on == "1");
  CHECK(executor.stats(1).service == 5us);
  CHECK(executor.stats(0).live_tasks + executor.stats(1).live_tasks == 0);
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("a task that switches to and fro a hundred thousand times leaves nothing behind") {
  VirtualExecutor<> executor = two_queues();
  executor.queue(0).group("g").spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 100'000; ++i) co_await cw::switch_to(executor.queue(1 - i % 2));
  });
  executor.run_ready(unbounded);
  CHECK(executor.stats().ended == 1);
  CHECK(executor.stats().resumes == 100'001);
  executor.remove_queue(1);
}
