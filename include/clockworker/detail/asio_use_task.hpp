/// \file
/// `use_task`: the completion token by which any Asio operation is awaited from a task.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <clockworker/detail/asio_wait.hpp>
#include <clockworker/detail/thread_state.hpp>
#include <clockworker/stop_token.hpp>
#include <clockworker/this_task.hpp>

namespace clockworker {

namespace detail {

/// What the `co_await` makes of an error among the values.
struct AsioThrows {
  template <class Outcome>
  [[nodiscard]] auto operator()(Outcome& outcome) const {
    return outcome.take_or_throw();
  }
};
struct AsioAsTuple {
  template <class Outcome>
  [[nodiscard]] auto operator()(Outcome& outcome) const {
    return outcome.take_tuple();
  }
};
struct AsioRedirects {
  AsioError* to;
  template <class Outcome>
  [[nodiscard]] auto operator()(Outcome& outcome) const {
    return outcome.take_with_error_to(*to);
  }
};

/// Where the handlers of what `Initiation` starts run, if it says so: the executor of the socket or timer.
template <class Initiation, class Binding>
auto asio_handlers_executor() {
  if constexpr (requires(const Binding& binding) { binding.get_executor(); }) {
    return std::type_identity<std::decay_t<decltype(std::declval<const Binding&>().get_executor())>>{};
  } else if constexpr (requires(const Initiation& initiation) { initiation.get_executor(); }) {
    return std::type_identity<std::decay_t<decltype(std::declval<const Initiation&>().get_executor())>>{};
  } else {
    return std::type_identity<void>{};
  }
}

/// Lies in the frame while the operation is pending. For the library a stranger: while it is pending the
/// frame stays, and an abort asks it to hurry, by the task's stop token.
template <class Operation>
class AsioAwaiter {
 public:
  explicit AsioAwaiter(Operation& operation) noexcept : operation_{operation} {}
  AsioAwaiter(const AsioAwaiter&) = delete;
  AsioAwaiter& operator=(const AsioAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }

  void await_suspend(std::coroutine_handle<> task) {
    stop_token token = this_task::stop_token();
    if (token.stop_requested()) {
      // Aborted already, by itself: nothing is begun, and nobody holds on to the frame. The abort takes effect
      // at this suspension, as at any of the library's own.
      thread_state.task->unset(stranger_pending);
      return;
    }
#if CLOCKWORKER_DETAIL_ASIO_SLOTS
    if constexpr (has_executor) executor_.emplace(operation_.handlers_executor());
#endif
    outcome_.begin(task);
    operation_.initiate(outcome_);
    // If it has ended by now, on whatever thread, the frame is here nevertheless: the executor resumes it, later.
#if CLOCKWORKER_DETAIL_ASIO_SLOTS
    on_abort_.emplace(std::move(token), Cancel{this});
#endif
  }

  auto await_resume() { return operation_.result_of(outcome_); }

 private:
  typename Operation::Outcome outcome_;
  Operation& operation_;

#if CLOCKWORKER_DETAIL_ASIO_SLOTS
  struct Cancel {
    AsioAwaiter* awaiter;
    void operator()() const noexcept { awaiter->cancel(); }
  };
  static constexpr bool has_executor = !std::is_void_v<typename Operation::HandlersExecutor>;

  /// The signal is not to be emitted beside the operation's own handlers, which may run on other threads: so
  /// it is emitted there where they run.
  void cancel() noexcept {
    if (!outcome_.begin_emission()) return;
    try {
      if constexpr (has_executor) {
        net::dispatch(*executor_, AsioEmission{outcome_});
      } else {
        AsioEmission{outcome_}();
      }
    } catch (...) {  // no memory: the operation goes on to its own end
    }
  }

  using Executor = std::conditional_t<has_executor, typename Operation::HandlersExecutor, char>;
  std::optional<Executor> executor_;
  std::optional<stop_callback<Cancel>> on_abort_;
#endif
};

/// An operation that has not begun: it does when it is awaited, once. `Bound` is the executor that its handlers
/// are bound to, or void.
template <class Errors, class Bound, class Signature, class Initiation, class... Args>
class [[nodiscard]] AsioOperation;

template <class Errors, class Bound, class R, class... Values, class Initiation, class... Args>
class [[nodiscard]] AsioOperation<Errors, Bound, R(Values...), Initiation, Args...> {
 public:
  using Outcome = AsioOutcome<std::decay_t<Values>...>;
  using Binding = AsioBinding<Bound>;
  using HandlersExecutor = typename decltype(asio_handlers_executor<Initiation, Binding>())::type;

  template <class Start, class... Given>
  explicit AsioOperation(Errors errors, Binding binding, Start&& start, Given&&... given)
      : errors_{errors},
        binding_{std::move(binding)},
        initiation_{std::forward<Start>(start)},
        args_{std::forward<Given>(given)...} {}

  [[nodiscard]] AsioAwaiter<AsioOperation> operator co_await() && noexcept {
    return AsioAwaiter<AsioOperation>{*this};
  }

 private:
  friend class AsioAwaiter<AsioOperation>;

  [[nodiscard]] auto handlers_executor() const {
    if constexpr (std::is_void_v<Bound>) {
      return initiation_.get_executor();
    } else {
      return binding_.get_executor();
    }
  }
  void initiate(Outcome& outcome) {
    std::apply(
        [&](Args&... args) {
          std::move(initiation_)(AsioHandler<Outcome, Bound>{outcome, binding_}, std::move(args)...);
        },
        args_);
  }
  auto result_of(Outcome& outcome) const { return errors_(outcome); }

