// co_await readable(fd) and writable(fd), by number.
#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

auto two_queues() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build(); }

/// Waits, and notes how that ended: 0, or the errno.
cw::Task<> note_readable(int fd, std::optional<int>& outcome) {
  try {
    co_await cw::readable(fd);
    outcome = 0;
  } catch (const std::system_error& e) {
    outcome = e.code().value();
  }
}
cw::Task<> note_writable(int fd, std::optional<int>& outcome) {
  try {
    co_await cw::writable(fd);
    outcome = 0;
  } catch (const std::system_error& e) {
    outcome = e.code().value();
  }
}

/// Lets all run until none can, with a few looks at the host.
template <class Executor>
void settle(Executor& executor, cw::EpollHost& host) {
  executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(2ms); });
}

TEST_CASE("epoll: a task waits until its descriptor is readable, on its own queue", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  std::string log;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::readable(pipe.a.get());
    log += "read on " + std::string{cw::this_task::queue().name()};
  });
  executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    log += "write ";
    put(pipe.b.get(), "x");
  });
  executor.run_until_idle(host);
  CHECK(log == "write read on 0");
}

TEST_CASE("epoll: reader and writer wait for one descriptor, and each goes on at its own event", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto ends = Ends::socketpair();
  fill(ends.a.get());
  std::optional<int> read, written;
  executor.queue(0).spawn(&note_readable, ends.a.get(), std::ref(read));
  executor.queue(0).spawn(&note_writable, ends.a.get(), std::ref(written));
  settle(executor, host);
  CHECK((!read && !written));
  put(ends.b.get(), "x");
  settle(executor, host);
  CHECK(read == 0);
  CHECK(!written);
  drain(ends.b.get());
  settle(executor, host);
  CHECK(written == 0);
}

TEST_CASE("epoll: all tasks that wait for one descriptor to be readable go on, the first first", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) {
    executor.queue(0).spawn([&, i]() -> cw::Task<> {
      co_await cw::readable(pipe.a.get());
      order.push_back(i);
    });
  }
  settle(executor, host);
  put(pipe.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(order == std::vector{0, 1, 2});
}

TEST_CASE("epoll: a hang-up wakes readers and writers", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto ends = Ends::socketpair();
  auto pipe = Ends::pipe();
  fill(ends.a.get());
  fill(pipe.b.get());
  std::optional<int> read, written, to_pipe;
  executor.queue(0).spawn(&note_readable, ends.a.get(), std::ref(read));
  executor.queue(0).spawn(&note_writable, ends.a.get(), std::ref(written));
  executor.queue(0).spawn(&note_writable, pipe.b.get(), std::ref(to_pipe));
  settle(executor, host);
  CHECK((!read && !written && !to_pipe));
  ends.b = OwnedFd{};
  pipe.a = OwnedFd{};
  executor.run_until_idle(host);
  CHECK((read == 0 && written == 0 && to_pipe == 0));
}

TEST_CASE("epoll: a regular file is ready at once, a bad descriptor an error with its number", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  const OwnedFd file{check(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open")};
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await cw::readable(file.get());
    co_await host.writable(file.get());
  });
  const auto wait_for = [&](int fd) -> cw::Task<> { co_await host.readable(fd); };
  CHECK_THROWS_WITH(executor.run_until(host, wait_for(-1)), Catch::Contains("readable(fd -1)"));
  CHECK_THROWS_WITH(executor.run_until(host, wait_for(1'000'000)),
                    Catch::Contains("readable(fd 1000000): Bad file descriptor"));
}

TEST_CASE("epoll: outside of such a host the free functions say so", "[epoll]") {
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  CHECK_THROWS_WITH(
      executor.run_until([&]() -> cw::Task<> { co_await cw::readable(pipe.a.get()); }),
      Catch::Contains("readable") && Catch::Contains("does not run on an EpollHost or EpollGuest"));
}

TEST_CASE("epoll: an aborted task ends at once, and others that wait for its descriptor do not", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  std::optional<int> a, b, c;
  auto first = executor.queue(0).spawn(&note_readable, pipe.a.get(), std::ref(a));
  auto middle = executor.queue(0).spawn(&note_readable, pipe.a.get(), std::ref(b));
  auto last = executor.queue(0).spawn(&note_readable, pipe.a.get(), std::ref(c));
  settle(executor, host);
  middle.abort();
  settle(executor, host);
  CHECK(middle.done());
  last.abort();
  put(pipe.b.get(), "x");  // comes while the abort is under way
  executor.run_until_idle(host);
  CHECK(a == 0);
  CHECK((!b && !c));
}

