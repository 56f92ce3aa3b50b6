/// \file
/// The state of one executor, and what tasks, wakers, timers and queues do to it. How it is driven is in
/// drive.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <clockworker/clock.hpp>
#include <clockworker/config.hpp>
#include <clockworker/detail/host_identity.hpp>
#include <clockworker/detail/mailbox.hpp>
#include <clockworker/detail/promise_base.hpp>
#include <clockworker/detail/slice_control.hpp>
#include <clockworker/detail/task_cell.hpp>
#include <clockworker/detail/thread_state.hpp>
#include <clockworker/detail/timer_heap.hpp>
#include <clockworker/detail/work_queue_base.hpp>
#include <clockworker/eevdf.hpp>

namespace clockworker {
class GuestTurns;
}  // namespace clockworker

namespace clockworker::detail {

/// A timer of a ring. Lies in the awaiter that waits for it, which cancels it in its destructor. `fire` must
/// not throw.
struct RingTimer : TimerNode {
  using Fire = void (*)(RingTimer&, Ring&) noexcept;
  explicit RingTimer(Fire what) noexcept : fire{what} {}
  Fire fire;
};

struct RingOptions {
  std::chrono::nanoseconds sched_latency = std::chrono::milliseconds{2};
  std::chrono::nanoseconds min_slice = std::chrono::microseconds{100};
  std::chrono::nanoseconds host_poll_interval = std::chrono::microseconds{500};
  std::uint32_t max_polls_per_host_poll = 61;
};

class RemoteKey;

/// Where a task that is `moving` goes; set by switch_to() right before it suspends.
struct Move {
  WorkQueueBase* queue = nullptr;
  GroupBlock* group = nullptr;
};

/// Executor's thread only, but for `mailbox()`, which is for all.
///
/// Why a runnable task is in exactly one place: a task becomes runnable only in `make_runnable()`, which asks
/// for status `suspended` and leaves `runnable`; only a pop takes it from there, to `running`; and only a
/// suspension of its own code takes it from there to `suspended`. A wake that comes while its frame is still
/// on the native stack turns `suspended` into `yielded`, and the slice loop pushes it after the resume has
/// returned.
class Ring {
 public:
  using NowFunction = TimePoint (*)() noexcept;

