/// \file
/// How whatever a task waits for brings it back.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include <clockworker/detail/ring.hpp>

namespace clockworker {

/// Resumes the one suspension that it was made for. Copyable; may be used and dropped on any thread, also
/// after the task or the executor is gone. A default-constructed one wakes nothing.
class Waker {
 public:
  Waker() noexcept = default;
  Waker(const Waker& other) noexcept : gate_{other.gate_}, number_{other.number_} {
    if (gate_ != nullptr) gate_->acquire();
  }
  Waker(Waker&& other) noexcept : gate_{std::exchange(other.gate_, nullptr)}, number_{other.number_} {}
  Waker& operator=(Waker other) noexcept {
    std::swap(gate_, other.gate_);
    std::swap(number_, other.number_);
    return *this;
  }
  ~Waker() {
    if (gate_ != nullptr) gate_->release();
  }

  /// Brings the task back to its queue. A second wake, or one that comes after the task has gone on, is
  /// ignored. What the calling thread did before is seen by the task when it resumes, also if another wake
  /// was first, as long as the task had not resumed yet. Any thread; never allocates; lock-free but where it
  /// has to wake a sleeping host.
  void wake() const noexcept {
    if (gate_ == nullptr) return;
    detail::WakeGate& gate = *gate_;
    detail::Ring* ring = detail::thread_state.ring;
    if (ring != nullptr && &ring->mailbox() == &gate.mailbox) {
      // On the executor's thread: nobody else may touch the cell, so it is pushed at once. While the
      // executor is being destroyed there may be no cell left, but frames of a stranger (see foreign.hpp).
      if (!gate.claim(number_, detail::WakeGate::fired)) return;
      if (gate.cell != nullptr) {
        ring->wake(*gate.cell);
      } else {
        gate.refused();
      }
    } else if (gate.claim(number_, detail::WakeGate::posted)) {
      // The claim makes this thread the only one to post the gate; `gate_` keeps it alive until then, the
      // task after. If the executor is closed there is nobody to wake; but a stranger's frames may wait for
      // just this (see foreign.hpp).
      if (!gate.mailbox.post(gate)) gate.refused();
    }
  }

  /// Whether it was made for some suspension; not whether that still lasts.
  explicit operator bool() const noexcept { return gate_ != nullptr; }

 private:
  friend struct detail_waker_access;
  Waker(detail::WakeGate& gate, std::uint64_t number) noexcept : gate_{&gate}, number_{number} {
    gate.acquire();
  }

  detail::WakeGate* gate_ = nullptr;
  std::uint64_t number_ = 0;
};

/// For the library's own use.
struct detail_waker_access {
  static Waker make(detail::WakeGate& gate, std::uint64_t number) noexcept { return Waker{gate, number}; }
};

namespace detail {

/// The task now running, for an awaiter that is about to suspend it.
inline TaskCell& suspending(std::coroutine_handle<> frame, WaitsFor what) noexcept {
  TaskCell& cell = *thread_state.task;
  cell.resume_point = frame;
  cell.waits_for = what;
  cell.status = TaskStatus::suspended;
  return cell;
}

/// Takes back a suspension for which wakers may be about already: the task goes on at once. Waits, for no
/// longer than another thread needs between its claim and its post, until no wake of it can be on its way.
/// `before` is what the resume point was: a frame that has not suspended may end while the slice loop still
/// counts on the one that it resumed.
inline void retract(Ring& ring, TaskCell& cell, WakeGate& gate, std::uint64_t number,
                    std::coroutine_handle<> before) noexcept {
  if (!gate.claim(number, WakeGate::fired)) {
    while (gate.state() == WakeGate::posted) ring.drain_inbox();
  }
  gate.disarm();
  cell.resume_point = before;
  cell.status = TaskStatus::running;
}

/// `F` is a reference: the callable lives until the await is over.
template <class F>
class SuspendAwaiter {
 public:
  explicit SuspendAwaiter(F f) noexcept : f_{static_cast<F>(f)} {}
  SuspendAwaiter(const SuspendAwaiter&) = delete;
  SuspendAwaiter& operator=(const SuspendAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) {
    check_awaited_in_task<Promise>();
    Ring& ring = *thread_state.ring;
    WakeGate& gate = thread_state.task->need_gate(ring.mailbox());
    std::coroutine_handle<> before = thread_state.task->resume_point;
    TaskCell& cell = suspending(frame, WaitsFor::waker);
    std::uint64_t number = gate.arm();
    try {
      static_cast<F>(f_)(detail_waker_access::make(gate, number));
    } catch (...) {
      retract(ring, cell, gate, number, before);
      throw;
    }
  }
  void await_resume() const noexcept { thread_state.task->gate()->disarm(); }

 private:
  F f_;
};

/// What suspend() returns: to be awaited at once.
template <class F>
struct [[nodiscard]] Suspension {
  using clockworker_native = void;
  F f;
  [[nodiscard]] SuspendAwaiter<F> operator co_await() const noexcept {
    return SuspendAwaiter<F>{static_cast<F>(f)};
  }
};

}  // namespace detail

/// `co_await suspend(f)`: suspends the task and calls `f(waker)`, with a waker for this suspension to be
/// handed to anything on any thread; `waker.wake()`, also from within `f`, brings the task back to its queue.
/// What `f` throws comes out of the `co_await`, and the task is not suspended. May throw std::bad_alloc, at a
/// task's first suspension of this kind.
template <class F>
[[nodiscard]] detail::Suspension<F&&> suspend(F&& f) noexcept {
  static_assert(
      requires { static_cast<F&&>(f)(Waker{}); },
      "clockworker: suspend(f) needs an f that can be called as f(clockworker::Waker)");
  return detail::Suspension<F&&>{std::forward<F>(f)};
}

}  // namespace clockworker
