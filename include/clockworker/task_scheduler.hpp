/// \file
/// The order of tasks inside one queue: the concept `TaskScheduler`, and what a scheduler sees of a task and
/// its group.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <string_view>
#include <type_traits>

#include <clockworker/clock.hpp>
#include <clockworker/detail/task_cell.hpp>

namespace clockworker {

namespace detail {

/// Storage that starts as zero bytes, read as a `State`.
template <class State>
State& state_in(std::byte (&storage)[scheduler_state_size]) noexcept {
  static_assert(
      std::is_trivially_copyable_v<State> && std::is_trivially_destructible_v<State>,
      "clockworker: a scheduler's per-task state must be trivial: no constructor or destructor of it is run");
  static_assert(
      sizeof(State) <= scheduler_state_size,
      "clockworker: a scheduler's per-task state must fit 24 bytes; keep an index into storage of your own");
  static_assert(alignof(State) <= 8,
                "clockworker: a scheduler's per-task state must not be aligned to more than 8 bytes");
  return *std::launder(reinterpret_cast<State*>(storage));
}

}  // namespace detail

class TaskRef;

/// A group of tasks that share a queue, as its scheduler sees it; valid while a task of the group lives, and
/// in `group_finished()`. Two pointers' weight. Executor's thread.
class GroupRef {
 public:
  constexpr GroupRef() noexcept = default;

  /// The hash of what `QueueHandle::group()` was given. A task spawned in no group is a group of its own,
  /// with its task's id.
  [[nodiscard]] std::uint64_t id() const noexcept { return block_ != nullptr ? block_->id : single_->id; }

  /// Tasks of the group that have not ended.
  [[nodiscard]] std::size_t live_tasks() const noexcept { return block_ != nullptr ? block_->live_tasks : 1; }

  /// Whether this is the group of one task that was spawned in none: it never has a second.
  [[nodiscard]] bool is_single() const noexcept { return block_ == nullptr; }

  /// Storage in the group for its scheduler alone: at most 24 bytes, trivial, zero bytes at first. For a
  /// single task's group it is not the task's own storage, but allocated at the first call, which may throw
  /// `std::bad_alloc`; zero bytes again after a move to another queue.
  template <class State>
  [[nodiscard]] State& state() const {
    if (block_ != nullptr) return detail::state_in<State>(block_->scheduler_state);
    return detail::state_in<State>(single_->need_extras().single_group_state);
  }

  friend bool operator==(GroupRef, GroupRef) noexcept = default;

 private:
  friend class TaskRef;
  friend struct detail_access;
  friend struct std::hash<GroupRef>;
  explicit GroupRef(detail::GroupBlock& block) noexcept : block_{&block} {}
  explicit GroupRef(detail::TaskCell& single) noexcept : single_{&single} {}

  detail::GroupBlock* block_ = nullptr;
  detail::TaskCell* single_ = nullptr;
};

/// A task, as its scheduler sees it; valid from its push until `finished()` has returned, or until the
/// executor is destroyed: a scheduler's destructor must not look at tasks. A pointer's weight. Executor's
/// thread.
class TaskRef {
 public:
  constexpr TaskRef() noexcept = default;

  /// Grows with arrival.
  [[nodiscard]] TaskId id() const noexcept { return cell_->id; }
  [[nodiscard]] GroupRef group() const noexcept {
    return cell_->group != nullptr ? GroupRef{*cell_->group} : GroupRef{*cell_};
  }
  /// When it was spawned, by the executor's clock, to the last reading before that.
  [[nodiscard]] TimePoint arrived_at() const noexcept {
    return TimePoint{std::chrono::nanoseconds{cell_->arrived_at}};
  }
  /// What `QueueHandle::named()` was given; else empty.
  [[nodiscard]] std::string_view name() const noexcept {
    if (cell_->extras == nullptr || cell_->extras->name == nullptr) return {};
    return cell_->extras->name->text;
  }
  /// Storage in the task for its scheduler alone: at most 24 bytes, trivial, zero bytes at first (and again
  /// after a move to another queue).
  template <class State>
  [[nodiscard]] State& state() const noexcept {
    return detail::state_in<State>(cell_->scheduler_state);
  }

  explicit operator bool() const noexcept { return cell_ != nullptr; }
  friend bool operator==(TaskRef, TaskRef) noexcept = default;

