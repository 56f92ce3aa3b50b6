/// \file
/// The part of an executor that other threads may touch, and that lives on while any of them can.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <clockworker/detail/inbox.hpp>

namespace clockworker::detail {

class Ring;

/// Something posted to an executor. `deliver` runs once, on the executor's thread; with no ring when the
/// executor is closing, or, on the poster's thread, when it was too late to post.
struct Letter : InboxNode {
  using Deliver = void (*)(Letter&, Ring*) noexcept;
  explicit Letter(Deliver how) noexcept : deliver{how} {}
  Deliver deliver;
};

/// The inbox and the bell of one executor, shared by count.
///
/// The bell is the host's `wake()` while a host drives, else the guest's `on_runnable` callback. A thread
/// that rings counts itself in under the mutex and calls outside of it, so that the callback may take the
/// user's own locks; whoever takes the bell's target away first waits for those underway. So no callback runs
/// after its target is gone.
class Mailbox {
 public:
  using Wake = void (*)(void*) noexcept;
  using Notify = std::function<void()>;

  Mailbox() noexcept : stop_letter_{*this} {}
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void acquire() noexcept {
    references_.fetch_add(1, std::memory_order_relaxed);
  }  // relaxed: the caller holds one
  void release() noexcept {
    // acq_rel: the last one out sees what all the others did to the mailbox before it frees it.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// Any thread. False: the executor is closed, and the letter is the caller's again.
  bool post(Letter& letter) noexcept {
    Posted outcome = inbox.push(letter);
    if (outcome == Posted::owner_slept) ring_bell();
    return outcome != Posted::refused;
  }

  /// Any thread, never allocates. Stops posted before the first is delivered count as one.
  void post_stop(Letter::Deliver how) noexcept;

  /// Owner. The bell is the host from now on.
  void attach_host(void* host, Wake wake) noexcept {
    std::lock_guard lock{mutex_};
    host_ = host;
    wake_ = wake;
  }

  /// Owner. Returns when no thread is in, or will go into, the host's `wake()`.
  void detach_host() noexcept {
    std::unique_lock lock{mutex_};
    host_ = nullptr;
    wait_for_ringers(lock);
  }

  /// Owner. Replaces the callback; returns when no thread is in the old one.
  void set_notify(Notify notify) {
    auto shared = notify ? std::make_shared<Notify>(std::move(notify)) : nullptr;
    std::unique_lock lock{mutex_};
    notify_.swap(shared);
    wait_for_ringers(lock);
  }

  /// Owner. The same, without a new one.
  void clear_notify() noexcept {
    std::unique_lock lock{mutex_};
    auto old = std::move(notify_);
    notify_.reset();
    wait_for_ringers(lock);
    lock.unlock();
  }

  [[nodiscard]] bool has_notify() const noexcept {
    std::lock_guard lock{mutex_};
    return notify_ != nullptr;
  }

  /// Owner's thread: rings the guest's bell without being waited for, as the owner cannot wait for itself.
  void notify_from_owner() noexcept {
    std::unique_lock lock{mutex_};
    auto notify = notify_;
    lock.unlock();
    if (notify) (*notify)();
  }

  Inbox inbox;

 private:
  struct StopLetter : Letter {
    explicit StopLetter(Mailbox& of) noexcept : Letter{nullptr}, mailbox{of} {}
    Mailbox& mailbox;
    std::atomic<bool> posted{false};
    Letter::Deliver then = nullptr;
  };

  ~Mailbox() = default;

  void ring_bell() noexcept {
    std::unique_lock lock{mutex_};
    void* host = host_;
    Wake wake = wake_;
    auto notify = notify_;
    if (host == nullptr && !notify) return;
    ++ringers_;
    lock.unlock();
    if (host != nullptr) {
      wake(host);
    } else {
      (*notify)();
    }
    notify.reset();
    lock.lock();
    if (--ringers_ == 0) nobody_rings_.notify_all();
  }

  void wait_for_ringers(std::unique_lock<std::mutex>& lock) noexcept {
    nobody_rings_.wait(lock, [this] { return ringers_ == 0; });
  }

  std::atomic<std::uint32_t> references_{1};
  mutable std::mutex mutex_;
  std::condition_variable nobody_rings_;
  void* host_ = nullptr;
  Wake wake_ = nullptr;
  std::shared_ptr<Notify> notify_;
  unsigned ringers_ = 0;
  StopLetter stop_letter_;
};

inline void Mailbox::post_stop(Letter::Deliver how) noexcept {
  // acq_rel: the winner owns the letter until its delivery gives it back with a release.
  if (stop_letter_.posted.exchange(true, std::memory_order_acq_rel)) return;
  stop_letter_.then = how;
  stop_letter_.deliver = [](Letter& letter, Ring* ring) noexcept {
    auto& stop = static_cast<StopLetter&>(letter);
    Letter::Deliver then = stop.then;
    stop.posted.store(false, std::memory_order_release);
    then(letter, ring);
  };
  post(stop_letter_);
}

}  // namespace clockworker::detail
