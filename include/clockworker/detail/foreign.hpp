/// \file
/// Awaitables that are not the library's: a stranger gets a handle whose `resume()` is a wake.
#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include <clockworker/config.hpp>
#include <clockworker/detail/ring.hpp>
#include <clockworker/detail/task_end.hpp>
#include <clockworker/waker.hpp>

namespace clockworker::detail {

struct ShimCoroutine;

/// The promise of a coroutine that does nothing but wake its task each time it is resumed. One a task, made
/// at its first foreign await. The waker is taken out when it is used, so that a stranger's second resume()
/// is ignored.
class Shim {
 public:
  [[nodiscard]] ShimCoroutine get_return_object() noexcept;
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] std::suspend_always final_suspend() const noexcept { return {}; }
  void return_void() const noexcept {}
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  static void* operator new(std::size_t size) { return pool_allocate(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { pool_free(frame, size); }

  void expect(Waker waker) noexcept { waker_ = std::move(waker); }
  [[nodiscard]] Waker take() noexcept { return std::exchange(waker_, Waker{}); }
  [[nodiscard]] std::coroutine_handle<Shim> handle() noexcept {
    return std::coroutine_handle<Shim>::from_promise(*this);
  }

 private:
  Waker waker_;
};

struct ShimCoroutine {
  using promise_type = Shim;
  Shim* shim;
};

inline ShimCoroutine Shim::get_return_object() noexcept { return ShimCoroutine{this}; }

/// The wake happens when the shim counts as suspended again: its task may at once resume elsewhere, hand the
/// shim to the next stranger, or end and destroy it. So nothing of the frame is touched after the wake; and
/// the call is not inlined, as compilers have been seen to keep its locals in the frame.
struct WakeOnResume {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  CLOCKWORKER_NOINLINE void await_suspend(std::coroutine_handle<Shim> frame) const noexcept {
    Waker waker = frame.promise().take();
    waker.wake();
  }
  void await_resume() const noexcept {}
};

/// Throws std::bad_alloc.
inline ShimCoroutine make_shim() {
  for (;;) co_await WakeOnResume{};
}

inline void destroy_shim(Shim& shim) noexcept { shim.handle().destroy(); }

/// The awaiter of `A`, as co_await would find it; a reference if `A` is one itself.
template <class A>
decltype(auto) awaiter_of(A&& awaitable) {
  if constexpr (requires { std::forward<A>(awaitable).operator co_await(); }) {
    return std::forward<A>(awaitable).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<A>(awaitable)); }) {
    return operator co_await(std::forward<A>(awaitable));
  } else {
    return std::forward<A>(awaitable);
  }
}

/// Awaits a stranger's awaitable on behalf of a task: wherever it completes, the task comes back on its own
/// queue; if it completes at once on the executor's thread the task simply goes on. What any of its three
/// functions throws comes out of the `co_await`. While it is pending the frame stays, whoever aborts; the
/// task's stop token asks the stranger to hurry.
///
/// A stranger must resume its handle at most once, and not after it has thrown, or returned false, from
/// `await_suspend`. A second resume is ignored as long as the task has not come to its next foreign await.
/// The handle is not to be destroyed.
template <class A>
class [[nodiscard]] ForeignAwaiter {
 public:
  using Awaiter = decltype(awaiter_of(std::declval<A>()));
  static_assert(
      !requires { typename std::remove_cvref_t<Awaiter>::clockworker_native; },
      "an awaiter of the library's own lacks its mark on the awaitable");
  static_assert(
      requires(std::remove_reference_t<Awaiter> & awaiter) {
        awaiter.await_ready() ? 0 : 1;
        awaiter.await_suspend(std::coroutine_handle<>{});
        awaiter.await_resume();
      },
      "clockworker: this cannot be awaited in a Task: it needs await_ready(), "
      "await_suspend(std::coroutine_handle<>) and "
      "await_resume(), or an operator co_await that returns something that has them");

  explicit ForeignAwaiter(A&& awaitable) : awaiter_(awaiter_of(std::forward<A>(awaitable))) {}
  ForeignAwaiter(const ForeignAwaiter&) = delete;
  ForeignAwaiter& operator=(const ForeignAwaiter&) = delete;

  [[nodiscard]] bool await_ready() { return static_cast<bool>(awaiter_.await_ready()); }

