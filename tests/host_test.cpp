#include <clockworker/host.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

// --- What is a host, and what is not

struct Minimal {
  void poll(cw::PollTimeout) {}
  void wake() noexcept {}
};
struct ReturnsSomething {
  int poll(cw::PollTimeout) { return 1; }
  bool wake() noexcept { return true; }
};
struct NoPoll {
  void wake() noexcept {}
};
struct NoWake {
  void poll(cw::PollTimeout) {}
};
struct WakeMayThrow {
  void poll(cw::PollTimeout) {}
  void wake() {}
};
struct PollTakesMilliseconds {
  void poll(std::chrono::milliseconds) {}
  void wake() noexcept {}
};
struct ConstOnly {
  void poll(cw::PollTimeout) const {}
  void wake() const noexcept {}
};

static_assert(cw::PollHook<Minimal> && cw::PollHook<ReturnsSomething> && cw::PollHook<cw::ThreadHost>);
static_assert(cw::PollHook<ConstOnly> && cw::PollHook<const ConstOnly>);
static_assert(!cw::PollHook<const Minimal>);
static_assert(!cw::PollHook<NoPoll> && !cw::PollHook<NoWake> && !cw::PollHook<int>);
static_assert(!cw::PollHook<WakeMayThrow>);
static_assert(!cw::PollHook<PollTakesMilliseconds>);

/// Notes what it is asked for, and does what the test says. Time passes in it: as much as it may block.
struct Scripted {
  std::vector<cw::PollTimeout> asked;
  int wakes = 0;
  std::function<void()> on_poll = [] {};
  std::function<void()> on_endless_poll = [] {
    throw std::logic_error("the test's host would sleep for ever");
  };

  void poll(cw::PollTimeout timeout) {
    asked.push_back(timeout);
    on_poll();
    if (!timeout) {
      on_endless_poll();
    } else {
      cw::ManualClock::advance(*timeout);
    }
  }
  void wake() noexcept { ++wakes; }
};

cw::Task<> work(nanoseconds each, int times) {
  for (int i = 0; i < times; ++i) {
    cw::ManualClock::advance(each);
    co_await cw::yield_now();
  }
}

TEST_CASE("Host: poll_hook makes one of two callables, move-only ones too", "[host]") {
  int polls = 0;
  int wakes = 0;
  auto owned = std::make_unique<int>(7);
  auto host = cw::poll_hook([&polls, owned = std::move(owned)](cw::PollTimeout) { polls += *owned; },
                            [&wakes] { ++wakes; });
  static_assert(cw::PollHook<decltype(host)>);
  host.poll(0ns);
  host.wake();
  CHECK(polls == 7);
  CHECK(wakes == 1);
}

TEST_CASE("Host: it may be const", "[host]") {
  const ConstOnly host;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn(work(1us, 3));
  executor.run_until_idle(host);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("Host: run_until_idle without tasks asks nothing of the host", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.run_until_idle(host);
  CHECK(host.asked.empty());
}

TEST_CASE("Host: idle without a timer, it is asked to block until woken", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).build();
  host.on_endless_poll = [&] { executor.stop(); };
  executor.run(host);
  CHECK(host.asked == std::vector<cw::PollTimeout>{std::nullopt});
}

TEST_CASE("Host: idle with timers, it is asked to block until the next", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(5ms); });
  executor.queue(0).spawn([]() -> cw::Task<> {
    co_await cw::sleep_for(2ms);
    co_await cw::sleep_for(10ms);
  });
  executor.run_until_idle(host);
  CHECK(host.asked == std::vector<cw::PollTimeout>{2ms, 3ms, 7ms});
}

TEST_CASE("Host: one that returns early is asked for what is left of the time", "[host]") {
  std::vector<cw::PollTimeout> asked;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout timeout) {
        asked.push_back(timeout);
        cw::ManualClock::advance(1ms);
      },
      [] {});
  auto executor = Builder{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(3ms); });
  executor.run_until_idle(host);
  CHECK(asked == std::vector<cw::PollTimeout>{3ms, 2ms, 1ms});
}

TEST_CASE("Host: while tasks are runnable it is polled without blocking, at the host-poll interval",
          "[host]") {
  Scripted host;
  std::vector<nanoseconds> at;
  auto executor =
      Builder{}.with_queue(0, 1).with_host_poll_interval(100us).with_max_polls_per_host_poll(1000).build();
  cw::TimePoint start = cw::ManualClock::now();
  host.on_poll = [&] { at.push_back(cw::ManualClock::now() - start); };
  executor.queue(0).spawn(work(10us, 50));
  executor.run_until_idle(host);
  CHECK(host.asked == std::vector<cw::PollTimeout>(host.asked.size(), nanoseconds::zero()));
  // A stride of resumes may lie between the interval's end and the poll, if they are short; these are not.
  CHECK(at == std::vector<nanoseconds>{100us, 200us, 300us, 400us, 500us});
}

TEST_CASE("Host: resumes too short for the interval are counted: it is polled after so many", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(10).build();
  std::vector<int> at;
  int resumes = 0;
  host.on_poll = [&] { at.push_back(resumes); };
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 45; ++i) {
      ++resumes;
      co_await cw::yield_now();
    }
  });
  executor.run_until_idle(host);
  CHECK(at == std::vector<int>{10, 20, 30, 40});
}

