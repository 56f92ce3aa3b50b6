/// \file
/// What a task that was spawned from another thread, its executor and its RemoteHandle share.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>

#include <clockworker/detail/cell.hpp>
#include <clockworker/detail/remote_key.hpp>
#include <clockworker/join.hpp>
#include <clockworker/timer.hpp>
#include <clockworker/waker.hpp>

namespace clockworker::detail {

/// The result is handed over under the mutex. What only the executor's thread touches has its own lines
/// below.
///
/// Lifetime: shared between the handle, the spawn's letter until it is delivered, the abort's letter while it
/// is posted, and itself while the task lives; each holds a count.
template <class T>
class RemoteTask : public std::enable_shared_from_this<RemoteTask<T>> {
 public:
  explicit RemoteTask(Mailbox& to) noexcept : mailbox_{to}, abort_letter_{*this}, watcher_{*this} {
    to.acquire();
  }
  RemoteTask(const RemoteTask&) = delete;
  RemoteTask& operator=(const RemoteTask&) = delete;
  ~RemoteTask() {
    report_untaken_exception();
    mailbox_.release();
  }

  // --- Any thread

  [[nodiscard]] Mailbox& mailbox() const noexcept { return mailbox_; }

  [[nodiscard]] bool ended() const {
    std::lock_guard lock{mutex_};
    return result_.has_value() || taken_;
  }
  void wait() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return result_.has_value() || taken_; });
  }
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> patience) {
    // The sum with the present time is to stay within what a clock can count.
    constexpr std::int64_t longest = std::chrono::nanoseconds{std::chrono::hours{24 * 365}}.count();
    std::chrono::nanoseconds clamped{std::clamp<std::int64_t>(saturated_ns(patience), 0, longest)};
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, clamped, [this] { return result_.has_value() || taken_; });
  }

  /// Precondition: ended().
  JoinResult<T> take() {
    std::lock_guard lock{mutex_};
    if (taken_) return JoinResult<T>{JoinError{JoinErrc::result_taken}};
    JoinResult<T> result = std::move(*result_);
    result_.reset();
    taken_ = true;
    return result;
  }

  /// False if it has ended by now, and the waker was not kept. Throws std::logic_error if another waits
  /// already.
  bool set_waiter(Waker waker) {
    std::lock_guard lock{mutex_};
    if (result_.has_value() || taken_) return false;
    if (waiter_)
      throw std::logic_error("clockworker: co_await of a RemoteHandle that is being awaited already");
    waiter_ = std::move(waker);
    return true;
  }
  void clear_waiter() noexcept {
    Waker dropped;
    std::lock_guard lock{mutex_};
    std::swap(dropped, waiter_);
  }

  /// Never allocates; counts once.
  void abort() noexcept {
    // acq_rel: one caller alone goes on, and owns the letter.
    if (abort_letter_.asked.exchange(true, std::memory_order_acq_rel)) return;
    abort_letter_.keep = this->shared_from_this();
    if (!mailbox_.post(abort_letter_)) abort_letter_.keep.reset();
  }

  // --- The executor's thread; or the poster's, if the executor was gone

  /// From a Result<T> or a JoinError. Throws what the move of a value throws; nothing has changed then.
  template <class From>
  void finish(From&& from) {
    Waker waiter;
    {
      std::lock_guard lock{mutex_};
      result_.emplace(std::forward<From>(from));
      std::swap(waiter, waiter_);
    }
    changed_.notify_all();
    waiter.wake();
  }

  /// The task lives in `cell`, of which this takes a reference over.
  void watch(ResultCell<T>* cell) noexcept {
    watched_ = detail_join_access::make(cell);
    cell->joiner = &watcher_;
    self_ = this->shared_from_this();
    obey(cell->queue->rules);
  }

  /// What is to happen to an exception that nobody takes.
  void obey(std::shared_ptr<const ExceptionRules> rules) noexcept { rules_ = std::move(rules); }

 private:
  struct AbortLetter : Letter {
    explicit AbortLetter(RemoteTask& of) noexcept : Letter{&deliver_abort}, task{of} {}
    RemoteTask& task;
    std::atomic<bool> asked{false};
    std::shared_ptr<RemoteTask> keep;
  };
  struct Watcher : JoinWaiter {
    explicit Watcher(RemoteTask& of) noexcept : JoinWaiter{&hand_over}, task{of} {}
    RemoteTask& task;
  };

  static void deliver_abort(Letter& letter, Ring* ring) noexcept {
    std::shared_ptr<RemoteTask> task = std::move(static_cast<AbortLetter&>(letter).keep);
    if (ring != nullptr) task->watched_.abort();
  }

  static void hand_over(JoinWaiter& waiter, TaskCell& cell) noexcept {
    RemoteTask& task = static_cast<Watcher&>(waiter).task;
    std::shared_ptr<RemoteTask> self = std::move(task.self_);
    JoinHandle<T> watched = std::move(task.watched_);
    if (self.use_count() == 1)
      return;  // nobody has the handle: the result is as untaken as that of any detached task
    try {
      if (cell.ops->exception(cell) != nullptr) task.info_ = describe(cell);
    } catch (const std::bad_alloc&) {
      task.info_.id = cell.id;  // no memory for texts
    }
    try {
      task.finish(static_cast<ResultCell<T>&>(cell).result);
    } catch (...) {
      task.finish(JoinError{JoinErrc::exception, std::current_exception()});  // the move of the value threw
    }
  }

  void report_untaken_exception() noexcept {
    if (!result_ || result_->has_value() || result_->error().code() != JoinErrc::exception) return;
    if (!rules_ || rules_->policy != ExceptionPolicy::capture) return;
    if (!rules_->unhandled) std::terminate();
    rules_->unhandled(result_->error().exception(), std::move(info_));
  }

  Mailbox& mailbox_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<JoinResult<T>> result_;
  Waker waiter_;
  bool taken_ = false;

  AbortLetter abort_letter_;

  // The executor's thread.
  Watcher watcher_;
  JoinHandle<T> watched_;
  std::shared_ptr<RemoteTask> self_;
  std::shared_ptr<const ExceptionRules> rules_;
  TaskInfo info_;
};

