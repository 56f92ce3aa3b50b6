// What WatchedFd does besides the operations, which are in epoll_io_test.cpp.
#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

template <class Executor>
void settle(Executor& executor, cw::EpollHost& host) {
  executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(2ms); });
}

TEST_CASE("WatchedFd: after a call of one's own that found it empty the next wait is a real one", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [reading, writing] = Ends::socketpair();
  cw::WatchedFd source{host, reading.release()};
  int rounds = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<char, 8> buffer;
    while (rounds < 3) {
      co_await source.readable();
      if (::read(source.fd(), buffer.data(), buffer.size()) < 0) {
        CHECK(errno == EAGAIN);
        source.found_unreadable();
      } else {
        ++rounds;
      }
    }
  });
  for (int i = 1; i <= 3; ++i) {
    settle(executor, host);
    CHECK(rounds == i - 1);
    put(writing.get(), "x");
  }
  executor.run_until_idle(host);
  CHECK(rounds == 3);
}

TEST_CASE("WatchedFd: it closes its descriptor, and ends the waits for it", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [reading, writing] = Ends::socketpair();
  auto source = std::make_unique<cw::WatchedFd>(host, reading.release());
  const int number = source->fd();
  std::error_code error;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 4> buffer;
    co_await source->read_some(buffer, error);
  });
  settle(executor, host);
  source.reset();
  executor.run_until_idle(host);
  CHECK(error == std::errc::operation_canceled);
  CHECK(::fcntl(number, F_GETFD) == -1);
}

TEST_CASE("WatchedFd: moved it goes on, released it is a plain number again", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [reading, writing] = Ends::socketpair();
  auto [unused, dropped] = Ends::pipe();
  cw::WatchedFd first{host, reading.release()};
  cw::WatchedFd source{host, unused.release()};
  source = std::move(first);
  CHECK(first.fd() == -1);  // NOLINT: what a moved-from one is
  cw::WatchedFd& itself = source;
  source = std::move(itself);
  const auto read_one = [](cw::WatchedFd& from) -> cw::Task<> {
    std::array<std::byte, 4> buffer;
    const auto size = co_await from.read_some(buffer);
    CHECK(size == 1);
  };
  auto reader = executor.queue(0).spawn(read_one, std::ref(source));
  settle(executor, host);
  put(writing.get(), "x");
  settle(executor, host);
  CHECK(reader.done());
  const OwnedFd released{source.release()};
  CHECK(source.fd() == -1);
  executor.queue(0).spawn([&]() -> cw::Task<> { co_await cw::readable(released.get()); });
  settle(executor, host);
  put(writing.get(), "x");
  executor.run_until_idle(host);
}

TEST_CASE("WatchedFd: it outlives its host, and waits then say so", "[epoll]") {
  auto host = std::make_unique<cw::EpollHost>();
  auto executor = one_queue();
  auto [reading, writing] = Ends::socketpair();
  cw::WatchedFd source{*host, reading.release()};
  std::error_code waiting, later;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 4> buffer;
    co_await source.read_some(buffer, waiting);
    co_await source.read_some(buffer, later);
  });
  settle(executor, *host);
  host.reset();
  executor.run_until_idle();
  CHECK(waiting == std::errc::operation_canceled);
  CHECK(later == std::errc::operation_canceled);
}

TEST_CASE("WatchedFd: a descriptor in use is refused and closed, a bad one named", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto pipe = Ends::pipe();
  const int number = pipe.a.get();
  auto waits = executor.queue(0).spawn([&]() -> cw::Task<> { co_await cw::readable(number); });
  settle(executor, host);
  CHECK_THROWS_AS((cw::WatchedFd{host, pipe.a.release()}), std::logic_error);
  CHECK(::fcntl(number, F_GETFD) == -1);
  waits.abort();
  executor.run_until_idle(host);
  CHECK_THROWS_WITH((cw::WatchedFd{host, -1}), Catch::Contains("WatchedFd(fd -1): Bad file descriptor"));
  CHECK_THROWS_AS(cw::WatchedFd{::dup(0)}, std::logic_error);  // outside of a task
}

TEST_CASE("WatchedFd: waiting for its number is refused", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [reading, writing] = Ends::pipe();
  cw::WatchedFd source{host, reading.release()};
  CHECK_THROWS_AS(executor.run_until(host, [&]() -> cw::Task<> { co_await cw::readable(source.fd()); }),
                  std::logic_error);
  CHECK_THROWS_AS(host.watch(source.fd(), EPOLLIN, [](std::uint32_t) {}), std::logic_error);
}

TEST_CASE("WatchedFd: a regular file is always ready", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  cw::WatchedFd file{host, check(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open")};
  executor.run_until(host, [&]() -> cw::Task<> {
    std::array<std::byte, 4> buffer;
    for (int i = 0; i < 3; ++i) {
      co_await file.readable();
      const auto size = co_await file.read_some(buffer);
      CHECK(size == 4);
    }
  });
}

TEST_CASE("WatchedFd: when it goes, operations on it end with ECANCELED, also those that were woken already",
          "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [watched, writing] = Ends::socketpair();
  auto [other, to_other] = Ends::socketpair();
  fill(watched.get());
  auto source = std::make_unique<cw::WatchedFd>(host, watched.release());
  const int number = source->fd();
  std::error_code reading_ended, writing_ended, wait_ended;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 4> buffer;
    co_await source->read_some(buffer, reading_ended);
  });
  executor.queue(0).spawn(
      [&]() -> cw::Task<> { co_await source->write_all(bytes_of("more"), writing_ended); });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    try {
      co_await source->readable();
    } catch (const std::system_error& e) {
      wait_ended = e.code();
    }
  });
  settle(executor, host);
  const bool woken = GENERATE(false, true);
  if (woken) {
    put(writing.get(), "x");
    drain(writing.get());
    host.poll(0ns);
  }
  source.reset();
  const OwnedFd reused{check(::fcntl(other.get(), F_DUPFD_CLOEXEC, number), "fcntl")};
  REQUIRE(reused.get() == number);
  put(to_other.get(), "y");
  executor.run_until_idle(host);
  CHECK(reading_ended == std::errc::operation_canceled);
  CHECK(writing_ended == std::errc::operation_canceled);
  CHECK(wait_ended == std::errc::operation_canceled);
  char byte = 0;
  CHECK(::recv(reused.get(), &byte, 1, MSG_DONTWAIT) == 1);  // whose number it is now is let alone
  CHECK(::recv(to_other.get(), &byte, 1, MSG_DONTWAIT) == -1);
}

TEST_CASE("WatchedFd: moved or released under an operation, that goes on or ends", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [reading, writing] = Ends::socketpair();
  cw::WatchedFd first{host, reading.release()};
  std::error_code moved, released;
  std::size_t size = 0;
  std::array<std::byte, 1> buffer;
  executor.queue(0).spawn([&]() -> cw::Task<> { size = co_await first.read_some(buffer, moved); });
  settle(executor, host);
  cw::WatchedFd second{std::move(first)};
  put(writing.get(), "x");
  settle(executor, host);
  CHECK(!moved);
  CHECK(size == 1);
  executor.queue(0).spawn([&]() -> cw::Task<> { size = co_await second.read_some(buffer, released); });
  settle(executor, host);
  const OwnedFd number{second.release()};
  executor.run_until_idle(host);
  CHECK(released == std::errc::operation_canceled);
  CHECK_THROWS_WITH(executor.run_until(host, second.read_some(buffer)),
                    Catch::Contains("Bad file descriptor"));
}

}  // namespace
