#include "catch.hpp"

#include <chrono>
#include <coroutine>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// What becomes of a task that is aborted, in each state it may be in.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).with_queue(2, 1, cw::LAS{}).build();
}
using Ex = decltype(make_executor());

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

template <class T>
cw::JoinErrc code_of(cw::JoinHandle<T>& handle) {
  auto result = handle.try_take();
  REQUIRE(result.has_value());
  REQUIRE_FALSE(result->has_value());
  return result->error().code();
}

using Log = std::vector<std::string>;

/// Says when it is destroyed.
class Local {
 public:
  Local(Log& log, std::string name) : log_{&log}, name_{std::move(name)} {}
  Local(Local&& other) noexcept : log_{std::exchange(other.log_, nullptr)}, name_{other.name_} {}
  Local& operator=(Local&&) = delete;
  ~Local() {
    if (log_ != nullptr) log_->push_back(name_);
  }

 private:
  Log* log_;
  std::string name_;
};

/// Completes when the test says so.
struct Stranger {
  std::coroutine_handle<> handle;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { handle = waiting; }
  int await_resume() const noexcept { return 7; }
};

}  // namespace

TEST_CASE("A task aborted before its first turn never starts, and its callable goes at that turn") {
  auto executor = make_executor();
  Log log;
  bool started = false;
  auto handle = executor.queue(1).spawn([&started, local = Local{log, "callable"}]() -> cw::Task<int> {
    started = true;
    co_return 1;
  });
  handle.abort();
  CHECK_FALSE(handle.done());
  CHECK(log.empty());
  settle(executor);
  CHECK_FALSE(started);
  CHECK(log == Log{"callable"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("A runnable task that has yielded is destroyed at its next turn, not before and not after") {
  auto executor = make_executor();
  Log log;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    log.push_back("one");
    co_await cw::yield_now();
    log.push_back("two");
  });
  auto other = executor.queue(1).spawn([&]() -> cw::Task<> {
    handle.abort();
    log.push_back("aborted");
    co_return;
  });
  auto third = executor.queue(1).spawn([&]() -> cw::Task<> {
    log.push_back("third");  // in the queue ahead of the aborted one's second turn
    co_return;
  });
  settle(executor);
  CHECK(log == Log{"one", "aborted", "third", "local"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
}

TEST_CASE("A task aborted while it sleeps goes at once, and its timer with it") {
  auto executor = make_executor();
  Log log;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    co_await cw::sleep_for(1h);
    log.push_back("woken");
  });
  settle(executor);
  CHECK(executor.stats().armed_timers == 1);
  handle.abort();
  settle(executor);
  CHECK(log == Log{"local"});
  CHECK(executor.stats().armed_timers == 0);
  cw::ManualClock::advance(2h);
  settle(executor);
  CHECK(log == Log{"local"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
}

TEST_CASE("A task aborted while it joins another lets go of it, and that one goes on") {
  auto executor = make_executor();
  cw::Waker waker;
  auto joined = executor.queue(1).spawn([&]() -> cw::Task<int> {
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    co_return 5;
  });
  auto joining = executor.queue(2).spawn([&]() -> cw::Task<int> {
    auto result = co_await joined;
    co_return result.value();
  });
  settle(executor);
  joining.abort();
  settle(executor);
  CHECK(code_of(joining) == cw::JoinErrc::cancelled);
  CHECK_FALSE(joined.done());
  auto second = executor.queue(2).spawn([&]() -> cw::Task<int> {
    auto result = co_await joined;
    co_return result.value();
  });
  settle(executor);
  waker.wake();
  settle(executor);
  CHECK(second.try_take()->value() == 5);
}

TEST_CASE("A task that joins one that is aborted learns that it was cancelled") {
  auto executor = make_executor();
  auto joined = executor.queue(1).spawn([]() -> cw::Task<int> {
    co_await cw::suspend([](cw::Waker) {});
    co_return 5;
  });
  Log log;
  std::optional<cw::JoinErrc> seen;
  auto joining = executor.queue(2).spawn([&]() -> cw::Task<> {
    auto result = co_await joined;
    seen = result.error().code();
  });
  settle(executor);
  joined.abort();
  settle(executor);
  CHECK(seen == cw::JoinErrc::cancelled);
  CHECK(joining.done());
}

TEST_CASE("A task aborted while it waits for a waker goes, and the waker is stale") {
  auto executor = make_executor();
  Log log;
  cw::Waker waker;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    log.push_back("woken");
  });
  settle(executor);
  handle.abort();
  waker.wake();
  settle(executor);
  waker.wake();
  settle(executor);
  CHECK(log == Log{"local"});
  handle = cw::JoinHandle<>{};
  waker.wake();
  CHECK_FALSE(executor.run_ready().runnable);
}

TEST_CASE(
    "A task aborted while a foreign awaitable is pending stays until that lets go, then goes unresumed") {
  auto executor = make_executor();
  Log log;
  Stranger stranger;
  bool stopped = false;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    cw::stop_callback hurry{cw::this_task::stop_token(), [&] { stopped = true; }};
    static_cast<void>(co_await stranger);
    log.push_back("woken");
  });
  settle(executor);
  handle.abort();
  settle(executor);
  CHECK(stopped);
  CHECK(log.empty());
  CHECK_FALSE(handle.done());
  CHECK(executor.tasks().at(0).abort_requested);
  stranger.handle.resume();
  settle(executor);
  CHECK(log == Log{"local"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
}

TEST_CASE("A stop callback may itself make the stranger let go") {
  auto executor = make_executor();
  Log log;
  Stranger stranger;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    cw::stop_callback hurry{cw::this_task::stop_token(), [&] { stranger.handle.resume(); }};
    static_cast<void>(co_await stranger);
    log.push_back("woken");
  });
  settle(executor);
  handle.abort();
  CHECK(log.empty());
  settle(executor);
  CHECK(log == Log{"local"});
}

