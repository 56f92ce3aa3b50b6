/// \file
/// Handlers of ours in an Asio loop: the one that ends a sleep, and a guest's turns.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <clockworker/config.hpp>
#include <clockworker/detail/asio_library.hpp>
#include <clockworker/detail/thread_state.hpp>
#include <clockworker/guest.hpp>

#if CLOCKWORKER_ASIO_BOOST
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#else
#include <asio/any_io_executor.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#endif

namespace clockworker::detail {

/// Memory for the one handler of its owner that is posted at a time, so that posting it cannot fail.
/// Not for two threads at a time: whoever posts must have seen the last handler run.
class AsioBlock {
 public:
  [[nodiscard]] void* take(std::size_t size) noexcept {
    if (taken_ || size > sizeof bytes_) return nullptr;
    taken_ = true;
    return bytes_;
  }
  [[nodiscard]] bool give_back(const void* memory) noexcept {
    if (memory != bytes_) return false;
    taken_ = false;
    return true;
  }

 private:
  alignas(std::max_align_t) std::byte bytes_[128];
  bool taken_ = false;
};

/// The block must outlive the handler: it lies in what the handler shares. Asio gives the memory of a handler
/// back before it calls or destroys the handler.
template <class T>
class AsioBlockAllocator {
 public:
  using value_type = T;

  explicit AsioBlockAllocator(AsioBlock& block) noexcept : block_{&block} {}
  template <class U>
  AsioBlockAllocator(const AsioBlockAllocator<U>& other) noexcept : block_{other.block_} {}

  [[nodiscard]] T* allocate(std::size_t count) {
    if constexpr (alignof(T) <= alignof(std::max_align_t)) {
      if (void* memory = block_->take(count * sizeof(T))) return static_cast<T*>(memory);
    }
    return AsioAllocator<T>{}.allocate(count);
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    if (!block_->give_back(memory)) AsioAllocator<T>{}.deallocate(memory, count);
  }

  template <class U>
  [[nodiscard]] bool operator==(const AsioBlockAllocator<U>& other) const noexcept {
    return block_ == other.block_;
  }

 private:
  template <class U>
  friend class AsioBlockAllocator;
  AsioBlock* block_;
};

/// Ends the sleeps of a host. Shared with the handler, which may be left over in the context.
struct AsioAlarm {
  AsioBlock block;
  std::atomic<bool> posted{false};  // the handler is in the context, and has not been called
  std::atomic<bool> rung{false};    // since the last sleep

  /// Any thread. Posts nothing if the handler is there still. The exchanges order its users: who posts has seen
  /// the last handler's call, and with it that the block is free.
  static void ring(const std::shared_ptr<AsioAlarm>& alarm, net::io_context& context) noexcept {
    alarm->rung.store(true, std::memory_order_release);
    if (!alarm->posted.exchange(true, std::memory_order_acq_rel)) net::post(context, Handler{alarm});
  }

  struct Handler {
    using allocator_type = AsioBlockAllocator<void>;
    std::shared_ptr<AsioAlarm> alarm;
    void operator()() const noexcept { alarm->posted.exchange(false, std::memory_order_acq_rel); }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type{alarm->block}; }
  };
};

/// A guest's place in an Asio loop. At most one turn is posted or taken at a time, in a context that several
/// threads run too; so the turns need no strand. Shared with the handlers, which do nothing once it is closed.
///
/// Why no turn is lost: asking changes the phase, one atomic word. Asked for while idle, a turn is posted; while
/// posted, it is still to come; while it is taken, its end finds `rung` and posts the next.
class AsioSeat : public std::enable_shared_from_this<AsioSeat> {
 public:
  /// `context` if turns are to be posted right to it, else null.
  AsioSeat(net::any_io_executor executor, net::io_context* context)
      : executor_{std::move(executor)}, context_{context}, timer_{std::in_place, executor_} {}
  AsioSeat(const AsioSeat&) = delete;
  AsioSeat& operator=(const AsioSeat&) = delete;

  /// Once, first of all.
  template <class E>
  void open(E& executor, GuestOptions options) {
    ring_ = &executor_access::ring(executor);
    // The last copy of the bell goes with the executor, or with the turns.
    std::shared_ptr<AsioSeat> bell{this, [seat = shared_from_this()](AsioSeat*) { seat->work_.reset(); }};
    turns_.emplace(executor, std::move(options), [bell = std::move(bell)] { bell->ask(); });
    ask();
  }

