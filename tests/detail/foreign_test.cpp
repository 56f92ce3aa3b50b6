#include <clockworker/detail/foreign.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <coroutine>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace clockworker_test;

/// Runs `main` as a task of queue 1, after which a task on queue 1 logs "other"; to the end of both. What it returned.
template <class F>
auto run_beside_another(F main, Log* log = nullptr) {
  ManualExecutor executor = manual_executor();
  auto handle = executor.queue(1).spawn(main);
  if (log != nullptr) {
    static_cast<void>(executor.queue(1).spawn([log]() -> cw::Task<> {
      log->push_back("other");
      co_return;
    }));
  }
  run_all(executor);
  return handle.try_take()->value();
}

/// Gives its value; says how often it was asked to suspend.
struct Ready {
  int value;
  int* suspensions;
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept { ++*suspensions; }
  [[nodiscard]] int await_resume() const noexcept { return value; }
};

TEST_CASE("foreign: one that is ready does not suspend", "[foreign]") {
  int suspensions = 0;
  int value = run_beside_another([&]() -> cw::Task<int> {
    int got = co_await Ready{5, &suspensions};
    co_return got;
  });
  CHECK(value == 5);
  CHECK(suspensions == 0);
}

struct AtOnce {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) const { frame.resume(); }
  void await_resume() const noexcept {}
};

struct BoolSuspend {
  bool suspends;
  std::coroutine_handle<>* to;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> frame) const noexcept {
    if (suspends) *to = frame;
    return suspends;
  }
  void await_resume() const noexcept {}
};

struct GiveBack {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> frame) const noexcept {
    return frame;
  }
  void await_resume() const noexcept {}
};

TEST_CASE("foreign: whatever completes within await_suspend goes on without a trip through the queue",
          "[foreign]") {
  Log log;
  int total = run_beside_another(
      [&]() -> cw::Task<int> {
        std::coroutine_handle<> unused;
        co_await AtOnce{};
        log.push_back("resume() inside");
        co_await BoolSuspend{false, &unused};
        log.push_back("false");
        co_await GiveBack{};
        log.push_back("the handle itself");
        co_return 3;
      },
      &log);
  CHECK(total == 3);
  CHECK(log == Log{"resume() inside", "false", "the handle itself", "other"});
}

TEST_CASE("foreign: what completes later brings the task back to its own queue", "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  std::string queue;
  int turns = 0;
  cw::JoinHandle<> handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await stranger;
    queue = cw::this_task::queue().name();
    ++turns;
  });
  run_all(executor);
  CHECK(executor.tasks().at(0).waits_for == "foreign awaitable");
  stranger.complete();  // outside of the executor, on its thread
  CHECK(turns == 0);
  run_all(executor);
  CHECK(turns == 1);
  CHECK(queue == "1");
  CHECK(handle.done());
}

TEST_CASE("foreign: another task, of another queue, may complete it", "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  std::string queue;
  Log log;
  static_cast<void>(executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await stranger;
    log.push_back("back on " + std::string{cw::this_task::queue().name()});
  }));
  run_all(executor);
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    stranger.complete();
    log.push_back("completed on " + std::string{cw::this_task::queue().name()});
    co_return;
  }));
  run_all(executor);
  CHECK(log == Log{"completed on 0", "back on 1"});
}

TEST_CASE("foreign: an await_suspend that returns true, or a coroutine that does nothing, waits",
          "[foreign]") {
  struct ToNoop {
    std::coroutine_handle<>* to;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> frame) const noexcept {
      *to = frame;
      return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  ManualExecutor executor = manual_executor();
  std::coroutine_handle<> waiting;
  int steps = 0;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await BoolSuspend{true, &waiting};
    ++steps;
    co_await ToNoop{&waiting};
    ++steps;
  });
  for (int step = 0; step < 2; ++step) {
    run_all(executor);
    CHECK(steps == step);
    waiting.resume();
  }
  run_all(executor);
  CHECK(handle.done());
}

struct ByMember {
  int value;
  struct Awaiter {
    int value;
    Awaiter(int with) : value{with} {}
    Awaiter(const Awaiter&) = delete;  // made in place
    Awaiter& operator=(const Awaiter&) = delete;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const { frame.resume(); }
    [[nodiscard]] int await_resume() const noexcept { return value; }
  };
  [[nodiscard]] Awaiter operator co_await() const noexcept { return Awaiter{value}; }
};

struct ByRvalueMember {
  std::unique_ptr<int> value;
  [[nodiscard]] ByMember::Awaiter operator co_await() && noexcept { return ByMember::Awaiter{*value}; }
};

struct ByFreeFunction {
  int value;
};
[[nodiscard]] ByMember::Awaiter operator co_await(const ByFreeFunction& of) noexcept {
  return ByMember::Awaiter{of.value};
}

