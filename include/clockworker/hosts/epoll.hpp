/// \file
/// Linux epoll, in both directions: `EpollHost`, which an executor drives, and `EpollGuest`, an executor in an
/// epoll loop of your own. Descriptors are awaited in either.
///
/// Everything here belongs to the thread of the loop, but for `EpollHost::wake()`. The awaits throw
/// std::system_error, whose text names the call and the descriptor, or set a std::error_code if given one; with
/// ECANCELED if the host goes first, or if cancel() says so, with EBADF if the descriptor was found closed, and
/// std::logic_error in a task whose executor does not run on one of these. A task may be aborted in any.
///
/// Close a descriptor when nobody waits for it, or call cancel() before: who waits for one that is closed hears of
/// it only when the number is awaited again. WatchedFd sees to that by itself.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <sys/timerfd.h>

#include <clockworker/detail/epoll_io.hpp>
#include <clockworker/detail/posix_address.hpp>
#include <clockworker/detail/posix_fd.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/host.hpp>
#include <clockworker/task.hpp>

namespace clockworker {

/// What EpollHost and EpollGuest have in common: the descriptors that tasks wait for.
class EpollEvents {
 public:
  using clockworker_events = EpollEvents;  // what the free functions look for, in derived classes too

  EpollEvents(const EpollEvents&) = delete;
  EpollEvents& operator=(const EpollEvents&) = delete;

  /// `co_await host.readable(fd)`: the task goes on when reading would not block: there is something, the end, or
  /// an error for the read to show. At once for what is always readable, as regular files. Any number of tasks
  /// may wait for one descriptor, and all go on. One system call a wait; see WatchedFd for none. Never allocates,
  /// but for the table of descriptors to grow.
  [[nodiscard]] auto readable(int fd) noexcept {
    return detail::FdWait<detail::ThrowingFdAwaiter>{reactor_.get(), {}, fd, EPOLLIN, "readable"};
  }
  /// The same for writing.
  [[nodiscard]] auto writable(int fd) noexcept {
    return detail::FdWait<detail::ThrowingFdAwaiter>{reactor_.get(), {}, fd, EPOLLOUT, "writable"};
  }

  // As the free functions below.
  [[nodiscard]] Task<std::size_t> read_some(int fd, std::span<std::byte> buffer, ErrorTo error = {}) {
    return detail::read_some_from(detail::RawFd{reactor_, fd}, buffer, error);
  }
  [[nodiscard]] Task<std::size_t> write_all(int fd, std::span<const std::byte> bytes, ErrorTo error = {}) {
    return detail::write_all_to(detail::RawFd{reactor_, fd}, bytes, error);
  }
  [[nodiscard]] Task<int> accept(int fd, ErrorTo error = {}) {
    return detail::accept_from(detail::RawFd{reactor_, fd}, error);
  }
  [[nodiscard]] Task<> connect(int fd, const sockaddr* address, socklen_t size, ErrorTo error = {}) {
    return detail::connect_to(detail::RawFd{reactor_, fd}, detail::copy_of(address, size), size, error);
  }

  /// Tasks that wait for `fd` go on with ECANCELED. To be called before `fd` is closed under them.
  void cancel(int fd) noexcept { reactor_->cancel(fd); }

 protected:
  EpollEvents() : reactor_{std::make_shared<detail::EpollReactor>()} {}
  ~EpollEvents() { reactor_->close(); }

  std::shared_ptr<detail::EpollReactor> reactor_;

 private:
  friend detail::EpollReactor& detail::reactor_of(EpollEvents& events) noexcept;
};

/// A PollHook over an epoll instance of its own.
///
///     clockworker::EpollHost host;
///     executor.run_until(host, serve(listener));
class EpollHost : public EpollEvents {
 public:
  /// Throws std::system_error.
  EpollHost() : bell_{EFD_NONBLOCK} { reactor_->add_bell(bell_.get()); }

