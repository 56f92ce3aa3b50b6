/// \file
/// One Asio operation that a task waits for: its end, its cancellation, and their meeting.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <clockworker/detail/asio_library.hpp>

namespace clockworker::detail {

/// An emission of a wait's signal that is put off; it lies in the wait. See AsioEmission.
struct AsioLateEmission {
  AsioLateEmission* next_late = nullptr;
  void (*emit_now)(AsioLateEmission&) noexcept = nullptr;
  void (*line_up)(AsioLateEmission&) noexcept = nullptr;
};

/// Lies in the frame of the task. The handle is resumed, once, when the operation has ended and no emission
/// of the signal is underway any more; until then the frame stays. `Executor` is the one that the operation's
/// handlers run on, or void.
///
/// Why exactly one side resumes: each, when it is done, changes the one atomic word, and resumes if it finds
/// that it was the last. Why the frame is there for both: it goes only after the handle has been resumed.
/// acq_rel: the one that resumes has seen all that the other did to the frame.
template <class Executor>
class AsioWait : public AsioLateEmission {
 public:
  static constexpr bool has_executor = !std::is_void_v<Executor>;

  AsioWait() = default;
  AsioWait(const AsioWait&) = delete;
  AsioWait& operator=(const AsioWait&) = delete;

  /// The executor's thread, before the operation is initiated.
  void begin(std::coroutine_handle<> task) noexcept { task_ = task; }

  /// Any thread, once: the completion handler was called, or destroyed without.
  void operation_ended() noexcept {
    if ((state_.fetch_or(ended, std::memory_order_acq_rel) & emitting) == 0) resume();
  }

#if CLOCKWORKER_DETAIL_ASIO_SLOTS
  template <class Given>
  void handlers_run_on(const Given& executor) {
    executor_.emplace(executor);
  }
  /// There as long as the caller owes an emission_ended().
  [[nodiscard]] const auto& handlers_executor() const noexcept { return *executor_; }

  [[nodiscard]] net::cancellation_slot slot() noexcept { return signal_.slot(); }

  /// The executor's thread. True: the caller owes one emission_ended().
  [[nodiscard]] bool begin_emission() noexcept {
    std::uint8_t pending = 0;
    return state_.compare_exchange_strong(pending, emitting, std::memory_order_acq_rel,
                                          std::memory_order_relaxed);
  }
  [[nodiscard]] bool has_ended() const noexcept {
    return (state_.load(std::memory_order_acquire) & ended) != 0;
  }
  /// Where the operation's handlers run. Asks for whatever kind of cancellation the operation knows: the
  /// task will not look at what is left.
  void emit() noexcept {
    if (!has_ended()) signal_.emit(net::cancellation_type::all);
  }
  void emission_ended() noexcept {
    if ((state_.fetch_and(static_cast<std::uint8_t>(~emitting), std::memory_order_acq_rel) & ended) != 0)
      resume();
  }
#endif

 private:
  static constexpr std::uint8_t ended = 1;
  static constexpr std::uint8_t emitting = 2;

  /// The context may be ending the operation as it goes, and the task may resume long after that: no executor
  /// of it is kept till then.
  void resume() noexcept {
#if CLOCKWORKER_DETAIL_ASIO_SLOTS
    executor_.reset();
#endif
    task_.resume();
  }

  std::coroutine_handle<> task_;
  std::atomic<std::uint8_t> state_{0};
#if CLOCKWORKER_DETAIL_ASIO_SLOTS
  std::optional<std::conditional_t<has_executor, Executor, char>> executor_;
  net::cancellation_signal signal_;
#endif
};

/// The same, with what the completion handler was given.
template <class Executor, class... Values>
class AsioOutcome : public AsioWait<Executor> {
 public:
  template <class... Given>
  void completed(Given&&... given) noexcept {
    try {
      values_.emplace(std::forward<Given>(given)...);
    } catch (...) {
      thrown_ = std::current_exception();  // out of a value's constructor
    }
    this->operation_ended();
  }

  /// All values, also where the first is an error.
  [[nodiscard]] std::tuple<Values...> take_tuple() {
    check_thrown();
    if (!values_) end_as_aborted();
    return std::move(*values_);
  }

