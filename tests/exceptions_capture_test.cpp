#include "catch.hpp"

#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if __has_include(<sys/wait.h>)
#include <cstdlib>

#include <sys/wait.h>
#include <unistd.h>
#endif

#include <clockworker/clockworker.hpp>

// The policy `capture`: only the handle gets a task's exception, and if nobody ever takes it, the hook hears of it.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

struct Heard {
  std::vector<std::string> texts;
  std::vector<cw::TaskInfo> tasks;
};

auto make_executor(Heard& heard) {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}
      .with_queue(1, cw::QueueOptions{.weight = 1, .slice = {}, .name = "work"})
      .with_exception_policy(cw::ExceptionPolicy::capture)
      .with_unhandled_exception([&heard](std::exception_ptr exception, cw::TaskInfo task) {
        try {
          std::rethrow_exception(std::move(exception));
        } catch (const std::exception& failure) {
          heard.texts.emplace_back(failure.what());
        }
        heard.tasks.push_back(std::move(task));
      })
      .build();
}

template <class Executor>
void settle(Executor& executor) {
  while (executor.run_ready().runnable) {
  }
}

cw::Task<int> fails() {
  co_await cw::yield_now();
  throw std::runtime_error{"failed"};
}

}  // namespace

TEST_CASE("Under capture a run does not throw, and a detached task's exception goes to the hook at its end") {
  Heard heard;
  auto executor = make_executor(heard);
  const cw::TaskId id = executor.queue(1).group(5).named("a name").spawn(fails()).id();
  CHECK_NOTHROW(settle(executor));
  REQUIRE(heard.texts == std::vector<std::string>{"failed"});
  const cw::TaskInfo& task = heard.tasks.at(0);
  CHECK(task.id == id);
  CHECK(task.queue == "work");
  CHECK(task.name == "a name");
  CHECK(task.state == cw::TaskState::done);
}

TEST_CASE("The hook hears of an exception when its handle is dropped, and not before") {
  Heard heard;
  auto executor = make_executor(heard);
  auto handle = executor.queue(1).spawn(fails());
  settle(executor);
  CHECK(handle.done());
  CHECK(heard.texts.empty());
  handle = cw::JoinHandle<int>{};
  CHECK(heard.texts.size() == 1);
}

TEST_CASE("The hook outlives the executor, as a handle may") {
  Heard heard;
  cw::JoinHandle<int> handle;
  {
    auto executor = make_executor(heard);
    handle = executor.queue(1).named("late").spawn(fails());
    settle(executor);
  }
  CHECK(heard.texts.empty());
  handle = cw::JoinHandle<int>{};
  REQUIRE(heard.tasks.size() == 1);
  CHECK(heard.tasks[0].queue == "work");
  CHECK(heard.tasks[0].name == "late");
}

TEST_CASE("An exception that somebody takes is not reported") {
  Heard heard;
  auto executor = make_executor(heard);
  SECTION("by try_take") {
    auto handle = executor.queue(1).spawn(fails());
    settle(executor);
    CHECK(handle.try_take()->error().code() == cw::JoinErrc::exception);
  }
  SECTION("by a join, though it does not look at it") {
    auto handle = executor.queue(1).spawn(fails());
    auto joiner = executor.queue(1).spawn(
        [](cw::JoinHandle<int> joined) -> cw::Task<> { static_cast<void>(co_await joined); },
        std::move(handle));
    settle(executor);
    CHECK(joiner.done());
  }
  SECTION("by run_until") {
    auto handle = executor.queue(1).spawn(fails());
    CHECK_THROWS_AS(executor.run_until(std::move(handle)), std::runtime_error);
  }
  SECTION("by run_until, of its main") { CHECK_THROWS_AS(executor.run_until(fails()), std::runtime_error); }
  SECTION("by a RemoteHandle") {
    auto handle = executor.remote().spawn(1, [] { return fails(); });
    settle(executor);
    CHECK_THROWS_AS(handle.get().value(), std::runtime_error);
  }
  CHECK(heard.texts.empty());
}

TEST_CASE("A joiner that is aborted before the end of the one that fails has taken nothing") {
  Heard heard;
  auto executor = make_executor(heard);
  auto handle = executor.queue(1).spawn([]() -> cw::Task<int> {
    co_await cw::sleep_for(1ms);
    throw std::runtime_error{"late"};
  });
  auto joiner = executor.queue(1).spawn(
      [](cw::JoinHandle<int> joined) -> cw::Task<> { static_cast<void>(co_await joined); },
      std::move(handle));
  settle(executor);
  joiner.abort();
  settle(executor);
  cw::ManualClock::advance(1ms);
  settle(executor);
  CHECK(heard.texts == std::vector<std::string>{"late"});
}

TEST_CASE(
    "A remote task's exception goes to the hook when its handle is dropped, or at its end if that is gone") {
  Heard heard;
  auto executor = make_executor(heard);
  {
    auto handle = executor.remote().spawn(1, [] { return fails(); });
    settle(executor);
    CHECK(heard.texts.empty());
  }
  CHECK(heard.texts.size() == 1);
  static_cast<void>(executor.remote().spawn(1, [] { return fails(); }));
  settle(executor);
  CHECK(heard.texts.size() == 2);
  CHECK(heard.tasks.at(1).queue == "work");
}

TEST_CASE("Neither a cancelled task nor one with a value is reported, and under rethrow nothing is") {
  Heard heard;
  auto executor = make_executor(heard);
  auto cancelled = executor.queue(1).spawn(fails());
  cancelled.abort();
  executor.queue(1).spawn([]() -> cw::Task<int> { co_return 1; });
  settle(executor);
  cancelled = cw::JoinHandle<int>{};
  CHECK(heard.texts.empty());

  int calls = 0;
  auto rethrows = cw::ExecutorBuilder<>{}
                      .with_queue(1, 1)
                      .with_unhandled_exception([&calls](std::exception_ptr, cw::TaskInfo) { ++calls; })
                      .build();
  rethrows.queue(1).spawn(fails());
  CHECK_THROWS_AS(rethrows.run_until_idle(), std::runtime_error);
  CHECK(calls == 0);
}

TEST_CASE("Under capture, the tasks of an executor that is destroyed are cancelled, not reported") {
  Heard heard;
  cw::JoinHandle<int> handle;
  {
    auto executor = make_executor(heard);
    handle = executor.queue(1).spawn(fails());
    static_cast<void>(executor.run_ready({.polls = 1}));
  }
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
  CHECK(heard.texts.empty());
}

#if __has_include(<sys/wait.h>)
TEST_CASE("Without a hook an exception that nobody takes ends the program") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::set_terminate([] { std::_Exit(42); });
    auto executor =
        cw::ExecutorBuilder<>{}.with_queue(1, 1).with_exception_policy(cw::ExceptionPolicy::capture).build();
    executor.queue(1).spawn(fails());
    executor.run_until_idle();
    std::_Exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
}
#endif
