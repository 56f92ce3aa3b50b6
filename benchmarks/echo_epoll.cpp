// How much of the throughput of an echo server written by hand over epoll is left with the epoll host?
#include "echo_load.hpp"

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/epoll.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

namespace cw = clockworker;

template <class SetStop>
void serve_by_hand(int listener, SetStop set_stop) {
  const int epoll = echo::check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int bell = echo::check(::eventfd(0, EFD_CLOEXEC), "eventfd");
  auto watch = [&](int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    echo::check(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  };
  watch(listener);
  watch(bell);
  set_stop([bell] { (void)!::eventfd_write(bell, 1); });
  std::array<epoll_event, 64> events;
  for (bool stopped = false; !stopped;) {
    const int count = echo::check(::epoll_wait(epoll, events.data(), 64, -1), "epoll_wait");
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == listener) {
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connection < 0) continue;
        echo::send_at_once(connection);
        watch(connection);
      } else if (fd == bell) {
        stopped = true;
      } else {
        std::array<char, 4096> bytes;
        const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), 0);
        if (size > 0) {
          // It fits: each connection has one message under way.
          if (::send(fd, bytes.data(), static_cast<std::size_t>(size), MSG_NOSIGNAL) != size) ::close(fd);
        } else {
          ::close(fd);
        }
      }
    }
  }
  ::close(epoll);
  ::close(bell);
}

cw::Task<> echo_back(cw::WatchedFd connection) {
  std::array<std::byte, 4096> bytes;
  while (const std::size_t size = co_await connection.read_some(bytes))
    co_await connection.write_all(std::span{bytes}.first(size));
}

cw::Task<> serve(int listener, cw::QueueHandle queue) {
  for (;;) {
    const int connection = co_await cw::accept(listener);
    echo::send_at_once(connection);
    queue.spawn(echo_back, cw::WatchedFd{connection});
  }
}

template <class SetStop>
void serve_on_host(int listener, SetStop set_stop) {
  cw::EpollHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  set_stop([remote = executor.remote()] { remote.stop(); });
  executor.queue(0).spawn(serve, listener, executor.queue(0));
  executor.run(host);
}

void by_hand(benchmark::State& state) {
  echo::measure(state, [](int listener, auto set_stop) { serve_by_hand(listener, set_stop); });
}
void epoll_host(benchmark::State& state) {
  echo::measure(state, [](int listener, auto set_stop) { serve_on_host(listener, set_stop); });
}
BENCHMARK(by_hand)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(epoll_host)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
