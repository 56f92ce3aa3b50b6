#include "catch.hpp"

#include <chrono>
#include <coroutine>
#include <stdexcept>
#include <vector>

#include <clockworker/clockworker.hpp>

// What destructors, stop callbacks and strangers do while a shutdown ends their tasks.

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

/// Lets the executor's time pass when it sleeps; a sleep without an end is an error.
struct Host {
  void poll(cw::PollTimeout timeout) {
    if (!timeout) throw std::logic_error("nothing will ever happen");
    cw::ManualClock::advance(*timeout);
  }
  void wake() noexcept {}
};

struct Counted {
  explicit Counted(int& of) : count{&of} { ++*count; }
  Counted(const Counted& other) : count{other.count} { ++*count; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*count; }
  int* count;
};

bool cancelled(cw::JoinHandle<int>& handle) {
  auto result = handle.try_take();
  return result && !result->has_value() && result->error().code() == cw::JoinErrc::cancelled;
}

}  // namespace

TEST_CASE("Destructors of locals spawn during an abort: refused, and the callable is gone") {
  struct Spawns {
    Ex& executor;
    int& alive;
    std::vector<cw::JoinHandle<int>>& refused;
    ~Spawns() {
      refused.push_back(executor.queue(1).spawn([kept = Counted{alive}]() -> cw::Task<int> { co_return 1; }));
    }
  };
  auto executor = make_executor();
  Host host;
  int alive = 0;
  std::vector<cw::JoinHandle<int>> refused;
  auto task = executor.queue(1).spawn([&]() -> cw::Task<> {
    Spawns local{executor, alive, refused};
    co_await cw::suspend([](cw::Waker) {});
  });
  settle(executor);
  executor.shutdown(cw::Shutdown::abort());
  executor.run(host);
  REQUIRE(refused.size() == 1);
  CHECK(cancelled(refused[0]));
  CHECK(alive == 0);
}

TEST_CASE("Stop callbacks that an abort calls may shut down again, abort others and drop handles") {
  auto executor = make_executor();
  Host host;
  std::vector<cw::JoinHandle<>> handles;
  int frames = 0;
  for (int i = 0; i < 5; ++i) {
    handles.push_back(executor.queue(1).spawn([&]() -> cw::Task<> {
      Counted local{frames};
      cw::stop_callback callback{cw::this_task::stop_token(), [&] {
                                   executor.shutdown(cw::Shutdown::abort());
                                   for (auto& handle : handles) handle.abort();
                                   handles.clear();
                                 }};
      co_await cw::suspend([](cw::Waker) {});
    }));
  }
  settle(executor);
  CHECK(frames == 5);
  executor.shutdown(cw::Shutdown::abort());
  executor.run(host);
  CHECK(frames == 0);
  CHECK(handles.empty());
}

TEST_CASE("A shutdown waits for a task that a stranger holds on to, and asks its stop token to hurry") {
  struct Stranger {
    std::coroutine_handle<> handle;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) noexcept { handle = waiting; }
    void await_resume() const noexcept {}
  };
  auto executor = make_executor();
  Stranger stranger;
  bool hurried = false;
  auto task = executor.queue(1).spawn([&]() -> cw::Task<> {
    cw::stop_callback hurry{cw::this_task::stop_token(), [&] { hurried = true; }};
    co_await stranger;
    FAIL("it has gone on");
  });
  settle(executor);
  executor.shutdown(cw::Shutdown::abort());
  int polls = 0;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout) {
        if (++polls == 3) stranger.handle.resume();
      },
      []() noexcept {});
  executor.run(host);
  CHECK(hurried);
  CHECK(polls == 3);
  CHECK(task.done());
}
