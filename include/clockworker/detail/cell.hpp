/// \file
/// The cells that `spawn` makes: a control block with the result, the callable and its arguments.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

#include <clockworker/detail/task_end.hpp>
#include <clockworker/detail/work_queue_base.hpp>
#include <clockworker/task.hpp>

namespace clockworker::detail {

template <class R>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<Task<T>> = true;

/// What `f(args...)` returns with the decay-copied arguments as rvalues, or, where `f` wants lvalues, as
/// these.
template <class F, class... Args>
constexpr auto called_result() {
  if constexpr (std::is_invocable_v<F&, Args...>) {
    return std::type_identity<std::invoke_result_t<F&, Args...>>{};
  } else if constexpr (std::is_invocable_v<F&, Args&...>) {
    return std::type_identity<std::invoke_result_t<F&, Args&...>>{};
  } else {
    return std::type_identity<void>{};
  }
}

template <class F, class... Args>
using CalledResult = typename decltype(called_result<std::decay_t<F>, std::decay_t<Args>...>())::type;

/// Whether a parameter of type `P` would be bound to a temporary made from an argument of type `Arg`: it is gone
/// when the call returns, but a coroutine's parameter that is a reference is used later. (A conversion function
/// that gives a reference makes none.)
template <class P, class Arg>
inline constexpr bool binds_temporary =
    std::is_reference_v<P>&& std::is_constructible_v<std::remove_cvref_t<P>, Arg> &&
    !std::is_convertible_v<std::remove_cvref_t<Arg>*, const volatile std::remove_cvref_t<P>*> &&
    !requires(Arg & argument) {
  argument.operator std::remove_cvref_t<P>&();
}
&&!requires(Arg & argument) { argument.operator const std::remove_cvref_t<P>&(); };

template <class Function, class... Args>
struct SafeParameters : std::true_type {};  // not known, as with a generic lambda
template <class R, class... P, class... Args>
requires(sizeof...(P) == sizeof...(Args)) struct SafeParameters<R (*)(P...), Args...>
    : std::bool_constant<(!binds_temporary<P, Args> && ...)> {
};
template <class R, class C, class... P, class... Args>
requires(sizeof...(P) == sizeof...(Args)) struct SafeParameters<R (C::*)(P...), Args...>
    : SafeParameters<R (*)(P...), Args...> {
};
template <class R, class C, class... P, class... Args>
requires(sizeof...(P) == sizeof...(Args)) struct SafeParameters<R (C::*)(P...) const, Args...>
    : SafeParameters<R (*)(P...), Args...> {
};

/// False if `f(args...)`, called with the decay-copied arguments, is known to bind a reference to a temporary.
template <class F, class... Args>
[[nodiscard]] constexpr bool keeps_what_it_refers_to() {
  using Callable = std::decay_t<F>;
  if constexpr (std::is_class_v<Callable>) {
    if constexpr (requires { &Callable::operator(); }) {
      return SafeParameters<decltype(&Callable::operator()), std::decay_t<Args>...>::value;
    } else {
      return true;
    }
  } else {
    return SafeParameters<Callable, std::decay_t<Args>...>::value;
  }
}

/// Calls what a cell keeps. The arguments stay in the cell; a callable that takes them by reference refers to
/// these.
template <class F, class... Args>
auto call_kept(F& f, std::tuple<Args...>& args) {
  return std::apply(
      [&f](Args&... kept) {
        if constexpr (std::is_invocable_v<F&, Args...>) {
          return std::invoke(f, static_cast<Args&&>(kept)...);
        } else {
          return std::invoke(f, kept...);
        }
      },
      args);
}

/// The pool aligns as plain `new` does; a cell whose result, callable or argument asks for more does not come
/// from it.
template <class Cell>
[[nodiscard]] void* allocate_cell() {
  if constexpr (alignof(Cell) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
    return ::operator new (sizeof(Cell), std::align_val_t{alignof(Cell)});
  } else {
    return pool_allocate(sizeof(Cell));
  }
}
template <class Cell>
void free_cell(void* memory) noexcept {
  if constexpr (alignof(Cell) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
    ::operator delete (memory, std::align_val_t{alignof(Cell)});
  } else {
    pool_free(memory, sizeof(Cell));
  }
}

/// What all cells do with what is not the callable.
template <class T>
struct CellParts {
  static std::exception_ptr exception(const TaskCell& cell) noexcept {
    const Result<T>& result = static_cast<const ResultCell<T>&>(cell).result;
    return result.state == ResultState::exception ? result.exception() : nullptr;
  }
  static void cancel(TaskCell& cell) noexcept { static_cast<ResultCell<T>&>(cell).result.set_cancelled(); }

  static void free_extras(TaskCell& cell) noexcept {
    TaskExtras* extras = std::exchange(cell.extras, nullptr);
    if (extras == nullptr) return;
    SharedName::drop(extras->name);
    std::destroy_at(extras);
    pool_free(extras, sizeof(TaskExtras));
  }

  /// The last reference is gone: nobody took the exception if it is still there.
  template <class Cell>
  static void dispose(TaskCell& base) noexcept {
    auto& cell = static_cast<Cell&>(base);
    if (cell.result.state == ResultState::exception) report_untaken(cell, cell.result.take_exception());
    cell.result.clear();  // first: its destructor may ask this_task for what the extras hold
    free_extras(cell);
    WorkQueueBase* queue = cell.queue;
    cell.~Cell();
    free_cell<Cell>(&cell);
    if (queue != nullptr) queue->release();
  }
};

/// The cell of a task that was spawned as a Task.
template <class T>
class PlainCell final : public ResultCell<T> {
 public:
  explicit PlainCell(WorkQueueBase& on) noexcept : ResultCell<T>{ops_of_this, on} {}

