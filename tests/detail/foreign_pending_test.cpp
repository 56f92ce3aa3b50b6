// What becomes of a task that is to end while a foreign awaitable holds a handle into its frames.

#include <clockworker/detail/foreign.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace {

using namespace clockworker_test;

/// Two frames and a callable, each with something to tell its end by; waits for `stranger` in the innermost.
cw::JoinHandle<> spawn_waiting(const cw::QueueHandle& queue, Stranger& stranger, Log& log) {
  return queue.spawn([&stranger, &log, kept = Epitaph{log, "callable"}]() -> cw::Task<> {
    auto child = [](Stranger& waits_for, Log& to) -> cw::Task<> {
      Epitaph local{to, "inner"};
      co_await waits_for;
      to.push_back("went on");
    };
    Epitaph local{log, "outer"};
    co_await child(stranger, log);
    log.push_back("went on");
  });
}

const Log all_destroyed{"inner", "outer", "callable"};

TEST_CASE("foreign: an aborted task keeps its frames until the stranger resumes it, then they go",
          "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  Log log;
  cw::JoinHandle<> handle = spawn_waiting(executor.queue(0), stranger, log);
  run_all(executor);
  handle.abort();
  run_all(executor);
  CHECK_FALSE(handle.done());
  CHECK(executor.tasks().at(0).abort_requested);
  CHECK(log.empty());
  stranger.complete();
  CHECK(log.empty());
  run_all(executor);
  CHECK(handle.done());
  CHECK(log == all_destroyed);
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("foreign: a stranger that listens to the stop token lets go of an aborted task at once",
          "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  bool went_on = false;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    cw::stop_callback hurry{cw::this_task::stop_token(), [&] { stranger.complete(); }};
    co_await stranger;
    went_on = true;
  });
  run_all(executor);
  handle.abort();
  run_all(executor);
  CHECK(handle.done());
  CHECK_FALSE(went_on);
}

TEST_CASE(
    "foreign: a task that aborted itself ends at the next await that suspends, not at one that does not",
    "[foreign]") {
  struct AtOnce {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const { frame.resume(); }
    void await_resume() const noexcept {}
  };
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  Log log;
  cw::JoinHandle<> handle;
  handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    handle.abort();
    co_await AtOnce{};
    log.push_back("at once");
    co_await stranger;
    log.push_back("never");
  });
  run_all(executor);
  CHECK_FALSE(handle.done());
  stranger.complete();
  run_all(executor);
  CHECK(handle.done());
  CHECK(log == Log{"at once"});
}

TEST_CASE("foreign: once it has completed, an abort reaches what the task waits for next", "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  Log log;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    Epitaph local{log, "frame"};
    co_await stranger;
    log.push_back("completed");
    co_await cw::sleep_for(1h);
    log.push_back("never");
  });
  run_all(executor);
  stranger.complete();
  run_all(executor);
  handle.abort();
  run_all(executor);
  CHECK(handle.done());
  CHECK(log == Log{"completed", "frame"});
}

TEST_CASE("foreign: an executor's end cancels the task and leaves the frames to the stranger", "[foreign]") {
  Stranger stranger;
  Log log;
  cw::JoinHandle<> handle;
  {
    ManualExecutor executor = manual_executor();
    handle = spawn_waiting(executor.queue(0).group(1).named("n"), stranger, log);
    run_all(executor);
  }
  CHECK(handle.done());
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::cancelled);
  CHECK(log.empty());
  stranger.complete();
  CHECK(log == all_destroyed);
}

TEST_CASE("foreign: so it is if the handle goes before the frames do, or if there is none", "[foreign]") {
  for (bool dropped_at_once : {false, true}) {
    Stranger stranger;
    Log log;
    std::optional<cw::JoinHandle<>> handle;
    {
      ManualExecutor executor = manual_executor();
      handle.emplace(spawn_waiting(executor.queue(0), stranger, log));
      if (dropped_at_once) handle.reset();
      run_all(executor);
    }
    handle.reset();
    CHECK(log.empty());
    stranger.complete();
    CHECK(log == all_destroyed);
  }
}

TEST_CASE("foreign: at the executor's end a stranger that listens to the stop token lets go in time",
          "[foreign]") {
  Stranger stranger;
  Log log;
  {
    ManualExecutor executor = manual_executor();
    static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
      Epitaph local{log, "frame"};
      cw::stop_callback hurry{cw::this_task::stop_token(), [&] { stranger.complete(); }};
      co_await stranger;
      log.push_back("went on");
    }));
    run_all(executor);
  }
  CHECK(log == Log{"frame"});
}

