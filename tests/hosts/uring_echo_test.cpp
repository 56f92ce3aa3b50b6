// An echo server and 200 clients over io_uring, on two threads.
#include <clockworker/hosts/uring.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_echo.hpp"

#include <functional>
#include <thread>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;

struct Uring {
  using Host = cw::UringHost;
  class Connection {
   public:
    Connection(Host& host, int fd) : host_{&host}, fd_{fd} {}
    auto read_some(std::span<std::byte> buffer) { return host_->read_some(fd_.get(), buffer); }
    auto write_all(std::span<const std::byte> bytes) { return host_->write_all(fd_.get(), bytes); }
    auto connect(const sockaddr* address, socklen_t size) { return host_->connect(fd_.get(), address, size); }
    [[nodiscard]] int fd() const { return fd_.get(); }

   private:
    Host* host_;
    OwnedFd fd_;
  };
  static cw::Task<int> accept(Host& host, int listener) { return host.accept(listener); }
};

TEST_CASE("Echo over io_uring: of 200 connections, some of them reset, every byte comes back", "[echo]") {
  Listener listener;
  EchoServed served;
  EchoSeen seen;
  std::thread server{[&] {
    cw::UringHost host;
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    executor.queue(0).spawn(&Echo<Uring>::server, std::ref(host), listener.fd.get(), executor.queue(0),
                            std::ref(served));
    executor.run_until_idle(host);
  }};
  cw::UringHost host{32};  // far fewer entries than operations
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  executor.run_until(host, Echo<Uring>::clients(host, listener.address, executor.queue(0), seen));
  server.join();
  CHECK(seen.wrong_bytes == 0);
  CHECK(seen.complete == echo_connections * 4 / 5);
  CHECK(seen.reset == echo_connections / 5);
  CHECK(served.ended == echo_connections * 4 / 5);
  CHECK(served.broken == echo_connections / 5);
}

}  // namespace
