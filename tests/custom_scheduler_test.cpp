#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

/// What a scripted scheduler was told, and where it is to throw next.
struct Script {
  std::vector<std::string> log;
  std::string throw_at;  // a call's name; thrown once
  int countdown = 0;     // so many such calls go well before

  void call(const std::string& name, const std::string& details = "") {
    log.push_back(details.empty() ? name : name + " " + details);
    if (name != throw_at || countdown-- > 0) return;
    throw_at.clear();
    throw std::runtime_error("scheduler: " + name);
  }
};

/// First in, first out; has every member that a scheduler may have.
class Scripted {
 public:
  explicit Scripted(Script& script) : script_{&script} {}

  void push(cw::TaskRef task) {
    script_->call("push", std::to_string(task.id()));
    ready_.push_back(task);
  }
  cw::TaskRef pop() {
    script_->call("pop", std::to_string(ready_.front().id()));
    cw::TaskRef task = ready_.front();
    ready_.erase(ready_.begin());
    return task;
  }
  [[nodiscard]] bool empty() const { return ready_.empty(); }
  void observe(cw::TaskRef task, Ns ran, bool finished) {
    script_->call("observe",
                  std::to_string(task.id()) + " " + std::to_string(ran / 1us) + (finished ? " last" : ""));
  }
  void finished(cw::TaskRef task) { script_->call("finished", std::to_string(task.id())); }
  void group_finished(cw::GroupRef) { script_->call("group_finished"); }
  void reserve(std::size_t live) { script_->call("reserve", std::to_string(live)); }

 private:
  Script* script_;
  std::vector<cw::TaskRef> ready_;
};

VirtualExecutor<> with(Script& script) {
  return VirtualBuilder<>{}.with_queue(0, 1, Scripted{script}).with_queue(1, 1).build();
}

/// Runs until nothing is left to do; counts what was thrown on the way.
int run_through(VirtualExecutor<>& executor) {
  JumpHost host;
  int thrown = 0;
  while (executor.stats().live_tasks != 0 && thrown < 10) {
    try {
      executor.run_until_idle(host);
    } catch (const std::runtime_error& error) {
      CHECK(std::string{error.what()}.starts_with("scheduler: "));
      ++thrown;
    }
  }
  try {
    executor.run_until_idle(host);
  } catch (const std::runtime_error&) {
    ++thrown;  // at the very last task
  }
  return thrown;
}

}  // namespace

TEST_CASE("a scheduler's members are called in the documented order") {
  Script script;
  VirtualExecutor<> executor = with(script);
  executor.queue(0).group("g").spawn(steps, 2, 10us);
  executor.queue(0).spawn(steps, 1, 5us);
  executor.run_ready(unbounded);
  CHECK(script.log == std::vector<std::string>{"reserve 1", "push 1", "reserve 2", "push 2",  //
                                               "pop 1", "observe 1 10", "push 1",             //
                                               "pop 2", "observe 2 5 last", "finished 2",     //
                                               "pop 1", "observe 1 10 last", "finished 1", "group_finished"});
}

TEST_CASE("an aborted task is finished once, whether it has started or not") {
  Script script;
  VirtualExecutor<> executor = with(script);
  auto waiting = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  executor.run_ready(unbounded);
  auto not_started = executor.queue(0).spawn(steps, 1, 1us);
  waiting.abort();
  not_started.abort();
  script.log.clear();
  executor.run_ready(unbounded);
  CHECK(script.log == std::vector<std::string>{"pop 2", "observe 2 0 last", "finished 2",  //
                                               "pop 1", "observe 1 0 last", "finished 1"});
}

TEST_CASE("nothing is said to a scheduler while its executor is destroyed") {
  Script script;
  {
    VirtualExecutor<> executor = with(script);
    executor.queue(0).group("g").spawn(steps, 5, 1us);
    executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
    executor.run_ready(cw::Budget{1h, 2});
    script.log.clear();
  }
  CHECK(script.log.empty());
}

