/// \file
/// `Executor`: owns the queues, turns the ring.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <clockworker/clock.hpp>
#include <clockworker/detail/drive.hpp>
#include <clockworker/detail/work_queue.hpp>
#include <clockworker/host.hpp>
#include <clockworker/hosts/thread.hpp>
#include <clockworker/join.hpp>
#include <clockworker/queue.hpp>
#include <clockworker/remote.hpp>
#include <clockworker/schedulers/runnable_fifo.hpp>
#include <clockworker/stats.hpp>
#include <clockworker/task_scheduler.hpp>
#include <clockworker/timer.hpp>

namespace clockworker {

/// What names a queue: an enum, an integer, a string, any regular type. Looked up by comparing, never on a hot path.
template <class K>
concept QueueKey = std::copyable<K> && std::equality_comparable<K>;

struct QueueOptions {
  /// The queue's share of the time, against the other queues': 1 to 2^20.
  std::uint64_t weight = 1;
  /// The length of its requests; a short one buys latency without buying share. Default: the executor's, see ExecutorBuilder.
  std::optional<std::chrono::nanoseconds> slice{};
  /// For statistics and error texts. Default: the key.
  std::string name{};
};

/// How an executor ends: made by `drain()`, `drain_for(d)` and `abort()`.
class Shutdown {
 public:
  /// Ends when no task lives.
  [[nodiscard]] static Shutdown drain() noexcept { return Shutdown{detail::never}; }
  /// The same, but aborts the tasks that still live after `patience`.
  template <class Rep, class Period>
  [[nodiscard]] static Shutdown drain_for(std::chrono::duration<Rep, Period> patience) noexcept {
    return Shutdown{std::max<std::int64_t>(0, detail::saturated_ns(patience))};
  }
  /// Aborts every task now.
  [[nodiscard]] static Shutdown abort() noexcept { return Shutdown{0}; }

 private:
  template <QueueKey Key, Clock C>
  friend class Executor;
  explicit Shutdown(std::int64_t patience) noexcept : patience_{patience} {}
  std::int64_t patience_;  // ns
};

namespace detail {

/// A key as error texts and statistics show it.
template <class Key>
[[nodiscard]] std::string text_of(const Key& key, std::size_t position) {
  if constexpr (std::is_convertible_v<const Key&, std::string_view>) {
    return std::string{std::string_view{key}};
  } else if constexpr (std::is_enum_v<Key>) {
    return std::to_string(static_cast<std::underlying_type_t<Key>>(key));
  } else if constexpr (std::is_arithmetic_v<Key>) {
    return std::to_string(key);
  } else {
    return "#" + std::to_string(position);
  }
}

/// Throws std::invalid_argument; `call` and `queue` begin the text.
inline void check_queue_options(const QueueOptions& options, const std::string& queue, const char* call) {
  std::string text = std::string{"clockworker: "} + call + ": queue '" + queue + "': ";
  if (options.weight == 0 || options.weight > Eevdf::max_weight) {
    throw std::invalid_argument(text + "weight " + std::to_string(options.weight) + " is not from 1 to 1048576 (2^20)");
  }
  if (options.slice && *options.slice <= std::chrono::nanoseconds::zero()) {
    throw std::invalid_argument(text + "slice " + std::to_string(options.slice->count()) + " ns is not positive");
  }
}

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

}  // namespace detail

template <QueueKey Key = int, Clock C = SteadyClock>
class ExecutorBuilder;

/// Serves several queues of tasks on one thread: chooses the queue by EEVDF (see eevdf.hpp), then the task by the
/// queue's own scheduler. Made by ExecutorBuilder; neither copied nor moved.
///
/// All members are for one thread, the executor's, but where they say otherwise. That is whichever thread drives it;
/// between two drives it may change, if the change itself is synchronised.
template <QueueKey Key = int, Clock C = SteadyClock>
class Executor {
 public:
  using key_type = Key;
  using clock = C;

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Destroys every frame, newest task first. Destructors of locals may wake, abort or spawn; what they spawn is cancelled.
  /// A task that awaits a foreign awaitable which has not completed ends as cancelled, but its frames are left to that stranger: they
  /// are destroyed when, and on the thread where, it resumes the handle that it was given. To have them end here, shutdown() and run() first.
  ~Executor();

  /// Throws std::out_of_range if there is no such queue. O(queues).
  [[nodiscard]] QueueHandle queue(const Key& key) { return detail_queue_access::make(find(key, "queue()")); }

  /// Adds a queue, while running too. Throws std::invalid_argument if the key is there already or an option is bad,
  /// std::bad_alloc; nothing has changed then.
  QueueHandle add_queue(Key key, QueueOptions options, TaskScheduler auto scheduler);
  QueueHandle add_queue(Key key, std::uint64_t weight, TaskScheduler auto scheduler) {
    return add_queue(std::move(key), QueueOptions{.weight = weight}, std::move(scheduler));
  }

  /// Removes a queue on which no task lives. Its handles refuse to spawn from now on. Throws std::out_of_range if there is none,
  /// std::logic_error if tasks live on it, or if it is the last.
  void remove_queue(const Key& key);

  /// Runs until stop(), or until a shutdown has finished. Throws what a task threw (see ExceptionPolicy), what a scheduler threw, what
  /// `host.poll()` threw; calling it again goes on. Throws std::logic_error if called from inside a task, or while running.
  template <PollHook H>
  void run(H& host) {
    drive(host, "run()", [this] { return shutdown_finished(); });
  }

