#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;
using clockworker::EpollHost;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

static_assert(cw::PollHook<EpollHost>);
static_assert(!std::is_copy_constructible_v<EpollHost> && !std::is_move_constructible_v<EpollHost>);
static_assert(!std::is_copy_constructible_v<cw::EpollGuest>);
static_assert(std::is_nothrow_move_constructible_v<cw::WatchedFd> &&
              std::is_nothrow_move_assignable_v<cw::WatchedFd> &&
              !std::is_copy_constructible_v<cw::WatchedFd>);

bool poll_takes(EpollHost& host, nanoseconds timeout) {
  const auto before = steady_clock::now();
  host.poll(timeout);
  return steady_clock::now() - before >= timeout;
}

TEST_CASE("EpollHost: a poll of no time returns at once", "[host]") {
  EpollHost host;
  host.poll(0ns);
  host.poll(-1ns);
  host.poll(nanoseconds::min());
}

TEST_CASE("EpollHost: a wake before a sleep ends that sleep, and only that", "[host]") {
  EpollHost host;
  host.wake();
  host.wake();
  host.poll(std::nullopt);  // returns
  CHECK(poll_takes(host, 10ms));
}

TEST_CASE("EpollHost: a poll of no time leaves a wake to the next sleep", "[host]") {
  EpollHost host;
  host.wake();
  host.poll(0ns);
  host.poll(0ns);
  host.poll(std::nullopt);  // returns
  CHECK(poll_takes(host, 5ms));
}

TEST_CASE("EpollHost: it does not return before its timeout", "[host]") {
  EpollHost host;
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{1'500us}, nanoseconds{5ms}})
    CHECK(poll_takes(host, timeout));
}

TEST_CASE("EpollHost: where the system counts in milliseconds a timeout is rounded up", "[host]") {
  cw::detail::EpollSet set;
  set.count_in_milliseconds();
  epoll_event event;
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{1'500us}}) {
    const auto before = steady_clock::now();
    CHECK(set.wait(&event, 1, timeout) == 0);
    CHECK(steady_clock::now() - before >= timeout);
  }
}

TEST_CASE("EpollHost: the longest timeout there is does not overflow", "[host]") {
  EpollHost host;
  std::thread waker{[&] {
    std::this_thread::sleep_for(5ms);
    host.wake();
  }};
  const auto before = steady_clock::now();
  host.poll(nanoseconds::max());
  CHECK(steady_clock::now() - before >= 1ms);  // it did sleep
  waker.join();
}

TEST_CASE("EpollHost: a watched descriptor has its callback called at each poll that finds it ready",
          "[host]") {
  EpollHost host;
  auto pipe = Ends::pipe();
  int calls = 0;
  host.watch(pipe.a.get(), EPOLLIN, [&](std::uint32_t events) {
    CHECK(events == EPOLLIN);
    ++calls;
  });
  host.poll(0ns);
  CHECK(calls == 0);
  put(pipe.b.get(), "x");
  host.poll(std::nullopt);
  host.poll(std::nullopt);
  CHECK(calls == 2);
  host.unwatch(pipe.a.get());
  host.poll(0ns);
  CHECK(calls == 2);
}

TEST_CASE("EpollHost: a watch may end itself, and its descriptor be watched anew, within the callback",
          "[host]") {
  EpollHost host;
  auto pipe = Ends::pipe();
  put(pipe.b.get(), "x");
  int first = 0, second = 0;
  host.watch(pipe.a.get(), EPOLLIN, [&](std::uint32_t) {
    ++first;
    host.unwatch(pipe.a.get());
    host.watch(pipe.a.get(), EPOLLIN, [&](std::uint32_t) { ++second; });
    ++first;  // what it captured is still there
  });
  host.poll(0ns);
  host.poll(0ns);
  CHECK(first == 2);
  CHECK(second == 1);
}

TEST_CASE("EpollHost: what a callback throws leaves poll, and the other events come at the next", "[host]") {
  EpollHost host;
  auto bad = Ends::pipe(), good = Ends::pipe(), awaited = Ends::pipe();
  for (auto* pipe : {&bad, &good, &awaited}) put(pipe->b.get(), "x");
  int calls = 0;
  const auto fails_once = [&](std::uint32_t) {
    if (++calls == 1) throw std::runtime_error{"thrown"};
  };
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  bool resumed = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    host.watch(bad.a.get(), EPOLLIN | EPOLLET, fails_once);
    host.watch(good.a.get(), EPOLLIN | EPOLLET, fails_once);
    co_await cw::readable(awaited.a.get());
    resumed = true;
  });
  CHECK_THROWS_AS(executor.run_until_idle(host), std::runtime_error);
  executor.run_until_idle(host);
  CHECK(resumed);
  CHECK(calls == 2);
}

TEST_CASE("EpollHost: a wake that comes with an event that throws is not lost", "[host]") {
  EpollHost host;
  auto pipe = Ends::pipe();
  const bool wake_first = GENERATE(false, true);
  if (wake_first) host.wake();
  put(pipe.b.get(), "x");
  host.watch(pipe.a.get(), EPOLLIN | EPOLLET, [&](std::uint32_t) { throw std::runtime_error{"thrown"}; });
  if (!wake_first) host.wake();
  CHECK_THROWS_AS(host.poll(0ns), std::runtime_error);
  host.poll(std::nullopt);  // returns
}

TEST_CASE("EpollHost: a callback may poll again, and each event is delivered once", "[host]") {
  EpollHost host;
  auto a = Ends::pipe(), b = Ends::pipe();
  put(a.b.get(), "x");
  put(b.b.get(), "x");
  int calls = 0;
  const auto nested = [&](std::uint32_t) {
    ++calls;
    host.poll(0ns);
    host.poll(0ns);
  };
  host.watch(a.a.get(), EPOLLIN | EPOLLET, nested);
  host.watch(b.a.get(), EPOLLIN | EPOLLET, nested);
  host.poll(0ns);
  host.poll(0ns);
  CHECK(calls == 2);
}

TEST_CASE("EpollHost: bad descriptors are refused by name, and regular files cannot be watched", "[host]") {
  EpollHost host;
  CHECK_THROWS_WITH(host.watch(-1, EPOLLIN, [](std::uint32_t) {}),
                    Catch::Contains("watch(fd -1)") && Catch::Contains("Bad file descriptor"));
  CHECK_THROWS_WITH(host.watch(1'000'000, EPOLLIN, [](std::uint32_t) {}),
                    Catch::Contains("watch(fd 1000000)"));
  const OwnedFd file{check(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open")};
  CHECK_THROWS_AS(host.watch(file.get(), EPOLLIN, [](std::uint32_t) {}), std::system_error);
  auto pipe = Ends::pipe();
  host.watch(pipe.a.get(), EPOLLIN, [](std::uint32_t) {});
  CHECK_THROWS_AS(host.watch(pipe.a.get(), EPOLLIN, [](std::uint32_t) {}), std::logic_error);
}

TEST_CASE("EpollHost: of many wakes of another thread none that counts is lost", "[host]") {
  EpollHost host;
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

TEST_CASE("EpollHost: one that is derived from it is found by the free functions", "[host]") {
  struct Mine : EpollHost {
    int of_mine = 0;
  } host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto pipe = Ends::pipe();
  put(pipe.b.get(), "x");
  executor.run_until(host, [&]() -> cw::Task<> { co_await cw::readable(pipe.a.get()); });
}

}  // namespace
