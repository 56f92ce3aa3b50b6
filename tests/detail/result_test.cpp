#include <clockworker/detail/result.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

using namespace clockworker_test;
using cw::detail::Result;
using cw::detail::ResultState;

static_assert(std::is_same_v<Result<int&>::Stored, int*>);
static_assert(std::is_same_v<Result<const int>::Stored, int>);
static_assert(std::is_empty_v<Result<void>::Stored>);

std::exception_ptr some_exception() { return std::make_exception_ptr(std::runtime_error("some")); }

TEST_CASE("Result: holds nothing at first, and needs no default constructor for that", "[result]") {
  Census census;
  {
    Result<Counted> result;
    CHECK(result.state == ResultState::none);
    CHECK_FALSE(result.frame_gone);
  }
  CHECK(census.living == 0);
}

TEST_CASE("Result: a value is made in place, moved out, and destroyed once", "[result]") {
  Census census;
  {
    Result<Counted> result;
    result.set_value(census);
    CHECK(result.state == ResultState::value);
    CHECK(census.living == 1);
    {
      Counted out = result.take_value();
      CHECK(census.living == 2);  // the one moved from goes with the result, or with mark_taken()
    }
    CHECK(census.moves == 1);
    result.mark_taken();
    CHECK(census.living == 0);
    CHECK(result.state == ResultState::taken);
  }
  CHECK(census.living == 0);
  CHECK(census.copies == 0);
}

TEST_CASE("Result: a value left in it goes with it", "[result]") {
  Census census;
  {
    Result<Counted> result;
    result.set_value(census);
  }
  CHECK(census.living == 0);
}

TEST_CASE("Result: a reference is kept as such", "[result]") {
  int value = 1;
  Result<int&> result;
  result.set_value(value);
  CHECK(&result.take_value() == &value);
  const std::string text = "x";
  Result<const std::string&> constant;
  constant.set_value(text);
  CHECK(&constant.take_value() == &text);
}

TEST_CASE("Result: void has the states of the others", "[result]") {
  Result<void> result;
  result.set_value();
  CHECK(result.state == ResultState::value);
  result.take_value();
  result.mark_taken();
  CHECK(result.state == ResultState::taken);
}

TEST_CASE("Result: an exception takes the place of a value, and a cancellation that of either", "[result]") {
  Census census;
  Result<Counted> result;
  result.set_value(census);
  result.set_exception(some_exception());
  CHECK(census.living == 0);
  CHECK(result.state == ResultState::exception);
  CHECK(result.exception() != nullptr);
  result.set_cancelled();
  CHECK(result.state == ResultState::cancelled);
}

TEST_CASE("Result: an exception can be taken once, and is not held any longer", "[result]") {
  auto counted = std::make_shared<int>(0);
  Result<int> result;
  result.set_exception(std::make_exception_ptr(counted));
  CHECK(counted.use_count() == 2);
  CHECK(result.take_exception() != nullptr);
  CHECK(result.state == ResultState::taken);
  CHECK(counted.use_count() == 1);
}

TEST_CASE("Result: a constructor that throws leaves it as it was", "[result]") {
  struct Throws {
    explicit Throws(int) { throw std::runtime_error("from a constructor"); }
  };
  Result<Throws> result;
  CHECK(thrown_text<std::runtime_error>([&] { result.set_value(1); }) == "from a constructor");
  CHECK(result.state == ResultState::none);
  result.set_exception(some_exception());
  CHECK(result.state == ResultState::exception);
}

TEST_CASE("Result: a const value is moved out, not copied", "[result]") {
  Census census;
  {
    Result<const Counted> result;
    result.set_value(census);
    const Counted out = result.take_value();
    CHECK(census.moves == 1);
  }
  CHECK(census.copies == 0);
  CHECK(census.living == 0);
}

}  // namespace