TEST_CASE("foreign: one that had completed, but whose task had not had its turn, ends with the executor",
          "[foreign]") {
  Stranger stranger;
  Log log;
  {
    ManualExecutor executor = manual_executor();
    static_cast<void>(spawn_waiting(executor.queue(0), stranger, log));
    run_all(executor);
    stranger.complete();
  }
  CHECK(log == all_destroyed);
}

/// Completes a stranger when it is destroyed, as a connection does with its readers.
struct CompletesAtEnd {
  explicit CompletesAtEnd(Stranger& of) : stranger{of} {}
  CompletesAtEnd(const CompletesAtEnd&) = delete;
  CompletesAtEnd& operator=(const CompletesAtEnd&) = delete;
  ~CompletesAtEnd() {
    if (stranger.waiting) stranger.complete();
  }
  Stranger& stranger;
};

cw::Task<> own(Stranger& stranger) {
  CompletesAtEnd owner{stranger};
  co_await cw::sleep_for(1h);
}

TEST_CASE("foreign: a frame that goes with the executor may complete what a newer task waits for",
          "[foreign]") {
  Stranger stranger;
  Log log;
  cw::JoinHandle<> waiting;
  {
    ManualExecutor executor = manual_executor();
    static_cast<void>(executor.queue(0).spawn(own, std::ref(stranger)));
    waiting = spawn_waiting(executor.queue(0), stranger, log);  // goes first
    run_all(executor);
  }
  CHECK(log == all_destroyed);
  CHECK(waiting.try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("foreign: and what an older task waits for", "[foreign]") {
  Stranger stranger;
  Log log;
  cw::JoinHandle<> waiting;
  {
    ManualExecutor executor = manual_executor();
    waiting = spawn_waiting(executor.queue(0), stranger, log);
    static_cast<void>(executor.queue(0).spawn(own, std::ref(stranger)));  // goes first
    run_all(executor);
  }
  CHECK(log == all_destroyed);
  CHECK(waiting.try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE(
    "foreign: frames left to a stranger may hold handles of their executor, and a task of it may await "
    "theirs",
    "[foreign]") {
  Stranger stranger;
  Log log;
  {
    ManualExecutor executor = manual_executor();
    cw::JoinHandle<> sleeper = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
    cw::JoinHandle<> waiting = executor.queue(0).spawn(
        [&](cw::JoinHandle<>& kept, cw::QueueHandle& queue) -> cw::Task<> {
          Epitaph local{log, "frame"};
          cw::Task<> child = own(stranger);
          co_await stranger;
          static_cast<void>(kept);
          static_cast<void>(queue);
        },
        std::move(sleeper), executor.queue(1).group(7));
    static_cast<void>(executor.queue(1).spawn(
        [](cw::JoinHandle<>& joins) -> cw::Task<> { static_cast<void>(co_await joins); },
        std::move(waiting)));
    run_all(executor);
  }
  CHECK(log.empty());
  stranger.complete();
  CHECK(log == Log{"frame"});
}

TEST_CASE("foreign: several tasks may be left to strangers, who complete in any order", "[foreign]") {
  Stranger strangers[3];
  Log logs[3];
  {
    ManualExecutor executor = manual_executor();
    for (int i = 0; i < 3; ++i)
      static_cast<void>(spawn_waiting(executor.queue(i % 2), strangers[i], logs[i]));
    run_all(executor);
  }
  for (int i : {1, 2, 0}) {
    CHECK(logs[i].empty());
    strangers[i].complete();
    CHECK(logs[i] == all_destroyed);
  }
}

TEST_CASE("foreign: another executor may run when frames are destroyed by their stranger", "[foreign]") {
  Stranger stranger;
  Log log;
  {
    ManualExecutor executor = manual_executor();
    static_cast<void>(spawn_waiting(executor.queue(0), stranger, log));
    run_all(executor);
  }
  ManualExecutor other = manual_executor();
  static_cast<void>(other.queue(0).spawn([&]() -> cw::Task<> {
    stranger.complete();
    log.push_back(std::to_string(cw::this_task::id()));
    co_return;
  }));
  run_all(other);
  CHECK(log == Log{"inner", "outer", "callable", "1"});
}

TEST_CASE("foreign: an aborting shutdown waits for the stranger", "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  Log log;
  cw::JoinHandle<> handle = spawn_waiting(executor.queue(0), stranger, log);
  run_all(executor);
  executor.shutdown(cw::Shutdown::abort());
  run_all(executor);
  CHECK_FALSE(handle.done());
  stranger.complete();
  run_all(executor);
  CHECK(handle.done());
  CHECK(log == all_destroyed);
}

}  // namespace