  /// The executor's thread. Times are kept to the nanosecond where the system can (Linux 5.11, glibc 2.35), and
  /// rounded up to the millisecond elsewhere. Throws std::system_error, and what callbacks of watch() throw.
  void poll(PollTimeout timeout) {
    // A look without blocking leaves a wake to the next poll that may block.
    if (timeout && timeout->count() <= 0) {
      reactor_->poll(std::chrono::nanoseconds::zero());
      woken_ = reactor_->take_bell() || woken_;
      return;
    }
    const bool woken = std::exchange(woken_, false) || reactor_->take_bell();
    reactor_->poll(woken ? PollTimeout{std::chrono::nanoseconds::zero()} : timeout);
    (void)reactor_->take_bell();
  }

  /// Any thread. One system call.
  void wake() noexcept { bell_.ring(); }

  /// Has poll() call `callback(events)` each time `fd` is ready for one of `events`: EPOLLIN and so on, and
  /// EPOLLET if you like. Until unwatch(), which comes before `fd` is closed; tasks cannot wait for it meanwhile. It
  /// may do anything but poll or run the executor; what it throws leaves poll(), and no other event is lost. Throws
  /// std::system_error, std::bad_alloc, and std::logic_error if `fd` is in use here.
  void watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback) {
    reactor_->watch(fd, events, std::move(callback));
  }
  /// Also from within the callback. Nothing happens if `fd` is not watched.
  void unwatch(int fd) noexcept { reactor_->forget(fd); }

 private:
  detail::EventFd bell_;
  bool woken_ = false;
};

static_assert(PollHook<EpollHost>);

/// An executor in an epoll loop of your own: it adds one descriptor to that.
///
///     clockworker::EpollGuest guest{executor};
///     epoll_event event{.events = EPOLLIN, .data = {.fd = guest.fd()}};
///     epoll_ctl(epoll, EPOLL_CTL_ADD, guest.fd(), &event);
///     for (;;) {
///       int count = epoll_wait(epoll, events, 64, -1);
///       for (epoll_event& ready : std::span(events, count)) {
///         if (ready.data.fd == guest.fd()) guest.dispatch();
///         ...
///
/// Any loop that can watch a descriptor for reading will do: poll(), or somebody else's.
///
/// Not to be destroyed from within a turn, by one of the executor's tasks: dispatch() is still in it. on_exception may.
class EpollGuest : public EpollEvents {
 public:
  /// The first turn is due at once. Throws std::system_error, std::bad_alloc, and std::logic_error if the
  /// executor is a guest already or has an on_runnable() callback.
  template <QueueKey Key, Clock C>
  explicit EpollGuest(Executor<Key, C>& executor, GuestOptions options = {})
      : bell_{EFD_NONBLOCK},
        timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)},
        turns_{executor, std::move(options), [this] { bell_.ring(); }, static_cast<EpollEvents*>(this)} {
    if (timer_.get() < 0) detail::throw_system_error(errno, "timerfd_create()");
    reactor_->add_bell(bell_.get());
    reactor_->add_bell(timer_.get());
    bell_.ring();
  }

  /// Readable when dispatch() is to be called. It is closed with the guest.
  [[nodiscard]] int fd() noexcept { return reactor_->set().fd(); }

  /// Delivers the events that tasks wait for, and takes one turn of the executor, no longer than its budget.
  /// Never blocks; does no harm when nothing is due. In a nested loop that one of the executor's tasks runs,
  /// events are delivered but nothing else runs. Throws what comes out of the turn unless
  /// GuestOptions::on_exception takes it, and std::system_error; the loop may simply go on.
  void dispatch() {
    reactor_->poll(std::chrono::nanoseconds::zero());
    const AfterTurn after = turns_.take();
    if (after.again) {
      bell_.ring();  // the kernel puts us behind all that is ready now; so always if something was thrown
    } else if (after.timer) {
      set_timer(*after.timer);
    }
    turns_.report(after);  // may be the end of this
  }

 private:
  /// A timer that is set to go off earlier stays: a turn for nothing costs less than a system call a turn.
  void set_timer(std::chrono::nanoseconds left) {
    using std::chrono::steady_clock;
    constexpr std::chrono::nanoseconds shortest{1};  // 0 would take the timer away
    constexpr std::chrono::nanoseconds longest = std::chrono::hours{24};
    left = left < shortest ? shortest : left > longest ? longest : left;
    const steady_clock::time_point now = steady_clock::now();
    if (goes_off_ > now && goes_off_ <= now + left) return;
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    itimerspec setting{};
    setting.it_value.tv_sec = static_cast<std::time_t>(seconds.count());
    setting.it_value.tv_nsec = static_cast<long>((left - seconds).count());
    if (::timerfd_settime(timer_.get(), 0, &setting, nullptr) != 0) {
      const int error = errno;
      bell_.ring();  // the next turn tries again: else sleepers would not be woken
      detail::throw_system_error(error, "timerfd_settime()");
    }
    goes_off_ = now + left;
  }

  detail::EventFd bell_;
  detail::OwnedFd timer_;
  std::chrono::steady_clock::time_point goes_off_{};  // when the timer was last set to
  GuestTurns turns_;                                  // goes first: nobody is in the bell then
};

