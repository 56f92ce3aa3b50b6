/// \file
/// Where a coroutine puts what it returns or throws: in its parent's awaiter, or in the task's cell.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace clockworker::detail {

enum class ResultState : std::uint8_t {
  none,       // still running
  value,      // the union holds the value
  exception,  // the union holds the exception
  cancelled,  // ended without either
  taken       // had one of the two, and gave it away
};

struct ResultBase {
  ResultState state = ResultState::none;
  bool frame_gone =
      false;  // the frame that was to fill this one has been destroyed by the unwinding of its task
};

struct Nothing {};

/// What a `Task<T>` ended with. Filled once, by the coroutine; emptied at most once.
template <class T>
class Result : public ResultBase {
 public:
  using Stored = std::conditional_t<
      std::is_void_v<T>, Nothing,
      std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, std::remove_cv_t<T>>>;

  Result() noexcept {}
  Result(const Result&) = delete;
  Result& operator=(const Result&) = delete;
  ~Result() { clear(); }

  /// Throws what the construction of the value throws, and is then as before.
  template <class... U>
  void set_value(U&&... value) {
    if constexpr (std::is_reference_v<T>) {
      ::new (static_cast<void*>(std::addressof(value_))) Stored(std::addressof(value)...);
    } else {
      ::new (static_cast<void*>(std::addressof(value_))) Stored(std::forward<U>(value)...);
    }
    state = ResultState::value;
  }

  /// A value that is there already gives way: a destructor of a local may throw after `co_return`.
  void set_exception(std::exception_ptr exception) noexcept {
    clear();
    ::new (static_cast<void*>(std::addressof(exception_))) std::exception_ptr(std::move(exception));
    state = ResultState::exception;
  }

  void set_cancelled() noexcept {
    clear();
    state = ResultState::cancelled;
  }

  /// Precondition: state is `value`.
  [[nodiscard]] Stored& stored() noexcept { return value_; }

  /// Destroys what is held, and remembers that there was something.
  void mark_taken() noexcept {
    clear();
    state = ResultState::taken;
  }

  /// Moves the value out, to be destroyed later. Precondition: state is `value`.
  T take_value() {
    if constexpr (std::is_reference_v<T>) {
      return *value_;
    } else if constexpr (!std::is_void_v<T>) {
      return std::move(value_);
    }
  }

  /// Precondition: state is `exception`.
  std::exception_ptr take_exception() noexcept {
    std::exception_ptr exception = std::move(exception_);
    mark_taken();
    return exception;
  }

  [[nodiscard]] const std::exception_ptr& exception() const noexcept { return exception_; }

  /// Destroys what is held.
  void clear() noexcept {
    if (state == ResultState::value) {
      std::destroy_at(std::addressof(value_));
    } else if (state == ResultState::exception) {
      std::destroy_at(std::addressof(exception_));
    }
    state = ResultState::none;
  }

 private:
  union {
    Stored value_;
    std::exception_ptr exception_;
  };
};

}  // namespace clockworker::detail
