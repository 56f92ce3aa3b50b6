/// \file
/// An echo server and its clients, over whatever `Net` offers: a Host, a Connection made of a host and a descriptor, and
/// accept(). Every byte that comes back is checked; some clients reset their connections in the midst.
#pragma once

#include <clockworker/clockworker.hpp>

#include "posix_sockets.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace clockworker_test {

namespace cw = clockworker;

inline constexpr int echo_connections = 200;
inline constexpr std::array<std::size_t, 7> echo_sizes{1, 1000, 65'536, 400'000, 4097, 150'001, 33};

/// What connection `id` sends at `offset`.
inline std::byte echo_byte(int id, std::size_t offset) {
  return static_cast<std::byte>((offset * 131 + offset / 251 + static_cast<std::size_t>(id) * 17) & 0xff);
}
inline bool resets(int id) { return id % 5 == 3; }

struct EchoServed {
  int ended = 0;
  int broken = 0;
};
struct EchoSeen {
  int complete = 0;
  int reset = 0;
  std::uint64_t wrong_bytes = 0;
};

template <class Net>
struct Echo {
  using Host = typename Net::Host;
  using Connection = typename Net::Connection;

  static cw::Task<> echo(Connection connection, EchoServed& served) {
    std::vector<std::byte> buffer(16'384);
    try {
      while (const std::size_t size = co_await connection.read_some(buffer))
        co_await connection.write_all(std::span{buffer}.first(size));
      ++served.ended;
    } catch (const std::system_error&) {
      ++served.broken;
    }
  }

  /// Until all connections have come; their tasks are on `queue`.
  static cw::Task<> server(Host& host, int listener, cw::QueueHandle queue, EchoServed& served) {
    for (int i = 0; i < echo_connections; ++i) {
      const int fd = co_await Net::accept(host, listener);
      if (i % 3 == 0) {  // so that writes are cut
        const int small = 4096;
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
      }
      queue.spawn(&Echo::echo, Connection{host, fd}, std::ref(served));
    }
  }

  static cw::Task<std::uint64_t> check_back(Connection& connection, int id, std::size_t expected) {
    std::vector<std::byte> buffer(static_cast<std::size_t>(1 + id * 97 % 9000));
    std::uint64_t wrong = 0;
    for (std::size_t offset = 0; offset != expected;) {
      const std::size_t size =
          co_await connection.read_some(std::span{buffer}.first(std::min(buffer.size(), expected - offset)));
      if (size == 0) co_return wrong + expected - offset;
      for (std::size_t i = 0; i < size; ++i) wrong += buffer[i] != echo_byte(id, offset + i) ? 1U : 0U;
      offset += size;
    }
    co_return wrong;
  }

  static cw::Task<> client(Host& host, sockaddr_in address, int id, cw::QueueHandle queue, EchoSeen& seen) {
    Connection connection{host, tcp_socket().release()};
    co_await connection.connect(generic(address), sizeof address);
    const std::size_t total = echo_sizes[static_cast<std::size_t>(id) % echo_sizes.size()];
    // What is checked before a reset; the rest is on its way then.
    const std::size_t checked = resets(id) ? total / 4 : total;
    auto reader = queue.spawn(&Echo::check_back, std::ref(connection), id, checked);
    std::vector<std::byte> chunk;
    for (std::size_t offset = 0; offset != total;) {
      const std::size_t size = std::min<std::size_t>(total - offset, 1 + static_cast<std::size_t>(id) * 331);
      chunk.resize(size);
      for (std::size_t i = 0; i < size; ++i) chunk[i] = echo_byte(id, offset + i);
      if (resets(id) && offset > checked + checked / 2) break;
      co_await connection.write_all(chunk);
      offset += size;
    }
    cw::JoinResult<std::uint64_t> wrong = co_await reader;
    seen.wrong_bytes += wrong.value();
    if (resets(id)) {
      reset_at_close(connection.fd());
      ++seen.reset;
    } else {
      ++seen.complete;
    }
  }

  static cw::Task<> clients(Host& host, sockaddr_in address, cw::QueueHandle queue, EchoSeen& seen) {
    std::vector<cw::JoinHandle<void>> running;
    for (int id = 0; id < echo_connections; ++id) {
      running.push_back(queue.spawn(&Echo::client, std::ref(host), address, id, queue, std::ref(seen)));
    }
    for (auto& one : running) {
      cw::JoinResult<void> ended = co_await one;
      ended.value();
    }
  }
};

}  // namespace clockworker_test
