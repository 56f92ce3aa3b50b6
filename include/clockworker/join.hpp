/// \file
/// The end of a task, as seen by who spawned it.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>

#include <clockworker/detail/ring.hpp>
#include <clockworker/detail/task_cell.hpp>
#include <clockworker/waker.hpp>

namespace clockworker {

/// Why a task has no value to give.
enum class JoinErrc : std::uint8_t {
  cancelled,    ///< it was aborted, or refused at its spawn, or its executor is gone
  exception,    ///< it ended with an exception: JoinError::exception()
  result_taken  ///< its result was taken before
};

/// A task ended without a value. Thrown by JoinResult::value() unless there is the task's own exception to
/// throw.
class JoinError : public std::exception {
 public:
  explicit JoinError(JoinErrc code, std::exception_ptr exception = nullptr,
                     const char* text = nullptr) noexcept
      : code_{code}, exception_{std::move(exception)}, text_{text} {}

  [[nodiscard]] JoinErrc code() const noexcept { return code_; }
  /// What the task threw; null but with JoinErrc::exception.
  [[nodiscard]] std::exception_ptr exception() const noexcept { return exception_; }
  [[nodiscard]] const char* what() const noexcept override {
    if (text_ != nullptr) return text_;
    switch (code_) {
      case JoinErrc::cancelled:
        return "clockworker: the task was cancelled";
      case JoinErrc::exception:
        return "clockworker: the task ended with an exception";
      case JoinErrc::result_taken:
        return "clockworker: the task's result was taken before";
    }
    return "clockworker: unknown join error";
  }

 private:
  JoinErrc code_;
  std::exception_ptr exception_;
  const char* text_;  // a literal
};

/// What became of a task: its value, or a JoinError. A value itself; may go to any thread.
template <class T>
class [[nodiscard]] JoinResult {
  using Stored = typename detail::Result<T>::Stored;

 public:
  using value_type = T;

  explicit JoinResult(JoinError error) noexcept : state_{std::in_place_index<1>, std::move(error)} {}

  /// Takes what is in `result`. Throws what the value's move throws; the result is then still there.
  explicit JoinResult(detail::Result<T>& result) : state_{std::in_place_index<1>, JoinErrc::cancelled} {
    switch (result.state) {
      case detail::ResultState::value:
        state_.template emplace<0>(std::move(result.stored()));
        result.mark_taken();
        return;
      case detail::ResultState::exception:
        state_.template emplace<1>(JoinErrc::exception, result.take_exception());
        return;
      case detail::ResultState::taken:
        state_.template emplace<1>(JoinErrc::result_taken);
        return;
      case detail::ResultState::none:
      case detail::ResultState::cancelled:
        return;
    }
  }

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  /// Moves the value out; or rethrows the task's exception; or throws JoinError. A second call finds a
  /// moved-from value.
  T value() {
    if (!has_value()) {
      const JoinError& why = std::get<1>(state_);
      if (why.exception() != nullptr) std::rethrow_exception(why.exception());
      throw why;
    }
    if constexpr (std::is_void_v<T>) {
      return;
    } else if constexpr (std::is_reference_v<T>) {
      return **std::get_if<0>(&state_);
    } else {
      return std::move(*std::get_if<0>(&state_));
    }
  }

  /// Precondition: has_value().
  template <class U = T>
  requires(!std::is_void_v<U>) [[nodiscard]] std::add_lvalue_reference_t<U> operator*() & noexcept {
    return get();
  }
  template <class U = T>
  requires(!std::is_void_v<U>) [[nodiscard]] std::add_lvalue_reference_t<const U> operator*()
      const& noexcept {
    return const_cast<JoinResult&>(*this).get();
  }
  template <class U = T>
  requires(!std::is_void_v<U>) [[nodiscard]] U&& operator*() && noexcept { return static_cast<U&&>(get()); }
  template <class U = T>
  requires(!std::is_void_v<U>) [[nodiscard]] std::remove_reference_t<U>* operator->() noexcept {
    return std::addressof(get());
  }
  template <class U = T>
  requires(!std::is_void_v<U>) [[nodiscard]] const std::remove_reference_t<U>* operator->() const noexcept {
    return std::addressof(const_cast<JoinResult&>(*this).get());
  }

  /// Throws std::logic_error if there is a value.
  [[nodiscard]] const JoinError& error() const {
    if (has_value()) throw std::logic_error("clockworker: JoinResult::error() of a result that has a value");
    return *std::get_if<1>(&state_);
  }

 private:
  auto& get() noexcept {
    if constexpr (std::is_reference_v<T>) {
      return **std::get_if<0>(&state_);
    } else {
      return *std::get_if<0>(&state_);
    }
  }

  std::variant<Stored, JoinError> state_;
};

namespace detail {

/// Waits for the end of a task; lies in the waiting frame, and takes itself away if that is destroyed.
template <class T>
class [[nodiscard]] JoinAwaiter : JoinWaiter {
 public:
  using clockworker_native = void;
  /// `cell` is null for a task that was refused.
  JoinAwaiter(ResultCell<T>* cell, bool refused) noexcept
      : JoinWaiter{&ended}, cell_{cell}, refused_{refused} {
    if (cell_ != nullptr) cell_->acquire();
  }
  JoinAwaiter(const JoinAwaiter&) = delete;
  JoinAwaiter& operator=(const JoinAwaiter&) = delete;
  ~JoinAwaiter() {
    if (cell_ == nullptr) return;
    if (cell_->joiner == this) cell_->joiner = nullptr;
    cell_->release();
  }

