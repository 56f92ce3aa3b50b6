// What tasks await of a UringHost, and what becomes of operations in flight.
#include <clockworker/hosts/uring.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/un.h>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build(); }

template <class Executor>
void settle(Executor& executor, cw::UringHost& host) {
  executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(2ms); });
}

/// Tells when a frame goes.
struct Gone {
  bool& gone;
  ~Gone() { gone = true; }
};

TEST_CASE("io_uring: a task waits until its descriptor is ready, on its own queue", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  auto ends = Ends::socketpair();
  fill(ends.a.get());
  std::string log;
  executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await host.readable(ends.a.get());
    log += "read on " + std::string{cw::this_task::queue().name()};
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await host.writable(ends.a.get());
    log += ", written";
  });
  settle(executor, host);
  CHECK(log.empty());
  put(ends.b.get(), "x");
  settle(executor, host);
  CHECK(log == "read on 1");
  drain(ends.b.get());
  executor.run_until_idle(host);
  CHECK(log == "read on 1, written");
}

TEST_CASE("io_uring: blocking and non-blocking descriptors are read to the end and written whole",
          "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  const int flags = GENERATE(0, O_NONBLOCK);
  const bool sockets = GENERATE(false, true);
  auto ends = sockets ? Ends::socketpair(flags) : Ends::pipe(flags);
  const std::string much(3'000'000, 'x');
  std::string all;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::vector<std::byte> buffer(10'000);
    for (;;) {
      const std::size_t size = co_await host.read_some(ends.a.get(), buffer);
      if (size == 0) break;
      all.append(reinterpret_cast<const char*>(buffer.data()), size);
    }
  });
  settle(executor, host);
  std::size_t written = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    written = co_await host.write_all(ends.b.get(), bytes_of(much));
    ends.b = OwnedFd{};
  });
  executor.run_until_idle(host);
  CHECK(written == much.size());
  CHECK(all == much);
}

TEST_CASE("io_uring: a file is read from where it stands", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  const OwnedFd file{check(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open")};
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await host.readable(file.get());
    std::array<std::byte, 4> buffer{};
    std::size_t size = co_await host.read_some(file.get(), std::span{buffer}.first(1));
    CHECK(size == 1);
    size = co_await host.read_some(file.get(), std::span{buffer}.first(3));
    CHECK(size == 3);
    CHECK(static_cast<char>(buffer[0]) == 'E');  // of "\x7f" "ELF"
  });
}

TEST_CASE("io_uring: accept and connect meet, and a refused connection is an error", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  const bool blocking = GENERATE(false, true);
  const auto socket = [&] {
    return OwnedFd{
        check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0), "socket")};
  };
  std::optional<Listener> listener{std::in_place};
  if (blocking) check(::fcntl(listener->fd.get(), F_SETFL, 0), "fcntl");
  const sockaddr_in address = listener->address;
  int accepted = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; accepted < 3; ++accepted) {
      const OwnedFd connection{co_await host.accept(listener->fd.get())};
      CHECK((::fcntl(connection.get(), F_GETFL) & O_NONBLOCK) != 0);
    }
  });
  for (int i = 0; i < 3; ++i) {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      const OwnedFd client = socket();
      std::error_code error = std::make_error_code(std::errc::io_error);
      co_await host.connect(client.get(), generic(address), sizeof address, error);
      CHECK(!error);
    });
  }
  executor.run_until_idle(host);
  CHECK(accepted == 3);
  listener.reset();
  const OwnedFd client = socket();
  std::error_code error;
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await host.connect(client.get(), generic(address), sizeof address, error);
  });
  CHECK(error == std::errc::connection_refused);
  CHECK_THROWS_AS(host.connect(client.get(), nullptr, 16), std::invalid_argument);
}

TEST_CASE("io_uring: errors name the call and the descriptor, and writing to nobody is no signal",
          "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  auto ends = Ends::socketpair();
  ends.b = OwnedFd{};
  std::array<std::byte, 4> buffer;
  CHECK_THROWS_WITH(executor.run_until(host, host.read_some(1'000'000, buffer)),
                    "clockworker: read_some(fd 1000000): Bad file descriptor");
  CHECK_THROWS_WITH(executor.run_until(host, host.readable(1'000'000)),
                    "clockworker: readable(fd 1000000): Bad file descriptor");
  CHECK_THROWS_WITH(executor.run_until(host, host.accept(1'000'000)), Catch::Contains("accept(fd 1000000)"));
  std::error_code error;
  executor.run_until(host, host.write_all(ends.a.get(), bytes_of("x"), error));
  CHECK(error == std::errc::broken_pipe);
}

TEST_CASE("io_uring: an aborted task ends when the kernel has let go of its buffer", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  auto ends = Ends::socketpair(0);
  bool gone = false;
  auto reader = executor.queue(0).spawn([&]() -> cw::Task<> {
    const Gone guard{gone};
    std::array<std::byte, 100> buffer;
    co_await host.read_some(ends.a.get(), buffer);
  });
  settle(executor, host);
  reader.abort();
  CHECK(!gone);
  executor.run_until_idle(host);
  CHECK(gone);
  CHECK(reader.done());
  put(ends.b.get(), "x");  // the kernel does not read it any more
  CHECK(::recv(ends.a.get(), &gone, 1, MSG_DONTWAIT) == 1);
}