TEST_CASE("Host: a costly poll is not repeated before eight times its time has been worked", "[host]") {
  Scripted host;
  std::vector<nanoseconds> worked;
  auto executor =
      Builder{}.with_queue(0, 1).with_host_poll_interval(1s).with_max_polls_per_host_poll(1).build();
  nanoseconds sum{0};
  host.on_poll = [&] {
    worked.push_back(std::exchange(sum, nanoseconds::zero()));
    cw::ManualClock::advance(100us);
  };
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 100; ++i) {
      cw::ManualClock::advance(50us);
      sum += 50us;
      co_await cw::yield_now();
    }
  });
  executor.run_until_idle(host);
  REQUIRE(worked.size() > 3);
  for (std::size_t i = 1; i < worked.size(); ++i) CHECK(worked[i] >= 800us);
}

TEST_CASE("Host: what its poll() wakes and spawns on the executor's thread runs at once", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  std::vector<std::string> order;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    auto keep = [&](cw::Waker given) { waker = std::move(given); };
    co_await cw::suspend(keep);
    order.push_back("woken");
  });
  host.on_endless_poll = [&] {
    waker.wake();
    executor.queue(0).spawn([&]() -> cw::Task<> {
      order.push_back("spawned");
      co_return;
    });
  };
  executor.run_until_idle(host);
  CHECK(order == std::vector<std::string>{"woken", "spawned"});
  CHECK(host.asked.size() == 1);
  CHECK(host.wakes == 0);  // nobody else was about
}

TEST_CASE("Host: what throws out of poll() leaves run, and nothing is lost", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).with_max_polls_per_host_poll(5).build();
  int resumed = 0;
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<int> {
    for (int i = 0; i < 20; ++i) {
      ++resumed;
      co_await cw::yield_now();
    }
    co_await cw::sleep_for(1ms);
    co_return resumed;
  });
  bool throws = true;
  int thrown = 0;
  host.on_poll = [&] {
    throws = !throws;
    if (!throws) throw std::runtime_error("host");
  };
  for (bool done = false; !done;) {
    try {
      executor.run_until_idle(host);
      done = true;
    } catch (const std::runtime_error& error) {
      CHECK(error.what() == std::string{"host"});
      ++thrown;
    }
  }
  CHECK(thrown >= 3);
  CHECK(handle.try_take()->value() == 20);
}

TEST_CASE("Host: what throws out of poll() ends run_until's main before the caller's locals", "[host]") {
  Scripted host;
  host.on_endless_poll = [] { throw std::runtime_error("host"); };
  auto executor = Builder{}.with_queue(0, 1).build();
  bool destroyed = false;
  struct Tells {
    bool& told;
    ~Tells() { told = true; }
  };
  CHECK_THROWS_AS(executor.run_until(host,
                                     [&]() -> cw::Task<> {
                                       Tells here{destroyed};
                                       co_await cw::suspend([](cw::Waker) {});
                                     }),
                  std::runtime_error);
  CHECK(destroyed);
  CHECK(executor.stats().live_tasks == 0);
}

template <class F>
std::string refused(F call) {
  try {
    call();
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("Host: it must not re-enter the executor that polls it", "[host]") {
  Scripted host;
  auto executor = Builder{}.with_queue(0, 1).build();
  std::vector<std::string> texts;
  host.on_endless_poll = [&] {
    texts.push_back(refused([&] { executor.run(); }));
    texts.push_back(refused([&] { executor.run_until_idle(); }));
    texts.push_back(refused([&] { executor.run_until([]() -> cw::Task<> { co_return; }); }));
    texts.push_back(refused([&] { executor.run_ready(); }));
    executor.stop();
  };
  executor.run(host);
  REQUIRE(texts.size() == 4);
  CHECK(texts[0].find("run()") != std::string::npos);
  CHECK(texts[1].find("run_until_idle()") != std::string::npos);
  CHECK(texts[2].find("run_until()") != std::string::npos);
  CHECK(texts[3].find("run_ready()") != std::string::npos);
  CHECK(executor.stats().spawned == 0);  // the refused main was not even spawned
}

TEST_CASE("Host: no executor may be driven from inside a task, its own or another", "[host]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto other = Builder{}.with_queue(0, 1).build();
  std::vector<std::string> texts;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    texts.push_back(refused([&] { executor.run(); }));
    texts.push_back(refused([&] { executor.run_ready(); }));
    texts.push_back(refused([&] { other.run_ready(); }));
    texts.push_back(refused([&] { other.run_until([]() -> cw::Task<> { co_return; }); }));
    co_return;
  });
  executor.run_until_idle();
  REQUIRE(texts.size() == 4);
  for (const std::string& text : texts) CHECK(text.find("inside a task") != std::string::npos);
}

TEST_CASE("Host: one executor's host may drive another executor", "[host]") {
  auto outer = Builder{}.with_queue(0, 1).build();
  auto inner = Builder{}.with_queue(0, 1).build();
  cw::Waker outer_waker, inner_waker;
  std::vector<std::string> order;
  outer.queue(0).spawn([&]() -> cw::Task<> {
    auto keep = [&](cw::Waker given) { outer_waker = std::move(given); };
    co_await cw::suspend(keep);
    order.push_back("outer");
    inner_waker.wake();  // found by the inner one's next drive
    co_await cw::suspend(keep);
    order.push_back("outer again");
  });
  inner.queue(0).spawn([&]() -> cw::Task<> {
    auto keep = [&](cw::Waker given) {
      inner_waker = std::move(given);
      outer_waker.wake();  // another executor's, on its own thread
    };
    co_await cw::suspend(keep);
    order.push_back("inner");
    outer_waker.wake();
  });
  Scripted host;
  host.on_endless_poll = [&] { inner.run_ready(); };
  outer.run_until_idle(host);
  CHECK(order == std::vector<std::string>{"outer", "inner", "outer again"});
  CHECK(host.asked.size() == 2);
  CHECK(host.wakes == 2);  // both wakes came while the outer one slept in its host
}

}  // namespace
