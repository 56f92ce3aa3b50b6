/// \file
/// Who waits for which descriptor, and how the kernel is told.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/epoll.h>

#include <clockworker/detail/epoll_set.hpp>
#include <clockworker/detail/ring.hpp>

namespace clockworker::detail {

class EpollReactor;

inline constexpr std::uint32_t epoll_read_side = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
inline constexpr std::uint32_t epoll_write_side = EPOLLOUT | EPOLLHUP | EPOLLERR;

/// A task's wait for one descriptor. Lies in the awaiter, in the task's frame, whose destructor takes it out:
/// so an abort, or the end of the executor, leaves nothing behind.
struct FdWaiter {
  EpollReactor* reactor = nullptr;  // null: in no list
  TaskCell* task = nullptr;
  FdWaiter* previous = nullptr;
  FdWaiter* next = nullptr;
  int fd = -1;
  std::uint32_t events = 0;  // which of them end the wait
  int error = 0;             // an errno: why the wait ended without the event
};

/// What is known of a descriptor that is registered for its lifetime: edge-triggered, so that the kernel need
/// not be told of each wait.
///
/// Why no edge is lost: `ready` is only ever cleared after a call that found the descriptor not ready, and
/// whatever makes it ready after that call is a new edge, which is delivered, and sets it again, later.
///
/// It is a block of its own, counted by FdEdgesPtr: operations hold on to it, and so learn that their WatchedFd has
/// gone, however long after.
struct FdEdges {
  EpollReactor* reactor = nullptr;           // null: not registered
  std::size_t holders = 0;                   // not atomic: all are of the loop's thread
  bool gone = false;                         // the WatchedFd has let go: the number may mean any file now
  std::uint32_t ready = EPOLLIN | EPOLLOUT;  // until proved otherwise: the first call tries
  bool at_end = false;                       // the end or an error has been seen: reading goes on to show it
  bool urgent = false;                       // reading may stop short at the mark of urgent data
  bool socket = true;                        // send() and recv() will do
  bool stream = false;                       // of bytes: a read that gets less than it asked for has got all
};

/// The executor's thread. Entries by number, O(1) each; the events of one look are kept in a member, so that
/// what a callback throws, or a nested poll, loses none.
///
/// Numbers are reused while the kernel counts files. So each use of a number has a generation, which comes
/// back with the event: an event of an earlier use is dropped. And a single wait is told to the kernel each
/// time, for one shot: if the file behind the number has gone meanwhile, that call says so.
class EpollReactor {
 public:
  using Callback = std::function<void(std::uint32_t)>;

  EpollReactor() = default;
  EpollReactor(const EpollReactor&) = delete;
  EpollReactor& operator=(const EpollReactor&) = delete;

  /// The host goes. Who waits goes on with ECANCELED, and so does who would wait from now on: an operation that
  /// was on its way may still hold on to this.
  void close() noexcept {
    closed_ = true;
    for (Entry& entry : entries_) {
      if (entry.edges != nullptr) std::exchange(entry.edges, nullptr)->reactor = nullptr;
      fail_waiters(entry, ECANCELED);
    }
  }

  [[nodiscard]] EpollSet& set() noexcept { return set_; }

  /// `fd` shows a new edge each time that it is to be noticed; nothing reads it. Throws std::system_error.
  void add_bell(int fd) {
    if (int error = set_.add(fd, EPOLLIN | EPOLLET, bell)) throw_system_error(error, "epoll_ctl()", fd);
  }
  /// Whether a bell has rung since the last call.
  [[nodiscard]] bool take_bell() noexcept { return std::exchange(bell_rang_, false); }

  /// One look at what is ready; blocks no longer than `timeout` for there to be something. Throws
  /// std::system_error, and what callbacks throw: the other events are for the next look.
  void poll(PollTimeout timeout) {
    if (next_ == count_) {
      next_ = count_ = 0;
      count_ = set_.wait(events_, room, timeout);
    }
    while (next_ != count_) {
      const epoll_event event = events_[next_++];
      deliver(event.events, event.data.u64);
    }
  }

  /// Puts `waiter` on the list of `fd`. False if there is nothing to wait for: `fd` is of a kind that is always
  /// ready, or cannot be waited for, and `waiter.error` says why. Throws std::bad_alloc, and
  /// std::logic_error if `fd` is in use in another way.
  [[nodiscard]] bool wait(FdWaiter& waiter, int fd, std::uint32_t events) {
    waiter.error = closed_ ? ECANCELED : 0;
    if (closed_) return false;
    Entry* entry = find(fd);
    if (entry != nullptr) check_single_waits(*entry, fd);
    std::uint32_t wanted = events | EPOLLONESHOT;
    int error = ENOENT;
    if (entry != nullptr && entry->use == Use::single_waits) {
      for (FdWaiter* other = entry->first; other != nullptr; other = other->next) wanted |= other->events;
      // What a look has not delivered yet may be about what has been read by now. Nothing is lost with it: asked
      // anew, the kernel tells again what is ready.
      if (next_ != count_) ++entry->generation;
      error = set_.modify(fd, wanted, tag(fd, entry->generation));
      // The number means another file by now, or none.
      if (error != 0) fail_waiters(*entry, EBADF);
    }
    if (error == ENOENT) {
      wanted = events | EPOLLONESHOT;
      if (entry != nullptr) ++entry->generation;
      const std::uint64_t as = tag(fd, entry != nullptr ? entry->generation : 0);
      error = set_.add(fd, wanted, as);
      if (error == EEXIST) error = set_.modify(fd, wanted, as);
    }
    if (error == EPERM) return false;  // a regular file or a directory
    if (error != 0) {
      waiter.error = error;
      return false;
    }
    Entry& of = need(fd);
    of.use = Use::single_waits;
    link(of, waiter, fd, events);
    return true;
  }