TEST_CASE("A task aborted while it awaits a RemoteHandle goes, the remote task goes on") {
  auto executor = make_executor();
  Log log;
  cw::Waker waker;
  auto remote = executor.remote().spawn(1, [&]() -> cw::Task<int> {
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    co_return 3;
  });
  auto handle = executor.queue(2).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    static_cast<void>(co_await remote);
    log.push_back("woken");
  });
  settle(executor);
  handle.abort();
  settle(executor);
  CHECK(log == Log{"local"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
  waker.wake();
  settle(executor);
  CHECK(remote.try_take()->value() == 3);
}

TEST_CASE("RemoteHandle::abort ends a task at the next look at the inbox, also one not delivered yet") {
  auto executor = make_executor();
  bool started = false;
  auto remote = executor.remote().spawn(1, [&]() -> cw::Task<> {
    started = true;
    co_return;
  });
  remote.abort();
  remote.abort();
  settle(executor);
  CHECK_FALSE(started);
  CHECK(remote.try_take()->error().code() == cw::JoinErrc::cancelled);
  remote.abort();  // it has ended
  settle(executor);
}

TEST_CASE("A task that aborts itself runs on to its next suspension") {
  auto executor = make_executor();
  Log log;
  cw::JoinHandle<> handle;
  auto no_suspension = []() -> cw::Task<int> { co_return 1; };
  handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    handle.abort();
    log.push_back("still here");
    static_cast<void>(co_await no_suspension());
    log.push_back("here too");
    co_await cw::yield_now();
    log.push_back("never");
  });
  settle(executor);
  CHECK(log == Log{"still here", "here too", "local"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
}

TEST_CASE("A task that aborts itself and then waits for what never comes is ended all the same") {
  auto executor = make_executor();
  cw::JoinHandle<> handle;
  SECTION("a waker") {
    handle = executor.queue(1).spawn([&]() -> cw::Task<> {
      handle.abort();
      co_await cw::suspend([](cw::Waker) {});
    });
  }
  SECTION("a timer") {
    handle = executor.queue(1).spawn([&]() -> cw::Task<> {
      handle.abort();
      co_await cw::sleep_for(1h);
    });
  }
  SECTION("another queue") {
    handle = executor.queue(1).spawn([&]() -> cw::Task<> {
      handle.abort();
      co_await cw::switch_to(executor.queue(2));
      FAIL("it has gone on");
    });
  }
  SECTION("within the callable of suspend()") {
    handle = executor.queue(1).spawn([&]() -> cw::Task<> {
      co_await cw::suspend([&](cw::Waker) { handle.abort(); });
      FAIL("it has gone on");
    });
  }
  settle(executor);
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
  CHECK(executor.stats().live_tasks == 0);
  CHECK(executor.stats().armed_timers == 0);
}

TEST_CASE(
    "A callable of suspend() that aborts its task and then throws: the task goes on to its next suspension") {
  auto executor = make_executor();
  cw::JoinHandle<> handle;
  Log log;
  handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    try {
      co_await cw::suspend([&](cw::Waker) {
        handle.abort();
        throw 1;
      });
    } catch (int) {
      log.push_back("caught");
    }
    co_await cw::yield_now();
    log.push_back("never");
  });
  settle(executor);
  CHECK(log == Log{"caught"});
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
}

TEST_CASE("A task that aborts itself right before its end keeps its result") {
  auto executor = make_executor();
  cw::JoinHandle<int> handle;
  handle = executor.queue(1).spawn([&]() -> cw::Task<int> {
    co_await cw::yield_now();
    handle.abort();
    co_return 11;
  });
  settle(executor);
  CHECK(handle.try_take()->value() == 11);
}

TEST_CASE("Abort of a task that has ended does nothing") {
  auto executor = make_executor();
  auto handle = executor.queue(1).spawn([]() -> cw::Task<int> { co_return 2; });
  settle(executor);
  handle.abort();
  CHECK_FALSE(executor.run_ready().runnable);
  CHECK(handle.try_take()->value() == 2);
  cw::JoinHandle<int>{}.abort();  // neither does that of an empty handle
}

TEST_CASE("Abort of a task on its way to another queue ends it there") {
  auto executor = make_executor();
  Log log;
  auto handle = executor.queue(1).spawn([&]() -> cw::Task<> {
    Local local{log, "local"};
    co_await cw::switch_to(executor.queue(2));
    log.push_back("arrived");
  });
  static_cast<void>(executor.run_ready({.polls = 1}));
  CHECK(executor.stats(1).live_tasks == 0);
  CHECK(executor.stats(2).live_tasks == 1);
  handle.abort();
  settle(executor);
  CHECK(log == Log{"local"});
  CHECK(executor.stats(2).live_tasks == 0);
  CHECK(code_of(handle) == cw::JoinErrc::cancelled);
}
