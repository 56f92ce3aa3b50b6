// The operations on descriptors, by number and through WatchedFd.
#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

template <class Executor>
void settle(Executor& executor, cw::EpollHost& host) {
  executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(2ms); });
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// By number and registered, so that each test is for both.
struct ByNumber {
  ByNumber(cw::EpollHost&, OwnedFd owned) : fd{std::move(owned)} {}
  auto read_some(std::span<std::byte> buffer, cw::ErrorTo error = {}) {
    return cw::read_some(fd.get(), buffer, error);
  }
  auto write_all(std::span<const std::byte> bytes, cw::ErrorTo error = {}) {
    return cw::write_all(fd.get(), bytes, error);
  }
  auto accept(cw::ErrorTo error = {}) { return cw::accept(fd.get(), error); }
  auto connect(const sockaddr_in& address, cw::ErrorTo error = {}) {
    return cw::connect(fd.get(), generic(address), sizeof address, error);
  }
  OwnedFd fd;
};
struct Registered : cw::WatchedFd {
  Registered(cw::EpollHost& host, OwnedFd owned) : WatchedFd{host, owned.release()} {}
  auto connect(const sockaddr_in& address, cw::ErrorTo error = {}) {
    return WatchedFd::connect(generic(address), sizeof address, error);
  }
};

template <class Socket>
cw::Task<std::string> read_to_end(Socket& socket, std::size_t at_once) {
  std::vector<std::byte> buffer(at_once);
  std::string all;
  for (;;) {
    const std::size_t size = co_await socket.read_some(buffer);
    if (size == 0) co_return all;
    all += text_of(std::span{buffer}.first(size));
  }
}

TEMPLATE_TEST_CASE("epoll: read_some gets what there is, piece by piece, up to the end", "[epoll]", ByNumber,
                   Registered) {
  cw::EpollHost host;
  auto executor = one_queue();
  auto ends = GENERATE(0, 1, 2);
  auto [reading, writing] = ends == 0 ? Ends::pipe() : ends == 1 ? Ends::socketpair() : Ends::tcp();
  TestType source{host, std::move(reading)};
  std::string all;
  executor.queue(0).spawn([&]() -> cw::Task<> { all = co_await read_to_end(source, 4); });
  for (const char* piece : {"abcdefg", "h", "ijkl", "mnopqrstuvw"}) {
    settle(executor, host);
    put(writing.get(), piece);
  }
  settle(executor, host);
  CHECK(all.empty());
  writing = OwnedFd{};
  executor.run_until_idle(host);
  CHECK(all == "abcdefghijklmnopqrstuvw");
}

TEMPLATE_TEST_CASE("epoll: an end that comes together with the last bytes is read after them", "[epoll]",
                   ByNumber, Registered) {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [reading, writing] = Ends::tcp();
  TestType source{host, std::move(reading)};
  std::string all;
  executor.queue(0).spawn([&]() -> cw::Task<> { all = co_await read_to_end(source, 100); });
  settle(executor, host);
  put(writing.get(), "last words");
  writing = OwnedFd{};
  executor.run_until_idle(host);
  CHECK(all == "last words");
}

TEMPLATE_TEST_CASE("epoll: datagrams that wait are all read, however short they are", "[epoll]", ByNumber,
                   Registered) {
  cw::EpollHost host;
  auto executor = one_queue();
  int fds[2];
  check(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), "socketpair");
  TestType source{host, OwnedFd{fds[0]}};
  OwnedFd writing{fds[1]};
  std::string all;
  auto reader = executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 100> buffer;
    for (;;) {
      const std::size_t size = co_await source.read_some(buffer);
      all += text_of(std::span{buffer}.first(size));
    }
  });
  settle(executor, host);
  for (const char* datagram : {"a", "b", "c"}) put(writing.get(), datagram);
  settle(executor, host);
  CHECK(all == "abc");
  reader.abort();
  executor.run_until_idle(host);
}

TEMPLATE_TEST_CASE("epoll: write_all waits for room as often as it takes", "[epoll]", ByNumber, Registered) {
  cw::EpollHost host;
  auto executor = one_queue();
  auto kind = GENERATE(0, 1, 2);
  auto [reading, writing] = kind == 0 ? Ends::pipe() : kind == 1 ? Ends::socketpair() : Ends::tcp();
  TestType source{host, std::move(reading)}, sink{host, std::move(writing)};
  const std::string much(30'000'000, 'x');
  std::size_t written = 0, read = 0;
  auto writer =
      executor.queue(0).spawn([&]() -> cw::Task<> { written = co_await sink.write_all(bytes_of(much)); });
  settle(executor, host);
  CHECK(!writer.done());
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::vector<std::byte> buffer(10'000);
    while (read != much.size()) read += co_await source.read_some(buffer);
  });
  executor.run_until_idle(host);
  CHECK(written == much.size());
  CHECK(read == much.size());
}

TEMPLATE_TEST_CASE("epoll: writing to a socket whose other side has gone is an error and no signal",
                   "[epoll]", ByNumber, Registered) {
  cw::EpollHost host;
  auto executor = one_queue();
  auto [gone, left] = Ends::socketpair();
  TestType sink{host, std::move(left)};
  gone = OwnedFd{};
  std::error_code error;
  executor.run_until(host, [&]() -> cw::Task<> {
    const std::size_t written = co_await sink.write_all(bytes_of("x"), error);
    CHECK(written == 0);
  });
  CHECK(error == std::errc::broken_pipe);
  CHECK_THROWS_WITH(executor.run_until(host, [&]() -> cw::Task<> { co_await sink.write_all(bytes_of("x")); }),
                    Catch::Contains("write_all(fd ") && Catch::Contains("Broken pipe"));
}

