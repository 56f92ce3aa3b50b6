/// \file
/// What an executor needs of the event loop under it: the concept `PollHook`.
#pragma once

#include <chrono>
#include <concepts>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <clockworker/detail/host_identity.hpp>
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
///    `timeout` until there is one, and returns once it has delivered some. It is to look at what its loop
///    has ready once, and not for as long as there is more: tasks wait. It may return early for no reason,
///    and must not return before `timeout` over and over, or an idle executor spins: so round the timeout up
///    to what the loop can count in, and bound it to what the loop can add to the present.
/// 2. `wake()`, on any thread, also while `poll` runs: the poll now blocked, or the next one that may block,
///    returns without waiting. Called once for each time the executor goes to sleep, not for each event: one
///    wake an edge. It may take the loop's locks, must not throw, and should not allocate. Called only during
///    `run*(host)`: when that has returned no thread is in it any more.
/// 3. Order, and why no wake is lost: *arm, re-check, block*. The executor marks itself as asleep (arm), which
///    fails if something has been posted (re-check); then it polls (block). Whoever posts after the mark takes
///    it away and calls `wake()`. So all that a host has to do is to remember a wake that comes before its
///    poll.
/// 4. From within `poll` the host, and the callbacks it delivers, may wake tasks, spawn, abort, use queues,
///    stop() and shutdown(). They must not call `run*` or `run_ready` of the same executor: that throws
///    std::logic_error and changes nothing. Other executors may be driven there.
/// 5. What `poll` throws leaves `run*`, and nothing is lost: tasks stay, and the next run goes on.
/// 6. The next deadline is the timeout that `poll` is given, anew each time: keep no timer between polls.
///
/// In the other direction, an executor that is a guest in a loop that others run, see guest.hpp; the next
/// deadline is there what a turn returns, and the bell of `on_runnable()` stands for `wake()`.
///
/// Minimal model: a condition variable with a flag; see hosts/thread.hpp.
template <class H>
concept PollHook = requires(H& host, PollTimeout timeout) {
  host.poll(timeout);
  { host.wake() }
  noexcept;
};

namespace detail {

/// One sentence from the compiler for what is wrong with `H`.
template <class H>
constexpr void explain_host() {
  static_assert(
      requires(H & host, PollTimeout timeout) { host.poll(timeout); },
      "clockworker: this host needs a member 'void poll(clockworker::PollTimeout)' (see PollHook)");
  static_assert(
      requires(H & host) {
        { host.wake() }
        noexcept;
      },
      "clockworker: this host needs a member 'void wake() noexcept', for any thread (see PollHook)");
}

/// A host whose type is forgotten; a poll is rare and costs a system call anyway.
struct HostRef {
  void* host;
  void (*poll)(void*, PollTimeout);
  Mailbox::Wake wake;
  HostIdentity identity;

  template <PollHook H>
  [[nodiscard]] static HostRef of(H& host) noexcept {
    return HostRef{const_cast<void*>(static_cast<const volatile void*>(std::addressof(host))),
                   [](void* self, PollTimeout timeout) { static_cast<H*>(self)->poll(timeout); },
                   [](void* self) noexcept { static_cast<H*>(self)->wake(); }, HostIdentity::of(host)};
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
