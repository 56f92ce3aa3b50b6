#include <clockworker/hosts/thread.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <type_traits>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker::ThreadHost;
using std::chrono::nanoseconds;

static_assert(cw::PollHook<ThreadHost>);
static_assert(!std::is_copy_constructible_v<ThreadHost> && !std::is_move_constructible_v<ThreadHost>);

TEST_CASE("ThreadHost: a poll of no time returns at once", "[host]") {
  ThreadHost host;
  host.poll(0ns);
  host.poll(-1ns);
}

TEST_CASE("ThreadHost: a wake before a sleep ends that sleep, and only that", "[host]") {
  ThreadHost host;
  host.wake();
  host.poll(std::nullopt);  // returns
  auto before = std::chrono::steady_clock::now();
  host.poll(20ms);
  CHECK(std::chrono::steady_clock::now() - before >= 20ms);
}

TEST_CASE("ThreadHost: wakes do not add up", "[host]") {
  ThreadHost host;
  host.wake();
  host.wake();
  host.poll(std::nullopt);
  auto before = std::chrono::steady_clock::now();
  host.poll(10ms);
  CHECK(std::chrono::steady_clock::now() - before >= 10ms);
}

TEST_CASE("ThreadHost: a poll of no time leaves a wake to the next sleep", "[host]") {
  ThreadHost host;
  host.wake();
  host.poll(0ns);
  host.poll(std::nullopt);  // returns
}

TEST_CASE("ThreadHost: it does not return before its timeout", "[host]") {
  ThreadHost host;
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{5ms}}) {
    auto before = std::chrono::steady_clock::now();
    host.poll(timeout);
    CHECK(std::chrono::steady_clock::now() - before >= timeout);
  }
}

TEST_CASE("ThreadHost: the longest timeout there is does not overflow", "[host]") {
  ThreadHost host;
  std::thread waker{[&] { host.wake(); }};
  host.poll(nanoseconds::max());
  waker.join();
}

TEST_CASE("ThreadHost: a wake from another thread ends a sleep, the host may be destroyed right after",
          "[host]") {
  for (int round = 0; round < 500; ++round) {
    auto host = std::make_unique<ThreadHost>();
    std::thread waker{[&host = *host] { host.wake(); }};
    host->poll(round % 2 == 0 ? cw::PollTimeout{} : cw::PollTimeout{1h});
    host.reset();
    waker.join();
  }
}

TEST_CASE("ThreadHost: of many wakes of two threads none that counts is lost", "[host]") {
  ThreadHost host;
  constexpr int rounds = 5000;
  std::atomic<int> asked = 0;
  std::thread waker{[&] {
    for (int i = 1; i <= rounds; ++i) {
      while (asked < i) std::this_thread::yield();
      host.wake();
    }
  }};
  for (int i = 1; i <= rounds; ++i) {
    asked = i;
    host.poll(std::nullopt);
  }
  waker.join();
}

TEST_CASE("ThreadHost: run() without a host sleeps on one of its own", "[host]") {
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  bool slept = false;
  auto before = std::chrono::steady_clock::now();
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(5ms);
    slept = true;
    executor.stop();
  });
  executor.run();
  CHECK(slept);
  CHECK(std::chrono::steady_clock::now() - before >= 5ms);
}

}  // namespace