  [[nodiscard]] bool await_ready() const {
    if (refused_) return true;
    if (cell_ == nullptr) throw std::logic_error("clockworker: co_await of an empty JoinHandle");
    if (cell_->status == TaskStatus::done) return true;
    if (cell_->queue->ring != thread_state.ring) {
      throw std::invalid_argument("clockworker: co_await of a JoinHandle that belongs to another executor");
    }
    if (cell_ == thread_state.task) {
      throw std::logic_error("clockworker: a task awaits its own JoinHandle; it would wait for ever");
    }
    if (cell_->joiner != nullptr) {
      throw std::logic_error("clockworker: co_await of a JoinHandle that is being awaited already");
    }
    return false;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
    check_awaited_in_task<Promise>();
    waiting_ = &suspending(frame, WaitsFor::task);
    cell_->joiner = this;
  }
  JoinResult<T> await_resume() {
    if (refused_) return JoinResult<T>{JoinError{JoinErrc::cancelled, nullptr, refused_text}};
    return JoinResult<T>{cell_->result};
  }

  static constexpr const char* refused_text =
      "clockworker: the task was cancelled: its executor was shutting down or gone when it was spawned";

 private:
  static void ended(JoinWaiter& waiter, TaskCell& cell) noexcept {
    // The joined task's queue is of the waiting one's executor; the waiting one may have gone to another
    // queue of it.
    static_cast<void>(cell);
    auto& self = static_cast<JoinAwaiter&>(waiter);
    self.waiting_->queue->ring->wake(*self.waiting_);
  }

  ResultCell<T>* cell_;
  TaskCell* waiting_ = nullptr;
  bool refused_;
};

}  // namespace detail

/// Owns the result of a spawned task. Move-only; dropping it detaches the task, which goes on. Executor's
/// thread only; it may outlive the executor, and then finds its task cancelled if it had not ended.
template <class T = void>
class JoinHandle {
 public:
  using clockworker_native = void;
  using value_type = T;

  JoinHandle() noexcept = default;
  JoinHandle(JoinHandle&& other) noexcept
      : cell_{std::exchange(other.cell_, nullptr)}, refused_{std::exchange(other.refused_, false)} {}
  JoinHandle& operator=(JoinHandle&& other) noexcept {
    JoinHandle taken{std::move(other)};
    std::swap(cell_, taken.cell_);
    std::swap(refused_, taken.refused_);
    return *this;
  }
  ~JoinHandle() {
    if (cell_ != nullptr) cell_->release();
  }

  /// Waits for the task's end and takes its result. Throws std::logic_error if the handle is empty, is the
  /// awaiting task's own, or is being awaited already; std::invalid_argument if it belongs to another
  /// executor. A second await gives `result_taken`.
  [[nodiscard]] detail::JoinAwaiter<T> operator co_await() const noexcept {
    return detail::JoinAwaiter<T>{cell_, refused_};
  }

  /// Asks for the end of the task: its stop token is stopped, and its frames are destroyed, innermost first,
  /// at its next turn in its queue. One that has not started never does; one that has ended keeps its result;
  /// one that runs (aborts itself) ends at its next suspension; one that awaits a foreign awaitable ends when
  /// that has resumed it. Never allocates; a second call changes nothing.
  void abort() const noexcept {
    detail::TaskCell* cell = cell_;
    if (cell == nullptr || cell->status == detail::TaskStatus::done) return;
    cell->acquire();  // a stop callback may drop this handle
    cell->queue->ring->abort(*cell);
    cell->release();
  }

  /// Whether the task has ended; true also of one that was refused.
  [[nodiscard]] bool done() const noexcept {
    return refused_ || (cell_ != nullptr && cell_->status == detail::TaskStatus::done);
  }

  /// 0 for an empty handle and for a task that was refused.
  [[nodiscard]] TaskId id() const noexcept { return cell_ == nullptr ? 0 : cell_->id; }

  /// Whether there is a task to it, ended or not, or refused.
  [[nodiscard]] bool valid() const noexcept { return refused_ || cell_ != nullptr; }

  /// The result, if the task has ended; taken from it. Throws std::logic_error if the handle is empty.
  [[nodiscard]] std::optional<JoinResult<T>> try_take() {
    if (!valid()) throw std::logic_error("clockworker: try_take() of an empty JoinHandle");
    if (!done()) return std::nullopt;
    if (refused_) {
      return JoinResult<T>{JoinError{JoinErrc::cancelled, nullptr, detail::JoinAwaiter<T>::refused_text}};
    }
    return JoinResult<T>{cell_->result};
  }

 private:
  friend struct detail_join_access;
  explicit JoinHandle(detail::ResultCell<T>* cell) noexcept : cell_{cell}, refused_{cell == nullptr} {}

  detail::ResultCell<T>* cell_ = nullptr;
  bool refused_ = false;
};

namespace detail {
template <class H>
inline constexpr bool is_join_handle = false;
template <class T>
inline constexpr bool is_join_handle<JoinHandle<T>> = true;
}  // namespace detail

/// For the library's own use.
struct detail_join_access {
  /// Takes over a reference; null: a handle of a task that was refused.
  template <class T>
  static JoinHandle<T> make(detail::ResultCell<T>* cell) noexcept {
    return JoinHandle<T>{cell};
  }
  template <class T>
  static detail::ResultCell<T>* cell(const JoinHandle<T>& handle) noexcept {
    return handle.cell_;
  }
};

}  // namespace clockworker
