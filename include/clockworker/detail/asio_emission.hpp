/// \file
/// Where and when an aborted task's Asio operation is told: the emission of its cancellation signal.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <clockworker/detail/asio_wait.hpp>
#include <clockworker/detail/ring.hpp>
#include <clockworker/detail/thread_state.hpp>

#if CLOCKWORKER_ASIO_BOOST
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#else
#include <asio/execution/context.hpp>
#include <asio/execution/executor.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>
#endif

namespace clockworker::detail {

/// What is found of an AsioHost while it drives an executor; and the emissions that its poll has come across,
/// which wait for the moment when no handler is left in the context.
class AsioDriven {
 public:
  using clockworker_events = AsioDriven;

  explicit AsioDriven(net::io_context& context) noexcept : context_{context} {}
  AsioDriven(const AsioDriven&) = delete;
  AsioDriven& operator=(const AsioDriven&) = delete;
  ~AsioDriven() { take_up(&AsioLateEmission::line_up); }

  [[nodiscard]] net::io_context& context() const noexcept { return context_; }

  void add(AsioLateEmission& late) noexcept {
    late.next_late = std::exchange(late_, &late);
    unquiet_polls_ = 0;
  }

 protected:
  [[nodiscard]] bool has_late() const noexcept { return late_ != nullptr; }

  /// At the end of a poll. `quiet`: no handler was left.
  void poll_ends(bool quiet) noexcept {
    if (late_ == nullptr) return;
    if (quiet) {
      take_up(&AsioLateEmission::emit_now);
    } else if (++unquiet_polls_ == patience) {
      take_up(&AsioLateEmission::line_up);
    }
  }

 private:
  static constexpr int patience = 4;  // with handlers that post themselves over and over

  void take_up(void (*AsioLateEmission::*how)(AsioLateEmission&) noexcept) noexcept {
    AsioLateEmission* late = std::exchange(late_, nullptr);
    while (late != nullptr) {
      AsioLateEmission* next = late->next_late;  // its frame may go
      (late->*how)(*late);
      late = next;
    }
  }

  net::io_context& context_;
  AsioLateEmission* late_ = nullptr;
  int unquiet_polls_ = 0;
};

/// The host in whose poll this thread is, the innermost.
inline constinit thread_local AsioDriven* asio_polling = nullptr;

#if CLOCKWORKER_DETAIL_ASIO_SLOTS

/// Null if the executor does not tell.
template <class Executor>
[[nodiscard]] const net::execution_context* asio_context_of(const Executor& executor) noexcept {
  try {
    if constexpr (net::execution::is_executor<Executor>::value) {
      if constexpr (requires { std::addressof(net::query(executor, net::execution::context)); })
        return std::addressof(net::query(executor, net::execution::context));
    } else if constexpr (requires { std::addressof(executor.context()); }) {
      return std::addressof(executor.context());
    }
  } catch (...) {  // an executor that is empty
  }
  return nullptr;
}

/// Whether this thread is within a run of an AsioHost of `context`, its own or that of an executor further out.
[[nodiscard]] inline bool asio_is_driven_here(const net::execution_context* context) noexcept {
  for (const ThreadState* state = &thread_state; state != nullptr; state = state->outer) {
    if (state->ring == nullptr || !state->ring->driven) continue;
    const AsioDriven* driven = state->ring->host.as<AsioDriven>();
    if (driven != nullptr && std::addressof(driven->context()) == context) return true;
  }
  return false;
}

/// The wait whose emission this thread is dispatching, to tell one that runs at once from one that runs later.
inline constinit thread_local const void* asio_dispatching = nullptr;

/// Emits the signal of a wait, there where it is executed. If it never is, as the context goes or there is no
/// memory to post it, the operation just is not cancelled.
///
/// Where: the signal is not to be emitted beside the operation's own handlers, which may run on other threads:
/// so it goes to the executor that these run on.
///
/// When: not when the I/O object is gone, as the signal would lead to where it was. Its destructor has the
/// operation end, but by a completion that waits in the context. So an emission that comes out of a queue must
/// not overtake it:
///
/// - In the poll of an AsioHost it waits until no handler is left in the context, which nobody else runs: then an
///   operation that has not ended has its object, whichever of abort and destruction came first.
/// - Dispatched from within the loop, as in a guest's turn, it is emitted at once: what is destroyed after the
///   abort is not touched.
/// - Otherwise, and if the task's executor goes, whose place among the objects around it is anyone's guess, it
///   lines up several times: behind the completions that are there by then, and behind them in a strand, too.
template <class Executor>
class AsioEmission {
 public:
  using allocator_type = AsioAllocator<void>;
  using Wait = AsioWait<Executor>;

  /// The executor's thread.
  static void request(Wait& wait) noexcept {
    if (!wait.begin_emission()) return;
    AsioEmission emission{wait, lines};
    if constexpr (Wait::has_executor) {
      try {
        // A copy: as soon as the emission is there, the wait may end, on another thread.
        const Executor executor = wait.handlers_executor();
        const bool executor_goes = thread_state.ring != nullptr && thread_state.ring->closing;
        if (executor_goes || asio_is_driven_here(asio_context_of(executor))) {
          net::post(executor, std::move(emission));
        } else {
          struct Dispatching {
            const void* before;
            ~Dispatching() { asio_dispatching = before; }
          } dispatching{std::exchange(asio_dispatching, &wait)};
          net::dispatch(executor, std::move(emission));
        }
      } catch (...) {  // no memory: the operation goes on to its own end
      }
    } else {
      emission.emit();
    }
  }

  AsioEmission(AsioEmission&& other) noexcept
      : wait_{std::exchange(other.wait_, nullptr)}, lines_left_{other.lines_left_} {}
  AsioEmission& operator=(AsioEmission&&) = delete;
  ~AsioEmission() {
    if (wait_ != nullptr) wait_->emission_ended();
  }
  void operator()() noexcept {
    if constexpr (Wait::has_executor) {
      if (asio_dispatching != wait_ && !wait_->has_ended()) {
        if (lines_left_ == lines && asio_polling != nullptr &&
            asio_context_of(wait_->handlers_executor()) == std::addressof(asio_polling->context())) {
          Wait* const wait = std::exchange(wait_, nullptr);
          wait->emit_now = [](AsioLateEmission& late) noexcept { AsioEmission{late, 0}.emit(); };
          wait->line_up = [](AsioLateEmission& late) noexcept { AsioEmission{late, lines - 1}.line_up(); };
          asio_polling->add(*wait);
          return;
        }
        if (lines_left_ != 0) {
          --lines_left_;
          line_up();
          return;
        }
      }
    }
    emit();
  }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return {}; }

 private:
  static constexpr int lines = 2;

  AsioEmission(AsioLateEmission& late, int lines_left) noexcept
      : wait_{static_cast<Wait*>(&late)}, lines_left_{lines_left} {}

  void emit() noexcept {
    wait_->emit();
    std::exchange(wait_, nullptr)->emission_ended();
  }
  void line_up() noexcept {
    try {
      const Executor executor = wait_->handlers_executor();
      net::post(executor, std::move(*this));
    } catch (...) {
    }
  }

  Wait* wait_;
  int lines_left_;
};

#endif

}  // namespace clockworker::detail
