/// \file
/// Calls on descriptors that the kernel makes for a task while that is suspended.
#pragma once

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <clockworker/detail/uring_ring.hpp>
#include <clockworker/stop_token.hpp>
#include <clockworker/task.hpp>
#include <clockworker/this_task.hpp>

namespace clockworker::detail {

using UringPointer = std::shared_ptr<UringRing>;  // held by what is under way: its host may go meanwhile

enum class UringResult : bool { plain, descriptor };

/// One operation; its result is what the kernel returns, an errno negated if it failed, and -ECANCELED if the host
/// has gone.
///
/// To the library it is a stranger's: an abort does not end the frame, which the kernel works on, but asks for a stop,
/// and that has the operation cancelled. Its completion then resumes the task for its end.
template <class Prepare>
class UringCall : UringOp {
 public:
  UringCall(UringRing& ring, Prepare prepare, UringResult kind = UringResult::plain) noexcept
      : ring_{ring}, prepare_{std::move(prepare)}, kind_{kind} {}
  UringCall(const UringCall&) = delete;
  UringCall& operator=(const UringCall&) = delete;
  ~UringCall() {
    // Accepted for a task that was aborted meanwhile.
    if (kind_ == UringResult::descriptor && result_ >= 0 && !taken_) ::close(result_);
  }

  [[nodiscard]] bool await_ready() {
    if (ring_.is_closed()) return true;
    token_ = this_task::stop_token();
    return false;
  }
  void await_suspend(std::coroutine_handle<> frame) {
    frame_ = frame;
    completed = [](UringOp& op, int result) {
      auto& self = static_cast<UringCall&>(op);
      if (self.ring_.was_cancelled_by_kernel(op, result)) {
        if (self.ring_.try_start(op, self.prepare_)) return;
        result = -EBUSY;
      }
      self.result_ = result;
      self.frame_.resume();
    };
    ring_.start(*this, prepare_);
    stop_.emplace(token_, Cancel{this});
  }
  [[nodiscard]] int await_resume() noexcept {
    stop_.reset();
    taken_ = true;
    return result_;
  }

 private:
  struct Cancel {
    UringCall* call;
    void operator()() const noexcept { call->ring_.cancel(*call); }
  };

  UringRing& ring_;
  Prepare prepare_;
  UringResult kind_;
  bool taken_ = false;
  int result_ = -ECANCELED;
  std::coroutine_handle<> frame_;
  stop_token token_;
  std::optional<stop_callback<Cancel>> stop_;
};

/// Until `fd` is ready, whether it blocks or not: 0, or an errno.
inline Task<int> uring_wait(UringPointer ring, int fd, unsigned events) {
  const int result =
      co_await UringCall{*ring, [=](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, fd, events); }};
  co_return result < 0 ? -result : 0;
}

inline Task<> uring_ready(UringPointer ring, int fd, unsigned events, const char* call) {
  if (const int error = co_await uring_wait(std::move(ring), fd, events)) throw_system_error(error, call, fd);
}

// A descriptor with O_NONBLOCK set has the kernel answer EAGAIN instead of waiting: then we wait.

inline Task<std::size_t> uring_read_some(UringPointer ring, int fd, std::span<std::byte> buffer,
                                         ErrorTo error) {
  error.clear();
  check_has_room(buffer.size(), fd);
  const auto size = static_cast<unsigned>(std::min(buffer.size(), std::size_t{1} << 30));
  for (;;) {
    int result = co_await UringCall{*ring, [=](io_uring_sqe* sqe) {
                                      constexpr auto here =
                                          static_cast<std::uint64_t>(-1);  // not at an offset
                                      ::io_uring_prep_read(sqe, fd, buffer.data(), size, here);
                                    }};
    if (result >= 0) co_return static_cast<std::size_t>(result);
    if (result == -EAGAIN) result = -co_await uring_wait(ring, fd, POLLIN);
    if (result < 0 && result != -EINTR) {
      error.report(-result, "read_some", fd);
      co_return std::size_t{0};
    }
  }
}

inline Task<std::size_t> uring_write_all(UringPointer ring, int fd, std::span<const std::byte> bytes,
                                         ErrorTo error) {
  error.clear();
  std::size_t done = 0;
  for (bool socket = true; done != bytes.size();) {
    const auto size = static_cast<unsigned>(std::min(bytes.size() - done, std::size_t{1} << 30));
    const std::byte* from = bytes.data() + done;
    int result = co_await UringCall{*ring, [=](io_uring_sqe* sqe) {
                                      constexpr auto here = static_cast<std::uint64_t>(-1);
                                      if (socket) {
                                        ::io_uring_prep_send(sqe, fd, from, size, MSG_NOSIGNAL);
                                      } else {
                                        ::io_uring_prep_write(sqe, fd, from, size, here);
                                      }
                                    }};
    if (result >= 0) {
      done += static_cast<std::size_t>(result);
      continue;
    }
    if (result == -ENOTSOCK && socket) {
      socket = false;
      continue;
    }
    if (result == -EAGAIN) result = -co_await uring_wait(ring, fd, POLLOUT);
    if (result < 0 && result != -EINTR) {
      error.report(-result, "write_all", fd);
      break;
    }
  }
  co_return done;
}

inline Task<int> uring_accept(UringPointer ring, int fd, ErrorTo error) {
  error.clear();
  for (;;) {
    int result =
        co_await UringCall{*ring,
                           [=](io_uring_sqe* sqe) {
                             ::io_uring_prep_accept(sqe, fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
                           },
                           UringResult::descriptor};
    if (result >= 0) co_return result;
    if (result == -EAGAIN) result = -co_await uring_wait(ring, fd, POLLIN);
    if (result < 0 && result != -EINTR && result != -ECONNABORTED && result != -EPROTO) {
      error.report(-result, "accept", fd);
      co_return -1;
    }
  }
}

inline Task<> uring_connect(UringPointer ring, int fd, sockaddr_storage address, socklen_t size,
                            ErrorTo error) {
  error.clear();
  for (int times = 0;;) {  // that the kernel was asked: once more also if the thread ends meanwhile
    int result =
        co_await UringCall{*ring, [&](io_uring_sqe* sqe) {
                             ++times;
                             ::io_uring_prep_connect(sqe, fd, reinterpret_cast<sockaddr*>(&address), size);
                           }};
    if (result == 0 || (result == -EISCONN && times > 1)) co_return;
    // Not EAGAIN: nothing is under way then, as of a unix socket whose listener's queue is full, and the wait would be
    // over at once.
    if (result == -EINPROGRESS || result == -EALREADY) result = -co_await uring_wait(ring, fd, POLLOUT);
    if (result < 0 && result != -EINTR) {
      error.report(-result, "connect", fd);
      co_return;
    }
  }
}

}  // namespace clockworker::detail
