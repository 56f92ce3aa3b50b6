/// \file
/// Sockets, pipes and files for the tests of the hosts over descriptors.
#pragma once

#include <clockworker/detail/posix_fd.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace clockworker_test {

using clockworker::detail::OwnedFd;

inline int check(int result, const char* call) {
  if (result < 0) throw std::system_error{errno, std::generic_category(), call};
  return result;
}

/// Two ends, non-blocking unless said otherwise.
struct Ends {
  OwnedFd a;  // of a pipe: for reading
  OwnedFd b;

  [[nodiscard]] static Ends pipe(int flags = O_NONBLOCK) {
    int fds[2];
    check(::pipe2(fds, flags | O_CLOEXEC), "pipe2");
    return Ends{OwnedFd{fds[0]}, OwnedFd{fds[1]}};
  }
  [[nodiscard]] static Ends socketpair(int flags = SOCK_NONBLOCK) {
    int fds[2];
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, fds), "socketpair");
    return Ends{OwnedFd{fds[0]}, OwnedFd{fds[1]}};
  }
  [[nodiscard]] static Ends tcp();
};

inline void put(int fd, std::string_view text) {
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
}

/// Until it would block.
inline void fill(int fd) {
  const std::array<char, 4096> bytes{};
  while (::write(fd, bytes.data(), bytes.size()) > 0) {
  }
}
inline void drain(int fd) {
  std::array<char, 4096> bytes;
  while (::read(fd, bytes.data(), bytes.size()) > 0) {
  }
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

[[nodiscard]] inline OwnedFd tcp_socket() {
  return OwnedFd{check(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket")};
}

/// An address on this machine; port 0 is any.
[[nodiscard]] inline sockaddr_in local(in_port_t port = 0) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}
inline const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

/// Listens at a port that the system chooses.
struct Listener {
  OwnedFd fd = tcp_socket();
  sockaddr_in address = local();

  explicit Listener(int backlog = 256) {
    check(::bind(fd.get(), generic(address), sizeof address), "bind");
    check(::listen(fd.get(), backlog), "listen");
    socklen_t size = sizeof address;
    check(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  }
};

inline Ends Ends::tcp() {
  Listener listener;
  OwnedFd client{check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  check(::connect(client.get(), generic(listener.address), sizeof listener.address), "connect");
  OwnedFd server;
  while (server.get() < 0)
    server = OwnedFd{::accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
  check(::fcntl(client.get(), F_SETFL, O_NONBLOCK), "fcntl");
  return Ends{std::move(client), std::move(server)};
}

/// Has close() reset the connection.
inline void reset_at_close(int fd) {
  const linger hard{1, 0};
  check(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), "setsockopt");
}

}  // namespace clockworker_test
