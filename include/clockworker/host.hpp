/// \file
/// What an executor needs of the event loop under it: the concept `PollHook`.
#pragma once

#include <chrono>
#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

#include <clockworker/detail/mailbox.hpp>

namespace clockworker {

/// How long a host may block: nullopt, until woken; 0, not at all.
using PollTimeout = std::optional<std::chrono::nanoseconds>;

/// An event loop that an executor drives.
///
/// Purpose: `run*(host)` calls `poll(0)` between slices, at least every host-poll interval while tasks are
/// runnable, and `poll(timeout)` with the time to its next timer when none is.
///
/// Semantics:
/// 1. `poll(timeout)`, on the executor's thread: delivers the events that are there, blocking no longer than
/// `timeout` until there is one, and
///    returns once it has delivered some. It may wake and spawn tasks; it must not call `run*` or `run_ready`
///    of the same executor. It may return early for no reason, and must not return before `timeout` over and
///    over, or an idle executor spins: so round the timeout up. What it throws leaves `run*`.
/// 2. `wake()`, on any thread, also while `poll` runs: the poll now blocked, or the next one, returns without
/// waiting. Called
///    once for each time the executor goes to sleep, not for each event. Called only during `run*(host)`:
///    when that has returned no thread is in it any more.
///
/// Why no wake is lost: the executor marks itself as asleep, which fails if something has been posted; then
/// polls. Whoever posts after the mark takes it away and calls `wake()`; so a host only has to remember a
/// wake that comes before its poll.
///
/// Minimal model: a condition variable with a flag; see hosts/thread.hpp.
template <class H>
concept PollHook = requires(H& host, PollTimeout timeout) {
  host.poll(timeout);
  { host.wake() }
  noexcept;
};

namespace detail {

/// A host whose type is forgotten; a poll is rare and costs a system call anyway.
struct HostRef {
  void* host;
  void (*poll)(void*, PollTimeout);
  Mailbox::Wake wake;

  template <PollHook H>
  [[nodiscard]] static HostRef of(H& host) noexcept {
    return HostRef{const_cast<void*>(static_cast<const volatile void*>(std::addressof(host))),
                   [](void* self, PollTimeout timeout) { static_cast<H*>(self)->poll(timeout); },
                   [](void* self) noexcept { static_cast<H*>(self)->wake(); }};
  }
};

template <class Poll, class Wake>
class CallableHost {
 public:
  CallableHost(Poll poll, Wake wake) : poll_{std::move(poll)}, wake_{std::move(wake)} {}
  void poll(PollTimeout timeout) { poll_(timeout); }
  void wake() noexcept { wake_(); }

 private:
  Poll poll_;
  Wake wake_;
};

}  // namespace detail

/// A PollHook from two callables: `poll(PollTimeout)` and `wake()`, which must not throw and is called on any
/// thread.
template <class Poll, class Wake>
[[nodiscard]] auto poll_hook(Poll poll, Wake wake) {
  static_assert(
      std::invocable<Poll&, PollTimeout>,
      "clockworker: poll_hook(poll, wake) needs a poll that can be called as poll(clockworker::PollTimeout)");
  static_assert(std::invocable<Wake&>,
                "clockworker: poll_hook(poll, wake) needs a wake that can be called as wake()");
  return detail::CallableHost<Poll, Wake>{std::move(poll), std::move(wake)};
}

}  // namespace clockworker
