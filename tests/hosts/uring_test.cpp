#include <clockworker/hosts/uring.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;
using clockworker::UringHost;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

static_assert(cw::PollHook<UringHost>);
static_assert(!std::is_copy_constructible_v<UringHost> && !std::is_move_constructible_v<UringHost>);

bool poll_takes(UringHost& host, nanoseconds timeout) {
  const auto before = steady_clock::now();
  host.poll(timeout);
  return steady_clock::now() - before >= timeout;
}

/// From now on the kernel refuses io_uring to this thread, as the filters of containers do.
void forbid_io_uring() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof rules / sizeof rules[0], rules};
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
  check(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "prctl");
}

TEST_CASE("UringHost: this machine has io_uring, else the tests of this host say nothing", "[host]") {
  CHECK_NOTHROW(UringHost{});
}

TEST_CASE("UringHost: a kernel that refuses is an error that says so", "[host]") {
  std::string text;
  std::error_code code;
  std::thread forbidden{[&] {
    forbid_io_uring();
    try {
      UringHost host;
    } catch (const std::system_error& e) {
      text = e.what();
      code = e.code();
    }
  }};
  forbidden.join();
  CHECK(code == std::errc::operation_not_permitted);
  CHECK_THAT(text, Catch::Contains("the kernel does not give us an io_uring") && Catch::Contains("seccomp"));
  CHECK_THROWS_WITH(UringHost{0}, Catch::Contains("of this size"));
}

TEST_CASE("UringHost: a poll of no time returns at once", "[host]") {
  UringHost host;
  host.poll(0ns);
  host.poll(-1ns);
  host.poll(nanoseconds::min());
}

TEST_CASE("UringHost: a wake before a sleep ends that sleep, and only that", "[host]") {
  UringHost host;
  host.wake();
  host.wake();
  host.poll(std::nullopt);  // returns
  CHECK(poll_takes(host, 10ms));
}

TEST_CASE("UringHost: a poll of no time leaves a wake to the next sleep", "[host]") {
  UringHost host;
  host.poll(0ns);
  host.wake();
  host.poll(0ns);
  host.poll(0ns);
  host.poll(std::nullopt);  // returns
  CHECK(poll_takes(host, 5ms));
}

TEST_CASE("UringHost: it does not return before its timeout", "[host]") {
  UringHost host;
  for (nanoseconds timeout : {nanoseconds{1}, nanoseconds{100us}, nanoseconds{5ms}})
    CHECK(poll_takes(host, timeout));
}

TEST_CASE("UringHost: the longest timeout there is does not overflow", "[host]") {
  UringHost host;
  std::thread waker{[&] {
    std::this_thread::sleep_for(5ms);
    host.wake();
  }};
  const auto before = steady_clock::now();
  host.poll(nanoseconds::max());
  CHECK(steady_clock::now() - before >= 1ms);  // it did sleep
  waker.join();
}

TEST_CASE("UringHost: of many wakes of another thread none that counts is lost", "[host]") {
  UringHost host;
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

TEST_CASE("UringHost: a watched descriptor has its callback called while it is ready", "[host]") {
  UringHost host;
  auto pipe = Ends::pipe();
  int calls = 0;
  host.watch(pipe.a.get(), POLLIN, [&](unsigned events) {
    CHECK(events == POLLIN);
    ++calls;
  });
  host.poll(0ns);
  CHECK(calls == 0);
  CHECK_THROWS_AS(host.watch(pipe.a.get(), POLLIN, [](unsigned) {}), std::logic_error);
  put(pipe.b.get(), "x");
  while (calls < 3) host.poll(std::nullopt);
  host.unwatch(pipe.a.get());
  host.unwatch(pipe.a.get());
  for (int i = 0; i < 3; ++i) host.poll(1ms);
  CHECK(calls == 3);
}

TEST_CASE("UringHost: a watch may end itself, and its descriptor be watched anew, within the callback",
          "[host]") {
  UringHost host;
  auto pipe = Ends::pipe();
  put(pipe.b.get(), "x");
  int first = 0, second = 0;
  host.watch(pipe.a.get(), POLLIN, [&](unsigned) {
    ++first;
    host.unwatch(pipe.a.get());
    host.watch(pipe.a.get(), POLLIN, [&](unsigned) { ++second; });
    ++first;  // what it captured is still there
  });
  while (second == 0) host.poll(std::nullopt);
  CHECK(first == 2);
}

TEST_CASE("UringHost: what a callback throws leaves poll, and the watch goes on", "[host]") {
  UringHost host;
  auto bad = Ends::pipe(), good = Ends::pipe();
  put(bad.b.get(), "x");
  put(good.b.get(), "x");
  int thrown = 0, calls = 0;
  host.watch(bad.a.get(), POLLIN, [&](unsigned) {
    if (++thrown < 3) throw std::runtime_error{"thrown"};
  });
  host.watch(good.a.get(), POLLIN, [&](unsigned) { ++calls; });
  int caught = 0;
  while (calls < 3 || thrown < 3) {
    try {
      host.poll(std::nullopt);
    } catch (const std::runtime_error&) {
      ++caught;
    }
  }
  CHECK(caught == 2);
}

TEST_CASE("UringHost: a watch that the kernel refuses is called once to be told so", "[host]") {
  UringHost host;
  unsigned events = 0;
  int calls = 0;
  host.watch(1'000'000, POLLIN, [&](unsigned with) {
    events = with;
    ++calls;
  });
  for (int i = 0; i < 3; ++i) host.poll(1ms);
  CHECK(events == POLLNVAL);
  CHECK(calls == 1);
}

TEST_CASE("UringHost: a wake that comes with an event that throws is not lost", "[host]") {
  UringHost host;
  auto pipe = Ends::pipe();
  host.watch(pipe.a.get(), POLLIN, [&](unsigned) {
    drain(pipe.a.get());
    throw std::runtime_error{"thrown"};
  });
  host.poll(0ns);
  const bool wake_first = GENERATE(false, true);
  if (wake_first) host.wake();
  put(pipe.b.get(), "x");
  if (!wake_first) host.wake();
  CHECK_THROWS_AS(host.poll(0ns), std::runtime_error);
  host.poll(std::nullopt);  // returns
  CHECK(poll_takes(host, 5ms));
}

}  // namespace