  Ring(const RingOptions& with, std::shared_ptr<const ExceptionRules> rules, NowFunction now_function)
      : options{with}, exception_rules{std::move(rules)}, now_function_{now_function} {
    kept_exceptions.reserve(16);
    control.now = now();
    mailbox_ = new Mailbox;  // last: nobody would release it if this threw
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { mailbox_->release(); }

  [[nodiscard]] std::int64_t now() const noexcept { return now_function_().time_since_epoch().count(); }
  [[nodiscard]] Mailbox& mailbox() const noexcept { return *mailbox_; }

  /// False only if another thread is seen to drive this executor right now.
  [[nodiscard]] bool on_own_thread() const noexcept { return driver == nullptr || driver == &thread_state; }

  // --- Wakes

  /// Ends the current suspension of `cell`. Nothing happens if it is not suspended: it is on its way already.
  void wake(TaskCell& cell) noexcept {
    if (cell.status != TaskStatus::suspended) return;
    if (&cell == thread_state.task || &cell == set_aside_) {
      cell.status = TaskStatus::yielded;
    } else {
      make_runnable(cell);
    }
  }

  static constexpr int letters_at_once = 16;
  static constexpr int letters_at_a_resume =
      4;  // of what was left over, as what they spawn is to run as well

  /// Delivers what other threads have posted, in the order in which it was, but only some at a time: however
  /// much is posted, tasks, timers and the host have their turns in between. Not re-entered, so none overtakes
  /// another: a delivery runs no task, and what comes here is the driver, or code in a task.
  void drain_inbox(int at_most = letters_at_once) noexcept {
    if (undelivered_ == nullptr) undelivered_ = mailbox_->inbox.drain();
    if (undelivered_ == nullptr) return;
    SetAside nobody_runs{*this};
    for (int left = at_most; left > 0 && undelivered_ != nullptr; --left) {
      auto& letter = static_cast<Letter&>(*undelivered_);
      undelivered_ = letter.next_posted;  // the letter may be posted again as soon as it is delivered
      ++remote_deliveries;
      letter.deliver(letter, this);
    }
  }

  /// The same in the midst of a slice. The time of a few letters is the slice's; where there are so many that
  /// some were left over, it is nobody's.
  CLOCKWORKER_NOINLINE void drain_inbox_in_slice() noexcept {
    if (undelivered_ == nullptr) return drain_inbox();
    const std::int64_t began_at = now();
    end_stride(began_at);
    drain_inbox(letters_at_a_resume);
    control.now = now();
    const std::int64_t took = control.now - began_at;
    control.charged_until += took;
    control.slice_end = saturated_end(control.slice_end, took);
    control.begin_stride();
    reach_horizon();
  }

  /// Whether there is something for drain_inbox(): taken from the inbox already, or, a hint, in it.
  [[nodiscard]] bool has_mail() const noexcept {
    return undelivered_ != nullptr || mailbox_->inbox.has_mail();
  }
  [[nodiscard]] bool has_undelivered() const noexcept { return undelivered_ != nullptr; }

  /// Marks the executor as asleep; fails if there is mail.
  [[nodiscard]] bool try_park() noexcept { return undelivered_ == nullptr && mailbox_->inbox.try_park(); }

  /// For the destructor: the letters that were not delivered, oldest first.
  [[nodiscard]] InboxNode* take_undelivered() noexcept { return std::exchange(undelivered_, nullptr); }

  // --- Timers

  void arm(RingTimer& timer, std::int64_t deadline) noexcept {
    timers.arm(timer, deadline);
    control.horizon = std::min(control.horizon, deadline);
  }
  void disarm(RingTimer& timer) noexcept {
    if (timer.linked()) timers.cancel(timer);
  }
  void fire_timers() noexcept {
    if (timers.next_deadline() > control.now) return;
    SetAside nobody_runs{*this};
    while (TimerNode* due = timers.pop_due(control.now)) {
      auto& timer = static_cast<RingTimer&>(*due);
      ++timers_fired;
      timer.fire(timer, *this);
    }
  }

  // --- Queues

  [[nodiscard]] std::chrono::nanoseconds request_of(const WorkQueueBase& queue) const noexcept {
    if (queue.slice) return *queue.slice;
    auto runnable = static_cast<std::int64_t>(std::max<std::size_t>(1, picker.runnable_count()));
    return std::max(options.min_slice, options.sched_latency / runnable);
  }

  /// Sets the time of a moment at which no task runs: nobody is charged for what has passed.
  void set_time(std::int64_t reading) noexcept {
    control.now = reading;
    control.charged_until = reading;
    time_is_stale = false;
  }

  /// In the host, and between two drives, time goes by without a reading; what happens there has its own.
  void refresh_time() noexcept {
    if (!time_is_stale) return;
    set_time(now());
    time_is_stale = true;
  }

  /// The queue has turned from empty to runnable.
  void activate(WorkQueueBase& queue) noexcept {
    queue.active = true;
    refresh_time();
    if (queue.is_main) {
      main_active = true;
    } else {
      charge_current(control.now);
      picker.join(queue, request_for_one_more(queue));
      queue.record.runnable_since = control.now;
      queue.record.service_of_all_at_join = service_of_all;
      queue.record.service_per_weight_then = service_per_weight;
      queue.record.saw_lag(picker.lag(queue).count());
      if (current != nullptr && picker.would_preempt(queue, *current)) control.attention |= better_queue;
    }
    if (!driven && mailbox_->inbox.unpark()) mailbox_->notify_from_owner();
  }

  /// The queue has nothing runnable any more.
  void deactivate(WorkQueueBase& queue) noexcept {
    if (queue.is_main) {
      queue.active = false;
      main_active = false;
      return;
    }
    QueueRecord& record = queue.record;
    record.saw_lag(picker.lag(queue).count());
    settle_due(queue);
    queue.active = false;
    record.service_of_all += service_of_all - record.service_of_all_at_join;
    picker.leave(queue);
  }

  /// What the queue has been due since it joined, of the service given meanwhile.
  [[nodiscard]] double due_of(const WorkQueueBase& queue) const noexcept {
    if (!queue.active) return queue.record.due;
    return queue.record.due +
           static_cast<double>(queue.weight()) * (service_per_weight - queue.record.service_per_weight_then);
  }
  /// Before a change of its weight, or as it leaves.
  void settle_due(WorkQueueBase& queue) noexcept {
    queue.record.due = due_of(queue);
    queue.record.service_per_weight_then = service_per_weight;
  }

  /// Charges the running queue for its time up to `until`. The clock's last reading will do where a new one
  /// is not worth it: it is at most a stride old.
  void charge_current(std::int64_t until) noexcept {
    if (current == nullptr || until <= control.charged_until) return;
    std::int64_t used = until - control.charged_until;
    control.charged_until = until;
    service_of_all += used;
    service_per_weight += static_cast<double>(used) / static_cast<double>(picker.total_weight());
    current->record.service += used;
    if (picker.charge(*current, std::chrono::nanoseconds{used}, request_of(*current)))
      control.attention |= slice_over;
  }

  // --- Slices

  /// A reading of the clock at the end of a stride of the slice loop.
  void end_stride(std::int64_t reading) noexcept {
    std::uint32_t resumes = control.stride_begun - control.until_reading;
    control.now = reading;
    if (resumes == 0) return;
    std::int64_t took = reading - control.stride_began_at;
    slice_record->resumed(took, resumes);
    control.stride = SliceControl::next_stride(control.stride, resumes, took);
    control.polls_left -= std::min(control.polls_left, resumes);
    polls_made += resumes;
    if (control.polls_left == 0) polls_used_up();
    control.begin_stride();
    if (reading >= control.horizon) reach_horizon();
  }

  /// For tasks: whether to give way. A few loads but at every 16th call or so.
  [[nodiscard]] bool should_yield() noexcept {
    if ((control.attention | static_cast<std::uint32_t>(has_mail())) == 0 && --control.until_check != 0) {
      return false;
    }
    return should_yield_after_a_look();
  }

  // --- Ends

  /// See JoinHandle::abort(). Never allocates. The caller holds a reference. False: a stop callback has
  /// destroyed the executor, and this ring with it.
  bool abort(TaskCell& cell) noexcept {
    if (cell.status == TaskStatus::done || cell.has(abort_requested)) return true;
    cell.set(abort_requested);
    if (cell.extras != nullptr && cell.extras->stop && !request_stop_of(cell)) return false;
    take_up_abort(cell);
    return true;
  }

  /// A suspended task that is to be aborted takes its last turn, unless a stranger holds on to its frames or
  /// it is on its way.
  void take_up_abort(TaskCell& cell) noexcept {
    if (cell.status != TaskStatus::suspended || cell.has(stranger_pending)) return;
    if (WakeGate* gate = cell.gate(); gate != nullptr && gate->state() != WakeGate::idle) {
      if (!gate->claim(gate->word.load(std::memory_order_relaxed) & ~WakeGate::state_mask, WakeGate::fired))
        return;
    }
    wake(cell);
  }

  /// Remembers what run*() is to throw; of several, each run throws the next. There is room for more than can
  /// come in one turn; past that, and with no memory for more, the latest is dropped.
  void keep_exception(std::exception_ptr exception) noexcept {
    try {
      kept_exceptions.push_back(std::move(exception));
    } catch (const std::bad_alloc&) {
    }
    control.attention |= exception_kept;
  }

  /// run*() throws `exception` in another way.
  void forget_exception(const std::exception_ptr& exception) noexcept {
    std::erase(kept_exceptions, exception);
    if (kept_exceptions.empty()) control.attention &= ~static_cast<std::uint32_t>(exception_kept);
  }

  /// After a resume that did not simply suspend or yield.
  void settle(TaskCell& cell) noexcept;
  /// Destroys the frames, innermost first and in constant native stack; the result is then `cancelled`.
  void unwind(TaskCell& cell) noexcept;
  /// The root has run to its end: its frame goes.
  void finish(TaskCell& cell) noexcept;
  /// The frames are gone: takes the task off the list of the living and tells who waits for it.
  void end_task(TaskCell& cell) noexcept;
  /// The task will not come back to its scheduler; gives up the executor's reference.
  void leave_queue(TaskCell& cell) noexcept;
  /// Ends a task that is not running, wherever it is, at once. Precondition: no stranger holds on to its
  /// frames.
  void end_now(TaskCell& cell) noexcept;
  /// A task that end_now() found in its scheduler has come out of it, or the scheduler goes.
  void popped_after_end(TaskCell& cell) noexcept;

  /// Takes a new task in: gives it its number, puts it on the list of the living. The caller has pushed it,
  /// or will.
  void adopt(TaskCell& cell) noexcept {
    cell.id = ++last_id;
    cell.arrived_at = control.now;
    cell.older = newest;
    if (newest != nullptr) newest->newer = &cell;
    newest = &cell;
    ++live_tasks;
    ++spawned;
  }

  /// Whether spawns are refused.
  [[nodiscard]] bool refuses_tasks() const noexcept { return closing || shutting_down; }

  // --- State. Public to the parts of the library; each has its one writer named.

  RingOptions options;
  std::shared_ptr<const ExceptionRules> exception_rules;
  SliceControl control;
  Eevdf picker;
  TimerHeap timers;
  WorkQueueBase* current =
      nullptr;  // drive.hpp: whose slice it is; kept while the host is polled in the midst of it
  QueueRecord* slice_record = nullptr;              // drive.hpp: where the slice loop's readings go
  WorkQueueBase* main_lane = nullptr;               // executor.hpp
  bool main_active = false;                         // activate(), deactivate()
  Move move;                                        // switch_to()
  std::vector<std::exception_ptr> kept_exceptions;  // keep_exception()
  std::uint32_t stops_being_requested = 0;          // request_stop_of()
  RingTimer* patience = nullptr;                    // shutdown.hpp: not waited for once no task lives
  bool time_is_stale = true;                        // drive.hpp: control.now is not the present
  bool driven = false;                              // drive.hpp: inside run* or run_ready
  const ThreadState* driver = nullptr;  // drive.hpp: on which thread; its address tells the thread
  bool as_guest = false;                // drive.hpp: the resumes allowed are a hard limit
  HostIdentity host;                    // drive.hpp: the one that drives, if any
  HostIdentity guest_events;            // guest.hpp: of the loop that it is a guest in
  GuestTurns* guest = nullptr;          // guest.hpp, and how to have its loop ask for what is to be done
  void (*ring_guest)(GuestTurns&) noexcept = nullptr;
  bool stop_requested = false;     // the stop letter
  bool shutting_down = false;      // shutdown()
  bool closing = false;            // the destructor
  std::int64_t host_poll_gap = 0;  // drive.hpp: no poll before so much time has passed since the last
  std::int64_t host_polled_at = 0;
  void* owner = nullptr;  // the Executor, and how to find a queue of it by a key of any type
  WorkQueueBase* (*find_queue)(Ring&, const RemoteKey&) = nullptr;
  TaskCell* newest = nullptr;           // the living, newest first
  TaskCell* ended_in_queues = nullptr;  // done, but still in a scheduler: end_now(), popped_after_end()
  TaskId last_id = 0;
  std::size_t live_tasks = 0;
  std::int64_t service_of_all = 0;
  double service_per_weight =
      0;  // charge_current(): of each charge, what it comes to for a weight of 1; for statistics
  std::uint64_t polls_made = 0;
  std::uint64_t spawned = 0;
  std::uint64_t slices = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t host_polls = 0;
  std::uint64_t parks = 0;
  std::uint64_t timers_fired = 0;
  std::uint64_t remote_deliveries = 0;

 private:
  /// While it lives nobody counts as running: what is delivered or fired in the midst of a task's resume is
  /// not that task's doing, and a callable is not to find itself in a stranger's task. But the task's frame is
  /// on the native stack all the same: wake() must not push it, if it is woken by what is delivered while it
  /// is about to suspend.
  class SetAside {
   public:
    explicit SetAside(Ring& ring) noexcept
        : ring_{ring}, task_{std::exchange(thread_state.task, nullptr)}, before_{ring.set_aside_} {
      if (task_ != nullptr) ring_.set_aside_ = task_;
    }
    SetAside(const SetAside&) = delete;
    SetAside& operator=(const SetAside&) = delete;
    ~SetAside() {
      ring_.set_aside_ = before_;
      thread_state.task = task_;
    }

   private:
    Ring& ring_;
    TaskCell* task_;
    TaskCell* before_;
  };

  void make_runnable(TaskCell& cell) noexcept {
    if (closing) return;  // nothing runs any more, and the schedulers are to be left in peace
    WorkQueueBase& queue = *cell.queue;
    cell.status = TaskStatus::runnable;
    ++queue.runnable_tasks;
    try {
      queue.push(cell);
    } catch (...) {
      defer(cell, std::current_exception());
    }
    if (!queue.active) activate(queue);
  }

  [[nodiscard]] std::chrono::nanoseconds request_for_one_more(const WorkQueueBase& queue) const noexcept {
    if (queue.slice) return *queue.slice;
    return std::max(options.min_slice,
                    options.sched_latency / static_cast<std::int64_t>(picker.runnable_count() + 1));
  }

  /// The callbacks may do anything but drive, as who aborts may hold on to what a turn would free; also destroy
  /// the executor where it is not running: so what is used afterwards is kept here, and the mailbox, which
  /// lives longer, tells. False: it is gone.
  bool request_stop_of(TaskCell& cell) noexcept {
    const stop_source source = *cell.extras->stop;
    Mailbox& mailbox = *mailbox_;
    const bool was_closing = closing;
    mailbox.acquire();
    ++stops_being_requested;
    source.request_stop();
    const bool is_gone = !was_closing && mailbox.inbox.is_closed();
    mailbox.release();
    if (!is_gone) --stops_being_requested;
    return !is_gone;
  }

  CLOCKWORKER_NOINLINE void reach_horizon() noexcept {
    if (timers.next_deadline() <= control.now) fire_timers();
    if (control.now >= control.slice_end) control.attention |= slice_over;
    if (control.now >= control.host_due_at) control.attention |= host_due;
    control.horizon = std::min({control.slice_end, control.host_due_at, timers.next_deadline()});
  }

  void polls_used_up() noexcept {
    if (as_guest || control.now - host_polled_at >= host_poll_gap) {
      control.attention |= host_due;
    } else {
      control.polls_left = options.max_polls_per_host_poll;
    }
  }

  CLOCKWORKER_NOINLINE bool should_yield_after_a_look() noexcept {
    drain_inbox();
    if (control.attention != 0) {
      control.until_check = 1;  // it may have been counted down to 0 on the way here
      return true;
    }
    std::int64_t reading = now();
    control.check_stride =
        SliceControl::next_stride(control.check_stride, control.check_stride, reading - control.now);
    control.until_check = control.check_stride;
    control.now = reading;
    if (reading >= control.horizon) reach_horizon();
    return control.attention != 0;
  }

 public:
  /// A scheduler threw at a push: the task stays with its queue, which tries again at its next slice.
  void defer(TaskCell& cell, std::exception_ptr exception) noexcept {
    cell.set(deferred);
    ++cell.queue->deferred_tasks;
    keep_exception(std::move(exception));
  }

 private:
  NowFunction now_function_;
  InboxNode* undelivered_ = nullptr;  // drain_inbox()
  TaskCell* set_aside_ = nullptr;     // SetAside
  Mailbox* mailbox_ = nullptr;
};

}  // namespace clockworker::detail
