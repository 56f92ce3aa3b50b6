/// \file
/// An executor as other threads see it.
#pragma once

#include <chrono>
#include <coroutine>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <clockworker/detail/remote_task.hpp>

namespace clockworker {

namespace detail {

/// Awaits the end of a task of any executor in a task of any executor.
template <class T>
class [[nodiscard]] RemoteAwaiter {
 public:
  using clockworker_native = void;
  explicit RemoteAwaiter(std::shared_ptr<RemoteTask<T>> task) noexcept : task_{std::move(task)} {}
  RemoteAwaiter(const RemoteAwaiter&) = delete;
  RemoteAwaiter& operator=(const RemoteAwaiter&) = delete;
  ~RemoteAwaiter() {
    if (waiting_) task_->clear_waiter();
  }

  [[nodiscard]] bool await_ready() const {
    if (!task_) throw std::logic_error("clockworker: co_await of an empty RemoteHandle");
    return task_->ended();
  }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> frame) {
    check_awaited_in_task<Promise>();
    Ring& ring = *thread_state.ring;
    WakeGate& gate = thread_state.task->need_gate(ring.mailbox());
    std::coroutine_handle<> before = thread_state.task->resume_point;
    TaskCell& cell = suspending(frame, WaitsFor::task);
    std::uint64_t number = gate.arm();
    try {
      waiting_ = task_->set_waiter(detail_waker_access::make(gate, number));
    } catch (...) {
      retract(ring, cell, gate, number, before);
      throw;
    }
    if (!waiting_) retract(ring, cell, gate, number, before);
    return waiting_;
  }
  JoinResult<T> await_resume() {
    if (std::exchange(waiting_, false)) thread_state.task->gate()->disarm();
    return task_->take();
  }

 private:
  std::shared_ptr<RemoteTask<T>> task_;
  bool waiting_ = false;
};

}  // namespace detail

/// Owns the result of a task spawned with Remote::spawn(). Move-only; dropping it detaches the task. Any
/// thread, one at a time; abort() also at the same time as anything else.
template <class T = void>
class RemoteHandle {
 public:
  using clockworker_native = void;
  using value_type = T;

  RemoteHandle() noexcept = default;
  RemoteHandle(RemoteHandle&&) noexcept = default;
  RemoteHandle& operator=(RemoteHandle&&) noexcept = default;

  /// Waits until the task has ended, blocking the thread, and takes its result. If the executor is gone, or
  /// refused the task, that is `cancelled`; if there was no queue of that key, or the spawn threw,
  /// `exception`. A second call gives `result_taken`. Throws std::logic_error if the handle is empty, and
  /// where the wait would never end: on the thread that drives the executor.
  [[nodiscard]] JoinResult<T> get() {
    detail::RemoteTask<T>& task = need("get()");
    refuse_to_block(task, "get()");
    task.wait();
    return task.take();
  }