TEST_CASE("epoll: an event for a task that was aborted is dropped", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  std::optional<int> outcome;
  auto aborted = executor.queue(0).spawn(&note_readable, pipe.a.get(), std::ref(outcome));
  settle(executor, host);
  aborted.abort();
  settle(executor, host);
  put(pipe.b.get(), "x");
  settle(executor, host);
  CHECK(!outcome);
  executor.run_until(host, note_readable(pipe.a.get(), outcome));
  CHECK(outcome == 0);
}

TEST_CASE("epoll: a number that means another file by now works, and who waits for the old one hears of it",
          "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto old = Ends::pipe();
  const int number = old.a.get();
  std::optional<int> stale, fresh;
  executor.queue(0).spawn(&note_readable, number, std::ref(stale));
  settle(executor, host);
  auto other = Ends::socketpair();
  old.a = OwnedFd{};
  const OwnedFd reused{check(::fcntl(other.a.get(), F_DUPFD_CLOEXEC, number), "fcntl")};
  REQUIRE(reused.get() == number);
  executor.queue(0).spawn(&note_readable, number, std::ref(fresh));
  settle(executor, host);
  CHECK(stale == EBADF);
  CHECK(!fresh);
  put(other.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(fresh == 0);
}

TEST_CASE(
    "epoll: an event of a file that lives on under another number wakes nobody who waits for the new one",
    "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto old = Ends::pipe();
  const int number = old.a.get();
  std::optional<int> stale, fresh;
  executor.queue(0).spawn(&note_readable, number, std::ref(stale));
  settle(executor, host);
  auto other = Ends::pipe();
  const OwnedFd kept{check(::fcntl(number, F_DUPFD_CLOEXEC, 0), "fcntl")};  // epoll holds on to the file
  old.a = OwnedFd{};
  const OwnedFd reused{check(::fcntl(other.a.get(), F_DUPFD_CLOEXEC, number), "fcntl")};
  REQUIRE(reused.get() == number);
  executor.queue(0).spawn(&note_readable, number, std::ref(fresh));
  settle(executor, host);
  put(old.b.get(), "x");
  settle(executor, host);
  CHECK(!fresh);
  put(other.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(fresh == 0);
}

TEST_CASE("epoll: cancel() ends the waits for a descriptor that is about to be closed", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto ends = Ends::socketpair();
  fill(ends.a.get());
  std::optional<int> read, written;
  executor.queue(0).spawn(&note_readable, ends.a.get(), std::ref(read));
  executor.queue(1).spawn(&note_writable, ends.a.get(), std::ref(written));
  settle(executor, host);
  host.cancel(ends.a.get());
  host.cancel(12345);
  ends.a = OwnedFd{};
  executor.run_until_idle(host);
  CHECK((read == ECANCELED && written == ECANCELED));
}

TEST_CASE("epoll: tasks that wait when the host goes are told, and may go on with another", "[epoll]") {
  auto host = std::make_unique<cw::EpollHost>();
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  std::optional<int> first, second;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await note_readable(pipe.a.get(), first);
    co_await note_readable(pipe.a.get(), second);
  });
  settle(executor, *host);
  host.reset();
  cw::EpollHost other;
  settle(executor, other);
  CHECK(first == ECANCELED);
  CHECK(!second);
  put(pipe.b.get(), "x");
  executor.run_until_idle(other);
  CHECK(second == 0);
}

TEST_CASE("epoll: an operation that is under way when its host goes ends, also between two waits",
          "[epoll]") {
  auto host = std::make_unique<cw::EpollHost>();
  auto executor = two_queues();
  auto ends = Ends::socketpair();
  std::error_code error;
  const std::vector<std::byte> much(10'000'000);
  executor.queue(0).spawn([&]() -> cw::Task<> { co_await host->write_all(ends.a.get(), much, error); });
  settle(executor, *host);
  drain(ends.b.get());
  host->poll(0ns);  // its task is woken, and has not run yet
  host.reset();
  executor.run_until_idle();
  CHECK(error == std::errc::operation_canceled);
}