TEST_CASE("io_uring: a task that aborts itself and then waits ends", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  auto pipe = Ends::pipe(0);
  std::optional<cw::JoinHandle<void>> self;
  bool went_on = false;
  self = executor.queue(0).spawn([&]() -> cw::Task<> {
    self->abort();
    co_await host.readable(pipe.a.get());
    went_on = true;
  });
  executor.run_until_idle(host);
  CHECK(!went_on);
}

TEST_CASE("io_uring: a connection accepted for a task that is aborted meanwhile is closed", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  Listener listener;
  check(::fcntl(listener.fd.get(), F_SETFL, 0), "fcntl");
  auto server =
      executor.queue(0).spawn([&]() -> cw::Task<> { (void)co_await host.accept(listener.fd.get()); });
  settle(executor, host);
  const OwnedFd client{check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  check(::connect(client.get(), generic(listener.address), sizeof listener.address), "connect");
  host.poll(1ms);  // completes; the task has not run yet
  server.abort();
  executor.run_until_idle(host);
  char byte;
  CHECK(::recv(client.get(), &byte, 1, 0) == 0);  // closed from the other side
}

TEST_CASE("io_uring: frames of an executor that goes first stay until the host's next poll or its end",
          "[uring]") {
  auto host = std::make_unique<cw::UringHost>();
  auto ends = Ends::socketpair(0);
  bool gone[2] = {};
  {
    auto executor = one_queue();
    for (bool& one : gone) {
      executor.queue(0).spawn([&]() -> cw::Task<> {
        const Gone guard{one};
        std::array<std::byte, 100> buffer;
        co_await host->read_some(ends.a.get(), buffer);
      });
    }
    settle(executor, *host);
  }
  CHECK((!gone[0] && !gone[1]));
  SECTION("the next poll") {
    while (!gone[0] || !gone[1]) host->poll(std::nullopt);
  }
  SECTION("its end") {
    host.reset();
    CHECK((gone[0] && gone[1]));
  }
}

TEST_CASE("io_uring: tasks whose host goes first are told, also between two operations", "[uring]") {
  auto host = std::make_unique<cw::UringHost>();
  auto executor = one_queue();
  auto ends = Ends::socketpair(0);
  auto full = Ends::socketpair();
  std::error_code reading, writing;
  const std::vector<std::byte> much(10'000'000);
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 100> buffer;
    co_await host->read_some(ends.a.get(), buffer, reading);
  });
  executor.queue(0).spawn([&]() -> cw::Task<> { co_await host->write_all(full.a.get(), much, writing); });
  settle(executor, *host);
  drain(full.b.get());
  host->poll(1ms);  // the writer has been woken, and has more to write
  host.reset();
  executor.run_until_idle();
  CHECK(reading == std::errc::operation_canceled);
  CHECK(writing == std::errc::operation_canceled);
}

TEST_CASE("io_uring: more operations than entries are all under way", "[uring]") {
  cw::UringHost host{2};
  auto executor = one_queue();
  std::vector<Ends> pipes;
  int read = 0;
  for (int i = 0; i < 100; ++i) pipes.push_back(Ends::pipe(0));
  for (Ends& pipe : pipes) {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      std::byte byte{};
      read += static_cast<int>(co_await host.read_some(pipe.a.get(), {&byte, 1}));
    });
  }
  settle(executor, host);
  for (Ends& pipe : pipes) put(pipe.b.get(), "x");
  executor.run_until_idle(host);
  CHECK(read == 100);
  // And as many cancelled at once.
  std::vector<cw::JoinHandle<void>> readers;
  for (Ends& pipe : pipes)
    readers.push_back(executor.queue(0).spawn([&]() -> cw::Task<> { co_await host.readable(pipe.a.get()); }));
  settle(executor, host);
  for (auto& reader : readers) reader.abort();
  executor.run_until_idle(host);
}

TEST_CASE("io_uring: a read into nothing is refused, as its 0 would say that the end has come", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  auto ends = Ends::socketpair();
  CHECK_THROWS_AS(executor.run_until(host, host.read_some(ends.a.get(), {})), std::invalid_argument);
}

TEST_CASE("io_uring: connecting to a unix socket whose queue is full is an error at once", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  const auto unix_socket = [] {
    return OwnedFd{check(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket")};
  };
  const OwnedFd listener = unix_socket(), first = unix_socket(), second = unix_socket();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof address.sun_family;  // the kernel finds a name
  const auto* generic_address = reinterpret_cast<const sockaddr*>(&address);
  check(::bind(listener.get(), generic_address, size), "bind");
  size = sizeof address;
  check(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  check(::listen(listener.get(), 0), "listen");
  check(::connect(first.get(), generic_address, size), "connect");
  std::error_code error;
  auto connecting = executor.queue(0).spawn(
      [&]() -> cw::Task<> { co_await host.connect(second.get(), generic_address, size, error); });
  settle(executor, host);
  CHECK(connecting.done());
  CHECK(error == std::errc::resource_unavailable_try_again);
  connecting.abort();
  executor.run_until_idle(host);
}

}  // namespace
