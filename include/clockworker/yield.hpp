/// \file
/// Giving way to others of the same executor.
#pragma once

#include <coroutine>
#include <stdexcept>

#include <clockworker/detail/ring.hpp>
#include <clockworker/detail/thread_state.hpp>

namespace clockworker {

/// Whether the running task should give way: its queue's slice is over, a better queue is waiting, the host
/// is due, or a stop was asked for. For a CPU loop that is no coroutine. Costs a few loads; reads the clock
/// at every call down to one in 16, as calls come quicker. Throws std::logic_error outside a task.
[[nodiscard]] inline bool should_yield() {
  detail::ThreadState& thread = detail::thread_state;
  if (thread.task == nullptr) [[unlikely]] {
    throw std::logic_error("clockworker: should_yield() was called outside a task");
  }
  return thread.ring->should_yield();
}

namespace detail {

struct [[nodiscard]] YieldAwaiter {
  using clockworker_native = void;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
    check_awaited_in_task<Promise>();
    TaskCell& cell = *thread_state.task;
    cell.resume_point = frame;
    cell.status = TaskStatus::yielded;
  }
  void await_resume() const noexcept {}
};

struct [[nodiscard]] YieldMaybeAwaiter : YieldAwaiter {
  [[nodiscard]] bool await_ready() const noexcept { return !thread_state.ring->should_yield(); }
};

}  // namespace detail

/// `co_await yield_now()`: to the back of the task's own queue, as its scheduler sees it. Never fails.
[[nodiscard]] inline detail::YieldAwaiter yield_now() noexcept { return {}; }

/// `co_await yield_maybe()`: yields only if `should_yield()`. Meant to stand in every long loop.
[[nodiscard]] inline detail::YieldMaybeAwaiter yield_maybe() noexcept { return {}; }

}  // namespace clockworker
