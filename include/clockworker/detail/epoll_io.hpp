/// \file
/// Calls on non-blocking descriptors: tried first, waited for only when the kernel says that they would block.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <clockworker/detail/epoll_events.hpp>
#include <clockworker/task.hpp>
#include <clockworker/yield.hpp>

namespace clockworker::detail {

/// Whether a call on `fd` may stop the thread, and with it all tasks: then it is refused.
inline void check_does_not_block(int fd, const char* call) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) return;
  throw std::invalid_argument(std::string{"clockworker: "} + call + "(fd " + std::to_string(fd) +
                              "): the descriptor would block the thread and all its tasks; set O_NONBLOCK");
}

/// A descriptor by its number: nothing is known of it but what each call finds.
struct RawFd {
  std::shared_ptr<EpollReactor> reactor;  // null: that of the running task. Held: its host may go meanwhile
  int fd;
  bool socket = true;  // until a call has said otherwise

  [[nodiscard]] int number() const noexcept { return fd; }
  [[nodiscard]] bool is_gone() const noexcept { return false; }
  [[nodiscard]] bool may_be_ready(std::uint32_t) const noexcept { return true; }
  void found_blocked(std::uint32_t) const noexcept {}
  void found_short_read() const noexcept {}
  void check_does_not_block(const char* call) const { detail::check_does_not_block(fd, call); }
  [[nodiscard]] FdWait<FdAwaiter> wait(std::uint32_t side, const char* call) const noexcept {
    return {reactor.get(), {}, fd, side, call};
  }
};

/// What an operation has of a WatchedFd, which may be moved, or go, while that is under way: `fd` means nothing once
/// it is_gone(), so that is looked at after each suspension, before the next call.
struct RegisteredFd {
  FdEdgesPtr edges;  // null: of one that has nothing, and `fd` is -1
  int fd;
  bool socket = !edges || edges->socket;

  [[nodiscard]] int number() const noexcept { return fd; }
  [[nodiscard]] bool is_gone() const noexcept { return edges && edges->gone; }
  [[nodiscard]] bool may_be_ready(std::uint32_t side) const noexcept {
    return !edges || (edges->ready & side) != 0;
  }
  void found_blocked(std::uint32_t side) const noexcept {
    if (!edges) return;
    edges->ready &= ~side;
    if (side == EPOLLIN) edges->at_end = false;  // else the call would have shown it
  }
  /// Of a byte stream a short read has taken all: what comes later is a new edge.
  void found_short_read() const noexcept {
    if (edges && edges->stream && !edges->at_end && !edges->urgent) found_blocked(EPOLLIN);
  }
  void check_does_not_block(const char*) const noexcept {}
  [[nodiscard]] FdWait<FdAwaiter> wait(std::uint32_t side, const char* call) const noexcept {
    return {nullptr, edges, fd, side, call};
  }
};

[[nodiscard]] inline bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

/// A socket is asked not to block whatever its flags are; of anything else the flag is looked at. That costs a
/// failed call, so what has been found out is kept in `socket`.
inline ssize_t try_read(int fd, std::span<std::byte> buffer, bool& socket) {
  if (socket) {
    const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size >= 0 || errno != ENOTSOCK) return size;
    socket = false;
    check_does_not_block(fd, "read_some");
  }
  return ::read(fd, buffer.data(), buffer.size());
}

/// To a socket whose other side has gone: EPIPE and no signal.
inline ssize_t try_write(int fd, std::span<const std::byte> bytes, bool& socket) {
  if (socket) {
    const ssize_t size = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size >= 0 || errno != ENOTSOCK) return size;
    socket = false;
    check_does_not_block(fd, "write_all");
  }
  return ::write(fd, bytes.data(), bytes.size());
}

