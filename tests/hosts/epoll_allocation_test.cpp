// What an epoll host takes from the heap.
#include "../heap_under_test.hpp"

#include <clockworker/hosts/epoll.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <cstddef>
#include <new>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;

TEST_CASE("EpollHost: its table of descriptors grows by doubling", "[epoll]") {
  cw::EpollHost host;
  const auto pipe = Ends::pipe();
  std::size_t growths = 0;
  for (int number = 100; number != 800; ++number) {
    const OwnedFd fd{check(::fcntl(pipe.a.get(), F_DUPFD_CLOEXEC, number), "fcntl")};
    const std::size_t before = heap_under_test::heap.allocations;
    host.watch(fd.get(), EPOLLIN, {});
    // One is the callback's.
    if (heap_under_test::heap.allocations - before > 1) ++growths;
    host.unwatch(fd.get());
  }
  CHECK(growths <= 4);
}

TEST_CASE("WatchedFd: without memory it closes its descriptor all the same", "[epoll]") {
  cw::EpollHost host;
  auto& heap = heap_under_test::heap;
  for (std::size_t left = 0;; ++left) {
    auto pipe = Ends::pipe();
    const int number = pipe.a.get();
    bool made = false;
    heap.left = left;
    heap.failed = false;
    heap.armed = true;
    try {
      const cw::WatchedFd watched{host, pipe.a.release()};
      made = true;
    } catch (const std::bad_alloc&) {
    }
    heap.armed = false;
    CHECK(::fcntl(number, F_GETFD) == -1);
    if (made) break;
  }
}

}  // namespace
