#include <clockworker/queue.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace clockworker_test;

cw::Task<std::uint64_t> group_of_this() { co_return cw::this_task::group().id(); }

cw::Task<> sleep_long() { co_await cw::sleep_for(1h); }

TEST_CASE("group: tasks of equal ids share one, known by the hash, a task of none is a group of its own",
          "[group]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  cw::JoinHandle<std::uint64_t> a = queue.group(std::string{"a"}).spawn(group_of_this);
  cw::JoinHandle<std::uint64_t> also_a = queue.group(std::string{"a"}).spawn(group_of_this);
  cw::JoinHandle<std::uint64_t> b = queue.group(std::string{"b"}).spawn(group_of_this);
  cw::JoinHandle<std::uint64_t> number = queue.group(42).spawn(group_of_this);
  cw::JoinHandle<std::uint64_t> single = queue.spawn(group_of_this);
  run_all(executor);
  std::uint64_t of_a = a.try_take()->value();
  CHECK(of_a == std::hash<std::string>{}("a"));
  CHECK(also_a.try_take()->value() == of_a);
  CHECK(b.try_take()->value() != of_a);
  CHECK(number.try_take()->value() == std::hash<int>{}(42));
  cw::TaskId id = single.id();
  CHECK(single.try_take()->value() == id);
}

TEST_CASE("group: text is one id, whether it comes as a literal, a pointer, a view or a string", "[group]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  char elsewhere[] = "text";
  const char* pointer = elsewhere;
  std::vector<cw::JoinHandle<std::uint64_t>> handles;
  handles.push_back(queue.group("text").spawn(group_of_this));
  handles.push_back(queue.group(pointer).spawn(group_of_this));
  handles.push_back(queue.group(elsewhere).spawn(group_of_this));
  handles.push_back(queue.group(std::string_view{elsewhere}).spawn(group_of_this));
  handles.push_back(queue.group(std::string{elsewhere}).spawn(group_of_this));
  run_all(executor);
  for (auto& handle : handles) CHECK(handle.try_take()->value() == std::hash<std::string>{}("text"));
}

TEST_CASE("group: counts its living tasks, and this_task::group() tells", "[group]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle group = executor.queue(0).group(1);
  cw::JoinHandle<> other = group.spawn(sleep_long);
  std::vector<std::size_t> living;
  static_cast<void>(group.spawn([&]() -> cw::Task<> {
    living.push_back(cw::this_task::group().live_tasks());
    other.abort();
    static_cast<void>(co_await other);
    living.push_back(cw::this_task::group().live_tasks());
    CHECK_FALSE(cw::this_task::group().is_single());
  }));
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    living.push_back(cw::this_task::group().live_tasks());
    CHECK(cw::this_task::group().is_single());
    co_return;
  }));
  run_all(executor);
  CHECK(living == std::vector<std::size_t>{2, 1, 1});
}

TEST_CASE("group: the same id in two queues is two groups", "[group]") {
  ManualExecutor executor = manual_executor();
  std::vector<std::size_t> living;
  auto look = [&]() -> cw::Task<> {
    living.push_back(cw::this_task::group().live_tasks());
    co_await cw::yield_now();
  };
  cw::JoinHandle<> a = executor.queue(0).group(7).spawn(look);
  cw::JoinHandle<> b = executor.queue(1).group(7).spawn(look);
  run_all(executor);
  CHECK(living == std::vector<std::size_t>{1, 1});
}