  /// The same for one that is registered for its lifetime: the kernel is not told.
  void wait_for_edge(FdWaiter& waiter, int fd, std::uint32_t events) noexcept {
    waiter.error = 0;
    link(entries_[static_cast<std::size_t>(fd)], waiter, fd, events);
  }

  static void stop_waiting(FdWaiter& waiter) noexcept {
    if (waiter.reactor == nullptr) return;
    Entry& entry = waiter.reactor->entries_[static_cast<std::size_t>(waiter.fd)];
    (waiter.previous != nullptr ? waiter.previous->next : entry.first) = waiter.next;
    if (waiter.next != nullptr) waiter.next->previous = waiter.previous;
    waiter.reactor = nullptr;
  }

  /// Registers `fd` until forget(). False if it is of a kind that is always ready. Throws std::system_error,
  /// std::bad_alloc, and std::logic_error if it is in use.
  bool watch_edges(FdEdges& edges, int fd) {
    if (!start_use(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET, "WatchedFd")) return false;
    Entry& entry = entries_[static_cast<std::size_t>(fd)];
    entry.use = Use::edges;
    entry.edges = &edges;
    edges.reactor = this;
    return true;
  }

  /// `callback(events)` each time poll() finds `fd` ready, until forget(). Throws as above; std::system_error
  /// also if it is of a kind that is always ready.
  void watch(int fd, std::uint32_t events, Callback callback) {
    auto shared = std::make_shared<Callback>(std::move(callback));
    if (!start_use(fd, events, "watch")) throw_system_error(EPERM, "watch", fd);
    Entry& entry = entries_[static_cast<std::size_t>(fd)];
    entry.use = Use::callback;
    entry.callback = std::move(shared);
  }

  /// Ends every use of `fd`; who waits for it goes on with ECANCELED.
  void forget(int fd) noexcept {
    Entry* entry = find(fd);
    if (entry == nullptr || entry->use == Use::none) return;
    set_.remove(fd);
    ++entry->generation;
    entry->use = Use::none;
    if (entry->edges != nullptr) std::exchange(entry->edges, nullptr)->reactor = nullptr;
    const auto callback = std::move(entry->callback);
    fail_waiters(*entry, ECANCELED);
  }

  /// Who waits for `fd` goes on with ECANCELED.
  void cancel(int fd) noexcept {
    Entry* entry = find(fd);
    if (entry == nullptr) return;
    if (entry->use == Use::single_waits)
      ++entry->generation;  // an event on its way is not for who comes next
    fail_waiters(*entry, ECANCELED);
  }

 private:
  enum class Use : std::uint8_t {
    none,          // the kernel has no registration that is still of interest
    single_waits,  // registered, armed for what `first` and the following wait for, if any
    edges,         // `edges` is set
    callback       // `callback` is set
  };
  struct Entry {
    FdWaiter* first = nullptr;
    FdEdges* edges = nullptr;
    std::shared_ptr<Callback> callback;  // shared with a call of it under way
    std::uint32_t generation = 0;
    Use use = Use::none;
  };

  static constexpr int room = 128;                          // events of one look
  static constexpr std::uint64_t bell = ~std::uint64_t{0};  // no descriptor has the number -1

  static std::uint64_t tag(int fd, std::uint32_t generation) noexcept {
    return std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
  }

  [[nodiscard]] Entry* find(int fd) noexcept {
    const auto index = static_cast<std::size_t>(fd);
    return fd >= 0 && index < entries_.size() ? &entries_[index] : nullptr;
  }
  /// Precondition: the kernel knows `fd`, so that its number is one of a table that the kernel has, too.
  [[nodiscard]] Entry& need(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= entries_.capacity()) entries_.reserve(std::max(index + 1, 2 * entries_.capacity()));
    if (index >= entries_.size()) entries_.resize(index + 1);
    return entries_[index];
  }

  static void check_single_waits(const Entry& entry, int fd) {
    if (entry.use == Use::edges || entry.use == Use::callback) {
      throw std::logic_error("clockworker: fd " + std::to_string(fd) +
                             (entry.use == Use::edges
                                  ? " belongs to a WatchedFd: wait through that, not for the number"
                                  : " is watched with a callback: tasks cannot wait for it as well"));
    }
  }