  /// Without the first if that is an error, which is thrown.
  auto take_or_throw() {
    check_thrown();
    if (!values_) throw AsioSystemError{aborted()};
    if constexpr (starts_with<AsioError>) {
      if (const AsioError& error = std::get<0>(*values_)) throw AsioSystemError{error};
      return take_from<1>();
    } else if constexpr (starts_with<std::exception_ptr>) {
      if (std::get<0>(*values_) != nullptr) std::rethrow_exception(std::get<0>(*values_));
      return take_from<1>();
    } else {
      return take_from<0>();
    }
  }

  /// Without the first if that is an error, which is written to `error`.
  auto take_with_error_to(AsioError& error) {
    if constexpr (starts_with<AsioError>) {
      check_thrown();
      if (!values_) end_as_aborted();
      error = std::get<0>(*values_);
      return take_from<1>();
    } else {
      return take_or_throw();
    }
  }

 private:
  template <class First, class... Rest>
  static std::type_identity<First> first_of(std::tuple<First, Rest...>*);
  static std::type_identity<void> first_of(std::tuple<>*);
  template <class T>
  static constexpr bool starts_with =
      std::is_same_v<typename decltype(first_of(static_cast<std::tuple<Values...>*>(nullptr)))::type, T>;

  /// The context went before the operation ended.
  [[nodiscard]] static AsioError aborted() noexcept { return net::error::operation_aborted; }

  void check_thrown() const {
    if (thrown_ != nullptr) std::rethrow_exception(thrown_);
  }

  /// Has the values say so, or throws where they cannot.
  void end_as_aborted() {
    if constexpr (starts_with<AsioError> && (std::is_default_constructible_v<Values> && ...)) {
      values_.emplace();
      std::get<0>(*values_) = aborted();
    } else {
      throw AsioSystemError{aborted()};
    }
  }

  /// Nothing, one value, or a tuple of them.
  template <std::size_t first>
  auto take_from() {
    constexpr std::size_t count = sizeof...(Values) - first;
    if constexpr (count == 1) {
      return std::get<first>(std::move(*values_));
    } else if constexpr (count > 1) {
      return [this]<std::size_t... i>(std::index_sequence<i...>) {
        return std::tuple<std::tuple_element_t<first + i, std::tuple<Values...>>...>{
            std::get<first + i>(std::move(*values_))...};
      }
      (std::make_index_sequence<count>{});
    }
  }

  std::optional<std::tuple<Values...>> values_;
  std::exception_ptr thrown_;
};

/// What a handler that is bound to an executor says of it; void: none.
template <class Executor>
class AsioBinding {
 public:
  using executor_type = Executor;
  explicit AsioBinding(const Executor& executor) : executor_{executor} {}
  [[nodiscard]] const Executor& get_executor() const noexcept { return executor_; }

 private:
  Executor executor_;
};
template <>
class AsioBinding<void> {};

/// The completion handler. Move-only; the operation has ended when it is called, or when the one of its
/// copies that still refers to the outcome is destroyed.
template <class Outcome, class Executor>
class AsioHandler : public AsioBinding<Executor> {
 public:
  using allocator_type = AsioAllocator<void>;

  AsioHandler(Outcome& outcome, const AsioBinding<Executor>& binding)
      : AsioBinding<Executor>{binding}, outcome_{&outcome} {}
  AsioHandler(AsioHandler&& other) noexcept
      : AsioBinding<Executor>{std::move(other)}, outcome_{std::exchange(other.outcome_, nullptr)} {}
  AsioHandler& operator=(AsioHandler&&) = delete;
  ~AsioHandler() {
    if (outcome_ != nullptr) outcome_->operation_ended();
  }

  template <class... Given>
  void operator()(Given&&... given) noexcept {
    std::exchange(outcome_, nullptr)->completed(std::forward<Given>(given)...);
  }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return {}; }

#if CLOCKWORKER_DETAIL_ASIO_SLOTS
  using cancellation_slot_type = net::cancellation_slot;
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept {
    return outcome_ != nullptr ? outcome_->slot() : cancellation_slot_type{};
  }
#endif

 private:
  Outcome* outcome_;
};

}  // namespace clockworker::detail