  [[no_unique_address]] Errors errors_;
  [[no_unique_address]] Binding binding_;
  Initiation initiation_;
  std::tuple<Args...> args_;
};

template <class Signature, class Errors, class Bound, class Initiation, class... Args>
auto make_asio_operation(Errors errors, AsioBinding<Bound> binding, Initiation&& initiation, Args&&... args) {
  return AsioOperation<Errors, Bound, Signature, std::decay_t<Initiation>, std::decay_t<Args>...>{
      errors, std::move(binding), std::forward<Initiation>(initiation), std::forward<Args>(args)...};
}

/// The token; `Errors` is stateless.
template <class Errors>
struct AsioToken {
  /// An executor whose I/O objects take this token where none is given.
  template <class Inner>
  struct executor_with_default : Inner {
    using default_completion_token_type = AsioToken;
    template <class Other>
    requires(!std::is_same_v<Other, executor_with_default> && std::is_convertible_v<Other, Inner>)
        executor_with_default(const Other& executor)
    noexcept : Inner(executor) {}
  };
  template <class T>
  using as_default_on_t =
      typename T::template rebind_executor<executor_with_default<typename T::executor_type>>::other;
  template <class T>
  static as_default_on_t<std::decay_t<T>> as_default_on(T&& object) {
    return as_default_on_t<std::decay_t<T>>(std::forward<T>(object));
  }
};

}  // namespace detail

/// The type of `use_task`.
using use_task_t = detail::AsioToken<detail::AsioThrows>;
/// The type of `as_tuple(use_task)`.
using use_task_as_tuple_t = detail::AsioToken<detail::AsioAsTuple>;

/// `co_await socket.async_read_some(buffer, use_task)`: a completion token for any Asio operation, to be
/// awaited in a task. The operation begins at the `co_await`; the task comes back on its own queue, wherever
/// the operation completes. The value is nothing, the one result, or a std::tuple of several. An `error_code`
/// in front of them is thrown as `asio::system_error` (`boost::system::system_error`), an `exception_ptr` as
/// what it points to.
///
/// Abort: the operation is cancelled through Asio's cancellation slot, and the frame goes when it has ended;
/// one that knows no cancellation goes on to its end, as does every one before Asio 1.19 (Boost 1.77). The
/// signal is emitted by way of the executor that the operation's handlers run on: the bound one, or the one of
/// the I/O object. If several threads run the context, a composed operation (`async_read`, `async_write`) needs
/// a strand there, as Asio asks for wherever one is cancelled. An adapter of Asio's around the token hides that
/// executor; the signal is then emitted on the thread that aborts.
///
/// If the context is destroyed first, the operation ends with `operation_aborted`. If the executor is, with the
/// operation pending, the frame goes when the operation ends, on the thread where it does.
///
/// Once it has warmed up, awaiting allocates at most Asio's cancellation handler. `bind_executor(e, use_task)`
/// has the operation's own handlers run on `e`; `use_task_t::as_default_on(socket)` makes it the default.
inline constexpr use_task_t use_task{};

/// `auto [error, size] = co_await socket.async_read_some(buffer, as_tuple(use_task))`: the same, with all that
/// the operation gives, errors too, in a std::tuple. Asio's own `as_tuple` and `redirect_error` work as well,
/// where its version has them.
[[nodiscard]] constexpr use_task_as_tuple_t as_tuple(use_task_t) noexcept { return {}; }

}  // namespace clockworker

template <class Errors, class R, class... Values>
class clockworker::detail::net::async_result<clockworker::detail::AsioToken<Errors>, R(Values...)> {
 public:
  template <class Initiation, class... Args>
  static auto initiate(Initiation&& initiation, clockworker::detail::AsioToken<Errors>, Args&&... args) {
    return clockworker::detail::make_asio_operation<R(Values...)>(
        Errors{}, clockworker::detail::AsioBinding<void>{}, std::forward<Initiation>(initiation),
        std::forward<Args>(args)...);
  }
};

// Asio's own adapters wrap the initiation, which then does not tell its executor any more.
template <class Errors, class Bound, class R, class... Values>
class clockworker::detail::net::async_result<
    clockworker::detail::net::executor_binder<clockworker::detail::AsioToken<Errors>, Bound>, R(Values...)> {
 public:
  template <class Initiation, class Token, class... Args>
  static auto initiate(Initiation&& initiation, Token&& token, Args&&... args) {
    return clockworker::detail::make_asio_operation<R(Values...)>(
        Errors{}, clockworker::detail::AsioBinding<Bound>{token.get_executor()},
        std::forward<Initiation>(initiation), std::forward<Args>(args)...);
  }
};

template <class R, class... Values>
struct clockworker::detail::net::async_result<
    clockworker::detail::net::redirect_error_t<clockworker::use_task_t>, R(Values...)> {
  template <class Initiation, class Token, class... Args>
  static auto initiate(Initiation&& initiation, Token&& token, Args&&... args) {
    return clockworker::detail::make_asio_operation<R(Values...)>(
        clockworker::detail::AsioRedirects{&token.ec_}, clockworker::detail::AsioBinding<void>{},
        std::forward<Initiation>(initiation), std::forward<Args>(args)...);
  }
};
