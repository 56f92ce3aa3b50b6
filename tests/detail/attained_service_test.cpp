#include <clockworker/detail/attained_service.hpp>

#include "catch.hpp"

#include <chrono>
#include <cstdint>

namespace {

using clockworker::detail::add_service;
using std::chrono::nanoseconds;

TEST_CASE("service adds up, stays at its greatest value, and never goes down", "[attained_service]") {
  constexpr std::uint64_t greatest = clockworker::detail::greatest_service;
  CHECK(add_service(0, nanoseconds{0}) == 0);
  CHECK(add_service(5, nanoseconds{7}) == 12);
  CHECK(add_service(5, nanoseconds{-7}) == 5);
  CHECK(add_service(5, nanoseconds::min()) == 5);
  CHECK(add_service(greatest - 7, nanoseconds{7}) == greatest);
  CHECK(add_service(greatest - 7, nanoseconds{6}) == greatest - 1);
  CHECK(add_service(greatest - 7, nanoseconds{8}) == greatest);
  CHECK(add_service(greatest, nanoseconds::max()) == greatest);
}

}  // namespace