  /// Not from within a turn, but from within its report. Waits for those of another thread.
  void close() noexcept {
    Phase phase = phase_.load(std::memory_order_acquire);
    for (;;) {
      // Only this thread itself writes its own address there, and takes it away again: so no order is needed.
      const bool own_turn = taker_.load(std::memory_order_relaxed) == &thread_state;
      CLOCKWORKER_ASSERT(!own_turn || phase == Phase::reporting,
                         "an AsioGuest is destroyed by a task of its own executor, within its turn");
      if (phase == Phase::taken || phase == Phase::rung || (phase == Phase::reporting && !own_turn)) {
        phase_.wait(phase, std::memory_order_acquire);
        phase = phase_.load(std::memory_order_acquire);
      } else if (phase_.compare_exchange_weak(phase, Phase::closed, std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
        break;
      }
    }
    turns_.reset();
    work_.reset();
    timer_.reset();
  }

  /// Any thread: the loop is to take a turn soon. Does not allocate on an io_context.
  void ask() noexcept {
    Phase phase = phase_.load(std::memory_order_relaxed);
    for (;;) {
      const Phase next = phase == Phase::idle ? Phase::posted : phase == Phase::taken ? Phase::rung : phase;
      // acq_rel, also where nothing changes: the turn sees what was done before it was asked for.
      if (phase_.compare_exchange_weak(phase, next, std::memory_order_acq_rel, std::memory_order_relaxed))
        break;
    }
    if (phase == Phase::idle) post();
  }

 private:
  enum class Phase : std::uint8_t {
    idle,
    posted,
    taken,
    rung,       // taken, and asked for again
    reporting,  // between two turns: the next is posted when on_exception has returned or thrown
    closed,
  };

  struct Turn {
    using allocator_type = AsioBlockAllocator<void>;
    std::shared_ptr<AsioSeat> seat;
    void operator()() const { seat->take(Phase::posted); }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type{seat->block_}; }
  };
  struct Alarm {
    using allocator_type = AsioAllocator<void>;
    std::shared_ptr<AsioSeat> seat;
    void operator()(AsioError error) const {
      if (!error && !seat->take(Phase::idle)) seat->ask();
    }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return {}; }
  };

  void post() noexcept {
    if (context_ != nullptr) {
      net::post(*context_, Turn{shared_from_this()});
    } else {
      net::post(executor_, Turn{shared_from_this()});
    }
  }

  /// Takes a turn if the phase is `from`. acquire: it sees what the last one did, on whatever thread.
  bool take(Phase from) {
    if (!phase_.compare_exchange_strong(from, Phase::taken, std::memory_order_acq_rel,
                                        std::memory_order_relaxed))
      return false;
    taker_.store(&thread_state, std::memory_order_relaxed);
    AfterTurn after = turns_->take();
    const bool tasks_live = !turns_->executor_is_gone() && ring_->live_tasks != 0;
    if (tasks_live != work_.has_value()) {
      if (tasks_live) {
        work_.emplace(executor_);
      } else {
        work_.reset();
      }
    }
    if (!after.again) after.again = !set_timer(after.timer);
    if (after.thrown == nullptr) {
      taker_.store(nullptr, std::memory_order_relaxed);
      end(after.again);
    } else {
      // A bell meanwhile does not have a turn taken on another thread; close() waits, but on this thread. So the
      // guest may be gone afterwards; the seat is there, as the handler shares it.
      phase_.store(Phase::reporting, std::memory_order_release);
      phase_.notify_all();
      struct PostNext {
        AsioSeat& seat;
        ~PostNext() {
          seat.taker_.store(nullptr, std::memory_order_relaxed);
          Phase phase = Phase::reporting;
          // release: the next turn, or close(), sees what this one did. It may be closed.
          if (!seat.phase_.compare_exchange_strong(phase, Phase::posted, std::memory_order_acq_rel,
                                                   std::memory_order_relaxed))
            return;
          seat.phase_.notify_all();
          seat.post();
        }
      } post_next{*this};
      turns_->report(after);
    }
    return true;
  }

  void end(bool again) noexcept {
    Phase phase = Phase::taken;
    // release: the next turn, or close(), sees what this one did.
    if (again || !phase_.compare_exchange_strong(phase, Phase::idle, std::memory_order_acq_rel,
                                                 std::memory_order_acquire)) {
      phase_.store(Phase::posted, std::memory_order_release);
      post();
    }
    phase_.notify_all();
  }

  /// False if there is no memory for it. An earlier one stays: a turn too many costs less than to set a timer.
  [[nodiscard]] bool set_timer(std::optional<std::chrono::nanoseconds> in) noexcept {
    using Timer = std::chrono::steady_clock;
    constexpr std::chrono::nanoseconds longest = std::chrono::hours{24};
    try {
      const auto now = Timer::now();
      if (alarm_ && *alarm_ <= now) alarm_.reset();
      if (!in) {
        if (alarm_) timer_->cancel();
        alarm_.reset();
        return true;
      }
      const auto due = now + std::min(*in, longest);
      if (alarm_ && *alarm_ <= due) return true;
      timer_->expires_at(due);
      alarm_ = due;
      timer_->async_wait(Alarm{shared_from_this()});
      return true;
    } catch (...) {
      alarm_.reset();
      return false;
    }
  }

  std::atomic<Phase> phase_{Phase::idle};
  std::atomic<const ThreadState*> taker_{nullptr};  // on which thread a turn is taken or reported
  AsioBlock block_;                                 // the turn that is posted
  net::any_io_executor executor_;
  net::io_context* context_;
  // From here on for the turn that is taken, and for close().
  Ring* ring_ = nullptr;
  std::optional<net::steady_timer> timer_;
  std::optional<std::chrono::steady_clock::time_point> alarm_;          // when the timer's wait ends
  std::optional<net::executor_work_guard<net::any_io_executor>> work_;  // while tasks live
  std::optional<GuestTurns> turns_;
};

}  // namespace clockworker::detail