TEST_CASE("a spawn at which reserve or push throws has not happened") {
  for (const char* call : {"reserve", "push"}) {
    INFO(call);
    Script script;
    VirtualExecutor<> executor = with(script);
    script.throw_at = call;
    auto kept = std::make_shared<int>(1);
    std::optional<cw::QueueHandle> group = executor.queue(0).group("g").named("n");
    CHECK_THROWS_WITH(group->spawn([kept]() -> cw::Task<> { co_return; }), std::string{"scheduler: "} + call);
    CHECK(kept.use_count() == 1);
    CHECK(executor.stats().live_tasks + executor.stats().runnable_tasks == 0);
    CHECK(executor.stats().spawned == 0);
    CHECK(executor.tasks().empty());
    script.log.clear();
    group.reset();
    CHECK(script.log == std::vector<std::string>{"group_finished"});
    CHECK(executor.queue(0).spawn(steps, 1, 1us).id() == 1);
    CHECK(run_through(executor) == 0);
    CHECK(executor.stats().ended == 1);
  }
}

TEST_CASE("a task whose push throws at a yield is kept, run throws, and the next run goes on") {
  Script script;
  VirtualExecutor<> executor = with(script);
  for (int task = 0; task < 2; ++task) executor.queue(0).spawn(steps, 5, 1us);
  script.throw_at = "push";
  script.countdown = 3;
  CHECK(run_through(executor) == 1);
  CHECK(executor.stats(0).service == 10us);
  CHECK(executor.stats(0).runnable_tasks == 0);
  CHECK(executor.stats().ended == 2);
}

TEST_CASE("a task whose push throws at a wake is kept, run throws, and the next run goes on") {
  Script script;
  VirtualExecutor<> executor = with(script);
  JumpHost host;
  executor.queue(0).spawn([]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    work(3us);
  });
  executor.run_ready(unbounded);
  script.throw_at = "push";
  CHECK_THROWS_WITH(executor.run_until_idle(host), "scheduler: push");
  CHECK(executor.stats().live_tasks == 1);
  CHECK(executor.stats().runnable_tasks == 1);
  CHECK(executor.tasks().at(0).state == cw::TaskState::runnable);
  executor.run_until_idle(host);
  CHECK(executor.stats(0).service == 3us);
  CHECK(executor.stats().ended == 1);
}

TEST_CASE("a push that goes on throwing loses no task, however often it is tried") {
  struct Full : cw::RunnableFifo {
    bool* full;
    explicit Full(bool& flag) : full{&flag} {}
    void push(cw::TaskRef task) {
      if (*full) throw std::bad_alloc{};
      cw::RunnableFifo::push(task);
    }
  };
  bool full = false;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Full{full}).build();
  for (int task = 0; task < 3; ++task) executor.queue(0).spawn(steps, 2, 1us);
  full = true;
  for (int run = 0; run < 10; ++run) {
    CHECK_THROWS_AS(executor.run_ready(unbounded), std::bad_alloc);
    CHECK(executor.stats(0).live_tasks == 3);
    CHECK(executor.stats(0).runnable_tasks == 3);
  }
  CHECK_THROWS_AS(executor.queue(0).spawn(steps, 1, 1us), std::bad_alloc);
  full = false;
  executor.run_ready(unbounded);
  CHECK(executor.stats(0).service == 6us);
  CHECK(executor.stats().ended == 3);
}

TEST_CASE("a task that was kept aside can be aborted, and its executor destroyed") {
  Script script;
  auto kept = std::make_shared<int>(1);
  {
    VirtualExecutor<> executor = with(script);
    auto aborted = executor.queue(0).spawn([kept]() -> cw::Task<> { co_await cw::yield_now(); });
    script.throw_at = "push";
    CHECK_THROWS(executor.run_ready(unbounded));
    aborted.abort();
    executor.run_ready(unbounded);
    CHECK(aborted.done());
    CHECK(executor.stats().runnable_tasks == 0);
    CHECK(kept.use_count() == 1);
    executor.queue(0).spawn([kept]() -> cw::Task<> { co_await cw::yield_now(); });
    script.throw_at = "push";
    CHECK_THROWS(executor.run_ready(unbounded));
  }
  CHECK(kept.use_count() == 1);
}

TEST_CASE("a pop that throws leaves the task where it is, for the next run") {
  Script script;
  VirtualExecutor<> executor = with(script);
  executor.queue(0).spawn(steps, 3, 1us);
  executor.queue(1).spawn(steps, 3, 1us);
  script.throw_at = "pop";
  script.countdown = 1;
  CHECK(run_through(executor) == 1);
  CHECK(executor.stats(0).service == 3us);
  CHECK(executor.stats(0).resumes == 3);
  CHECK(executor.stats().ended == 2);
}