TEMPLATE_TEST_CASE("epoll: accept and connect meet, and a refused connection is an error", "[epoll]",
                   ByNumber, Registered) {
  cw::EpollHost host;
  auto executor = one_queue();
  Listener open;
  const sockaddr_in address = open.address;
  std::optional<TestType> listener{std::in_place, host, std::move(open.fd)};
  int accepted = 0;
  auto server = executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;;) {
      OwnedFd connection{co_await listener->accept()};
      CHECK((::fcntl(connection.get(), F_GETFL) & O_NONBLOCK) != 0);
      ++accepted;
    }
  });
  executor.run_until(host, [&]() -> cw::Task<> {
    for (int i = 0; i < 3; ++i) {
      TestType client{host, tcp_socket()};
      std::error_code error = std::make_error_code(std::errc::io_error);
      co_await client.connect(address, error);
      CHECK(!error);
    }
    co_await cw::sleep_for(5ms);
  });
  CHECK(accepted == 3);
  server.abort();
  settle(executor, host);
  listener.reset();
  TestType client{host, tcp_socket()};
  std::error_code error;
  executor.run_until(host, [&]() -> cw::Task<> { co_await client.connect(address, error); });
  CHECK(error == std::errc::connection_refused);
}

TEST_CASE("epoll: a task that never has to wait gives way to others all the same", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  const OwnedFd zero{check(::open("/dev/zero", O_RDONLY | O_NONBLOCK | O_CLOEXEC), "open")};
  bool served = false;
  auto greedy = executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 64> buffer;
    while (!served) co_await cw::read_some(zero.get(), buffer);
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    served = true;
    co_return;
  });
  executor.run_until_idle(host);
  CHECK(served);
}

TEST_CASE("epoll: a descriptor that would block the thread is refused", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto pipe = Ends::pipe(0);
  std::array<std::byte, 4> buffer;
  CHECK_THROWS_WITH(
      executor.run_until(host, [&]() -> cw::Task<> { co_await cw::read_some(pipe.a.get(), buffer); }),
      Catch::Contains("read_some(fd ") && Catch::Contains("set O_NONBLOCK"));
  CHECK_THROWS_AS(
      executor.run_until(host, [&]() -> cw::Task<> { co_await cw::write_all(pipe.b.get(), bytes_of("x")); }),
      std::invalid_argument);
  const OwnedFd blocking{check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  const sockaddr_in address = local(1);
  CHECK_THROWS_AS(
      executor.run_until(host, [&]() -> cw::Task<> { (void)co_await cw::accept(blocking.get()); }),
      std::invalid_argument);
  CHECK_THROWS_AS(executor.run_until(host,
                                     [&]() -> cw::Task<> {
                                       co_await cw::connect(blocking.get(), generic(address), sizeof address);
                                     }),
                  std::invalid_argument);
  CHECK_THROWS_AS(cw::connect(blocking.get(), nullptr, 16), std::invalid_argument);
  CHECK_THROWS_AS(cw::connect(blocking.get(), generic(address), 4096), std::invalid_argument);
  // A socket is asked not to block, and a WatchedFd sees to it.
  auto sockets = Ends::socketpair(0);
  executor.queue(0).spawn([&]() -> cw::Task<> { co_await cw::read_some(sockets.a.get(), buffer); });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    cw::WatchedFd end{pipe.a.release()};
    co_await end.read_some(buffer);
  });
  settle(executor, host);
  put(sockets.b.get(), "x");
  put(pipe.b.get(), "x");
  executor.run_until_idle(host);
}

TEST_CASE("epoll: errors go where they are asked to go, with the call and the descriptor", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  std::array<std::byte, 4> buffer;
  executor.run_until(host, [&]() -> cw::Task<> {
    std::error_code error;
    const auto got = co_await host.read_some(1'000'000, buffer, error);
    CHECK(got == 0);
    CHECK(error == std::errc::bad_file_descriptor);
    error.clear();
    const auto accepted = co_await host.accept(1'000'000, error);
    CHECK(accepted == -1);
    CHECK(error == std::errc::bad_file_descriptor);
    auto pipe = Ends::pipe();
    put(pipe.b.get(), "x");
    const auto some = co_await host.read_some(pipe.a.get(), buffer, error);
    CHECK(some == 1);
    CHECK(!error);
    try {
      co_await host.accept(1'000'000);
      FAIL("accepted");
    } catch (const std::system_error& e) {
      CHECK(std::string{e.what()} == "clockworker: accept(fd 1000000): Bad file descriptor");
    }
  });
}

TEST_CASE("epoll: a read into nothing is refused, as its 0 would say that the end has come", "[epoll]") {
  cw::EpollHost host;
  auto executor = one_queue();
  auto ends = Ends::socketpair();
  CHECK_THROWS_AS(executor.run_until(host, host.read_some(ends.a.get(), {})), std::invalid_argument);
  cw::WatchedFd watched{host, ends.b.release()};
  CHECK_THROWS_AS(executor.run_until(host, watched.read_some({})), std::invalid_argument);
}

}  // namespace