/// A descriptor registered once, for as long as this lives, and then closed. What is known of its readiness is
/// kept here, so that awaits cost no system call of their own: a server's way to keep its connections. Move-only;
/// operations that are under way go on with it where it is moved to.
class WatchedFd {
 public:
  /// Takes `fd` over at once: it is closed also if this throws: std::system_error, std::bad_alloc,
  /// std::logic_error if `fd` is in use here. Sets O_NONBLOCK.
  WatchedFd(EpollEvents& events, int fd) : WatchedFd{detail::OwnedFd{fd}, detail::reactor_of(events)} {}
  /// With the host of the running task. Throws std::logic_error if it has none.
  explicit WatchedFd(int fd) : WatchedFd{detail::OwnedFd{fd}, detail::reactor_of_this_task("WatchedFd")} {}

  WatchedFd(WatchedFd&&) noexcept = default;
  /// Lets go of what it had as the destructor does.
  WatchedFd& operator=(WatchedFd&& other) noexcept {
    if (this != &other) {
      forget();
      fd_ = std::move(other.fd_);
      edges_ = std::move(other.edges_);
    }
    return *this;
  }
  /// Tasks that are in an operation on it go on with ECANCELED, also those that have been woken already.
  ~WatchedFd() { forget(); }

  /// -1 if moved from.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// No longer registered, nor owned. Tasks that are in an operation on it go on with ECANCELED.
  [[nodiscard]] int release() noexcept {
    forget();
    return fd_.release();
  }

  /// As the free functions below.
  [[nodiscard]] auto readable() noexcept {
    return detail::FdWait<detail::ThrowingFdAwaiter>{nullptr, edges_, fd_.get(), EPOLLIN, "readable"};
  }
  [[nodiscard]] auto writable() noexcept {
    return detail::FdWait<detail::ThrowingFdAwaiter>{nullptr, edges_, fd_.get(), EPOLLOUT, "writable"};
  }
  [[nodiscard]] Task<std::size_t> read_some(std::span<std::byte> buffer, ErrorTo error = {}) {
    return detail::read_some_from(ref(), buffer, error);
  }
  [[nodiscard]] Task<std::size_t> write_all(std::span<const std::byte> bytes, ErrorTo error = {}) {
    return detail::write_all_to(ref(), bytes, error);
  }
  [[nodiscard]] Task<int> accept(ErrorTo error = {}) { return detail::accept_from(ref(), error); }
  [[nodiscard]] Task<> connect(const sockaddr* address, socklen_t size, ErrorTo error = {}) {
    return detail::connect_to(ref(), detail::copy_of(address, size), size, error);
  }

