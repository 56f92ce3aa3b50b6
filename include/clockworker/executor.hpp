/// \file
/// `Executor`: owns the queues, turns the ring.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <clockworker/clock.hpp>
#include <clockworker/detail/drive.hpp>
#include <clockworker/detail/run_main.hpp>
#include <clockworker/detail/snapshot.hpp>
#include <clockworker/detail/teardown.hpp>
#include <clockworker/detail/work_queue.hpp>
#include <clockworker/host.hpp>
#include <clockworker/hosts/thread.hpp>
#include <clockworker/join.hpp>
#include <clockworker/queue.hpp>
#include <clockworker/queue_options.hpp>
#include <clockworker/remote.hpp>
#include <clockworker/schedulers/runnable_fifo.hpp>
#include <clockworker/shutdown.hpp>
#include <clockworker/stats.hpp>
#include <clockworker/task_scheduler.hpp>

namespace clockworker {

namespace detail {

struct ExecutorSettings {
  RingOptions ring;
  ExceptionRules exceptions;
};

/// A queue that is being set up, until the executor takes it.
struct ReleaseQueue {
  void operator()(WorkQueueBase* queue) const noexcept {
    queue->close();
    queue->release();
  }
};
using QueuePointer = std::unique_ptr<WorkQueueBase, ReleaseQueue>;

struct executor_access;  // guest.hpp: hosts reach the ring by it

}  // namespace detail

template <QueueKey Key = int, Clock C = SteadyClock>
class ExecutorBuilder;

/// Serves several queues of tasks on one thread: chooses the queue by EEVDF (see eevdf.hpp), then the task by
/// the queue's own scheduler. Made by ExecutorBuilder; neither copied nor moved.
///
/// All members are for one thread, the executor's, but where they say otherwise. That is whichever thread
/// drives it; between two drives it may change, if the change itself is synchronised.
template <QueueKey Key = int, Clock C = SteadyClock>
class Executor {
 public:
  using key_type = Key;
  using clock = C;

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Destroys every frame, newest task first. Destructors of locals may wake, abort or spawn; what they spawn
  /// is cancelled. A task that awaits a foreign awaitable which has not completed ends as cancelled, but its
  /// frames are left to that stranger: they are destroyed when, and on the thread where, it resumes the
  /// handle that it was given. To have them end here, shutdown() and run() first.
  ~Executor() {
    CLOCKWORKER_ASSERT(!ring_.driven, "an executor is destroyed while it is running");
    main_lane_->tells_scheduler = false;
    for (Lane& lane : lanes_) lane.queue->tells_scheduler = false;
    detail::end_everything(ring_);
    shutdown_.cancel();
    for (Lane& lane : lanes_) ring_.picker.remove(*lane.queue);
  }

  /// Throws std::out_of_range if there is no such queue. O(queues).
  [[nodiscard]] QueueHandle queue(const Key& key) { return detail_queue_access::make(find(key, "queue()")); }

  /// Adds a queue, while running too. Throws std::invalid_argument if the key is there already or an option
  /// is bad, std::bad_alloc; nothing has changed then.
  QueueHandle add_queue(Key key, QueueOptions options, TaskScheduler auto scheduler) {
    std::string name = options.name.empty() ? detail::text_of(key, lanes_.size()) : options.name;
    detail::check_queue_options(options, name, "add_queue()");
    if (const detail::WorkQueueBase* present = look_up(key)) {
      throw std::invalid_argument("clockworker: add_queue(): the key '" + detail::text_of(key) +
                                  "' is taken already, by queue '" + present->name + "'");
    }
    auto queue = make_queue(ring_, options, std::move(name), std::move(scheduler));
    return take_in(std::move(key), std::move(queue), options.weight);
  }
  template <detail::QueueWeight Weight>
  QueueHandle add_queue(Key key, Weight weight, TaskScheduler auto scheduler) {
    return add_queue(std::move(key), detail::options_of_weight(weight), std::move(scheduler));
  }
  /// Not to be called: these two say what the type lacks.
  template <class NoScheduler>
  requires(!TaskScheduler<NoScheduler>) QueueHandle
      add_queue(const Key& key, const QueueOptions&, const NoScheduler&) {
    detail::explain_scheduler<NoScheduler>();
    return queue(key);
  }
  template <detail::QueueWeight Weight, class NoScheduler>
  requires(!TaskScheduler<NoScheduler>) QueueHandle add_queue(const Key& key, Weight, const NoScheduler&) {
    detail::explain_scheduler<NoScheduler>();
    return queue(key);
  }

