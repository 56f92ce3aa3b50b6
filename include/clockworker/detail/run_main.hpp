/// \file
/// The main task of run_until(): ahead of every queue, and gone before its caller goes on.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include <clockworker/detail/cell.hpp>
#include <clockworker/detail/drive.hpp>
#include <clockworker/join.hpp>

namespace clockworker::detail {

/// A guest's bell does not ring for what is about to be driven; unless that comes to nothing.
class QuietBell {
 public:
  explicit QuietBell(Ring& ring) noexcept : ring_{ring}, was_listening_{ring.mailbox().inbox.unpark()} {}
  QuietBell(const QuietBell&) = delete;
  QuietBell& operator=(const QuietBell&) = delete;
  ~QuietBell() {
    if (was_listening_ && std::uncaught_exceptions() != exceptions_) listen_as_guest(ring_);
  }

 private:
  Ring& ring_;
  bool was_listening_;
  int exceptions_ = std::uncaught_exceptions();
};

/// Spawns `main`, a Task or a callable that returns one, on the lane ahead of every queue.
template <class A>
auto spawn_main(WorkQueueBase& lane, A&& main) {
  QuietBell quiet{*lane.ring};
  using Main = std::decay_t<A>;
  if constexpr (is_task<Main>) {
    static_assert(!std::is_lvalue_reference_v<A>,
                  "clockworker: run_until() takes a Task by move: std::move(task)");
    using T = typename Main::value_type;
    return detail_join_access::make<T>(spawn_task<T>(lane, nullptr, nullptr, run_until_main, main));
  } else {
    using Returned = CalledResult<A>;
    static_assert(is_task<Returned>,
                  "clockworker: run_until() takes a Task, a JoinHandle, or a callable without arguments that "
                  "returns a Task");
    using T = typename Returned::value_type;
    return detail_join_access::make<T>(
        spawn_callable<T>(lane, nullptr, nullptr, run_until_main, std::forward<A>(main)));
  }
}

/// Main must be gone before the caller's locals are. If a stranger holds on to its frames there is nothing
/// for it but to go on until it lets go, keeping what else is thrown for the next run; should the host
/// throw, they are left to the stranger.
inline void end_main(Ring& ring, HostRef host, TaskCell& main) noexcept {
  DriveScope scope{ring, "run_until()"};
  HostAttachment attachment{ring, host};
  ring.abort(main);
  try {
    while (main.has(stranger_pending) && main.status == TaskStatus::suspended) {
      ring.set_time(ring.now());
      deliver_wakes(ring);
      if (main.status != TaskStatus::suspended) break;
      if (ring.picker.runnable_count() != 0) {
        run_queue(ring);  // the stranger may be at the mercy of another task
        poll_host(ring, host, std::chrono::nanoseconds::zero());
      } else {
        sleep_in_host(ring, host);
      }
    }
  } catch (...) {
    ring.keep_exception(std::current_exception());
  }
  if (main.status != TaskStatus::done && !leave_to_stranger(ring, main)) ring.end_now(main);
}

/// Drives until `main` has ended, and takes its result.
template <class T>
T run_main_until_done(Ring& ring, HostRef host, JoinHandle<T> main) {
  TaskCell* cell = detail_join_access::cell(main);
  try {
    if (!drive(ring, host, "run_until()", [&] { return main.done(); })) {
      throw JoinError{JoinErrc::cancelled, nullptr,
                      "clockworker: run_until() was stopped before its main had ended"};
    }
  } catch (...) {
    if (cell != nullptr && !main.done()) end_main(ring, host, *cell);
    throw;
  }
  return main.try_take()->value();
}

/// The same for a task that is not run_until()'s own: it goes on if the call is left early.
template <class T>
T run_until_joined(Ring& ring, HostRef host, JoinHandle<T>& main) {
  TaskCell* cell = detail_join_access::cell(main);
  if (!main.valid()) throw std::invalid_argument("clockworker: run_until() of an empty JoinHandle");
  if (cell != nullptr && cell->queue != nullptr && cell->queue->ring != nullptr &&
      cell->queue->ring != &ring) {
    throw std::invalid_argument("clockworker: run_until() of a JoinHandle that belongs to another executor");
  }
  if (!drive(ring, host, "run_until()", [&] { return main.done(); })) {
    throw JoinError{JoinErrc::cancelled, nullptr,
                    "clockworker: run_until() was stopped before the task had ended"};
  }
  auto result = main.try_take();
  // Thrown from here, and not again by the next run.
  if (!result->has_value() && result->error().exception() != nullptr)
    ring.forget_exception(result->error().exception());
  return result->value();
}

}  // namespace clockworker::detail
