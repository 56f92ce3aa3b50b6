#include "catch.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

// The destructor of an executor and other threads.

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

auto make_executor() {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}.with_queue(1, 1).with_queue(2, 1, cw::LAS{}).build();
}
using Ex = decltype(make_executor());

/// An executor that a test destroys when it likes.
struct Owned {
  std::unique_ptr<Ex> executor{new Ex(make_executor())};
};

void settle(Ex& executor) {
  while (executor.run_ready().runnable) {
  }
}

template <class F>
class AtEnd {
 public:
  explicit AtEnd(F f) : f_{std::move(f)} {}
  AtEnd(AtEnd&& other) noexcept : f_{std::move(other.f_)} { other.f_.reset(); }
  AtEnd& operator=(AtEnd&&) = delete;
  ~AtEnd() {
    if (f_) (*f_)();
  }

 private:
  std::optional<F> f_;
};

template <class T>
bool cancelled(cw::JoinHandle<T>& handle) {
  auto result = handle.try_take();
  return result && !result->has_value() && result->error().code() == cw::JoinErrc::cancelled;
}

}  // namespace

TEST_CASE("An executor may be built, driven and destroyed on three threads, one after the other") {
  Owned owned;
  std::thread::id destroyed_on;
  cw::Waker waker;
  auto task = owned.executor->queue(1).spawn([&]() -> cw::Task<> {
    AtEnd local{[&] { destroyed_on = std::this_thread::get_id(); }};
    co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
    co_await cw::sleep_for(1h);
  });
  std::thread driver{[&] {
    settle(*owned.executor);
    waker.wake();
    settle(*owned.executor);
  }};
  driver.join();
  CHECK(owned.executor->stats().armed_timers == 1);
  std::thread::id last;
  std::thread destroyer{[&] {
    last = std::this_thread::get_id();
    owned.executor.reset();
  }};
  destroyer.join();
  CHECK(destroyed_on == last);
  CHECK(cancelled(task));
}

TEST_CASE(
    "Threads that wake, spawn, abort and stop while their executor is destroyed find it there or gone") {
  for (int round = 0; round < 100; ++round) {
    Owned owned;
    std::vector<cw::Waker> wakers;
    int frames = 0;
    for (int i = 0; i < 4; ++i) {
      owned.executor->queue(1).spawn([&]() -> cw::Task<> {
        ++frames;
        AtEnd local{[&] { --frames; }};
        co_await cw::suspend([&](cw::Waker w) { wakers.push_back(std::move(w)); });
      });
    }
    settle(*owned.executor);
    cw::Remote remote = owned.executor->remote();
    cw::RemoteHandle<int> spawned;
    std::thread other{[&, copies = wakers] {
      for (const cw::Waker& waker : copies) waker.wake();
      spawned = remote.spawn(1, []() -> cw::Task<int> { co_return 1; });
      spawned.abort();
      remote.stop();
    }};
    owned.executor.reset();
    other.join();
    REQUIRE(frames == 0);
    REQUIRE(spawned.get().error().code() == cw::JoinErrc::cancelled);
  }
}