  /// Removes a queue on which no task lives. Its handles refuse to spawn from now on. Throws
  /// std::out_of_range if there is none, std::logic_error if tasks live on it, if it is in its slice, or if
  /// it is the last.
  void remove_queue(const Key& key) {
    detail::WorkQueueBase& queue = find(key, "remove_queue()");
    if (queue.live_tasks != queue.ended_tasks) {
      throw std::logic_error(
          "clockworker: remove_queue(): " + std::to_string(queue.live_tasks - queue.ended_tasks) +
          " task(s) live on queue '" + queue.name + "'; abort them and let them end first");
    }
    // Asked by code that runs as its last task goes: a result's destructor, the scheduler.
    if (&queue == ring_.current) {
      throw std::logic_error("clockworker: remove_queue(): queue '" + queue.name +
                             "' is in its slice; remove it from another queue's task, or between two runs");
    }
    if (lanes_.size() == 1) {
      throw std::logic_error("clockworker: remove_queue(): '" + queue.name +
                             "' is the executor's last queue");
    }
    auto lane =
        std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& l) { return l.queue.get() == &queue; });
    queue.tells_scheduler = false;  // of tasks that ended while it held them; it goes with them
    detail::forget_ended_in(ring_, queue);
    service_of_removed_ += queue.record.service;
    resumes_of_removed_ += queue.record.resumes;
    ring_.picker.remove(queue);
    lanes_.erase(lane);
  }

  /// Runs until stop(), or until a shutdown has finished. Throws what a task threw (see ExceptionPolicy),
  /// what a scheduler threw, what `host.poll()` threw; calling it again goes on. Throws std::logic_error if
  /// called from inside a task, or while running.
  template <PollHook H>
  void run(H& host) {
    detail::drive(ring_, detail::HostRef::of(host), "run()",
                  [this] { return ring_.kept_exceptions.empty() && detail::shutdown_finished(ring_); });
  }

  /// The same until `main` has ended; returns what it returns and throws what it throws. `main` is a Task, a
  /// callable that returns one, or a JoinHandle of this executor (std::invalid_argument for another's). A
  /// Task or callable runs ahead of every queue, one resume between two slices, is charged to none, and may
  /// refer to locals of the caller: if the call is left early, by another task's exception, the host's, or a
  /// stop, it is destroyed first. Throws JoinError (cancelled) if stopped, or if `main` was aborted by a
  /// shutdown.
  template <PollHook H, class A>
  decltype(auto) run_until(H& host, A&& main) {
    detail::check_may_drive(
        ring_, "run_until()");  // before anything is spawned: a refused call leaves all as it was
    if constexpr (detail::is_join_handle<std::decay_t<A>>) {
      return detail::run_until_joined(ring_, detail::HostRef::of(host), main);
    } else {
      return detail::run_main_until_done(ring_, detail::HostRef::of(host),
                                         detail::spawn_main(*main_lane_, std::forward<A>(main)));
    }
  }

  /// The same until no task lives: those that wait for what never comes keep it asleep in the host.
  template <PollHook H>
  void run_until_idle(H& host) {
    detail::drive(ring_, detail::HostRef::of(host), "run_until_idle()", [this] {
      return ring_.kept_exceptions.empty() && ring_.live_tasks == 0 && !ring_.has_undelivered();
    });
  }

  /// Not to be called: say what the host lacks.
  template <class H>
  requires(!PollHook<H>) void run(H&) { detail::explain_host<H>(); }
  template <class H, class A>
  requires(!PollHook<H>) void run_until(H&, A&&) { detail::explain_host<H>(); }
  template <class H>
  requires(!PollHook<H>) void run_until_idle(H&) { detail::explain_host<H>(); }

  // The same on a ThreadHost of its own.
  void run() {
    ThreadHost host;
    run(host);
  }
  template <class A>
  requires(!PollHook<std::remove_reference_t<A>>) decltype(auto) run_until(A&& main) {
    ThreadHost host;
    return run_until(host, std::forward<A>(main));
  }
  void run_until_idle() {
    ThreadHost host;
    run_until_idle(host);
  }

  /// For a guest in somebody else's loop: runs what is runnable, never blocks, and returns when nothing is,
  /// or when the budget is used up: of resumes exactly, of time to the end of the resume (or stride of short
  /// ones) that uses it up. Throws as run() does; call it again then.
  Progress run_ready(Budget budget = {}) { return detail::run_ready(ring_, budget); }

  /// `notify` is called once each time the executor turns from idle to runnable: on the thread that caused
  /// it, the executor's own included, and at once if it is runnable now. It must not throw, nor call the
  /// executor: it should have the loop call run_ready() soon. An empty one removes it; returns when no other
  /// thread is in the old one. Throws std::bad_alloc.
  void on_runnable(std::function<void()> notify) { detail::set_on_runnable(ring_, std::move(notify)); }

  /// Makes `run*` return after the present resume, or the next one return at once; counts once. Tasks stay,
  /// and go on at the next run. Any thread that knows that the executor lives; else Remote::stop().
  void stop() noexcept { detail::request_stop(ring_.mailbox()); }

  /// From now on spawns are refused, and `run()` returns when the shutdown has finished. A second call may
  /// make it stricter.
  void shutdown(Shutdown mode) noexcept { shutdown_.begin(mode); }

  /// For other threads; copyable, and may outlive the executor.
  [[nodiscard]] Remote remote() { return detail_remote_access::make(ring_.mailbox()); }

  /// O(queues).
  [[nodiscard]] ExecutorStats stats() const noexcept {
    ExecutorStats stats = detail::snapshot_of(ring_);
    stats.service = std::chrono::nanoseconds{service_of_removed_};
    stats.resumes = resumes_of_removed_;
    stats.queues = lanes_.size();
    detail::add_to(stats, *main_lane_);
    for (const Lane& lane : lanes_) detail::add_to(stats, *lane.queue);
    return stats;
  }
  /// Throws std::out_of_range if there is no such queue.
  [[nodiscard]] QueueStats stats(const Key& key) const {
    return detail::snapshot_of(ring_, find(key, "stats()"));
  }
  /// Every task that has not ended, oldest first. O(tasks).
  [[nodiscard]] std::vector<TaskInfo> tasks() const { return detail::living_tasks(ring_); }

  /// The time by the executor's clock.
  [[nodiscard]] TimePoint now() const noexcept { return C::now(); }

 private:
  friend class ExecutorBuilder<Key, C>;
  friend struct detail::executor_access;

  struct Lane {
    Key key;
    detail::QueuePointer queue;
  };
  struct NewQueue {
    Key key;
    QueueOptions options;
    std::function<detail::QueuePointer(detail::Ring&, const QueueOptions&, std::string)> make;
  };

  Executor(detail::ExecutorSettings settings, std::vector<NewQueue>& queues)
      : ring_{settings.ring, std::make_shared<const detail::ExceptionRules>(std::move(settings.exceptions)),
              &clock_now},
        main_lane_{make_queue(ring_, QueueOptions{}, "(main)", RunnableFifo{})} {
    main_lane_->is_main = true;
    ring_.main_lane = main_lane_.get();
    ring_.owner = this;
    ring_.find_queue = &find_for_remote;
    lanes_.reserve(queues.size());
    for (NewQueue& queue : queues) {
      std::string name =
          queue.options.name.empty() ? detail::text_of(queue.key, lanes_.size()) : queue.options.name;
      take_in(std::move(queue.key), queue.make(ring_, queue.options, std::move(name)), queue.options.weight);
    }
  }

  [[nodiscard]] detail::WorkQueueBase* look_up(const Key& key) const {
    for (const Lane& lane : lanes_) {
      if (lane.key == key) return lane.queue.get();
    }
    return nullptr;
  }
  [[nodiscard]] detail::WorkQueueBase& find(const Key& key, const char* call) const {
    if (detail::WorkQueueBase* queue = look_up(key)) return *queue;
    throw std::out_of_range(std::string{"clockworker: "} + call + ": there is no queue '" +
                            detail::text_of(key) + "'");
  }
  /// For spawns from other threads: the queue of a key that has forgotten its type; null if there is none.
  static detail::WorkQueueBase* find_for_remote(detail::Ring& ring, const detail::RemoteKey& key) {
    auto& self = *static_cast<Executor*>(ring.owner);
    for (const Lane& lane : self.lanes_) {
      if (key.names(lane.key)) return lane.queue.get();
    }
    return nullptr;
  }

  template <TaskScheduler Scheduler>
  static detail::QueuePointer make_queue(detail::Ring& ring, const QueueOptions& options, std::string name,
                                         Scheduler scheduler) {
    detail::explain_scheduler<Scheduler>();
    return detail::QueuePointer{new detail::WorkQueue<Scheduler, C>{
        ring, std::move(name), options.slice, ring.exception_rules, std::move(scheduler)}};
  }
  QueueHandle take_in(Key key, detail::QueuePointer queue, std::uint64_t weight) {
    detail::WorkQueueBase& added = *queue;
    lanes_.push_back(Lane{std::move(key), std::move(queue)});
    try {
      ring_.picker.add(added, weight);
    } catch (...) {
      lanes_.pop_back();
      throw;
    }
    return detail_queue_access::make(added);
  }

  static TimePoint clock_now() noexcept { return C::now(); }

  detail::Ring ring_;
  std::vector<Lane> lanes_;
  detail::QueuePointer main_lane_;
  detail::ShutdownTimer shutdown_{ring_};
  std::int64_t service_of_removed_ = 0;
  std::uint64_t resumes_of_removed_ = 0;
};

}  // namespace clockworker
