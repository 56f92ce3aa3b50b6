/// \file
/// The host for a thread that has nothing but the executor.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include <clockworker/host.hpp>

namespace clockworker {

/// Sleeps on a condition variable. Has no events of its own; wakes come from other threads.
class ThreadHost {
 public:
  /// The executor's thread.
  void poll(PollTimeout timeout) {
    if (timeout && *timeout <= std::chrono::nanoseconds::zero())
      return;  // a wake before is for the next sleep to find
    std::unique_lock lock{mutex_};
    auto woken = [this] { return woken_; };
    if (!timeout || *timeout > longest_wait) {
      if (timeout) {
        changed_.wait_for(lock, longest_wait, woken);
      } else {
        changed_.wait(lock, woken);
      }
    } else {
      changed_.wait_for(lock, *timeout, woken);
    }
    woken_ = false;
  }

  /// Any thread.
  void wake() noexcept {
    std::lock_guard lock{mutex_};
    woken_ = true;
    changed_.notify_one();  // under the lock: whoever sees `woken_` may destroy the host
  }

 private:
  /// Keeps the sum with the present time within what a clock can count.
  static constexpr std::chrono::nanoseconds longest_wait = std::chrono::hours{24};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

static_assert(PollHook<ThreadHost>);

}  // namespace clockworker
