#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include <poll.h>
#include <time.h>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

/// A loop that has nothing but the guest: the shortest there is.
bool due(cw::EpollGuest& guest, int ms) {
  pollfd watched{guest.fd(), POLLIN, 0};
  return ::poll(&watched, 1, ms) == 1;
}
template <class Done>
void run(cw::EpollGuest& guest, Done done) {
  while (!done()) {
    if (due(guest, -1)) guest.dispatch();
  }
}

TEST_CASE("EpollGuest: its first turn is due at once, and when all is done none is", "[guest]") {
  auto executor = one_queue();
  int ran = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    ++ran;
    co_return;
  });
  cw::EpollGuest guest{executor};
  CHECK(due(guest, 0));
  guest.dispatch();
  CHECK(ran == 1);
  CHECK(!due(guest, 0));
  guest.dispatch();  // does no harm
  executor.queue(0).spawn([&]() -> cw::Task<> {
    ++ran;
    co_return;
  });
  CHECK(due(guest, 0));
  guest.dispatch();
  CHECK(ran == 2);
  CHECK(!due(guest, 0));
}

TEST_CASE("EpollGuest: tasks await descriptors, by number and registered", "[guest]") {
  auto executor = one_queue();
  cw::EpollGuest guest{executor};
  auto pipe = Ends::pipe();
  auto sockets = Ends::socketpair();
  std::string log;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::readable(pipe.a.get());
    log += "pipe ";
    co_await guest.readable(pipe.a.get());
    log += "again ";
    cw::WatchedFd registered{sockets.a.release()};
    std::byte byte{};
    co_await registered.read_some({&byte, 1});
    log += static_cast<char>(byte);
  });
  while (due(guest, 0)) guest.dispatch();
  CHECK(log.empty());
  put(pipe.b.get(), "x");
  CHECK(due(guest, 0));
  while (due(guest, 0)) guest.dispatch();
  CHECK(log == "pipe again ");
  put(sockets.b.get(), "s");
  run(guest, [&] { return log == "pipe again s"; });
}

TEST_CASE("EpollGuest: a turn is bounded, and the rest comes with the next", "[guest]") {
  auto executor = one_queue();
  int steps = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; steps < 100; ++steps) co_await cw::yield_now();
  });
  cw::EpollGuest guest{executor, {.budget = {.time = 1h, .polls = 10}}};
  guest.dispatch();
  CHECK(steps == 9);  // the tenth resume is in the midst of it
  CHECK(due(guest, 0));
  run(guest, [&] { return steps == 100; });
}

TEST_CASE("EpollGuest: sleepers are woken in time, also one that comes to be the first", "[guest]") {
  auto executor = one_queue();
  std::string log;
  const auto sleeper = [&](std::chrono::milliseconds time, const char* name) -> cw::Task<> {
    const auto before = steady_clock::now();
    co_await cw::sleep_for(time);
    CHECK(steady_clock::now() - before >= time);
    log += name;
  };
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  cw::EpollGuest guest{executor};
  while (due(guest, 0)) guest.dispatch();
  executor.queue(0).spawn(sleeper, 30ms, "c");
  executor.queue(0).spawn(sleeper, 10ms, "b");
  executor.queue(0).spawn(sleeper, 2ms, "a");
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(std::chrono::hours::max()); });
  run(guest, [&] { return log == "abc"; });
}

TEST_CASE("EpollGuest: sleepers of an executor that ran elsewhere before are woken", "[guest]") {
  auto executor = one_queue();
  bool woken = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(20ms);
    woken = true;
  });
  executor.run_until([]() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  cw::EpollGuest guest{executor};
  run(guest, [&] { return woken; });
}

TEST_CASE("EpollGuest: an idle guest with a timer set does not spin", "[guest]") {
  auto executor = one_queue();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  cw::EpollGuest guest{executor};
  int turns = 0;
  while (due(guest, 50)) {
    guest.dispatch();
    ++turns;
  }
  CHECK(turns <= 2);
}