  /// Waits at most so long; whether the task has ended. Throws as get() does.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> patience) {
    detail::RemoteTask<T>& task = need("wait_for()");
    if (patience > patience.zero()) refuse_to_block(task, "wait_for()");
    return task.wait_for(patience);
  }

  /// The result, if the task has ended. Throws std::logic_error if the handle is empty.
  [[nodiscard]] std::optional<JoinResult<T>> try_take() {
    detail::RemoteTask<T>& task = need("try_take()");
    if (!task.ended()) return std::nullopt;
    return task.take();
  }

  [[nodiscard]] bool done() const { return task_ != nullptr && task_->ended(); }
  [[nodiscard]] bool valid() const noexcept { return task_ != nullptr; }

  /// As JoinHandle::abort(), at the executor's next look at its inbox.
  void abort() const noexcept {
    if (task_ != nullptr) task_->abort();
  }

  /// Waits in a task, of this executor or another. Throws std::logic_error if the handle is empty or being
  /// awaited already.
  [[nodiscard]] detail::RemoteAwaiter<T> operator co_await() const noexcept {
    return detail::RemoteAwaiter<T>{task_};
  }

 private:
  friend class Remote;
  explicit RemoteHandle(std::shared_ptr<detail::RemoteTask<T>> task) noexcept : task_{std::move(task)} {}

  detail::RemoteTask<T>& need(const char* call) const {
    if (task_ == nullptr)
      throw std::logic_error(std::string{"clockworker: "} + call + " of an empty RemoteHandle");
    return *task_;
  }
  /// Also if it is another executor's drive, in the host of this one, that calls.
  static bool driven_here(const detail::Mailbox& mailbox) noexcept {
    for (const detail::ThreadState* state = &detail::thread_state; state != nullptr; state = state->outer) {
      if (state->ring != nullptr && &state->ring->mailbox() == &mailbox) return true;
    }
    return false;
  }
  static void refuse_to_block(const detail::RemoteTask<T>& task, const char* call) {
    if (!driven_here(task.mailbox()) || task.ended()) return;
    throw std::logic_error(std::string{"clockworker: RemoteHandle::"} + call +
                           " on the executor's own thread would wait for ever; co_await the handle");
  }

  std::shared_ptr<detail::RemoteTask<T>> task_;
};

/// Reaches an executor from any thread. Copyable; may outlive the executor, and then does nothing.
class Remote {
 public:
  Remote(const Remote& other) noexcept : mailbox_{other.mailbox_} { mailbox_->acquire(); }
  Remote& operator=(const Remote& other) noexcept {
    other.mailbox_->acquire();
    mailbox_->release();
    mailbox_ = other.mailbox_;
    return *this;
  }
  ~Remote() { mailbox_->release(); }

  /// Spawns `f(args...)` on the queue of that key, as QueueHandle::spawn() does: the callable and its
  /// arguments are decay-copied here, moved to the executor's thread, called and destroyed there. (If the
  /// executor is gone, they are destroyed here.) Integer keys may be given as any integer type, string keys
  /// as any string; others as exactly the executor's key type. Errors of the spawn itself arrive in the
  /// handle. Throws std::bad_alloc and what the copies throw. Wakes the host only if the executor sleeps.
  template <class Key, class F, class... Args>
  auto spawn(const Key& key, F&& f, Args&&... args) const {
    using Returned = detail::CalledResult<F, Args...>;
    static_assert(detail::is_task<Returned>,
                  "clockworker: Remote::spawn(key, f, args...) needs an f that can be called with these "
                  "arguments (decay-copied, as "
                  "std::thread does; std::ref to refer) and that returns a clockworker::Task");
    static_assert(
        detail::keeps_what_it_refers_to<F, Args...>(),
        "clockworker: Remote::spawn(key, f, args...): a parameter of f is a reference to another type than "
        "the "
        "decay-copied argument, and would refer to a temporary that is gone when the task runs; pass an "
        "argument of the parameter's own type, such as std::string{\"text\"}");
    using T = typename Returned::value_type;
    using Spawn = detail::SpawnLetter<T, std::decay_t<F>, std::decay_t<Args>...>;
    auto task = std::make_shared<detail::RemoteTask<T>>(*mailbox_);
    auto letter = std::make_unique<Spawn>(task, detail::RemoteKey{key}, std::forward<F>(f),
                                          std::forward<Args>(args)...);
    detail::Letter* posted = letter.release();
    if (!mailbox_->post(*posted)) posted->deliver(*posted, nullptr);
    return RemoteHandle<T>{std::move(task)};
  }

  /// As Executor::stop(). Never allocates.
  void stop() const noexcept { detail::request_stop(*mailbox_); }

 private:
  friend struct detail_remote_access;
  explicit Remote(detail::Mailbox& mailbox) noexcept : mailbox_{&mailbox} { mailbox.acquire(); }

  detail::Mailbox* mailbox_;
};

/// For the library's own use.
struct detail_remote_access {
  static Remote make(detail::Mailbox& mailbox) noexcept { return Remote{mailbox}; }
};

}  // namespace clockworker
