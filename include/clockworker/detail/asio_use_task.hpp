/// \file
/// `use_task`: the completion token by which any Asio operation is awaited from a task.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <clockworker/detail/asio_emission.hpp>
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
    if constexpr (Operation::Outcome::has_executor) outcome_.handlers_run_on(operation_.handlers_executor());
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
    void operator()() const noexcept {
      AsioEmission<typename Operation::HandlersExecutor>::request(awaiter->outcome_);
    }
  };

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
  using Binding = AsioBinding<Bound>;
  using HandlersExecutor = typename decltype(asio_handlers_executor<Initiation, Binding>())::type;
  using Outcome = AsioOutcome<HandlersExecutor, std::decay_t<Values>...>;

  template <class Begin, class... Given>
  explicit AsioOperation(Errors errors, Binding binding, Begin&& begin, Given&&... given)
      : errors_{errors},
        start_{std::in_place, std::move(binding), std::forward<Begin>(begin),
               std::tuple<Args...>{std::forward<Given>(given)...}} {}

  [[nodiscard]] AsioAwaiter<AsioOperation> operator co_await() && noexcept {
    return AsioAwaiter<AsioOperation>{*this};
  }
  template <class Named = AsioOperation>
  AsioAwaiter<AsioOperation> operator co_await() & {
    static_assert(
        !std::is_same_v<Named, AsioOperation>,
        "clockworker: an Asio operation with use_task is awaited once: co_await it where it is made, or "
        "write 'co_await std::move(operation)'");
    return AsioAwaiter<AsioOperation>{*this};
  }

 private:
  friend class AsioAwaiter<AsioOperation>;

  [[nodiscard]] auto handlers_executor() const {
    if constexpr (std::is_void_v<Bound>) {
      return start_->initiation.get_executor();
    } else {
      return start_->binding.get_executor();
    }
  }
  /// Once. What it was begun with goes then: the context may go before the task resumes, and an initiation or a
  /// binding may hold an executor of it.
  void initiate(Outcome& outcome) {
    struct Release {
      std::optional<Start>& start;
      ~Release() { start.reset(); }
    } release{start_};
    std::apply(
        [&](Args&... args) {
          std::move(start_->initiation)(AsioHandler<Outcome, Bound>{outcome, start_->binding},
                                        std::move(args)...);
        },
        start_->args);
  }
  auto result_of(Outcome& outcome) const { return errors_(outcome); }

  struct Start {
    template <class S>
    Start(Binding b, S&& s, std::tuple<Args...> a)
        : binding{std::move(b)}, initiation{std::forward<S>(s)}, args{std::move(a)} {}
    [[no_unique_address]] Binding binding;
    Initiation initiation;
    std::tuple<Args...> args;
  };
  [[no_unique_address]] Errors errors_;
  std::optional<Start> start_;
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
/// executor; the signal is then emitted on the thread that aborts, at once.
///
/// Abort first, then destroy the socket or timer: Asio's signal must not be emitted when that is gone, unless the
/// operation has ended by then. Under an AsioHost the order does not matter. In a guest's turn, and with one of
/// Asio's adapters, it does. Where other threads run the context, or the executor is destroyed and the context
/// runs on, keep the object until the operation has ended; best in the frame of the task.
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
