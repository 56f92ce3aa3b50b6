/// \file
/// An io_uring instance, and the operations in flight on it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

#include <liburing.h>

#include <clockworker/detail/posix_fd.hpp>
#include <clockworker/host.hpp>

namespace clockworker::detail {

struct UringOp;

/// A list of operations, linked through them.
struct UringOps {
  UringOp* first = nullptr;
};

/// What the kernel works on. Lies in an awaiter, in the frame of a task, and stays there until the kernel has said
/// that it is done: buffers of that frame are in its hands until then.
struct UringOp {
  UringOps* list = nullptr;  // null: not in flight
  UringOp* previous = nullptr;
  UringOp* next = nullptr;
  // No longer in flight; may end the frame that this lies in, or start it again.
  void (*completed)(UringOp&, int result) = nullptr;
  std::uint64_t started_in = 0;  // of UringRing::reign_
  bool to_be_ended = false;      // cancel() has been called

  void move_to(UringOps& to) noexcept {
    leave();
    list = &to;
    previous = nullptr;
    next = to.first;
    if (next != nullptr) next->previous = this;
    to.first = this;
  }
  void leave() noexcept {
    if (list == nullptr) return;
    (previous != nullptr ? previous->next : list->first) = next;
    if (next != nullptr) next->previous = previous;
    list = nullptr;
  }
};

/// A number of the calling thread that no other ever gets, unlike those of the system.
[[nodiscard]] inline std::uint64_t uring_thread() noexcept {
  static std::atomic<std::uint64_t> last{0};
  thread_local const std::uint64_t mine = last.fetch_add(1, std::memory_order_relaxed) + 1;  // only unique
  return mine;
}

/// One thread's at a time, but for `bell()`.
///
/// When a thread ends, the kernel cancels what it has submitted; the ring may go on in another thread. Such an end was
/// not asked for, and the operation has done nothing: it is to be started again, see was_cancelled_by_kernel().
///
/// Why no operation outlives what it works on: each is in one of the two lists from the moment that the kernel may
/// hear of it until its completion has been seen, and only then its task is resumed, which alone can end the frame.
/// And this does not close before both are empty.
class UringRing {
 public:
  /// Throws std::system_error.
  explicit UringRing(unsigned entries) : bell_{0} {
    if (int error = -::io_uring_queue_init(entries, &ring_, 0)) {
      throw_system_error(
          error,
          "UringHost: the kernel does not give us an io_uring: it is too old, forbids it (sysctl "
          "kernel.io_uring_disabled, or the seccomp filter of a container), or cannot make one "
          "of this size");
    }
    if ((ring_.features & IORING_FEAT_EXT_ARG) == 0) {
      ::io_uring_queue_exit(&ring_);
      throw_system_error(ENOSYS, "UringHost: the kernel's io_uring is too old: Linux 5.11 is needed");
    }
  }
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;
  ~UringRing() {
    if (!closed_) ::io_uring_queue_exit(&ring_);
  }

  [[nodiscard]] const EventFd& bell() const noexcept { return bell_; }
  [[nodiscard]] bool is_closed() const noexcept { return closed_; }

  /// Starts an operation: `prepare(sqe)` says what. Precondition: not closed. Throws std::system_error if the kernel
  /// takes no more.
  template <class Prepare>
  void start(UringOp& op, const Prepare& prepare) {
    op.to_be_ended = false;
    if (!try_start(op, prepare)) throw_system_error(EBUSY, "UringHost: the kernel takes no more operations");
  }
  /// The same, but false if it takes no more.
  template <class Prepare>
  [[nodiscard]] bool try_start(UringOp& op, const Prepare& prepare) noexcept {
    note_thread();
    io_uring_sqe* sqe = free_sqe();
    if (sqe == nullptr) return false;
    prepare(sqe);
    ::io_uring_sqe_set_data(sqe, &op);
    op.started_in = reign_;
    op.move_to(in_flight_);
    return true;
  }

  /// Of an operation that has completed: nobody asked for its end, but the thread has changed since it was started. A
  /// thread that goes on gets ECANCELED only from the file itself: a timerfd whose clock was set says so.
  [[nodiscard]] bool was_cancelled_by_kernel(const UringOp& op, int result) const noexcept {
    return result == -ECANCELED && !op.to_be_ended && op.started_in != reign_ && !closed_;
  }

  /// Has the kernel asked, at the next poll, to end it early. Its end comes in any case.
  void cancel(UringOp& op) noexcept {
    op.to_be_ended = true;
    if (op.list == &in_flight_) op.move_to(to_be_cancelled_);
  }

