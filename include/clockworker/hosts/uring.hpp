/// \file
/// Linux io_uring, by liburing (link with -luring).
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include <sys/socket.h>

#include <clockworker/detail/posix_address.hpp>
#include <clockworker/detail/uring_io.hpp>
#include <clockworker/detail/uring_watches.hpp>
#include <clockworker/host.hpp>
#include <clockworker/task.hpp>

namespace clockworker {

/// A PollHook over an io_uring of its own. What tasks await of it the kernel does while they are suspended, on blocking
/// and non-blocking descriptors alike; what they start goes to the kernel at the next poll, all in one system call.
///
/// Buffers are the kernel's until an operation has ended, and so the frames that they lie in stay: an aborted task
/// has its operation cancelled, and ends when the kernel has let go of it, at a later poll. If the executor is destroyed
/// first, those frames stay until the next poll of the host or its end; if the host goes first, it cancels
/// what is in flight, waits for the kernel, and the tasks go on with ECANCELED. What a cancelled read has read by then
/// is lost; an accepted connection is closed.
///
/// Everything but wake() is for the executor's thread, which may be another at the next run: what the kernel cancels
/// when a thread ends is started again. Errors are std::system_error, whose text names the call and
/// the descriptor, or go to a std::error_code if one is given. Close a descriptor when nobody waits for it: the
/// kernel keeps the file until then.
class UringHost {
 public:
  /// `entries`: how many operations go to the kernel at once, not how many can be under way. Throws std::system_error
  /// that says so if the kernel refuses.
  explicit UringHost(unsigned entries = 256)
      : ring_{std::make_shared<detail::UringRing>(entries)}, watches_{*ring_} {}
  UringHost(const UringHost&) = delete;
  UringHost& operator=(const UringHost&) = delete;
  ~UringHost() {
    watches_.clear();
    ring_->close();
  }

  /// The executor's thread. Times are kept to the nanosecond. Throws std::system_error.
  void poll(PollTimeout timeout) {
    watches_.arm_waiting();
    // A look without blocking leaves a wake to the next poll that may block.
    if (timeout && timeout->count() <= 0) {
      woken_ = ring_->poll(timeout) || woken_;
    } else {
      const bool woken = std::exchange(woken_, false);
      (void)ring_->poll(woken ? PollTimeout{std::chrono::nanoseconds::zero()} : timeout);
    }
  }

  /// Any thread. One system call.
  void wake() noexcept { ring_->bell().ring(); }

  /// `co_await host.readable(fd)`: the task goes on when reading would not block: there is something, the end, or
  /// an error for the read to show. Any number of tasks may wait for one descriptor, and all go on.
  [[nodiscard]] Task<> readable(int fd) { return detail::uring_ready(ring_, fd, POLLIN, "readable"); }
  [[nodiscard]] Task<> writable(int fd) { return detail::uring_ready(ring_, fd, POLLOUT, "writable"); }

  /// Reads what there is, at least one byte, and returns how many; 0 at the end. An empty buffer is refused with
  /// std::invalid_argument.
  [[nodiscard]] Task<std::size_t> read_some(int fd, std::span<std::byte> buffer, ErrorTo error = {}) {
    return detail::uring_read_some(ring_, fd, buffer, error);
  }
  /// Returns when all is written, how many bytes that is, or how many were before an error. To a socket whose other
  /// side has gone it is EPIPE, with no signal.
  [[nodiscard]] Task<std::size_t> write_all(int fd, std::span<const std::byte> bytes, ErrorTo error = {}) {
    return detail::uring_write_all(ring_, fd, bytes, error);
  }
  /// Returns the descriptor of the next connection, non-blocking and closed on exec, which is the caller's; -1 on an
  /// error. Connections that broke before they were taken are passed over.
  [[nodiscard]] Task<int> accept(int fd, ErrorTo error = {}) {
    return detail::uring_accept(ring_, fd, error);
  }
  /// Returns when it is connected. The address is copied. Throws std::invalid_argument at once if it is none. A unix
  /// socket that does not block gets EAGAIN if the listener's queue is full.
  [[nodiscard]] Task<> connect(int fd, const sockaddr* address, socklen_t size, ErrorTo error = {}) {
    return detail::uring_connect(ring_, fd, detail::copy_of(address, size), size, error);
  }

  /// Has poll() call `callback(events)` each time `fd` is ready for one of `events`, POLLIN and so on, until unwatch().
  /// It may do anything but run the executor; what it throws leaves poll(), and no other event is lost. If the kernel
  /// cannot watch `fd`, it is called once with POLLNVAL. Throws std::bad_alloc, and std::logic_error if `fd` is watched
  /// already.
  void watch(int fd, unsigned events, std::function<void(unsigned)> callback) {
    watches_.add(fd, events, std::move(callback));
  }
  /// Also from within the callback. Nothing happens if `fd` is not watched.
  void unwatch(int fd) noexcept { watches_.remove(fd); }

 private:
  std::shared_ptr<detail::UringRing> ring_;
  detail::UringWatches watches_;
  bool woken_ = false;
};

static_assert(PollHook<UringHost>);

}  // namespace clockworker
