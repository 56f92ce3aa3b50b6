/// \file
/// `Task<T>`: the coroutine type of all tasks.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <clockworker/detail/foreign.hpp>
#include <clockworker/detail/promise_base.hpp>
#include <clockworker/detail/thread_state.hpp>

namespace clockworker {

template <class T>
class Task;

namespace detail {

/// What the library awaits without a shim.
template <class A>
concept NativeAwaitable = requires {
  typename std::remove_cvref_t<A>::clockworker_native;
};

/// The end of a frame. A child whose parent has left the native stack hands over to it, by way of the slice
/// loop, so that the stack does not grow with the number of parents; a child that ran nested, and a root,
/// just return to who resumed them.
struct FinalAwaiter {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
    if (std::coroutine_handle<> parent = frame.promise().parent) {
      TaskCell& cell = *thread_state.task;
      cell.resume_point = parent;
      cell.status = TaskStatus::transfer;
    }
  }
  void await_resume() const noexcept {}
};

template <class T>
class TaskPromiseBase : public PromiseBase {
 public:
  [[nodiscard]] Task<T> get_return_object() noexcept;
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { result().set_exception(std::current_exception()); }

  template <class A>
  decltype(auto) await_transform(A&& awaitable) {
    if constexpr (NativeAwaitable<A>) {
      // The operand outlives the await. g++ 12 copies an awaiter that it gets by reference, so what is more
      // than trivial is made by an operator co_await.
      return static_cast<std::remove_reference_t<A>&>(awaitable);
    } else {
      return ForeignAwaiter<A>{std::forward<A>(awaitable)};
    }
  }

 protected:
  Result<T>& result() noexcept { return *static_cast<Result<T>*>(slot); }
};

template <class T>
class TaskPromise : public TaskPromiseBase<T> {
 public:
  template <class U = T>
  requires std::is_convertible_v<U&&, T>
  void return_value(U&& value) { this->result().set_value(std::forward<U>(value)); }
};

template <class T>
class TaskPromise<T&> : public TaskPromiseBase<T&> {
 public:
  void return_value(T& value) noexcept { this->result().set_value(value); }
};

template <>
class TaskPromise<void> : public TaskPromiseBase<void> {
 public:
  void return_void() noexcept { result().set_value(); }
};

// What promise_of() relies on.
static_assert(sizeof(TaskPromise<void>) == sizeof(PromiseBase) &&
              alignof(TaskPromise<void>) == alignof(PromiseBase));
static_assert(sizeof(TaskPromise<int&>) == sizeof(PromiseBase) &&
              alignof(TaskPromise<int&>) == alignof(PromiseBase));

/// Awaits a child: runs it by a nested resume. If it ends at once the parent simply goes on, so that a loop
/// of such awaits needs constant stack in every build; if not, its end hands over to the parent. Children
/// nested deeper than a limit are started by the slice loop instead, after the native stack has been unwound.
template <class T>
class [[nodiscard]] TaskAwaiter {
 public:
  using clockworker_native = void;
  static constexpr std::uint32_t deepest_nesting = 32;
  static_assert(
      std::is_void_v<T> || std::is_reference_v<T> ||
          alignof(std::conditional_t<std::is_void_v<T>, char, std::remove_reference_t<T>>) <=
              __STDCPP_DEFAULT_NEW_ALIGNMENT__,
      "clockworker: co_await of a Task<T> whose T asks for more alignment than plain new gives: compilers do "
      "not align coroutine frames so; return it by a pointer, or spawn the task");

  explicit TaskAwaiter(std::coroutine_handle<TaskPromise<T>> child) noexcept : child_{child} {}
  TaskAwaiter(const TaskAwaiter&) = delete;
  TaskAwaiter& operator=(const TaskAwaiter&) = delete;
  ~TaskAwaiter() {
    if (child_ && !result_.frame_gone) child_.destroy();
  }

  [[nodiscard]] bool await_ready() const {
    if (!child_)
      throw std::logic_error("clockworker: co_await of an empty Task: it was moved from, awaited or spawned");
    return false;
  }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) noexcept {
    check_awaited_in_task<Promise>();
    ThreadState& thread = thread_state;
    child_.promise().slot = &result_;
    if (thread.depth >= deepest_nesting) {
      child_.promise().parent = parent;
      thread.task->resume_point = child_;
      thread.task->status = TaskStatus::transfer;
      return true;
    }
    ++thread.depth;
    child_.resume();
    --thread.depth;
    if (result_.state != ResultState::none && child_.done()) return false;
    child_.promise().parent = parent;
    return true;
  }

  T await_resume() {
    if (result_.state == ResultState::exception) std::rethrow_exception(result_.take_exception());
    return result_.take_value();
  }

 private:
  std::coroutine_handle<TaskPromise<T>> child_;
  Result<T> result_;
};

}  // namespace detail

/// A lazy coroutine that returns `T` (any movable type, a reference, or void). It runs when it is awaited,
/// inside the awaiting task, or spawned on a queue, as a task of its own. Move-only; destroying one that has
/// not run destroys its frame. Executor's thread, but a Task that has not started may be made, moved and
/// destroyed anywhere.
///
/// Awaiting one costs no trip through a queue; it throws what the coroutine throws, and std::logic_error if
/// the Task is empty.
///
/// Compilers do not in general align a coroutine's frame beyond what plain `new` does: an awaited `T`, or a
/// local, that asks for more should be held by a pointer. Callables, arguments and results of spawned tasks
/// lie in no frame and are aligned as they ask.
template <class T = void>
class [[nodiscard]] Task {
  static_assert(!std::is_rvalue_reference_v<T>,
                "clockworker: Task<T&&> would return a reference to a dead frame's value");

 public:
  using promise_type = detail::TaskPromise<T>;
  using clockworker_native = void;
  using value_type = T;

  Task() noexcept = default;
  Task(Task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  Task& operator=(Task&& other) noexcept {
    Task old{std::move(*this)};
    frame_ = std::exchange(other.frame_, nullptr);
    return *this;
  }
  ~Task() {
    if (frame_) frame_.destroy();
  }

  /// Whether there is a coroutine in it: not default-constructed, moved from, awaited or spawned.
  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }

  /// The Task is empty afterwards.
  [[nodiscard]] detail::TaskAwaiter<T> operator co_await() noexcept {
    return detail::TaskAwaiter<T>{std::exchange(frame_, nullptr)};
  }

 private:
  friend class detail::TaskPromiseBase<T>;
  friend struct detail_task_access;
  explicit Task(std::coroutine_handle<promise_type> frame) noexcept : frame_{frame} {}

  std::coroutine_handle<promise_type> frame_;
};

/// For the library's own use.
struct detail_task_access {
  template <class T>
  static std::coroutine_handle<detail::TaskPromise<T>> release(Task<T>& task) noexcept {
    return std::exchange(task.frame_, nullptr);
  }
};

namespace detail {

template <class T>
Task<T> TaskPromiseBase<T>::get_return_object() noexcept {
  return Task<T>{std::coroutine_handle<TaskPromise<T>>::from_promise(static_cast<TaskPromise<T>&>(*this))};
}

}  // namespace detail

}  // namespace clockworker