TEST_CASE("what observe, finished and group_finished throw leaves run, and the task is not lost by it") {
  for (const char* call : {"observe", "finished", "group_finished"}) {
    INFO(call);
    Script script;
    VirtualExecutor<> executor = with(script);
    auto handle = executor.queue(0).group("g").spawn(steps, 3, 1us);
    script.throw_at = call;
    CHECK(run_through(executor) == 1);
    CHECK(handle.done());
    CHECK(handle.try_take()->has_value());
    CHECK(executor.stats(0).service == 3us);
    CHECK(executor.stats(0).live_tasks == 0);
  }
}

TEST_CASE("group_finished that throws as the last handle goes is thrown by the next run") {
  Script script;
  VirtualExecutor<> executor = with(script);
  std::optional<cw::QueueHandle> group = executor.queue(0).group("g");
  script.throw_at = "group_finished";
  group.reset();
  CHECK_THROWS_WITH(executor.run_ready(), "scheduler: group_finished");
  executor.run_ready();
}

TEST_CASE("a scheduler may be move-only, and is destroyed once, with its queue") {
  struct MoveOnly : cw::RunnableFifo {
    std::unique_ptr<int> owned = std::make_unique<int>(1);
    std::shared_ptr<int> counted;
  };
  auto counted = std::make_shared<int>(1);
  {
    VirtualBuilder<> builder;
    builder.with_queue(0, 1, MoveOnly{{}, std::make_unique<int>(1), counted}).with_queue(1, 1);
    CHECK(counted.use_count() == 2);
    VirtualExecutor<> executor = builder.build();
    CHECK(counted.use_count() == 2);
    executor.add_queue(2, 1, MoveOnly{{}, std::make_unique<int>(1), counted}).spawn(steps, 2, 1us);
    executor.queue(0).spawn(steps, 2, 1us);
    executor.run_ready(unbounded);
    executor.remove_queue(2);
    CHECK(counted.use_count() == 2);
  }
  CHECK(counted.use_count() == 1);
}

TEST_CASE("a scheduler has 24 bytes in each task, zero at first, that nobody else touches") {
  struct Counts {
    std::uint64_t pushes, pops, id;
  };
  struct Counting {
    std::vector<cw::TaskRef> ready{};
    std::uint64_t* wrong;
    void push(cw::TaskRef task) {
      auto& counts = task.state<Counts>();
      if (counts.pushes == 0) counts.id = task.id();
      if (counts.pushes++ != counts.pops || counts.id != task.id()) ++*wrong;
      ready.push_back(task);
    }
    cw::TaskRef pop() {
      cw::TaskRef task = ready.front();
      ready.erase(ready.begin());
      ++task.state<Counts>().pops;
      return task;
    }
    [[nodiscard]] bool empty() const { return ready.empty(); }
  };
  static_assert(sizeof(Counts) == 24);
  std::uint64_t wrong = 0;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Counting{{}, &wrong}).build();
  JumpHost host;
  for (int task = 0; task < 10; ++task) {
    executor.queue(0).spawn([]() -> cw::Task<> {
      for (int i = 0; i < 20; ++i) {
        co_await cw::yield_now();
        co_await cw::sleep_for(1us);
      }
    });
  }
  executor.run_until_idle(host);
  CHECK(wrong == 0);
  CHECK(executor.stats().ended == 10);
}

TEST_CASE("a scheduler sees a task's arrival, name and group") {
  struct Looking : cw::RunnableFifo {
    std::vector<std::string>* seen;
    explicit Looking(std::vector<std::string>& to) : seen{&to} {}
    void push(cw::TaskRef task) {
      seen->push_back(std::to_string(task.id()) + " " + std::string{task.name()} +
                      (task.group().is_single() ? " single" : " grouped"));
      cw::RunnableFifo::push(task);
    }
  };
  std::vector<std::string> seen;
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1, Looking{seen}).build();
  executor.queue(0).named("first").spawn(steps, 1, 1us);
  executor.queue(0).group(3).named("second").spawn(steps, 1, 1us);
  executor.queue(0).spawn(steps, 1, 1us);
  CHECK(seen == std::vector<std::string>{"1 first single", "2 second grouped", "3  single"});
}
