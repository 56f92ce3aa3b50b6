/// \file
/// `QueueHandle`: spawning on a queue, its groups and its weight; and moving a task to another queue.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <clockworker/config.hpp>
#include <clockworker/detail/cell.hpp>
#include <clockworker/join.hpp>

namespace clockworker {

namespace detail {

/// Text of any type is hashed as text: a literal has no hash of its own, and a `const char*` that of its
/// address.
template <class Id>
[[nodiscard]] std::uint64_t group_number(const Id& id) {
  if constexpr (std::is_convertible_v<const Id&, std::string_view>) {
    return static_cast<std::uint64_t>(std::hash<std::string_view>{}(id));
  } else {
    static_assert(
        requires { std::hash<Id>{}(id); },
        "clockworker: group(id) needs an id that std::hash can hash, or a text");
    return static_cast<std::uint64_t>(std::hash<Id>{}(id));
  }
}

[[nodiscard]] inline std::string only_for_main(const char* call) {
  return std::string{"clockworker: "} + call +
         ": the main task of run_until() runs ahead of every queue, on one of its own that takes nobody "
         "else; "
         "name a queue: executor.queue(key)";
}

}  // namespace detail

/// A queue of an executor, and how tasks spawned through this handle are grouped and named. Cheap to copy.
/// Executor's thread only. May outlive the queue and the executor: spawning is then refused.
class QueueHandle {
 public:
  QueueHandle(const QueueHandle& other) noexcept
      : queue_{other.queue_}, group_{other.group_}, name_{detail::SharedName::share(other.name_)} {
    queue_->acquire();
    if (group_ != nullptr) ++group_->handles;
  }
  QueueHandle(QueueHandle&& other) noexcept : QueueHandle{static_cast<const QueueHandle&>(other)} {}
  QueueHandle& operator=(QueueHandle other) noexcept {
    std::swap(queue_, other.queue_);
    std::swap(group_, other.group_);
    std::swap(name_, other.name_);
    return *this;
  }
  ~QueueHandle() {
    if (group_ != nullptr) drop_group();
    detail::SharedName::drop(name_);
    queue_->release();
  }

  /// Spawns the task `f(args...)` on this queue; `f` is called at once, the task that it returns starts at
  /// its turn. The callable and its arguments are decay-copied and live as long as the task, so a lambda with
  /// captures is safe; wrap in std::ref what is to be referred to. Throws what the copies, `f` or the
  /// scheduler throw, std::bad_alloc, and std::invalid_argument if `f` returns an empty Task; nothing has
  /// been spawned then. Throws std::logic_error on the queue of run_until()'s main, which is ahead of all others
  /// and for main alone. If the executor is shutting down or gone, or the queue was removed, the handle is
  /// that of a cancelled task. O(1) and the scheduler's push.
  template <class F, class... Args>
  requires(!detail::is_task<std::decay_t<F>>) auto spawn(F&& f, Args&&... args) const {
    using Returned = detail::CalledResult<F, Args...>;
    static_assert(detail::is_task<Returned>,
                  "clockworker: spawn(f, args...) needs an f that can be called with these arguments "
                  "(decay-copied, as std::thread "
                  "does; std::ref to refer) and that returns a clockworker::Task");
    static_assert(
        detail::keeps_what_it_refers_to<F, Args...>(),
        "clockworker: spawn(f, args...): a parameter of f is a reference to another type than the "
        "decay-copied argument, and would refer to a temporary that is gone when the task runs; pass an "
        "argument of the parameter's own type, such as std::string{\"text\"}");
    using T = typename Returned::value_type;
    check_thread();
    check_open_to_others("spawn()");
    return detail_join_access::make<T>(detail::spawn_callable<T>(
        *queue_, group_, name_, 0, std::forward<F>(f), std::forward<Args>(args)...));
  }

  /// Spawns a Task as a task of its own. Throws std::invalid_argument for an empty one; else as above.
  template <class T>
  JoinHandle<T> spawn(Task<T> task) const {
    check_thread();
    check_open_to_others("spawn()");
    return detail_join_access::make<T>(detail::spawn_task<T>(*queue_, group_, name_, 0, task));
  }

  /// The same queue; tasks spawned through the result share the group of that id, known by its `std::hash`
  /// (of a text's characters, whatever its type). The group is forgotten with its last task and handle.
  /// Throws std::bad_alloc, and std::logic_error if the queue is gone. O(1).
  template <class Id>
  [[nodiscard]] QueueHandle group(const Id& id) const {
    if (queue_->ring == nullptr) throw std::logic_error(gone("group()"));
    QueueHandle with = ungrouped();
    with.group_ = &queue_->group(detail::group_number(id));
    ++with.group_->handles;
    return with;
  }

  /// The same queue and group; tasks spawned through the result carry the name. Throws std::bad_alloc.
  [[nodiscard]] QueueHandle named(std::string_view name) const {
    auto* shared = new detail::SharedName{name};
    QueueHandle with{*this};
    detail::SharedName::drop(std::exchange(with.name_, shared));
    return with;
  }

  /// The queue's share of the time, against the other queues'.
  [[nodiscard]] std::uint64_t weight() const noexcept { return queue_->weight(); }

  /// Changes it, at once; what the queue is owed or owes stays the same. Throws std::invalid_argument for 0
  /// and above 2^20, std::logic_error if the queue is gone or is that of run_until()'s main. O(log n).
  void set_weight(std::uint64_t weight) const {
    check_thread();
    if (queue_->ring == nullptr) throw std::logic_error(gone("set_weight()"));
    if (queue_->is_main) {
      throw std::logic_error(
          "clockworker: set_weight(): the main task of run_until() runs ahead of every queue and has no "
          "weight");
    }
    if (weight == 0 || weight > Eevdf::max_weight) {
      throw std::invalid_argument("clockworker: set_weight(" + std::to_string(weight) + ") on queue '" +
                                  queue_->name + "': a weight is from 1 to 1048576 (2^20)");
    }
    queue_->ring->charge_current(queue_->ring->control.now);
    if (queue_->active) queue_->ring->settle_due(*queue_);
    queue_->ring->picker.set_weight(*queue_, weight);
  }