  /// False if the kernel has nothing to tell of such a file.
  bool start_use(int fd, std::uint32_t events, const char* call) {
    Entry* entry = find(fd);
    if (entry != nullptr) check_single_waits(*entry, fd);
    const std::uint32_t generation = entry != nullptr ? entry->generation + 1 : 0;
    int error = set_.add(fd, events, tag(fd, generation));
    if (error == EEXIST) {
      if (entry != nullptr && entry->first != nullptr) {
        throw std::logic_error(std::string{"clockworker: "} + call + "(fd " + std::to_string(fd) +
                               "): tasks wait for this descriptor already");
      }
      error = set_.modify(fd, events, tag(fd, generation));
    }
    // Whether it was added or not: who waits under this number waits for a file that is gone from it.
    if (entry != nullptr) {
      entry->generation = generation;
      entry->use = Use::none;
      fail_waiters(*entry, EBADF);
    }
    if (error == EPERM) return false;
    if (error != 0) throw_system_error(error, call, fd);
    try {
      (void)need(fd);
    } catch (...) {
      set_.remove(fd);
      throw;
    }
    return true;
  }

  void link(Entry& entry, FdWaiter& waiter, int fd, std::uint32_t events) noexcept {
    waiter.reactor = this;
    waiter.fd = fd;
    waiter.events = events;
    waiter.previous = nullptr;
    waiter.next = entry.first;
    if (entry.first != nullptr) entry.first->previous = &waiter;
    entry.first = &waiter;
  }

  /// The task may have been woken by something else before, an abort for one: then this does nothing to it.
  static void end_wait(FdWaiter& waiter, int error) noexcept {
    stop_waiting(waiter);
    waiter.error = error;
    waiter.task->queue->ring->wake(*waiter.task);
  }

  static void fail_waiters(Entry& entry, int error) noexcept {
    while (entry.first != nullptr) end_wait(*entry.first, error);
  }

  static void wake_waiters(Entry& entry, std::uint32_t events) noexcept {
    FdWaiter* last = entry.first;
    while (last != nullptr && last->next != nullptr) last = last->next;
    for (FdWaiter* waiter = last; waiter != nullptr;) {  // who came first is woken first
      FdWaiter* later = waiter->previous;
      const std::uint32_t side = (waiter->events & EPOLLOUT) != 0 ? epoll_write_side : epoll_read_side;
      if ((events & side) != 0) end_wait(*waiter, 0);
      waiter = later;
    }
  }

  void deliver(std::uint32_t events, std::uint64_t tagged) {
    if (tagged == bell) {
      bell_rang_ = true;
      return;
    }
    const int fd = static_cast<int>(tagged & 0xffff'ffffU);
    Entry* entry = find(fd);
    if (entry == nullptr || entry->generation != tagged >> 32) return;
    switch (entry->use) {
      case Use::none:
        break;
      case Use::single_waits:
        wake_waiters(*entry, events);
        if (entry->first != nullptr) arm_again(*entry, fd);
        break;
      case Use::edges:
        if ((events & epoll_read_side) != 0) entry->edges->ready |= EPOLLIN;
        if ((events & epoll_write_side) != 0) entry->edges->ready |= EPOLLOUT;
        if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) entry->edges->at_end = true;
        if ((events & EPOLLPRI) != 0) entry->edges->urgent = true;
        wake_waiters(*entry, events);
        break;
      case Use::callback: {
        const auto callback = entry->callback;  // it may forget itself
        (*callback)(events);
      }
    }
  }

  /// One side was woken, the other waits on.
  void arm_again(Entry& entry, int fd) noexcept {
    std::uint32_t wanted = EPOLLONESHOT;
    for (FdWaiter* waiter = entry.first; waiter != nullptr; waiter = waiter->next) wanted |= waiter->events;
    if (set_.modify(fd, wanted, tag(fd, entry.generation)) != 0) fail_waiters(entry, EBADF);
  }

  EpollSet set_;
  std::vector<Entry> entries_;  // by number
  epoll_event events_[room];
  int next_ = 0;  // the first of them that has not been delivered
  int count_ = 0;
  bool bell_rang_ = false;
  bool closed_ = false;
};

/// Holds on to an FdEdges. One allocation a WatchedFd; a copy is a count.
class FdEdgesPtr {
 public:
  FdEdgesPtr() noexcept = default;
  explicit FdEdgesPtr(FdEdges* edges) noexcept : edges_{edges} {
    if (edges_ != nullptr) ++edges_->holders;
  }
  FdEdgesPtr(const FdEdgesPtr& other) noexcept : FdEdgesPtr{other.edges_} {}
  FdEdgesPtr(FdEdgesPtr&& other) noexcept : edges_{std::exchange(other.edges_, nullptr)} {}
  FdEdgesPtr& operator=(FdEdgesPtr other) noexcept {
    std::swap(edges_, other.edges_);
    return *this;
  }
  ~FdEdgesPtr() {
    if (edges_ != nullptr && --edges_->holders == 0) delete edges_;
  }

  [[nodiscard]] FdEdges* operator->() const noexcept { return edges_; }
  [[nodiscard]] FdEdges& operator*() const noexcept { return *edges_; }
  explicit operator bool() const noexcept { return edges_ != nullptr; }

 private:
  FdEdges* edges_ = nullptr;
};

}  // namespace clockworker::detail