TEST_CASE("epoll: an executor that goes with tasks waiting leaves nothing behind in the host", "[epoll]") {
  cw::EpollHost host;
  auto pipe = Ends::pipe();
  std::optional<int> outcome;
  {
    auto executor = two_queues();
    for (int i = 0; i < 3; ++i) executor.queue(i % 2).spawn(&note_readable, pipe.a.get(), std::ref(outcome));
    settle(executor, host);
  }
  put(pipe.b.get(), "x");
  host.poll(0ns);
  host.poll(0ns);
  CHECK(!outcome);
  auto executor = two_queues();
  executor.run_until(host, note_readable(pipe.a.get(), outcome));
  CHECK(outcome == 0);
}

TEST_CASE("epoll: a task that goes to another queue waits there as well", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto pipe = Ends::pipe();
  std::string where;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::switch_to(executor.queue(1));
    co_await cw::readable(pipe.a.get());
    where = cw::this_task::queue().name();
  });
  settle(executor, host);
  put(pipe.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(where == "1");
}

TEST_CASE("epoll: a descriptor that is in use in one way is refused in another", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto pipe = Ends::pipe(), watched = Ends::pipe();
  std::optional<int> outcome;
  executor.queue(0).spawn(&note_readable, pipe.a.get(), std::ref(outcome));
  settle(executor, host);
  CHECK_THROWS_AS(host.watch(pipe.a.get(), EPOLLIN, [](std::uint32_t) {}), std::logic_error);
  const int number = watched.a.get();
  host.watch(number, EPOLLIN, [](std::uint32_t) {});
  CHECK_THROWS_AS(executor.run_until(host, [&]() -> cw::Task<> { co_await cw::readable(number); }),
                  std::logic_error);
  host.unwatch(number);
  put(watched.b.get(), "x");
  executor.run_until(host, [&]() -> cw::Task<> { co_await cw::readable(number); });
  put(pipe.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(outcome == 0);
}

TEST_CASE("epoll: who still waits for a descriptor that was closed does not stand in the way of its number",
          "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto old = Ends::pipe(), other = Ends::pipe();
  const int number = old.a.get();
  std::optional<int> stale;
  executor.queue(0).spawn(&note_readable, number, std::ref(stale));
  settle(executor, host);
  old.a = OwnedFd{};
  const int reused = check(::fcntl(other.a.get(), F_DUPFD_CLOEXEC, number), "fcntl");
  REQUIRE(reused == number);
  std::optional<cw::WatchedFd> watched;
  CHECK_NOTHROW(watched.emplace(host, reused));
  executor.run_until_idle(host);
  CHECK(stale == EBADF);
  REQUIRE(watched);
  put(other.b.get(), "x");
  watched->found_unreadable();
  executor.run_until(host, [&]() -> cw::Task<> { co_await watched->readable(); });
}

TEST_CASE("epoll: an event that was left over wakes nobody who began to wait later", "[epoll]") {
  cw::EpollHost host;
  auto executor = two_queues();
  auto bad = Ends::pipe(), pipe = Ends::pipe();
  host.watch(bad.a.get(), EPOLLIN, [&](std::uint32_t) {
    drain(bad.a.get());
    throw std::runtime_error{"thrown"};
  });
  std::optional<int> first, second;
  auto waits = executor.queue(0).spawn(&note_readable, pipe.a.get(), std::ref(first));
  settle(executor, host);
  put(bad.b.get(), "x");
  put(pipe.b.get(), "x");
  CHECK_THROWS_AS(host.poll(0ns), std::runtime_error);
  const bool aborted = GENERATE(false, true);
  if (aborted) {
    waits.abort();
  } else {
    host.cancel(pipe.a.get());
  }
  (void)executor.run_ready();  // without a look at the host
  CHECK(first == (aborted ? std::nullopt : std::optional<int>{ECANCELED}));
  drain(pipe.a.get());
  executor.queue(0).spawn([&]() -> cw::Task<> {
    try {
      co_await host.readable(pipe.a.get());
      second = 0;
    } catch (const std::system_error& e) {
      second = e.code().value();
    }
  });
  (void)executor.run_ready();
  settle(executor, host);
  CHECK(!second);
  put(pipe.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(second == 0);
}

}  // namespace