 private:
  static void destroy_callable(TaskCell&) noexcept {}
  static constexpr TaskOps ops_of_this{&destroy_callable, &CellParts<T>::template dispose<PlainCell>,
                                       &CellParts<T>::exception, &CellParts<T>::cancel};
};

/// The cell of a task that was spawned as a callable with arguments, which live as long as the frames.
template <class T, class F, class... Args>
class CallableCell final : public ResultCell<T> {
 public:
  template <class G, class... Given>
  CallableCell(WorkQueueBase& on, G&& f, Given&&... args)
      : ResultCell<T>{ops_of_this, on},
        call_{std::forward<G>(f), std::tuple<Args...>{std::forward<Given>(args)...}} {}
  ~CallableCell() {}  // destroy_callable() has been called

  [[nodiscard]] Task<T> call() { return call_kept(call_.f, call_.args); }

  static void destroy_callable(TaskCell& cell) noexcept {
    std::destroy_at(std::addressof(static_cast<CallableCell&>(cell).call_));
  }

 private:
  struct Call {
    F f;
    std::tuple<Args...> args;
  };
  static constexpr TaskOps ops_of_this{&destroy_callable, &CellParts<T>::template dispose<CallableCell>,
                                       &CellParts<T>::exception, &CellParts<T>::cancel};
  union {
    Call call_;
  };
};

/// Memory for a cell, given back if its construction throws.
template <class Cell, class... Args>
Cell* make_cell(WorkQueueBase& queue, Args&&... args) {
  void* memory = allocate_cell<Cell>();
  try {
    Cell* cell = ::new (memory) Cell(queue, std::forward<Args>(args)...);
    queue.acquire();
    return cell;
  } catch (...) {
    free_cell<Cell>(memory);
    throw;
  }
}

/// What a spawn that fails gives back: everything, in the reverse order.
struct SpawnAttempt {
  TaskCell* cell = nullptr;
  std::coroutine_handle<> frame = nullptr;
  ~SpawnAttempt() {
    if (cell == nullptr) return;
    if (frame) frame.destroy();
    cell->ops->destroy_callable(*cell);
    cell->release();
  }
};

/// Puts a cell with a frame on its queue. If the scheduler, or an allocation, throws, nothing has happened
/// but that the cell is still the caller's.
inline void start_task(TaskCell& cell, GroupBlock* group, SharedName* name) {
  WorkQueueBase& queue = *cell.queue;
  Ring& ring = *queue.ring;
  if (name != nullptr) {
    TaskExtras& extras = cell.need_extras();  // may throw, so before the count goes up
    extras.name = SharedName::share(name);
  }
  queue.reserve(queue.live_tasks + 1);
  cell.id = ring.last_id + 1;  // the scheduler may ask at the push
  ring.refresh_time();
  cell.arrived_at = ring.control.now;
  count_into_group(cell, group);
  try {
    queue.push(cell);
  } catch (...) {
    cell.group = nullptr;
    if (group != nullptr) --group->live_tasks;
    throw;
  }
  cell.status = TaskStatus::runnable;
  ++queue.runnable_tasks;
  ++queue.live_tasks;
  ring.adopt(cell);
  cell.acquire();  // the executor's; the one it was made with becomes the handle's
  if (!queue.active) ring.activate(queue);
}

/// Spawns `f(args...)`; see QueueHandle::spawn(). Null if the executor takes no more tasks.
template <class T, class F, class... Args>
ResultCell<T>* spawn_callable(WorkQueueBase& queue, GroupBlock* group, SharedName* name, std::uint8_t flags,
                              F&& f, Args&&... args) {
  if (queue.ring == nullptr || queue.ring->refuses_tasks()) return nullptr;
  using Cell = CallableCell<T, std::decay_t<F>, std::decay_t<Args>...>;
  SpawnAttempt attempt;
  Cell* cell = make_cell<Cell>(queue, std::forward<F>(f), std::forward<Args>(args)...);
  attempt.cell = cell;
  Task<T> task = cell->call();
  if (!task) throw std::invalid_argument("clockworker: spawn(): the callable returned an empty Task");
  auto frame = detail_task_access::release(task);
  attempt.frame = frame;
  frame.promise().slot = &cell->result;
  cell->resume_point = frame;
  cell->flags = flags;
  if (queue.ring == nullptr || queue.ring->refuses_tasks())
    return nullptr;  // the callable itself may have shut it down
  start_task(*cell, group, name);
  attempt.cell = nullptr;
  return cell;
}

/// The same for a Task, which is empty afterwards.
template <class T>
ResultCell<T>* spawn_task(WorkQueueBase& queue, GroupBlock* group, SharedName* name, std::uint8_t flags,
                          Task<T>& task) {
  if (!task)
    throw std::invalid_argument(
        "clockworker: spawn() of an empty Task: it was moved from, awaited or spawned");
  if (queue.ring == nullptr || queue.ring->refuses_tasks()) {
    Task<T> dropped{std::move(task)};
    return nullptr;
  }
  SpawnAttempt attempt;
  auto* cell = make_cell<PlainCell<T>>(queue);
  attempt.cell = cell;
  auto frame = detail_task_access::release(task);
  attempt.frame = frame;
  frame.promise().slot = &cell->result;
  cell->resume_point = frame;
  cell->flags = flags;
  start_task(*cell, group, name);
  attempt.cell = nullptr;
  return cell;
}

}  // namespace clockworker::detail