TEST_CASE("group: a scheduler hears of its end when the last task and the last handle are gone", "[group]") {
  struct Hears {
    explicit Hears(Log& to) : log{&to} {}
    void push(cw::TaskRef task) { ready.push_back(task); }
    cw::TaskRef pop() {
      cw::TaskRef task = ready.back();
      ready.pop_back();
      return task;
    }
    bool empty() const { return ready.empty(); }
    void finished(cw::TaskRef task) { log->push_back("task " + std::string{task.name()}); }
    void group_finished(cw::GroupRef group) { log->push_back("group " + std::to_string(group.id())); }
    std::vector<cw::TaskRef> ready;
    Log* log;
  };
  Log log;
  cw::Executor<int, cw::ManualClock> executor =
      cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(0, 1, Hears{log}).build();
  {
    cw::QueueHandle by_task = executor.queue(0).group(5).named("x");
    static_cast<void>(by_task.spawn(sleep_long));
  }
  run_all(executor);
  CHECK(log.empty());
  pass_time(executor, 1h);
  CHECK(log == Log{"task x", "group 5"});
  log.clear();
  {
    cw::QueueHandle by_handle = executor.queue(0).group(6);
    cw::QueueHandle copy = by_handle;
    static_cast<void>(copy.spawn(sleep_long));
    run_all(executor);
    pass_time(executor, 1h);
    CHECK(log == Log{"task "});
  }
  CHECK(log == Log{"task ", "group 6"});
}

TEST_CASE("group: asked of a queue that is gone it throws, and names the queue", "[group]") {
  std::optional<cw::QueueHandle> queue;
  {
    ManualExecutor executor = manual_executor();
    queue.emplace(executor.queue(1));
  }
  CHECK(thrown_text<std::logic_error>([&] { static_cast<void>(queue->group(1)); }) ==
        "clockworker: group() on queue '1', which is gone");
}

TEST_CASE("group: handles and tasks of one may outlive the executor", "[group]") {
  std::optional<cw::QueueHandle> group;
  cw::JoinHandle<> handle;
  {
    ManualExecutor executor = manual_executor();
    group.emplace(executor.queue(0).group("g").named("n"));
    handle = group->spawn(sleep_long);
    run_all(executor);
  }
  cw::QueueHandle copy = *group;
  CHECK(copy.spawn(sleep_long).done());
  CHECK(handle.done());
}

TEST_CASE("named: tasks carry the name of the handle they were spawned through, and keep the group",
          "[named]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle plain = executor.queue(0);
  cw::QueueHandle named = plain.group(3).named("reader");
  cw::QueueHandle renamed = named.named("writer");
  cw::QueueHandle regrouped = named.group(4);
  std::vector<cw::JoinHandle<>> handles;
  for (const cw::QueueHandle* queue : {&plain, &named, &renamed, &regrouped})
    handles.push_back(queue->spawn(sleep_long));
  std::vector<cw::TaskInfo> tasks = executor.tasks();
  REQUIRE(tasks.size() == 4);
  CHECK(tasks[0].name.empty());
  CHECK(tasks[0].group == tasks[0].id);
  CHECK(tasks[1].name == "reader");
  CHECK(tasks[1].group == std::hash<int>{}(3));
  CHECK(tasks[2].name == "writer");
  CHECK(tasks[2].group == std::hash<int>{}(3));
  CHECK(tasks[3].name == "reader");
  CHECK(tasks[3].group == std::hash<int>{}(4));
}

TEST_CASE("named: the name lives as long as the task, the text given may go", "[named]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle;
  {
    std::string text = "a name long enough to be on the heap for certain";
    handle = executor.queue(0).named(text).spawn(sleep_long);
  }
  CHECK(executor.tasks().at(0).name == "a name long enough to be on the heap for certain");
}

TEST_CASE("set_weight: refuses 0, more than 2^20, and a queue that is gone, the weight stays", "[queue]") {
  std::optional<cw::QueueHandle> queue;
  {
    ManualExecutor executor = manual_executor();
    queue.emplace(executor.queue(0));
    queue->set_weight(1048576);
    CHECK(queue->weight() == 1048576);
    CHECK(thrown_text<std::invalid_argument>([&] { queue->set_weight(0); }) ==
          "clockworker: set_weight(0) on queue '0': a weight is from 1 to 1048576 (2^20)");
    CHECK(thrown_text<std::invalid_argument>([&] { queue->set_weight(1048577); }) ==
          "clockworker: set_weight(1048577) on queue '0': a weight is from 1 to 1048576 (2^20)");
    CHECK(executor.queue(0).weight() == 1048576);
  }
  CHECK(thrown_text<std::logic_error>([&] { queue->set_weight(1); }) ==
        "clockworker: set_weight() on queue '0', which is gone");
}

}  // namespace