TEST_CASE("EpollGuest: a task wakes it from another thread", "[guest]") {
  auto executor = one_queue();
  cw::EpollGuest guest{executor};
  while (due(guest, 0)) guest.dispatch();
  int ran = 0;
  std::thread other{[remote = executor.remote(), &ran] {
    for (int i = 0; i < 100; ++i) {
      remote.spawn(0, [&ran]() -> cw::Task<> {
        ++ran;
        co_return;
      });
    }
  }};
  run(guest, [&] { return ran == 100; });
  other.join();
}

TEST_CASE("EpollGuest: what a task throws comes out of dispatch, and the next turn is due", "[guest]") {
  auto executor = one_queue();
  bool ran = false;
  const auto spawn_both = [&] {
    executor.queue(0).spawn([]() -> cw::Task<> {
      throw std::runtime_error{"thrown"};
      co_return;
    });
    executor.queue(0).spawn([&]() -> cw::Task<> {
      co_await cw::yield_now();
      ran = true;
    });
  };
  SECTION("without on_exception") {
    cw::EpollGuest guest{executor};
    spawn_both();
    CHECK_THROWS_AS(guest.dispatch(), std::runtime_error);
    CHECK(due(guest, 0));
    run(guest, [&] { return ran; });
  }
  SECTION("with") {
    int reported = 0;
    cw::EpollGuest guest{executor, {.on_exception = [&](std::exception_ptr) { ++reported; }}};
    spawn_both();
    run(guest, [&] { return ran; });
    CHECK(reported == 1);
  }
}

TEST_CASE("EpollGuest: when it goes, tasks that wait for descriptors are told at their next run", "[guest]") {
  auto executor = one_queue();
  auto pipe = Ends::pipe();
  int error = 0;
  {
    cw::EpollGuest guest{executor};
    executor.queue(0).spawn([&]() -> cw::Task<> {
      try {
        co_await cw::readable(pipe.a.get());
      } catch (const std::system_error& e) {
        error = e.code().value();
      }
    });
    while (due(guest, 0)) guest.dispatch();
  }
  executor.run_until_idle();
  CHECK(error == ECANCELED);
}

TEST_CASE("EpollGuest: an executor that goes first leaves a guest that does nothing", "[guest]") {
  std::optional<cw::EpollGuest> guest;
  auto pipe = Ends::pipe();
  {
    auto executor = one_queue();
    guest.emplace(executor);
    executor.queue(0).spawn([&]() -> cw::Task<> { co_await cw::readable(pipe.a.get()); });
    while (due(*guest, 0)) guest->dispatch();
  }
  put(pipe.b.get(), "x");
  for (int i = 0; i < 3 && due(*guest, 0); ++i) guest->dispatch();
  CHECK(!due(*guest, 0));
}

TEST_CASE("EpollGuest: a second guest of one executor is refused", "[guest]") {
  auto executor = one_queue();
  cw::EpollGuest guest{executor};
  CHECK_THROWS_AS(cw::EpollGuest{executor}, std::logic_error);
}

TEST_CASE("EpollGuest: while another host drives its executor, tasks wait with that", "[guest]") {
  auto executor = one_queue();
  auto pipe = Ends::pipe();
  cw::EpollGuest guest{executor};
  cw::EpollHost host;
  put(pipe.b.get(), "x");
  bool ran = false;
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await cw::readable(pipe.a.get());
    ran = true;
  });
  CHECK(ran);
}

TEST_CASE("EpollGuest: on_exception may destroy it", "[guest]") {
  auto executor = one_queue();
  int reported = 0;
  std::unique_ptr<cw::EpollGuest> guest;
  guest =
      std::make_unique<cw::EpollGuest>(executor, cw::GuestOptions{.on_exception = [&](std::exception_ptr) {
                                         guest.reset();
                                         ++reported;
                                       }});
  executor.queue(0).spawn([]() -> cw::Task<> {
    throw std::runtime_error{"thrown"};
    co_return;
  });
  guest->dispatch();
  CHECK(reported == 1);
  CHECK(!guest);
  cw::EpollGuest another{executor};
}

}  // namespace