 private:
  friend struct detail_access;
  friend struct std::hash<TaskRef>;
  explicit TaskRef(detail::TaskCell& cell) noexcept : cell_{&cell} {}
  detail::TaskCell* cell_ = nullptr;
};

/// For the library's own use: what stands behind the references.
struct detail_access {
  static TaskRef ref(detail::TaskCell& cell) noexcept { return TaskRef{cell}; }
  static GroupRef ref(detail::GroupBlock& block) noexcept { return GroupRef{block}; }
  static detail::TaskCell* cell(TaskRef task) noexcept { return task.cell_; }
};

/// The order of the runnable tasks of one queue.
///
/// Purpose: the executor pushes each task that becomes runnable and pops the one to resume next. All calls
/// come from the executor's thread, never two at a time.
///
/// Semantics:
/// 1. `push(task)`: the task has become runnable. It is not in the scheduler now. If it throws, the scheduler
/// is as before; the executor
///    keeps the task aside, lets `run*` throw what was thrown, and pushes the task again later.
/// 2. `pop()`: takes one task out. Called only if `!empty()`. Every task pushed is popped once.
/// 3. `empty()`: whether nothing is to be popped.
///
/// Called if they exist, in this order for one resume:
/// 4. `observe(task, ran, finished)`: the task was resumed, or, aborted, destroyed, and ran so long.
/// `finished`: it will not
///    come back. Its presence makes the executor read the clock at every resume. The task is not in the
///    scheduler now.
/// 5. `finished(task)`: once for each task: it has ended, or has moved to another queue. Not called when the
/// executor is destroyed.
/// 6. `group_finished(group)`: the last task and the last handle of a group made by `QueueHandle::group()`
/// are gone.
/// 7. `reserve(live)`: at spawn, with the number of tasks that may then be runnable at once. May throw: the
/// spawn then fails with
///    that. Pushes of that many tasks must then not throw.
///
/// A task's group does not change while it is in the scheduler.
///
/// Minimal model:
/// \code
/// struct Lifo {
///   void push(TaskRef task) { ready.push_back(task); }
///   TaskRef pop() { TaskRef task = ready.back(); ready.pop_back(); return task; }
///   bool empty() const { return ready.empty(); }
///   std::vector<TaskRef> ready;
/// };
/// \endcode
template <class S>
concept TaskScheduler = std::movable<S> && requires(S& scheduler, const S& constant, TaskRef task) {
  scheduler.push(task);
  { scheduler.pop() } -> std::same_as<TaskRef>;
  { constant.empty() } -> std::same_as<bool>;
};

namespace detail {

template <class S>
concept Observes = requires(S& s, TaskRef task, std::chrono::nanoseconds ran) {
  s.observe(task, ran, true);
};
template <class S>
concept HearsFinished = requires(S& s, TaskRef task) {
  s.finished(task);
};
template <class S>
concept HearsGroupFinished = requires(S& s, GroupRef group) {
  s.group_finished(group);
};
template <class S>
concept Reserves = requires(S& s, std::size_t live) {
  s.reserve(live);
};

// A member that bears the name of an optional one, but cannot be called like it, would be passed over in
// silence.
template <class S>
concept NamesObserve = requires {
  &S::observe;
};
template <class S>
concept NamesFinished = requires {
  &S::finished;
};
template <class S>
concept NamesGroupFinished = requires {
  &S::group_finished;
};
template <class S>
concept NamesReserve = requires {
  &S::reserve;
};

/// One sentence from the compiler for each thing that is wrong with `S`.
template <class S>
constexpr void explain_scheduler() {
  static_assert(std::movable<S>,
                "clockworker: a TaskScheduler must be movable: with_queue() takes it by value");
  static_assert(
      requires(S & s, TaskRef task) { s.push(task); },
      "clockworker: this TaskScheduler needs a member 'void push(clockworker::TaskRef)'");
  static_assert(
      requires(S & s) {
        { s.pop() } -> std::same_as<TaskRef>;
      },
      "clockworker: this TaskScheduler needs a member 'clockworker::TaskRef pop()'");
  static_assert(
      requires(const S& s) {
        { s.empty() } -> std::same_as<bool>;
      },
      "clockworker: this TaskScheduler needs a member 'bool empty() const'");
  static_assert(
      !NamesObserve<S> || Observes<S>,
      "clockworker: this TaskScheduler has an 'observe', but not 'void observe(clockworker::TaskRef, "
      "std::chrono::nanoseconds ran, bool finished)'");
  static_assert(
      !NamesFinished<S> || HearsFinished<S>,
      "clockworker: this TaskScheduler has a 'finished', but not 'void finished(clockworker::TaskRef)'");
  static_assert(!NamesGroupFinished<S> || HearsGroupFinished<S>,
                "clockworker: this TaskScheduler has a 'group_finished', but not 'void "
                "group_finished(clockworker::GroupRef)'");
  static_assert(!NamesReserve<S> || Reserves<S>,
                "clockworker: this TaskScheduler has a 'reserve', but not 'void reserve(std::size_t live)'");
}

}  // namespace detail

}  // namespace clockworker

template <>
struct std::hash<clockworker::TaskRef> {
  [[nodiscard]] std::size_t operator()(clockworker::TaskRef task) const noexcept {
    return std::hash<const void*>{}(task.cell_);
  }
};

template <>
struct std::hash<clockworker::GroupRef> {
  [[nodiscard]] std::size_t operator()(clockworker::GroupRef group) const noexcept {
    return group.block_ != nullptr ? std::hash<const void*>{}(group.block_)
                                   : std::hash<const void*>{}(group.single_);
  }
};