  /// For calls of your own: say so when one has found that it would block, before the next co_await. Until then
  /// it counts as readable, and readable() does not suspend.
  void found_unreadable() noexcept { ref().found_blocked(EPOLLIN); }
  void found_unwritable() noexcept { ref().found_blocked(EPOLLOUT); }

 private:
  [[nodiscard]] detail::RegisteredFd ref() const noexcept { return {edges_, fd_.get()}; }

  WatchedFd(detail::OwnedFd fd, detail::EpollReactor& reactor)
      : fd_{std::move(fd)}, edges_{new detail::FdEdges} {
    detail::find_out_kind(fd_.get(), *edges_);
    reactor.watch_edges(*edges_, fd_.get());
  }
  void forget() noexcept {
    if (!edges_) return;
    edges_->gone = true;
    if (edges_->reactor != nullptr) edges_->reactor->forget(fd_.get());
    edges_ = {};
  }

  detail::OwnedFd fd_;
  detail::FdEdgesPtr edges_;  // null: moved from, or released
};

/// In a task that runs on an EpollHost or an EpollGuest: as EpollEvents::readable(), with that one.
[[nodiscard]] inline auto readable(int fd) noexcept {
  return detail::FdWait<detail::ThrowingFdAwaiter>{nullptr, {}, fd, EPOLLIN, "readable"};
}
[[nodiscard]] inline auto writable(int fd) noexcept {
  return detail::FdWait<detail::ThrowingFdAwaiter>{nullptr, {}, fd, EPOLLOUT, "writable"};
}

// Operations on non-blocking descriptors; a blocking one is refused with std::invalid_argument, but for reading from
// and writing to a socket, which is then asked not to block. Each tries first and waits only if that would block,
// and gives way to other tasks when its slice is over. An abort ends it while it waits.

/// `co_await read_some(fd, buffer)`: reads what there is, at least one byte, and returns how many; 0 at the end. An
/// empty buffer is refused with std::invalid_argument.
[[nodiscard]] inline Task<std::size_t> read_some(int fd, std::span<std::byte> buffer, ErrorTo error = {}) {
  return detail::read_some_from(detail::RawFd{nullptr, fd}, buffer, error);
}

/// `co_await write_all(fd, bytes)`: returns when all of them are written, how many that is, or how many were
/// before an error. To a socket whose other side has gone it is EPIPE, with no signal; SIGPIPE of a pipe is the
/// program's to ignore.
[[nodiscard]] inline Task<std::size_t> write_all(int fd, std::span<const std::byte> bytes,
                                                 ErrorTo error = {}) {
  return detail::write_all_to(detail::RawFd{nullptr, fd}, bytes, error);
}

/// `co_await accept(listener)`: returns the descriptor of the next connection, non-blocking and closed on exec, which is
/// the caller's; -1 on an error. Connections that broke before they were taken are passed over.
[[nodiscard]] inline Task<int> accept(int listener, ErrorTo error = {}) {
  return detail::accept_from(detail::RawFd{nullptr, listener}, error);
}

/// `co_await connect(fd, address, size)`: returns when it is connected. The address is copied. Throws
/// std::invalid_argument at once if it is none.
[[nodiscard]] inline Task<> connect(int fd, const sockaddr* address, socklen_t size, ErrorTo error = {}) {
  return detail::connect_to(detail::RawFd{nullptr, fd}, detail::copy_of(address, size), size, error);
}

namespace detail {

inline EpollReactor& reactor_of(EpollEvents& events) noexcept { return *events.reactor_; }

inline EpollReactor& reactor_of_this_task(const char* call) {
  return reactor_of(host_of_this_task<EpollEvents>(call, "an EpollHost or EpollGuest"));
}

}  // namespace detail

}  // namespace clockworker
