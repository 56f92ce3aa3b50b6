// An epoll loop of one's own, with the executor as a guest: one more descriptor to watch. Tasks await others.
#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/epoll.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace cw = clockworker;
using namespace std::chrono_literals;

int check(int result, const char* call) {
  if (result < 0 && errno != EINTR) throw std::system_error{errno, std::generic_category(), call};
  return result;
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  check(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

cw::Task<> print_lines(int fd) {
  std::array<std::byte, 256> buffer;
  while (const std::size_t size = co_await cw::read_some(fd, buffer))
    std::fwrite(buffer.data(), 1, size, stdout);
}

cw::Task<> write_lines(int fd) {
  for (const std::string line : {"one\n", "two\n", "three\n"}) {
    co_await cw::sleep_for(20ms);
    co_await cw::write_all(fd, std::as_bytes(std::span{line}));
  }
  ::close(fd);
}

int main() {
  // The loop as it was: it has a timer of its own.
  const int epoll = check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int clock = check(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");
  const itimerspec every_25_ms{{0, 25'000'000}, {0, 25'000'000}};
  check(::timerfd_settime(clock, 0, &every_25_ms, nullptr), "timerfd_settime");
  watch(epoll, clock);

  int pipe[2];
  check(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), "pipe2");
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto reader = executor.queue(0).spawn(print_lines, pipe[0]);
  executor.queue(0).spawn(write_lines, pipe[1]);

  cw::EpollGuest guest{executor};
  watch(epoll, guest.fd());

  int ticks = 0;
  while (!reader.done()) {
    std::array<epoll_event, 16> events;
    const int count = check(::epoll_wait(epoll, events.data(), 16, -1), "epoll_wait");
    for (int i = 0; i < count; ++i) {
      if (events[static_cast<std::size_t>(i)].data.fd == guest.fd()) {
        guest.dispatch();  // what its tasks wait for, and one turn
      } else {
        std::uint64_t expired = 0;
        ticks += ::read(clock, &expired, sizeof expired) > 0 ? 1 : 0;
      }
    }
  }
  std::printf("%s ticks beside\n", ticks > 0 ? "and" : "but no");
  for (int fd : {pipe[0], clock, epoll}) ::close(fd);
}
