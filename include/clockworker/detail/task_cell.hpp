/// \file
/// One task's control block: its state machine, its references, and what it waits for.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <clockworker/config.hpp>
#include <clockworker/detail/frame_pool.hpp>
#include <clockworker/detail/mailbox.hpp>
#include <clockworker/detail/result.hpp>
#include <clockworker/stop_token.hpp>

namespace clockworker {
/// Grows with arrival: of two tasks of one executor the one spawned later has the greater id. 0 is no task.
using TaskId = std::uint64_t;
}  // namespace clockworker

namespace clockworker::detail {

class Ring;
class WorkQueueBase;
class TaskCell;

/// Where a task is on the ring.
enum class TaskStatus : std::uint8_t {
  running,    // its frame is on the native stack. Still `running` after the resume has returned: the task has
              // ended
  transfer,   // on its way within the task: resume `resume_point` next, without a trip through a queue
  yielded,    // running, and wants to be pushed to its queue again
  moving,     // running, and wants to be pushed to another queue
  suspended,  // waits for a wake; in no scheduler and not running
  runnable,   // in its queue's scheduler, or among the queue's deferred tasks
  done        // its frame is gone; the result stands
};

/// What a suspended task waits for; for `tasks()`, nothing depends on it.
enum class WaitsFor : std::uint8_t { nothing, timer, task, waker, stranger, host };

/// Set on the executor's thread only. More than one may be set but where it says otherwise.
enum TaskFlag : std::uint8_t {
  abort_requested = 1,   // never taken back; the frames go at the next turn
  stranger_pending = 2,  // a foreign awaitable holds a handle into the frames: they may not be destroyed
  ended_in_queue = 8,    // done, but its scheduler still holds it; with status `done` only
  run_until_main = 16,   // its exception belongs to run_until() alone
  deferred = 32,  // runnable, but its scheduler threw at the push; tried again at the queue's next slice
  orphaned =
      64  // done for its handle, but a stranger still holds a handle into its frames; the executor is gone
};

/// Text shared by a named handle and the tasks spawned through it. Executor's thread.
struct SharedName {
  std::uint32_t references = 1;
  std::string text;

  explicit SharedName(std::string_view name) : text{name} {}
  static SharedName* share(SharedName* name) noexcept {
    if (name != nullptr) ++name->references;
    return name;
  }
  static void drop(SharedName* name) noexcept {
    if (name != nullptr && --name->references == 0) delete name;
  }
};

inline constexpr std::size_t scheduler_state_size = 24;

/// A group of tasks in one queue. Lives while a task of it lives or a handle to it is held. Executor's
/// thread.
struct GroupBlock {
  std::uint64_t id = 0;
  WorkQueueBase* queue = nullptr;  // null once the queue is gone
  std::size_t live_tasks = 0;
  std::uint32_t handles = 0;
  alignas(8) std::byte scheduler_state[scheduler_state_size] = {};
};

/// What the wakers of one task share. Counted with atomics, as wakers live on any thread and longer than the
/// task.
///
/// `word` is the number of the suspension (upper 62 bits) and what has become of it (lower 2). A waker
/// carries the number of the suspension that it was made for; it acts only by a compare-exchange from exactly
/// `armed` of that number, so of all wakes of one suspension one acts, and a stale one never does. The number
/// does not come round: at one suspension a nanosecond it lasts for a century.
///
///   idle ──arm──► armed ──wake on the owner's thread, or abort──► fired ──resume──► idle
///                   └────wake elsewhere──► posted ──drain──► fired
///
/// `posted` promises that the gate is in the inbox, or will be as soon as its waker's thread goes on.
struct WakeGate : Letter {
  enum State : std::uint64_t { idle = 0, armed = 1, posted = 2, fired = 3 };
  static constexpr std::uint64_t state_mask = 3;
  static constexpr std::uint64_t one_suspension = 4;

  WakeGate(TaskCell& of, Mailbox& to) noexcept : Letter{&delivered}, mailbox{to}, cell{&of} { to.acquire(); }

  static WakeGate* create(TaskCell& of, Mailbox& to) {
    return ::new (pool_allocate(sizeof(WakeGate))) WakeGate(of, to);
  }