  bool await_suspend(std::coroutine_handle<> frame) {
    Ring& ring = *thread_state.ring;
    TaskExtras& extras = thread_state.task->need_extras();
    WakeGate& gate = thread_state.task->need_gate(ring.mailbox());
    if (extras.shim == nullptr) extras.shim = make_shim().shim;
    std::coroutine_handle<> before = thread_state.task->resume_point;
    TaskCell& cell = suspending(frame, WaitsFor::stranger);
    std::uint64_t number = gate.arm();
    extras.shim->expect(detail_waker_access::make(gate, number));
    cell.set(stranger_pending);
    bool pending = true;
    try {
      pending = call_await_suspend(extras.shim->handle());
    } catch (...) {
      retract(ring, cell, gate, number, before);
      cell.unset(stranger_pending);
      throw;
    }
    if (!pending) {
      retract(ring, cell, gate, number, before);
    } else if (cell.status == TaskStatus::yielded) {
      pending = false;  // it has completed by now
      cell.resume_point = before;
      cell.status = TaskStatus::running;
    }
    return pending;
  }

  decltype(auto) await_resume() {
    TaskCell& cell = *thread_state.task;
    cell.unset(stranger_pending);
    if (WakeGate* gate = cell.gate()) gate->disarm();
    return awaiter_.await_resume();
  }

 private:
  bool call_await_suspend(std::coroutine_handle<> shim) {
    using Returned = decltype(awaiter_.await_suspend(shim));
    if constexpr (std::is_void_v<Returned>) {
      awaiter_.await_suspend(shim);
      return true;
    } else if constexpr (std::is_same_v<Returned, bool>) {
      return awaiter_.await_suspend(shim);
    } else {
      // A symmetric transfer: the stranger's own coroutine runs nested, and suspends or resumes the shim.
      awaiter_.await_suspend(shim).resume();
      return true;
    }
  }

  Awaiter awaiter_;
};

/// Destroys what an orphan still has. On the thread of the stranger that resumed it at last, or on the
/// executor's.
inline void bury(TaskCell& cell) noexcept {
  destroy_frames(cell.resume_point);
  cell.ops->destroy_callable(cell);
  destroy_shim(*std::exchange(cell.extras->shim, nullptr));
  std::exchange(cell.extras->gate, nullptr)->release();
  cell.release();
}

/// For the destructor of the executor: if a stranger still holds on to the frames, the task ends as cancelled
/// for all others, and the frames are left to be destroyed when, and on the thread where, the stranger
/// resumes its handle. If it never does, they are leaked: to destroy them would pull the stranger's own state
/// from under it. False: nothing has changed, and the task is to be ended like any other.
///
/// Why exactly one side buries: the pointer is taken out with an exchange. Why one side does: this one
/// publishes it before a read-modify-write of the gate's word. If that finds `armed`, the stranger's claim
/// comes later in the word's order, so it sees the pointer; if not, the stranger may have looked too early,
/// and this side looks again.
inline bool leave_to_stranger(Ring& ring, TaskCell& cell) noexcept {
  if (!cell.has(stranger_pending) || cell.status != TaskStatus::suspended) return false;
  WakeGate& gate = *cell.gate();
  // acquire: if another thread has claimed the wake, the frames end here, and after all that it did to them.
  if ((gate.word.load(std::memory_order_acquire) & WakeGate::state_mask) != WakeGate::armed) return false;
  (cell.newer != nullptr ? cell.newer->older : ring.newest) = cell.older;
  if (cell.older != nullptr) cell.older->newer = cell.newer;
  --ring.live_tasks;
  take_out_of_queue(ring, cell);
  std::exchange(cell.queue, nullptr)->release();
  SharedName::drop(std::exchange(cell.extras->name, nullptr));
  cell.extras->stop.reset();
  cell.status = TaskStatus::done;
  cell.set(orphaned);
  cell.ops->cancel(cell);
  if (JoinWaiter* joiner = std::exchange(cell.joiner, nullptr)) joiner->task_ended(*joiner, cell);
  gate.cell = nullptr;
  gate.orphan.store(&cell, std::memory_order_release);
  std::uint64_t word = gate.word.fetch_or(0, std::memory_order_acq_rel);
  if ((word & WakeGate::state_mask) != WakeGate::armed) {
    if (TaskCell* back = gate.orphan.exchange(nullptr, std::memory_order_acq_rel)) bury(*back);
  }
  return true;
}

inline void WakeGate::refused() noexcept {
  if (TaskCell* left = orphan.exchange(nullptr, std::memory_order_acq_rel)) bury(*left);
}

}  // namespace clockworker::detail
