/// \file
/// An executor as a guest in somebody's event loop: what the guests in hosts/ are built on, and whoever
/// writes the next one builds on.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <clockworker/detail/drive.hpp>
#include <clockworker/detail/host_identity.hpp>
#include <clockworker/queue_options.hpp>

namespace clockworker {

template <QueueKey Key, Clock C>
class Executor;

/// How an executor is to behave as a guest in a loop.
struct GuestOptions {
  /// Of one turn, after which the loop's other events have theirs. 0: the executor's host-poll limits.
  Budget budget = {};
  /// Gets what comes out of a turn (see ExceptionPolicy::rethrow), on the loop's thread, between two turns;
  /// the executor goes on afterwards. Without it the exception leaves the loop's run function where the loop
  /// is one that exceptions may pass through (Asio, a hand-written one), and is std::terminate() elsewhere
  /// (libuv, GLib, Qt).
  std::function<void(std::exception_ptr)> on_exception = {};
};

/// What the loop is to do after a turn. If nothing of it, the executor sleeps until the bell rings.
struct AfterTurn {
  bool again = false;  ///< there is more to do: take another turn soon, after the events that wait
  std::optional<std::chrono::nanoseconds> timer;  ///< otherwise take one after so long; round up
  std::exception_ptr thrown;                      ///< came out of the turn, to be reported
};

namespace detail {

struct executor_access {
  template <class E>
  [[nodiscard]] static Ring& ring(E& executor) noexcept {
    return executor.ring_;
  }
};

}  // namespace detail

/// An executor's place in a loop that is not its own: turns that cannot be re-entered, are safe to take after
/// the executor is gone, and tell what the loop is to do next. All members are for the loop's thread.
///
/// Why no wake is lost: a turn ends with the inbox parked, or says `again`. If parked, the next post rings
/// the bell, on the thread that posts; and the bell has the loop take a turn.
///
/// Why no turn is lost: one that is taken while the executor runs further out on the stack (one of its tasks
/// runs a nested loop) does nothing and asks for nothing; but the turn outside has not ended yet, and what it
/// asks for at its end covers all that has come meanwhile.
///
/// The executor may be destroyed first: turns then do nothing. The mailbox, which outlives it, tells.
class GuestTurns {
 public:
  /// `bell` is called on any thread, once for each time that the executor turns from idle to runnable, and when
  /// it is gone or was run by a host in between; it must not throw, nor take the turn itself, but have the loop
  /// take one soon. Afterwards the loop owes a first turn. `events`, if not null, is found by
  /// `detail::host_of_this_task<Events>()`. Throws std::bad_alloc, and std::logic_error if the executor is a
  /// guest already or has an on_runnable() callback.
  template <QueueKey Key, Clock C, class Events = void>
  GuestTurns(Executor<Key, C>& executor, GuestOptions options, std::function<void()> bell,
             Events* events = nullptr)
      : ring_{detail::executor_access::ring(executor)}, mailbox_{ring_.mailbox()}, budget_{options.budget} {
    if (mailbox_.has_notify()) {
      throw std::logic_error(
          "clockworker: this executor is a guest in a loop already, or has an on_runnable() callback; remove "
          "that first");
    }
    if (options.on_exception) on_exception_ = std::make_shared<OnException>(std::move(options.on_exception));
    bell_ = bell;
    detail::set_on_runnable(ring_, std::move(bell));
    if constexpr (!std::is_void_v<Events>) {
      if (events != nullptr) ring_.guest_events = detail::HostIdentity::of(*events);
    }
    ring_.guest = this;
    ring_.ring_guest = [](GuestTurns& guest) noexcept { guest.bell_(); };
    mailbox_.acquire();
  }
  GuestTurns(const GuestTurns&) = delete;
  GuestTurns& operator=(const GuestTurns&) = delete;

  /// Not from within a turn. Returns when no other thread is in the bell. Tasks stay where they are.
  ~GuestTurns() {
    CLOCKWORKER_ASSERT(!in_turn_, "a guest is destroyed within a turn of its own");
    if (!executor_is_gone()) {
      ring_.guest = nullptr;
      ring_.guest_events = {};
      mailbox_.clear_notify();
    }
    mailbox_.release();
  }

  [[nodiscard]] bool executor_is_gone() const noexcept { return mailbox_.inbox.is_closed(); }

  /// Runs what is runnable, within the budget.
  [[nodiscard]] AfterTurn take() noexcept {
    if (executor_is_gone() || ring_.driven) return {};
    // In a nested loop of a stop callback there is nobody outside who would ask again.
    if (ring_.stops_being_requested != 0) return {false, std::chrono::milliseconds{1}, nullptr};
    // The loop may be a nested one, in a task of another executor.
    detail::TaskCell* interrupted = std::exchange(detail::thread_state.task, nullptr);
    AfterTurn after;
    in_turn_ = true;
    try {
      const Progress progress = detail::run_ready(ring_, budget_);
      after = {progress.runnable, progress.next_timer, nullptr};
    } catch (...) {
      after = {true, std::nullopt, std::current_exception()};  // the next turn finds out what there is
    }
    in_turn_ = false;
    detail::thread_state.task = interrupted;
    return after;
  }

  /// Hands what came out of a turn to `on_exception`; without one, throws it. Last of all, when the next turn
  /// has been asked for: the callback may destroy the guest, so nothing of it is to be touched afterwards.
  void report(const AfterTurn& after) const {
    if (after.thrown == nullptr) return;
    const std::shared_ptr<OnException> on_exception = on_exception_;  // alive until it has returned
    if (on_exception == nullptr) std::rethrow_exception(after.thrown);
    (*on_exception)(after.thrown);
  }

 private:
  using OnException = std::function<void(std::exception_ptr)>;

  detail::Ring& ring_;
  detail::Mailbox& mailbox_;
  Budget budget_;
  std::shared_ptr<OnException> on_exception_;
  std::function<void()> bell_;
  bool in_turn_ = false;
};

namespace detail {

/// The `Host` that drives the executor of the running task, or that it is a guest of. Throws
/// std::logic_error outside of a task, or if it is another host; `call` names who asks.
template <class Host>
[[nodiscard]] Host& host_of_this_task(const char* call, const char* host_name) {
  if (thread_state.task == nullptr)
    throw std::logic_error(std::string{"clockworker: "} + call + " was called outside of a task");
  for (HostIdentity found : {thread_state.ring->host, thread_state.ring->guest_events}) {
    if (Host* host = found.as<Host>()) return *host;
  }
  throw std::logic_error(std::string{"clockworker: "} + call + ": this task's executor does not run on " +
                         host_name);
}

}  // namespace detail

}  // namespace clockworker