/// For WatchedFd: makes `fd` non-blocking, and looks what it is. Of sockets only TCP is known to give all it has to a
/// read that asks for more. Throws std::system_error.
inline void find_out_kind(int fd, FdEdges& edges) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ((flags & O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
    throw_system_error(errno, "WatchedFd", fd);
  int protocol = 0;
  socklen_t size = sizeof protocol;
  edges.socket = ::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0;
  edges.stream = edges.socket && protocol == IPPROTO_TCP;
}

// Each of these gives way first if its slice is over: on a descriptor that is always ready a task would not
// suspend otherwise.

template <class Fd>
Task<std::size_t> read_some_from(Fd fd, std::span<std::byte> buffer, ErrorTo error) {
  error.clear();
  check_has_room(buffer.size(), fd.number());
  co_await yield_maybe();
  for (;;) {
    int failed = fd.is_gone() ? ECANCELED : 0;
    if (failed == 0 && fd.may_be_ready(EPOLLIN)) {
      const ssize_t size = try_read(fd.number(), buffer, fd.socket);
      if (size >= 0) {
        const auto got = static_cast<std::size_t>(size);
        if (got != 0 && got < buffer.size()) fd.found_short_read();
        co_return got;
      }
      if (errno == EINTR) continue;
      if (!would_block(errno)) failed = errno;
    }
    if (failed == 0) {
      fd.found_blocked(EPOLLIN);
      failed = co_await fd.wait(EPOLLIN, "read_some");
    }
    if (failed != 0) {
      error.report(failed, "read_some", fd.number());
      co_return std::size_t{0};
    }
  }
}

template <class Fd>
Task<std::size_t> write_all_to(Fd fd, std::span<const std::byte> bytes, ErrorTo error) {
  error.clear();
  std::size_t done = 0;
  while (done != bytes.size()) {
    co_await yield_maybe();
    int failed = fd.is_gone() ? ECANCELED : 0;
    if (failed == 0 && fd.may_be_ready(EPOLLOUT)) {
      const ssize_t size = try_write(fd.number(), bytes.subspan(done), fd.socket);
      if (size >= 0) {
        done += static_cast<std::size_t>(size);
        continue;
      }
      if (errno == EINTR) continue;
      if (!would_block(errno)) failed = errno;
    }
    if (failed == 0) {
      fd.found_blocked(EPOLLOUT);
      failed = co_await fd.wait(EPOLLOUT, "write_all");
    }
    if (failed != 0) {
      error.report(failed, "write_all", fd.number());
      break;
    }
  }
  co_return done;
}

template <class Fd>
Task<int> accept_from(Fd fd, ErrorTo error) {
  error.clear();
  fd.check_does_not_block("accept");
  for (;;) {
    co_await yield_maybe();
    int failed = fd.is_gone() ? ECANCELED : 0;
    if (failed == 0 && fd.may_be_ready(EPOLLIN)) {
      const int connection = ::accept4(fd.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (connection >= 0) co_return connection;
      // One that has broken before it was taken is not the listener's failure.
      if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
      if (!would_block(errno)) failed = errno;
    }
    if (failed == 0) {
      fd.found_blocked(EPOLLIN);
      failed = co_await fd.wait(EPOLLIN, "accept");
    }
    if (failed != 0) {
      error.report(failed, "accept", fd.number());
      co_return -1;
    }
  }
}

/// Asks again after the wait, with the same call: it says "in progress" if the wait ended too early, and what
/// became of the attempt if not.
template <class Fd>
Task<> connect_to(Fd fd, sockaddr_storage address, socklen_t size, ErrorTo error) {
  error.clear();
  fd.check_does_not_block("connect");
  for (bool begun = false;; begun = true) {
    int failed = fd.is_gone() ? ECANCELED : 0;
    if (failed == 0) {
      if (::connect(fd.number(), reinterpret_cast<const sockaddr*>(&address), size) == 0) co_return;
      failed = errno;
    }
    if (failed == EISCONN && begun) co_return;
    if (failed == EINPROGRESS || failed == EALREADY || failed == EINTR) {
      fd.found_blocked(EPOLLOUT);
      failed = co_await fd.wait(EPOLLOUT, "connect");
    }
    if (failed != 0) {
      error.report(failed, "connect", fd.number());
      co_return;
    }
  }
}

}  // namespace clockworker::detail