TEST_CASE("foreign: operator co_await is found as a member, of rvalues alone too, and as a free function",
          "[foreign]") {
  int sum = run_beside_another([]() -> cw::Task<int> {
    ByMember by_member{1};
    int total = co_await by_member;
    ByRvalueMember by_rvalue{std::make_unique<int>(10)};
    total += co_await std::move(by_rvalue);
    ByFreeFunction by_free{100};
    total += co_await by_free;
    co_return total;
  });
  CHECK(sum == 111);
}

struct SelfTelling {
  explicit SelfTelling(int with) : value{with} {}
  SelfTelling(const SelfTelling&) = delete;  // neither copied nor moved
  SelfTelling& operator=(const SelfTelling&) = delete;
  int value;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) {
    ++value;
    frame.resume();
  }
  [[nodiscard]] SelfTelling& await_resume() noexcept { return *this; }
};

TEST_CASE("foreign: an awaiter is used where it lies, and a reference that it gives refers to what it should",
          "[foreign]") {
  int sum = run_beside_another([]() -> cw::Task<int> {
    SelfTelling lvalue{1};
    SelfTelling& got = co_await lvalue;
    CHECK(&got == &lvalue);
    CHECK(lvalue.value == 2);
    SelfTelling moved{10};
    SelfTelling& also = co_await std::move(moved);
    CHECK(&also == &moved);
    int total = lvalue.value + moved.value;
    co_return total;
  });
  CHECK(sum == 13);
}

TEST_CASE("foreign: gives move-only values, and is itself move-only", "[foreign]") {
  struct Gives {
    std::unique_ptr<int> value;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const { frame.resume(); }
    [[nodiscard]] std::unique_ptr<int> await_resume() noexcept { return std::move(value); }
  };
  int value = run_beside_another([]() -> cw::Task<int> {
    Gives gives{std::make_unique<int>(8)};
    std::unique_ptr<int> got = co_await std::move(gives);
    co_return *got;
  });
  CHECK(value == 8);
}

struct Throws {
  enum Where { nowhere, ready, suspend, suspend_after_completion, resume } where;
  [[nodiscard]] bool await_ready() const {
    if (where == ready) throw std::runtime_error("await_ready");
    return false;
  }
  void await_suspend(std::coroutine_handle<> frame) const {
    if (where == suspend) throw std::runtime_error("await_suspend");
    frame.resume();
    if (where == suspend_after_completion) throw std::runtime_error("await_suspend after completion");
  }
  void await_resume() const {
    if (where == resume) throw std::runtime_error("await_resume");
  }
};

TEST_CASE("foreign: what any of its functions throws comes out of the co_await, and the task goes on",
          "[foreign]") {
  Log log;
  run_beside_another([&]() -> cw::Task<> {
    for (auto where : {Throws::ready, Throws::suspend, Throws::suspend_after_completion, Throws::resume}) {
      Throws throws{where};
      try {
        co_await throws;
        log.push_back("nothing");
      } catch (const std::runtime_error& e) {
        log.push_back(e.what());
      }
      co_await cw::yield_now();
    }
    Throws well{Throws::nowhere};
    co_await well;
  });
  CHECK(log == Log{"await_ready", "await_suspend", "await_suspend after completion", "await_resume"});
}

TEST_CASE("foreign: what operator co_await throws comes out of the co_await", "[foreign]") {
  struct ThrowsFirst {
    [[nodiscard]] AtOnce operator co_await() const { throw std::runtime_error("operator co_await"); }
  };
  std::string text = run_beside_another([]() -> cw::Task<std::string> {
    std::string caught;
    ThrowsFirst throws;
    try {
      co_await throws;
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    co_return caught;
  });
  CHECK(text == "operator co_await");
}

TEST_CASE("foreign: a second resume of the handle is ignored", "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  int turns = 0;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await stranger;
    ++turns;
    co_await cw::sleep_for(1h);
    ++turns;
  });
  run_all(executor);
  std::coroutine_handle<> twice = stranger.waiting;
  twice.resume();
  twice.resume();
  run_all(executor);
  CHECK(turns == 1);
  twice.resume();  // the task sleeps by now
  run_all(executor);
  CHECK(turns == 1);
  pass_time(executor, 1h);
  CHECK(turns == 2);
}

TEST_CASE("foreign: the awaiter's functions run as part of the task", "[foreign]") {
  struct Asks {
    std::vector<cw::TaskId>* seen;
    [[nodiscard]] bool await_ready() const {
      seen->push_back(cw::this_task::id());
      return false;
    }
    void await_suspend(std::coroutine_handle<> frame) const {
      seen->push_back(cw::this_task::id());
      frame.resume();
    }
    void await_resume() const { seen->push_back(cw::this_task::id()); }
  };
  ManualExecutor executor = manual_executor();
  std::vector<cw::TaskId> seen;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> { co_await Asks{&seen}; });
  run_all(executor);
  CHECK(seen == std::vector<cw::TaskId>(3, handle.id()));
}

}  // namespace