  /// Submits what has been started, and resumes what has completed; blocks no longer than `timeout` until there is
  /// something, or the bell rings. True if it has rung.
  bool poll(PollTimeout timeout) {
    note_thread();
    arm_bell();
    pass_on_cancels();
    // It has rung in a poll that a callback's exception ended, and nobody has been told yet.
    const int done = submit(rang_ ? PollTimeout{std::chrono::nanoseconds::zero()} : timeout);
    // A busy kernel is to be relieved of its completions first; a signal is a reason to return.
    if (done < 0 && done != -ETIME && done != -EINTR && done != -EAGAIN && done != -EBUSY)
      throw_system_error(-done, "io_uring_enter()");
    return reap();
  }

  /// Has all that is in flight cancelled, waits for the kernel to let go of it, and resumes it.
  void close() noexcept {
    if (closed_) return;
    closed_ = true;  // what is resumed starts nothing
    while (in_flight_.first != nullptr) in_flight_.first->move_to(to_be_cancelled_);
    if (bell_is_armed_) cancel_bell();
    UringOps asked;
    while (to_be_cancelled_.first != nullptr || asked.first != nullptr || bell_is_armed_) {
      pass_on_cancels(asked);
      ::io_uring_submit_and_wait(&ring_, 1);
      (void)reap();
    }
    ::io_uring_queue_exit(&ring_);
  }

 private:
  static constexpr std::chrono::hours longest_wait{24};
  static constexpr std::uint64_t of_cancel = 0;  // no operation has these addresses
  static constexpr std::uint64_t of_bell = 1;
  static constexpr unsigned most_at_once = 128;  // of completions at one poll: tasks wait

  void note_thread() noexcept {
    if (const std::uint64_t thread = uring_thread(); thread != thread_) {
      thread_ = thread;
      ++reign_;
    }
  }

  /// Null if the queue is full and the kernel takes nothing from it.
  [[nodiscard]] io_uring_sqe* free_sqe() noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr && ::io_uring_submit(&ring_) > 0) sqe = ::io_uring_get_sqe(&ring_);
    return sqe;
  }

  void arm_bell() noexcept {
    if (bell_is_armed_) return;
    io_uring_sqe* sqe = free_sqe();
    if (sqe == nullptr) return;  // so many operations pending that one of them will end the poll
    ::io_uring_prep_read(sqe, bell_.get(), &bell_count_, sizeof bell_count_, 0);
    sqe->user_data = of_bell;
    bell_is_armed_ = true;
  }

  void pass_on_cancels() noexcept { pass_on_cancels(in_flight_); }
  /// Those for which there is no room wait for the next time.
  void pass_on_cancels(UringOps& then) noexcept {
    while (UringOp* op = to_be_cancelled_.first) {
      io_uring_sqe* sqe = free_sqe();
      if (sqe == nullptr) return;
      ::io_uring_prep_cancel(sqe, op, 0);
      sqe->user_data = of_cancel;
      op->move_to(then);
    }
  }
  void cancel_bell() noexcept { bell_.ring(); }  // completes the read

  int submit(PollTimeout timeout) noexcept {
    if (timeout && timeout->count() <= 0)
      return ::io_uring_submit(&ring_);  // no system call if there is nothing
    if (!timeout) return ::io_uring_submit_and_wait(&ring_, 1);
    const auto time = std::min<std::chrono::nanoseconds>(*timeout, longest_wait);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    __kernel_timespec limit{};
    limit.tv_sec = seconds.count();
    limit.tv_nsec = (time - seconds).count();
    io_uring_cqe* first = nullptr;
    return ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
  }

  /// What a callback throws leaves the other completions to the next look.
  bool reap() {
    io_uring_cqe* cqe = nullptr;
    for (unsigned n = 0; n < most_at_once && ::io_uring_peek_cqe(&ring_, &cqe) == 0; ++n) {
      const std::uint64_t whose = cqe->user_data;
      const int result = cqe->res;
      ::io_uring_cqe_seen(&ring_, cqe);
      if (whose == of_cancel) continue;
      if (whose == of_bell) {
        bell_is_armed_ = false;
        rang_ = true;
        continue;
      }
      auto& op = *reinterpret_cast<UringOp*>(static_cast<std::uintptr_t>(whose));
      op.leave();
      op.completed(op, result);
    }
    return std::exchange(rang_, false);
  }

  io_uring ring_{};
  EventFd bell_;
  std::uint64_t bell_count_ = 0;  // where the kernel reads it to
  bool bell_is_armed_ = false;
  bool rang_ = false;
  bool closed_ = false;
  std::uint64_t thread_ = 0;  // who polled or started something last
  std::uint64_t reign_ = 0;   // how often that has changed: each is one thread's time
  UringOps in_flight_;
  UringOps to_be_cancelled_;
};

}  // namespace clockworker::detail
