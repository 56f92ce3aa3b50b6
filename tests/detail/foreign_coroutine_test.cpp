// Coroutines of another library, awaited in a task.

#include <clockworker/detail/foreign.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <coroutine>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using namespace clockworker_test;

/// A lazy coroutine of another library, with symmetric transfer at both ends.
template <class T>
class Lazy {
 public:
  struct promise_type {
    std::coroutine_handle<> continuation = std::noop_coroutine();
    std::optional<T> value;
    std::exception_ptr exception;
    Lazy get_return_object() { return Lazy{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct Transfer {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
          return ended.promise().continuation;
        }
        void await_resume() const noexcept {}
      };
      return Transfer{};
    }
    void return_value(T with) { value = std::move(with); }
    void unhandled_exception() { exception = std::current_exception(); }
  };

  Lazy(Lazy&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  Lazy& operator=(Lazy&&) = delete;
  ~Lazy() {
    if (frame_) frame_.destroy();
  }

  auto operator co_await() const noexcept {
    struct Awaiter {
      std::coroutine_handle<promise_type> frame;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> by) const noexcept {
        frame.promise().continuation = by;
        return frame;
      }
      T await_resume() const {
        if (frame.promise().exception) std::rethrow_exception(frame.promise().exception);
        return std::move(*frame.promise().value);
      }
    };
    return Awaiter{frame_};
  }

 private:
  explicit Lazy(std::coroutine_handle<promise_type> frame) : frame_{frame} {}
  std::coroutine_handle<promise_type> frame_;
};

Lazy<int> foreign_leaf(Stranger* waits_for, bool fails) {
  if (waits_for != nullptr) co_await *waits_for;
  if (fails) throw std::runtime_error("from a foreign coroutine");
  co_return 20;
}

Lazy<int> foreign_parent(Stranger* waits_for, bool fails) {
  int below = co_await foreign_leaf(waits_for, fails);
  co_return below + 1;
}

TEST_CASE("foreign: a foreign coroutine with symmetric transfer runs, and gives its value or its exception",
          "[foreign]") {
  ManualExecutor executor = manual_executor();
  Log log;
  int value = 0;
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    value = co_await foreign_parent(nullptr, false);
    try {
      co_await foreign_parent(nullptr, true);
    } catch (const std::runtime_error& e) {
      log.push_back(e.what());
    }
  }));
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
    log.push_back("other");
    co_return;
  }));
  run_all(executor);
  CHECK(value == 21);
  CHECK(log == Log{"from a foreign coroutine", "other"});  // with no trip through the queue
}

TEST_CASE("foreign: a foreign coroutine that waits suspends the task, not the executor", "[foreign]") {
  ManualExecutor executor = manual_executor();
  Stranger stranger;
  cw::JoinHandle<int> handle = executor.queue(0).spawn([&]() -> cw::Task<int> {
    int got = co_await foreign_parent(&stranger, false);
    co_return got;
  });
  run_all(executor);
  CHECK_FALSE(handle.done());
  stranger.complete();  // the foreign coroutines run here; the task at its turn
  CHECK_FALSE(handle.done());
  run_all(executor);
  CHECK(handle.try_take()->value() == 21);
}

}  // namespace
