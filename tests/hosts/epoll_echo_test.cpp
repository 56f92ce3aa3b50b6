// An echo server and 200 clients over epoll: in one executor, and in two on two threads.
#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_echo.hpp"

#include <exception>
#include <thread>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;

/// By numbers: a system call tells the kernel of each wait.
struct ByNumber {
  using Host = cw::EpollHost;
  class Connection {
   public:
    Connection(Host&, int fd) : fd_{fd} {}
    auto read_some(std::span<std::byte> buffer) { return cw::read_some(fd_.get(), buffer); }
    auto write_all(std::span<const std::byte> bytes) { return cw::write_all(fd_.get(), bytes); }
    auto connect(const sockaddr* address, socklen_t size) { return cw::connect(fd_.get(), address, size); }
    [[nodiscard]] int fd() const { return fd_.get(); }

   private:
    OwnedFd fd_;
  };
  static cw::Task<int> accept(Host&, int listener) { return cw::accept(listener); }
};

/// Registered once.
struct Registered {
  using Host = cw::EpollHost;
  using Connection = cw::WatchedFd;
  static cw::Task<int> accept(Host& host, int listener) { return host.accept(listener); }
};

void check_outcome(const EchoServed& served, const EchoSeen& seen) {
  CHECK(seen.wrong_bytes == 0);
  CHECK(seen.complete == echo_connections * 4 / 5);
  CHECK(seen.reset == echo_connections / 5);
  CHECK(served.ended == echo_connections * 4 / 5);
  CHECK(served.broken == echo_connections / 5);
}

TEMPLATE_TEST_CASE("Echo over epoll: of 200 connections, some of them reset, every byte comes back", "[echo]",
                   ByNumber, Registered) {
  Listener listener;
  EchoServed served;
  EchoSeen seen;

  SECTION("server and clients in one executor") {
    cw::EpollHost host;
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build();
    executor.queue(0).spawn(&Echo<TestType>::server, std::ref(host), listener.fd.get(), executor.queue(0),
                            std::ref(served));
    executor.queue(1).spawn(&Echo<TestType>::clients, std::ref(host), listener.address, executor.queue(1),
                            std::ref(seen));
    executor.run_until_idle(host);
  }
  SECTION("on two threads") {
    std::thread server{[&] {
      cw::EpollHost host;
      auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
      executor.queue(0).spawn(&Echo<TestType>::server, std::ref(host), listener.fd.get(), executor.queue(0),
                              std::ref(served));
      executor.run_until_idle(host);
    }};
    cw::EpollHost host;
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    executor.run_until(host, Echo<TestType>::clients(host, listener.address, executor.queue(0), seen));
    server.join();
  }
  check_outcome(served, seen);
}

}  // namespace
