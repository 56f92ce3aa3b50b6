/// \file
/// What a task awaits of a descriptor, and how it finds the epoll instance for it.
#pragma once

#include <cerrno>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <utility>

#include <sys/epoll.h>

#include <clockworker/detail/epoll_reactor.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/waker.hpp>

namespace clockworker {

class EpollEvents;

namespace detail {

[[nodiscard]] EpollReactor& reactor_of(EpollEvents& events) noexcept;  // hosts/epoll.hpp
[[nodiscard]] EpollReactor& reactor_of_this_task(const char* call);    // hosts/epoll.hpp

/// Waits once. Its result is 0, or an errno that says why the wait ended early.
class FdAwaiter {
 public:
  /// `edges` null: by number. `reactor` null: that of the running task.
  FdAwaiter(EpollReactor* reactor, FdEdgesPtr edges, int fd, std::uint32_t side, const char* call) noexcept
      : reactor_{reactor}, edges_{std::move(edges)}, fd_{fd}, side_{side}, call_{call} {}
  FdAwaiter(const FdAwaiter&) = delete;
  FdAwaiter& operator=(const FdAwaiter&) = delete;
  ~FdAwaiter() { EpollReactor::stop_waiting(waiter_); }

  [[nodiscard]] bool await_ready() const noexcept {
    return edges_ && (edges_->gone || (edges_->ready & side_) != 0);
  }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> frame) {
    check_awaited_in_task<Promise>();
    waiter_.task = thread_state.task;
    if (edges_) {
      if (edges_->reactor == nullptr) {  // the host has gone
        waiter_.error = ECANCELED;
        return false;
      }
      edges_->reactor->wait_for_edge(waiter_, fd_, side_);
    } else {
      EpollReactor& where = reactor_ != nullptr ? *reactor_ : reactor_of_this_task(call_);
      if (!where.wait(waiter_, fd_, side_)) return false;
    }
    suspending(frame, WaitsFor::host);
    return true;
  }
  /// A task that was woken by its event may find that the WatchedFd has gone before it runs.
  [[nodiscard]] int await_resume() const noexcept {
    return edges_ && edges_->gone ? ECANCELED : waiter_.error;
  }

 protected:
  void throw_error() const {
    if (const int error = FdAwaiter::await_resume()) throw_system_error(error, call_, fd_);
  }

 private:
  FdWaiter waiter_;
  EpollReactor* reactor_;
  FdEdgesPtr edges_;
  int fd_;
  std::uint32_t side_;
  const char* call_;
};

/// The same for users: throws.
class ThrowingFdAwaiter : public FdAwaiter {
 public:
  using FdAwaiter::FdAwaiter;
  void await_resume() const { throw_error(); }
};

/// What is awaited; the awaiter is made by the co_await.
template <class Awaiter>
struct [[nodiscard]] FdWait {
  using clockworker_native = void;
  EpollReactor* reactor;
  FdEdgesPtr edges;
  int fd;
  std::uint32_t side;
  const char* call;
  [[nodiscard]] Awaiter operator co_await() const noexcept { return Awaiter{reactor, edges, fd, side, call}; }
};

}  // namespace detail

}  // namespace clockworker
