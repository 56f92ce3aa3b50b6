/// \file
/// Callbacks of an io_uring host for descriptors that are ready.
#pragma once

#include <cerrno>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <poll.h>

#include <clockworker/detail/uring_ring.hpp>

namespace clockworker::detail {

/// One thread's. A watch is the kernel's until its operation has ended, and owns itself from the moment that nobody
/// wants it any more.
class UringWatches {
 public:
  using Callback = std::function<void(unsigned)>;

  explicit UringWatches(UringRing& ring) noexcept : ring_{ring} {}
  UringWatches(const UringWatches&) = delete;
  UringWatches& operator=(const UringWatches&) = delete;
  ~UringWatches() { clear(); }

  /// To be called before each poll: arms those for which there was no room.
  void arm_waiting() noexcept {
    while (UringOp* op = waiting_.first) {
      if (!try_arm(static_cast<Watch&>(*op))) return;
    }
  }

  void clear() noexcept {
    while (!watches_.empty()) remove(watches_.begin()->first);
  }

  /// Throws std::bad_alloc, and std::logic_error if `fd` is watched already.
  void add(int fd, unsigned events, Callback callback) {
    if (watches_.contains(fd)) {
      throw std::logic_error("clockworker: watch(fd " + std::to_string(fd) +
                             "): this descriptor is watched already");
    }
    auto watch = std::make_unique<Watch>();
    watch->completed = &completed;
    watch->of = this;
    watch->fd = fd;
    watch->events = events;
    watch->callback = std::move(callback);
    auto& added = watches_[fd];
    added = watch.release();
    if (!try_arm(*added)) added->move_to(waiting_);
  }

  void remove(int fd) noexcept {
    const auto found = watches_.find(fd);
    if (found == watches_.end()) return;
    Watch& watch = *found->second;
    watches_.erase(found);
    watch.of = nullptr;
    if (watch.list == &waiting_) watch.leave();
    if (watch.list != nullptr) {
      ring_.cancel(watch);
    } else if (!watch.in_callback) {
      delete &watch;
    }
  }

 private:
  struct Watch : UringOp {
    UringWatches* of = nullptr;  // null: nobody wants it any more
    int fd = -1;
    unsigned events = 0;
    bool in_callback = false;
    Callback callback;
  };

  /// False if the kernel takes no more.
  [[nodiscard]] bool try_arm(Watch& watch) noexcept {
    return ring_.try_start(watch,
                           [&](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, watch.fd, watch.events); });
  }

  /// Armed again, or gone, also when the callback throws.
  static void completed(UringOp& op, int result) {
    auto& watch = static_cast<Watch&>(op);
    std::exception_ptr thrown;
    const bool again =
        watch.of != nullptr && (result >= 0 || watch.of->ring_.was_cancelled_by_kernel(op, result));
    if (watch.of != nullptr && (result >= 0 || !again)) {
      watch.in_callback = true;
      try {
        watch.callback(result >= 0 ? static_cast<unsigned>(result) : unsigned{POLLNVAL});
      } catch (...) {
        thrown = std::current_exception();
      }
      watch.in_callback = false;
    }
    if (watch.of == nullptr) {
      delete &watch;
    } else if (again) {
      if (!watch.of->try_arm(watch)) watch.move_to(watch.of->waiting_);
    } else {
      watch.of->remove(watch.fd);
    }
    if (thrown) std::rethrow_exception(thrown);
  }

  UringRing& ring_;
  std::map<int, Watch*> watches_;
  UringOps waiting_;  // to be armed
};

}  // namespace clockworker::detail