  /// The same until `main` has ended; returns what it returns and throws what it throws. `main` is a Task, a callable that returns one, or a
  /// JoinHandle of this executor (std::invalid_argument for another's). A Task or callable runs ahead of every queue, one resume between two slices,
  /// is charged to none, and may refer to locals of the caller: if the call is left early, by another task's exception, the host's, or a
  /// stop, it is destroyed first. Throws JoinError (cancelled) if stopped, or if `main` was aborted by a shutdown.
  template <PollHook H, class A>
  auto run_until(H& host, A&& main);

  /// The same until no task lives: those that wait for what never comes keep it asleep in the host.
  template <PollHook H>
  void run_until_idle(H& host) {
    drive(host, "run_until_idle()", [this] { return ring_.live_tasks == 0; }, true);
  }

  // The same on a ThreadHost of its own.
  void run() {
    ThreadHost host;
    run(host);
  }
  template <class A>
    requires(!PollHook<std::remove_reference_t<A>>)
  auto run_until(A&& main) {
    ThreadHost host;
    return run_until(host, std::forward<A>(main));
  }
  void run_until_idle() {
    ThreadHost host;
    run_until_idle(host);
  }

  /// For a guest in somebody else's loop: runs what is runnable, never blocks, and returns when nothing is, or when the
  /// budget is used up: of resumes exactly, of time to the end of the resume (or stride of short ones) that uses it up. Throws as run() does;
  /// call it again then.
  Progress run_ready(Budget budget = {});

  /// `notify` is called once each time the executor turns from idle to runnable: on the thread that caused it, the executor's own included, and
  /// at once if it is runnable now. It must not throw, nor call the executor: it should have the loop call run_ready() soon.
  /// An empty one removes it; returns when no other thread is in the old one. Throws std::bad_alloc.
  void on_runnable(std::function<void()> notify);

  /// Makes `run*` return after the present resume, or the next one return at once; counts once. Tasks stay, and go on at the next run. Any
  /// thread that knows that the executor lives; else Remote::stop().
  void stop() noexcept { detail::request_stop(ring_.mailbox()); }

  /// From now on spawns are refused, and `run()` returns when the shutdown has finished. A second call may make it stricter.
  void shutdown(Shutdown mode);

  /// For other threads; copyable, and may outlive the executor.
  [[nodiscard]] Remote remote() { return detail_remote_access::make(ring_.mailbox()); }

  /// O(queues).
  [[nodiscard]] ExecutorStats stats() const;
  /// Throws std::out_of_range if there is no such queue.
  [[nodiscard]] QueueStats stats(const Key& key) const;
  /// Every task that has not ended, oldest first. O(tasks).
  [[nodiscard]] std::vector<TaskInfo> tasks() const;

  /// The time by the executor's clock.
  [[nodiscard]] TimePoint now() const noexcept { return C::now(); }

 private:
  friend class ExecutorBuilder<Key, C>;

  struct Lane {
    Key key;
    detail::QueuePointer queue;
  };
  struct NewQueue {
    Key key;
    QueueOptions options;
    std::function<detail::QueuePointer(detail::Ring&, const QueueOptions&, std::string)> make;
  };

  Executor(detail::ExecutorSettings settings, std::vector<NewQueue>& queues);

  [[nodiscard]] detail::WorkQueueBase* look_up(const Key& key) const {
    for (const Lane& lane : lanes_) {
      if (lane.key == key) return lane.queue.get();
    }
    return nullptr;
  }
  [[nodiscard]] detail::WorkQueueBase& find(const Key& key, const char* call) const {
    if (detail::WorkQueueBase* queue = look_up(key)) return *queue;
    throw std::out_of_range(std::string{"clockworker: "} + call + ": there is no queue '" +
                            detail::text_of(key, lanes_.size()) + "'");
  }
  /// For spawns from other threads: the queue of a key that has forgotten its type; null if there is none.
  static detail::WorkQueueBase* find_for_remote(detail::Ring& ring, const detail::RemoteKey& key);

  template <TaskScheduler Scheduler>
  static detail::QueuePointer make_queue(detail::Ring& ring, const QueueOptions& options, std::string name,
                                         Scheduler scheduler) {
    detail::explain_scheduler<Scheduler>();
    return detail::QueuePointer{new detail::WorkQueue<Scheduler, C>{ring, std::move(name), options.slice,
                                                                    ring.exception_rules, std::move(scheduler)}};
  }
  QueueHandle take_in(Key key, detail::QueuePointer queue, std::uint64_t weight);

  template <PollHook H, class Done>
  bool drive(H& host, const char* call, Done done, bool exceptions_first = true) {
    return detail::drive(ring_, detail::HostRef::of(host), call, [&] {
      if (exceptions_first && ring_.kept_exception) return false;
      return done();
    });
  }
  template <class T, PollHook H>
  T run_main(H& host, JoinHandle<T> main);
  template <PollHook H>
  void end_main(H& host, detail::TaskCell& main) noexcept;

  [[nodiscard]] bool shutdown_finished() const noexcept { return ring_.shutting_down && ring_.live_tasks == 0; }
  void abort_all() noexcept {
    for (detail::TaskCell* cell = ring_.newest; cell != nullptr; cell = cell->older) ring_.abort(*cell);
  }
  static TimePoint clock_now() noexcept { return C::now(); }

  struct PatienceTimer : detail::RingTimer {
    explicit PatienceTimer(Executor& of) noexcept
        : detail::RingTimer{[](detail::RingTimer& self, detail::Ring&) noexcept {
            static_cast<PatienceTimer&>(self).executor.abort_all();
          }},
          executor{of} {}
    Executor& executor;
  };

  detail::Ring ring_;
  std::vector<Lane> lanes_;
  detail::QueuePointer main_lane_;
  PatienceTimer patience_{*this};
  std::int64_t service_of_removed_ = 0;
  std::uint64_t removed_resumes_ = 0;
};

}  // namespace clockworker

#include <clockworker/detail/executor_impl.hpp>
