/// \file
/// Service as the LAS schedulers count it.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace clockworker::detail {

/// As far as service is counted: 292 years, in ns.
inline constexpr std::uint64_t greatest_service = std::numeric_limits<std::int64_t>::max();

/// `service` and what was `ran` on top, in ns. Stays at the greatest instead of going over it.
[[nodiscard]] constexpr std::uint64_t add_service(std::uint64_t service,
                                                  std::chrono::nanoseconds ran) noexcept {
  if (ran.count() <= 0) return service;
  const std::uint64_t room = greatest_service - service;
  const auto more = static_cast<std::uint64_t>(ran.count());
  return service + (more < room ? more : room);
}

}  // namespace clockworker::detail
