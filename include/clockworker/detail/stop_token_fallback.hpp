/// \file
/// What `<stop_token>` holds, for standard libraries without it. Interface and meaning are the standard's
/// ([thread.stoptoken]); only what goes beyond it is said here.
#pragma once

#include <atomic>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

namespace clockworker::detail::own {

/// A callback's place in the list of its stop state. Its address is its identity: neither copied nor moved.
class StopCallbackNode {
 public:
  StopCallbackNode(const StopCallbackNode&) = delete;
  StopCallbackNode& operator=(const StopCallbackNode&) = delete;

 protected:
  explicit StopCallbackNode(void (*invoke)(StopCallbackNode&) noexcept) noexcept : invoke_{invoke} {}
  ~StopCallbackNode() = default;

 private:
  friend class StopState;
  void (*invoke_)(StopCallbackNode&) noexcept;
  StopCallbackNode* next_ = nullptr;
  StopCallbackNode* previous_ = nullptr;
  bool linked_ = false;  // in the list; false while it runs, and after
};

/// What the tokens, sources and callbacks of one stop share. Every member function may be called on any
/// thread.
class StopState {
 public:
  // relaxed: a count alone, that orders nothing.
  void add_source() noexcept { sources_.fetch_add(1, std::memory_order_relaxed); }
  void drop_source() noexcept { sources_.fetch_sub(1, std::memory_order_relaxed); }

  // acquire: who sees the stop sees what was written before it was requested.
  [[nodiscard]] bool stopped() const noexcept { return stopped_.load(std::memory_order_acquire); }
  [[nodiscard]] bool stop_possible() const noexcept {
    return stopped() || sources_.load(std::memory_order_relaxed) != 0;
  }

  /// Runs every callback on this thread, none of them under the lock. False if a stop was requested before.
  bool request_stop() noexcept {
    std::unique_lock lock{mutex_};
    if (stopped_.load(std::memory_order_relaxed)) return false;  // relaxed: written under the lock only
    stopped_.store(true, std::memory_order_release);             // release: see stopped()
    requester_ = std::this_thread::get_id();
    while (first_ != nullptr) {
      running_ = first_;
      unlink(*running_);
      StopCallbackNode& callback = *running_;
      lock.unlock();
      callback.invoke_(callback);  // it may be gone after this
      lock.lock();
      running_ = nullptr;
      returned_.notify_all();
    }
    return true;
  }

  /// Links the callback, or runs it here and now if the stop has been requested. False if there is nothing to
  /// wait for.
  bool add(StopCallbackNode& callback) noexcept {
    {
      std::lock_guard lock{mutex_};
      if (!stopped_.load(std::memory_order_relaxed)) {
        if (sources_.load(std::memory_order_relaxed) == 0) return false;
        link(callback);
        return true;
      }
    }
    callback.invoke_(callback);
    return false;
  }

  /// After this the callback neither runs nor will. Waits while it runs on another thread; not when called
  /// from within it.
  void remove(StopCallbackNode& callback) noexcept {
    std::unique_lock lock{mutex_};
    if (callback.linked_) {
      unlink(callback);
    } else if (running_ == &callback && requester_ != std::this_thread::get_id()) {
      returned_.wait(lock, [&] { return running_ != &callback; });
    }
  }

 private:
  void link(StopCallbackNode& callback) noexcept {
    callback.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &callback;
    first_ = &callback;
    callback.linked_ = true;
  }

  void unlink(StopCallbackNode& callback) noexcept {
    (callback.previous_ != nullptr ? callback.previous_->next_ : first_) = callback.next_;
    if (callback.next_ != nullptr) callback.next_->previous_ = callback.previous_;
    callback.linked_ = false;
  }

  std::atomic<std::size_t> sources_{1};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;  // of all below
  std::condition_variable returned_;
  StopCallbackNode* first_ = nullptr;
  StopCallbackNode* running_ = nullptr;  // not to be followed: it may have destroyed itself
  std::thread::id requester_;
};

struct nostopstate_t {
  explicit nostopstate_t() = default;
};
inline constexpr nostopstate_t nostopstate{};

class stop_token {
 public:
  stop_token() noexcept = default;

  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->stopped(); }
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr && state_->stop_possible(); }

  void swap(stop_token& other) noexcept { state_.swap(other.state_); }
  friend void swap(stop_token& a, stop_token& b) noexcept { a.swap(b); }
  [[nodiscard]] friend bool operator==(const stop_token& a, const stop_token& b) noexcept {
    return a.state_ == b.state_;
  }

 private:
  friend class stop_source;
  template <class Callback>
  friend class stop_callback;
  explicit stop_token(std::shared_ptr<StopState> state) noexcept : state_{std::move(state)} {}
  std::shared_ptr<StopState> state_;
};

class stop_source {
 public:
  stop_source() : state_{std::make_shared<StopState>()} {}
  explicit stop_source(nostopstate_t) noexcept {}
  stop_source(const stop_source& other) noexcept : state_{other.state_} {
    if (state_ != nullptr) state_->add_source();
  }
  stop_source(stop_source&& other) noexcept = default;
  stop_source& operator=(stop_source other) noexcept {
    swap(other);
    return *this;
  }
  ~stop_source() {
    if (state_ != nullptr) state_->drop_source();
  }

  [[nodiscard]] stop_token get_token() const noexcept { return stop_token{state_}; }
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }
  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->stopped(); }

  bool request_stop() const noexcept {
    std::shared_ptr<StopState> state = state_;  // a callback may destroy this source
    return state != nullptr && state->request_stop();
  }

  void swap(stop_source& other) noexcept { state_.swap(other.state_); }
  friend void swap(stop_source& a, stop_source& b) noexcept { a.swap(b); }
  [[nodiscard]] friend bool operator==(const stop_source& a, const stop_source& b) noexcept {
    return a.state_ == b.state_;
  }

 private:
  std::shared_ptr<StopState> state_;
};

template <class Callback>
class [[nodiscard]] stop_callback : StopCallbackNode {
  static_assert(std::invocable<Callback> && std::destructible<Callback>);

 public:
  using callback_type = Callback;

  template <class C>
  requires std::constructible_from<Callback, C>
  explicit stop_callback(const stop_token& token,
                         C&& callback) noexcept(std::is_nothrow_constructible_v<Callback, C>)
      : stop_callback{stop_token{token}, std::forward<C>(callback)} {}

  template <class C>
  requires std::constructible_from<Callback, C>
  explicit stop_callback(stop_token&& token,
                         C&& callback) noexcept(std::is_nothrow_constructible_v<Callback, C>)
      : StopCallbackNode{&invoke}, callback_(std::forward<C>(callback)) {
    std::shared_ptr<StopState> state = std::move(token.state_);
    if (state == nullptr) return;
    // Before the callback is linked: it may run at once, on another thread, and destroy itself there only
    // after this.
    state_ = state;
    if (!state->add(*this)) state_.reset();
  }

  ~stop_callback() {
    if (state_ != nullptr) state_->remove(*this);
  }

 private:
  static void invoke(StopCallbackNode& node) noexcept {
    std::forward<Callback>(static_cast<stop_callback&>(node).callback_)();
  }

  Callback callback_;
  std::shared_ptr<StopState> state_;
};

template <class Callback>
stop_callback(stop_token, Callback) -> stop_callback<Callback>;

}  // namespace clockworker::detail::own