  /// The queue's name: QueueOptions::name, by default its key.
  [[nodiscard]] std::string_view name() const noexcept { return queue_->name; }

  /// Whether both are of the same queue, whatever their groups and names.
  [[nodiscard]] bool same_queue(const QueueHandle& other) const noexcept { return queue_ == other.queue_; }

 private:
  friend struct detail_queue_access;
  explicit QueueHandle(detail::WorkQueueBase& queue) noexcept : queue_{&queue} { queue.acquire(); }

  [[nodiscard]] QueueHandle ungrouped() const noexcept {
    QueueHandle with{*queue_};
    with.name_ = detail::SharedName::share(name_);
    return with;
  }

  void drop_group() noexcept {
    --group_->handles;
    detail::Ring* ring = queue_->ring;
    try {
      detail::WorkQueueBase::forget_if_unused(*group_);
    } catch (...) {
      ring->keep_exception(std::current_exception());  // the scheduler's, so there is a queue
    }
  }

  void check_thread() const noexcept {
    CLOCKWORKER_ASSERT(queue_->ring == nullptr || queue_->ring->on_own_thread(),
                       "a QueueHandle was used on another thread than the executor's; use Remote::spawn()");
  }

  void check_open_to_others(const char* call) const {
    if (queue_->is_main) throw std::logic_error(detail::only_for_main(call));
  }

  [[nodiscard]] std::string gone(const char* call) const {
    return std::string{"clockworker: "} + call + " on queue '" + queue_->name + "', which is gone";
  }

  detail::WorkQueueBase* queue_;
  detail::GroupBlock* group_ = nullptr;
  detail::SharedName* name_ = nullptr;
};

/// For the library's own use.
struct detail_queue_access {
  static QueueHandle make(detail::WorkQueueBase& queue) noexcept { return QueueHandle{queue}; }
  static detail::WorkQueueBase& queue(const QueueHandle& handle) noexcept { return *handle.queue_; }
  static detail::GroupBlock* group(const QueueHandle& handle) noexcept { return handle.group_; }
};

namespace detail {

class SwitchAwaiter {
 public:
  SwitchAwaiter(const SwitchAwaiter&) = delete;
  SwitchAwaiter& operator=(const SwitchAwaiter&) = delete;
  explicit SwitchAwaiter(QueueHandle to) noexcept : to_{std::move(to)} {}

  [[nodiscard]] bool await_ready() const {
    WorkQueueBase& queue = detail_queue_access::queue(to_);
    if (queue.ring == nullptr) {
      throw std::logic_error("clockworker: switch_to() queue '" + queue.name + "', which is gone");
    }
    if (queue.ring != thread_state.ring) {
      throw std::invalid_argument("clockworker: switch_to() queue '" + queue.name +
                                  "', which belongs to another executor");
    }
    if (queue.is_main && !thread_state.task->has(run_until_main)) {
      throw std::logic_error(only_for_main("switch_to()"));
    }
    return &queue == thread_state.task->queue && goes_to_group() == thread_state.task->group;
  }

  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) {
    check_awaited_in_task<Promise>();
    WorkQueueBase& queue = detail_queue_access::queue(to_);
    TaskCell& cell = *thread_state.task;
    queue.reserve(queue.live_tasks + 1);
    GroupBlock* group = goes_to_group();
    if (group == nullptr && cell.group != nullptr) group = &queue.group(cell.group->id);
    queue.acquire();
    ++queue.live_tasks;                         // from here on it is not to be removed,
    if (group != nullptr) ++group->live_tasks;  // nor its group forgotten
    thread_state.ring->move = Move{&queue, group};
    cell.resume_point = frame;
    cell.status = TaskStatus::moving;
  }
  void await_resume() const noexcept {}

 private:
  /// The handle's group; else, in the task's own queue, the one that it is in.
  [[nodiscard]] GroupBlock* goes_to_group() const noexcept {
    if (GroupBlock* group = detail_queue_access::group(to_)) return group;
    return &detail_queue_access::queue(to_) == thread_state.task->queue ? thread_state.task->group : nullptr;
  }

  QueueHandle to_;
};

/// What switch_to() returns: to be awaited.
struct [[nodiscard]] Switch {
  using clockworker_native = void;
  QueueHandle to;
  [[nodiscard]] SwitchAwaiter operator co_await() const noexcept { return SwitchAwaiter{to}; }
};

}  // namespace detail

/// `co_await switch_to(queue)`: the rest of the task runs, and is charged, on `queue`, from that queue's next
/// turn for it. The task goes into the handle's group; if that has none, a grouped task goes into the group
/// of the same id there. Throws std::invalid_argument if the queue belongs to another executor,
/// std::logic_error if it is gone or is that of run_until()'s main, std::bad_alloc, and what its scheduler's
/// reserve() throws; the task then goes on where it is.
///
/// g++ 12 destroys temporaries of a `co_await`'s operand twice if it holds a conditional expression, or an
/// aggregate with a string in it (`QueueOptions{...}`): name it first, `auto to = c ? a : b;`.
[[nodiscard]] inline detail::Switch switch_to(QueueHandle queue) noexcept {
  return detail::Switch{std::move(queue)};
}

}  // namespace clockworker
