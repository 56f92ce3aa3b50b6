#include <clockworker/join.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

using namespace clockworker_test;

static_assert(std::is_nothrow_move_constructible_v<cw::JoinResult<std::string>>);
static_assert(std::is_same_v<decltype(*std::declval<cw::JoinResult<int>&>()), int&>);
static_assert(std::is_same_v<decltype(*std::declval<const cw::JoinResult<int>&>()), const int&>);
static_assert(std::is_same_v<decltype(*std::declval<cw::JoinResult<int>>()), int&&>);
static_assert(std::is_same_v<decltype(*std::declval<cw::JoinResult<int&>&>()), int&>);
static_assert(std::is_same_v<decltype(*std::declval<cw::JoinResult<int&>>()), int&>);
static_assert(std::is_same_v<decltype(std::declval<cw::JoinResult<int&>>().value()), int&>);
static_assert(std::is_same_v<decltype(std::declval<cw::JoinResult<void>>().value()), void>);
static_assert(!std::is_convertible_v<cw::JoinResult<int>, bool>);

/// What the task `f()` ends with.
template <class F>
auto result_of(F f) {
  ManualExecutor executor = manual_executor(cw::ExceptionPolicy::capture);
  auto handle = executor.queue(0).spawn(f);
  run_all(executor);
  return std::move(*handle.try_take());
}

TEST_CASE("JoinResult: has its value, by every way of reading it", "[join]") {
  cw::JoinResult<std::string> result = result_of([]() -> cw::Task<std::string> { co_return "text"; });
  CHECK(result.has_value());
  CHECK(static_cast<bool>(result));
  CHECK(*result == "text");
  CHECK(result->size() == 4);
  const cw::JoinResult<std::string>& constant = result;
  CHECK(*constant == "text");
  CHECK(constant->size() == 4);
  *result += "!";
  CHECK(result.value() == "text!");
}

TEST_CASE("JoinResult: a move-only value is moved out", "[join]") {
  cw::JoinResult<std::unique_ptr<int>> result =
      result_of([]() -> cw::Task<std::unique_ptr<int>> { co_return std::make_unique<int>(9); });
  std::unique_ptr<int> out = result.value();
  REQUIRE(out != nullptr);
  CHECK(*out == 9);
  CHECK(result.has_value());
  CHECK(*result == nullptr);  // moved from
  cw::JoinResult<std::unique_ptr<int>> other =
      result_of([]() -> cw::Task<std::unique_ptr<int>> { co_return std::make_unique<int>(10); });
  std::unique_ptr<int> by_star = *std::move(other);
  CHECK(*by_star == 10);
}

TEST_CASE("JoinResult: a reference is the object itself", "[join]") {
  std::string text = "x";
  cw::JoinResult<std::string&> result = result_of([&]() -> cw::Task<std::string&> { co_return text; });
  CHECK(&result.value() == &text);
  CHECK(&*result == &text);
  CHECK(result->size() == 1);
}

TEST_CASE("JoinResult: one of void has a value and gives nothing", "[join]") {
  cw::JoinResult<void> result = result_of([]() -> cw::Task<> { co_return; });
  CHECK(result.has_value());
  result.value();
}

TEST_CASE("JoinResult: value() rethrows the task's own exception, as often as it is asked", "[join]") {
  cw::JoinResult<int> result = result_of([]() -> cw::Task<int> {
    throw std::runtime_error("mine");
    co_return 1;
  });
  CHECK_FALSE(result.has_value());
  CHECK(thrown_text<std::runtime_error>([&] { static_cast<void>(result.value()); }) == "mine");
  CHECK(thrown_text<std::runtime_error>([&] { static_cast<void>(result.value()); }) == "mine");
  CHECK(result.error().code() == cw::JoinErrc::exception);
  CHECK(thrown_text<std::runtime_error>([&] { std::rethrow_exception(result.error().exception()); }) ==
        "mine");
}

TEST_CASE("JoinResult: value() of a cancelled one throws a JoinError that says so", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<int> handle = executor.queue(0).spawn([]() -> cw::Task<int> { co_return 1; });
  handle.abort();
  run_all(executor);
  cw::JoinResult<int> result = std::move(*handle.try_take());
  CHECK(thrown_text<cw::JoinError>([&] { static_cast<void>(result.value()); }) ==
        "clockworker: the task was cancelled");
  CHECK(result.error().exception() == nullptr);
}

TEST_CASE("JoinResult: error() of one that has a value throws std::logic_error", "[join]") {
  cw::JoinResult<int> result = result_of([]() -> cw::Task<int> { co_return 1; });
  CHECK(thrown_text<std::logic_error>([&] { static_cast<void>(result.error()); }) ==
        "clockworker: JoinResult::error() of a result that has a value");
}

TEST_CASE("JoinResult: a value whose move throws stays where it is, to be taken again", "[join]") {
  struct Fragile {
    Fragile(int with, int* left) : value{with}, moves_left{left} {}
    Fragile(Fragile&& other) : value{other.value}, moves_left{other.moves_left} {
      if (--*moves_left == 0) throw std::runtime_error("from a move");
    }
    int value;
    int* moves_left;
  };
  int left = 2;  // into the cell goes; out of it throws
  ManualExecutor executor = manual_executor();
  auto handle = executor.queue(0).spawn([&]() -> cw::Task<Fragile> { co_return Fragile(3, &left); });
  run_all(executor);
  CHECK(thrown_text<std::runtime_error>([&] { static_cast<void>(handle.try_take()); }) == "from a move");
  left = 100;
  CHECK((*handle.try_take())->value == 3);
}

TEST_CASE("JoinError: each code has its text", "[join]") {
  using cw::JoinErrc;
  CHECK(std::string{cw::JoinError{JoinErrc::cancelled}.what()} == "clockworker: the task was cancelled");
  CHECK(std::string{cw::JoinError{JoinErrc::exception}.what()} ==
        "clockworker: the task ended with an exception");
  CHECK(std::string{cw::JoinError{JoinErrc::result_taken}.what()} ==
        "clockworker: the task's result was taken before");
  const std::exception& base = cw::JoinError{JoinErrc::cancelled};
  CHECK(dynamic_cast<const cw::JoinError*>(&base) != nullptr);
}

}  // namespace