  /// relaxed: whoever counts up holds a reference.
  void acquire() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // acq_rel: the last one out sees all that the others did before it frees the memory.
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Mailbox& of = mailbox;
      this->~WakeGate();
      pool_free(this, sizeof(WakeGate));
      of.release();
    }
  }

  [[nodiscard]] State state() const noexcept {
    return static_cast<State>(word.load(std::memory_order_relaxed) & state_mask);
  }

  /// Owner. Starts a suspension; returns its number, shifted as in `word`.
  std::uint64_t arm() noexcept {
    std::uint64_t number = (word.load(std::memory_order_relaxed) & ~state_mask) + one_suspension;
    // release: a waker that reaches another thread without further ordering still finds the gate armed.
    word.store(number | armed, std::memory_order_release);
    return number;
  }

  /// From `armed` of `number` to `to`. False if that suspension is over, or already on its way.
  bool claim(std::uint64_t number, State to) noexcept {
    std::uint64_t seen = number | armed;
    // acq_rel: what the waking thread wrote before is seen by the resumed task.
    while (!word.compare_exchange_weak(seen, number | to, std::memory_order_acq_rel,
                                       std::memory_order_relaxed)) {
      if (seen == (number | armed)) continue;  // failed for no reason
      if (seen != (number | posted) && seen != (number | fired)) return false;
      // Another waker was first, but the task has not resumed yet. Writing the same value back joins the
      // release sequence that disarm() acquires: what this thread wrote before its wake is seen by the task
      // as well.
      if (word.compare_exchange_weak(seen, seen, std::memory_order_acq_rel, std::memory_order_relaxed))
        return false;
      seen = number | armed;
    }
    return true;
  }

  /// Owner, when the task resumes or ends: the suspension is over.
  void disarm() noexcept { word.fetch_and(~state_mask, std::memory_order_acq_rel); }

  static void delivered(Letter& letter, Ring* ring) noexcept;  // task_end.hpp
  void refused() noexcept;  // the executor was gone when its waker was to post it; foreign.hpp

  std::atomic<std::uint32_t> references{1};
  Mailbox& mailbox;
  std::atomic<std::uint64_t> word{0};
  TaskCell* cell;  // owner's thread only; null once the task has ended
  std::atomic<TaskCell*> orphan{
      nullptr};  // whoever takes it out destroys the frames that were left to a stranger
};

/// The handle that a foreign awaitable gets; its coroutine's frame. Defined in foreign.hpp.
class Shim;

/// What few tasks have. Allocated when first used.
struct TaskExtras {
  SharedName* name = nullptr;
  WakeGate* gate = nullptr;
  Shim* shim = nullptr;
  std::optional<stop_source> stop;
  alignas(8) std::byte single_group_state[scheduler_state_size] = {};
};

struct TaskOps {
  void (*destroy_callable)(TaskCell&) noexcept;  // the callable and its arguments, after the frames
  void (*dispose)(TaskCell&) noexcept;           // the result, and the memory
  std::exception_ptr (*exception)(const TaskCell&) noexcept;  // what it ended with; null if with none
  void (*cancel)(TaskCell&) noexcept;                         // makes the result `cancelled`
};

/// Someone who waits for the end of a task: called once, on the executor's thread, when the result stands.
struct JoinWaiter {
  void (*task_ended)(JoinWaiter&, TaskCell&) noexcept;
};

/// Executor's thread only. `references` counts the executor (one, until the task has ended and has left its
/// scheduler) and the handles.
class TaskCell {
 public:
  TaskCell(const TaskOps& operations, WorkQueueBase& on) noexcept : ops{&operations}, queue{&on} {}
  TaskCell(const TaskCell&) = delete;
  TaskCell& operator=(const TaskCell&) = delete;

  /// Plain loads and stores: one thread. Only an orphan is held on two threads at once, and counts with real
  /// increments and decrements.
  void acquire() noexcept {
    if (has(orphaned)) {
      references.fetch_add(1, std::memory_order_relaxed);  // relaxed: the caller holds one
      return;
    }
    references.store(references.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void release() noexcept {
    std::uint32_t before = references.load(std::memory_order_relaxed);
    if (has(orphaned)) {
      before = references.fetch_sub(
          1, std::memory_order_acq_rel);  // acq_rel: the last one sees what the other did
    } else {
      references.store(before - 1, std::memory_order_relaxed);
    }
    if (before == 1) ops->dispose(*this);
  }

  /// Throws std::bad_alloc.
  TaskExtras& need_extras() {
    if (extras == nullptr) extras = ::new (pool_allocate(sizeof(TaskExtras))) TaskExtras;
    return *extras;
  }

  /// Throws std::bad_alloc.
  WakeGate& need_gate(Mailbox& mailbox) {
    TaskExtras& with = need_extras();
    if (with.gate == nullptr) with.gate = WakeGate::create(*this, mailbox);
    return *with.gate;
  }

  [[nodiscard]] WakeGate* gate() const noexcept { return extras == nullptr ? nullptr : extras->gate; }
  [[nodiscard]] bool has(TaskFlag flag) const noexcept { return (flags & flag) != 0; }
  void set(TaskFlag flag) noexcept { flags = static_cast<std::uint8_t>(flags | flag); }
  void unset(TaskFlag flag) noexcept { flags = static_cast<std::uint8_t>(flags & ~flag); }

  const TaskOps* ops;
  std::coroutine_handle<> resume_point;  // the innermost frame; the root's when the task ends by itself
  WorkQueueBase* queue;                  // changes by switch_to() only
  GroupBlock* group = nullptr;           // null: a group of its own
  TaskExtras* extras = nullptr;
  TaskId id = 0;
  std::int64_t arrived_at = 0;  // ns of the executor's clock
  alignas(8) std::byte scheduler_state[scheduler_state_size] = {};
  TaskCell* older = nullptr;  // the executor's list of live tasks
  TaskCell* newer = nullptr;
  JoinWaiter* joiner = nullptr;  // who waits for its end
  std::atomic<std::uint32_t> references{1};
  TaskStatus status = TaskStatus::suspended;
  std::uint8_t flags = 0;
  WaitsFor waits_for = WaitsFor::nothing;
};

/// A cell with room for what the task returns.
template <class T>
class ResultCell : public TaskCell {
 public:
  using TaskCell::TaskCell;
  Result<T> result;
};

}  // namespace clockworker::detail
