/// \file
/// The load for an echo server: connections over the loopback, each with one message under way, driven by a
/// hand-written epoll loop on a thread, and core, of its own.
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace echo {

inline constexpr std::size_t message_size = 64;
inline constexpr int connections = 64;
inline constexpr int round_trips_a_batch = 20'000;

inline int check(int result, const char* call) {
  if (result < 0) throw std::system_error{errno, std::generic_category(), call};
  return result;
}

/// Keeps the calling thread to one core, where there are two.
inline void stay_on_core(unsigned core) {
  if (std::thread::hardware_concurrency() < 2) return;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  (void)::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores);
}

inline double seconds_of(clockid_t clock) {
  timespec t{};
  check(::clock_gettime(clock, &t), "clock_gettime");
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// A listening socket, non-blocking.
struct Listener {
  int fd = check(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in address{};
  Listener() {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
    check(::listen(fd, connections), "listen");
    socklen_t size = sizeof address;
    check(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  }
};

inline void send_at_once(int fd) {
  const int on = 1;
  check(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
}

/// The clients.
class Load {
 public:
  explicit Load(const sockaddr_in& server) {
    for (int i = 0; i < connections; ++i) {
      const int fd = check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
      check(::connect(fd, reinterpret_cast<const sockaddr*>(&server), sizeof server), "connect");
      send_at_once(fd);
      epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
      check(::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
      fds_.push_back(fd);
    }
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() {
    for (int fd : fds_) ::close(fd);
    ::close(epoll_);
  }

  /// Returns when so many messages have come back. One is under way on each connection until then.
  void run(int round_trips) {
    int to_send = round_trips;
    for (int fd : fds_) send(fd, to_send);
    std::array<epoll_event, connections> events;
    for (int back = 0; back < round_trips;) {
      const int count = check(::epoll_wait(epoll_, events.data(), connections, -1), "epoll_wait");
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        std::array<char, 2 * message_size> bytes;
        if (::read(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(message_size))
          throw std::runtime_error{"a message came back in parts, or the server has gone"};
        ++back;
        send(fd, to_send);
      }
    }
  }

 private:
  static void send(int fd, int& left) {
    static constexpr std::array<char, message_size> message{};
    if (left <= 0) return;
    --left;
    if (::write(fd, message.data(), message.size()) != static_cast<ssize_t>(message.size()))
      throw std::system_error{errno, std::generic_category(), "write"};
  }

  int epoll_ = check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  std::vector<int> fds_;
};

/// Runs `serve(listener, set_stop)` on a thread: it serves until the function that it gives to `set_stop` is
/// called, on any thread. Counts round trips, and the server's CPU time for each.
template <class Serve>
void measure(benchmark::State& state, Serve serve) {
  stay_on_core(0);
  Listener listener;
  std::promise<std::pair<std::function<void()>, clockid_t>> started;
  std::thread server{[&] {
    stay_on_core(1);
    serve(listener.fd, [&](std::function<void()> stop) {
      clockid_t clock{};
      ::pthread_getcpuclockid(::pthread_self(), &clock);
      started.set_value({std::move(stop), clock});
    });
  }};
  auto [stop, clock] = started.get_future().get();
  {
    Load load{listener.address};
    load.run(round_trips_a_batch);
    const double before = seconds_of(clock);
    for (auto _ : state) load.run(round_trips_a_batch);
    const auto round_trips = static_cast<double>(state.iterations()) * round_trips_a_batch;
    state.counters["round_trips"] = benchmark::Counter(round_trips, benchmark::Counter::kIsRate);
    state.counters["server_cpu_ns"] = 1e9 * (seconds_of(clock) - before) / round_trips;
    stop();
  }
  server.join();
  ::close(listener.fd);
}

}  // namespace echo
