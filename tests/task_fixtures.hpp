/// \file
/// An executor whose time is stepped by hand, and objects that tell what becomes of them.
#pragma once

#include <clockworker/clockworker.hpp>

#include <chrono>
#include <coroutine>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace clockworker_test {

namespace cw = clockworker;
using namespace std::chrono_literals;

using ManualExecutor = cw::Executor<int, cw::ManualClock>;

[[nodiscard]] inline ManualExecutor manual_executor(
    cw::ExceptionPolicy policy = cw::ExceptionPolicy::rethrow) {
  return cw::ExecutorBuilder<int, cw::ManualClock>{}
      .with_queue(0, 1)
      .with_queue(1, 1)
      .with_exception_policy(policy)
      .build();
}

/// Until nothing is runnable.
template <class Executor>
void run_all(Executor& executor) {
  while (executor.run_ready({1h, 1'000'000}).runnable) {
  }
}

template <class Executor>
void pass_time(Executor& executor, std::chrono::nanoseconds by) {
  cw::ManualClock::advance(by);
  run_all(executor);
}

using Log = std::vector<std::string>;

/// Writes its name into a log when it is destroyed.
class Epitaph {
 public:
  Epitaph(Log& log, std::string name) : log_{&log}, name_{std::move(name)} {}
  Epitaph(Epitaph&& other) noexcept
      : log_{std::exchange(other.log_, nullptr)}, name_{std::move(other.name_)} {}
  Epitaph(const Epitaph&) = delete;
  Epitaph& operator=(const Epitaph&) = delete;
  ~Epitaph() {
    if (log_ != nullptr) log_->push_back(name_);
  }

 private:
  Log* log_;
  std::string name_;
};

struct Census {
  int living = 0;
  int copies = 0;
  int moves = 0;
};

/// Counts itself.
class Counted {
 public:
  explicit Counted(Census& census) noexcept : census_{&census} { ++census_->living; }
  Counted(const Counted& other) noexcept : census_{other.census_} {
    ++census_->living;
    ++census_->copies;
  }
  Counted(Counted&& other) noexcept : census_{other.census_} {
    ++census_->living;
    ++census_->moves;
  }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --census_->living; }

 private:
  Census* census_;
};

/// Somebody else's awaitable, for one waiter: completes when the test says so.
struct Stranger {
  std::coroutine_handle<> waiting = nullptr;

  Stranger() = default;
  Stranger(const Stranger&) = delete;  // who awaits an lvalue awaits this one
  Stranger& operator=(const Stranger&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) noexcept { waiting = frame; }
  void await_resume() const noexcept {}
  void complete() { std::exchange(waiting, nullptr).resume(); }
};

/// The text of what `f` throws, which must be exactly an `Exception`; else a remark that tells what happened.
template <class Exception, class F>
[[nodiscard]] std::string thrown_text(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const Exception& e) {
    return typeid(e) == typeid(Exception) ? e.what() : std::string{"of a derived type: "} + e.what();
  } catch (...) {
    return "of another type";
  }
  return "nothing";
}

}  // namespace clockworker_test