/// A spawn on its way to the executor.
template <class T, class F, class... Args>
class SpawnLetter : public Letter {
 public:
  template <class G, class... Given>
  SpawnLetter(std::shared_ptr<RemoteTask<T>> task, RemoteKey key, G&& f, Given&&... args)
      : Letter{&deliver_spawn},
        task_{std::move(task)},
        key_{std::move(key)},
        f_{std::forward<G>(f)},
        args_{std::forward<Given>(args)...} {}

 private:
  static void deliver_spawn(Letter& letter, Ring* ring) noexcept {
    std::unique_ptr<SpawnLetter> self{static_cast<SpawnLetter*>(&letter)};
    std::shared_ptr<RemoteTask<T>> task = self->task_;
    if (ring == nullptr) {
      self.reset();  // the callable goes before anybody is told
      task->finish(JoinError{JoinErrc::cancelled, nullptr, JoinAwaiter<T>::refused_text});
      return;
    }
    try {
      ResultCell<T>* cell = self->spawn(*ring);
      self.reset();
      if (cell != nullptr) {
        task->watch(cell);
      } else {
        task->finish(JoinError{JoinErrc::cancelled, nullptr, JoinAwaiter<T>::refused_text});
      }
    } catch (...) {
      self.reset();
      task->obey(ring->exception_rules);
      if (task.use_count() == 1 && ring->exception_rules->policy == ExceptionPolicy::rethrow) {
        ring->keep_exception(std::current_exception());  // nobody has the handle
      }
      task->finish(JoinError{JoinErrc::exception, std::current_exception()});
    }
  }

  ResultCell<T>* spawn(Ring& ring) {
    WorkQueueBase* queue = ring.find_queue(ring, key_);
    if (queue == nullptr) {
      throw std::out_of_range("clockworker: Remote::spawn(): there is no queue '" + key_.text() + "'");
    }
    return std::apply(
        [&](Args&... args) {
          return spawn_callable<T>(*queue, nullptr, nullptr, 0, std::move(f_), std::move(args)...);
        },
        args_);
  }

  std::shared_ptr<RemoteTask<T>> task_;
  RemoteKey key_;
  F f_;
  std::tuple<Args...> args_;
};

inline void request_stop(Mailbox& mailbox) noexcept {
  if (thread_state.task != nullptr && &thread_state.ring->mailbox() == &mailbox) {
    // From one of its tasks: ahead of what is posted. Not so from the host's poll, which may have to be woken.
    thread_state.ring->stop_requested = true;
    thread_state.ring->control.attention |= stop_asked;
    return;
  }
  mailbox.acquire();  // the stop itself may end the executor while the bell still rings
  mailbox.post_stop([](Letter&, Ring* ring) noexcept {
    if (ring == nullptr) return;
    ring->stop_requested = true;
    ring->control.attention |= stop_asked;
  });
  mailbox.release();
}

}  // namespace clockworker::detail
