/// \file
/// A signed integer of 128 bits, with just the operations that the picker's products need. `int128` is the
/// compiler's own where there is one, else `PortableInt128`; both behave alike as long as no result leaves
/// the range.
#pragma once

#include <bit>
#include <compare>
#include <concepts>
#include <cstdint>

#include <clockworker/config.hpp>

namespace clockworker::detail {

/// Two's complement in two words: construction, sums, products by a 64-bit integer, comparisons. As large and
/// as aligned as the native one, so that the choice between them changes no layout.
class alignas(16) PortableInt128 {
 public:
  constexpr PortableInt128() noexcept = default;

  template <std::integral I>
  constexpr PortableInt128(I value) noexcept  // implicit, as it is for the native type
      : high_{value < I{} ? ~std::uint64_t{0} : std::uint64_t{0}}, low_{static_cast<std::uint64_t>(value)} {}

  friend constexpr PortableInt128 operator+(PortableInt128 a, PortableInt128 b) noexcept {
    const std::uint64_t low = a.low_ + b.low_;
    return {a.high_ + b.high_ + (low < a.low_ ? 1U : 0U), low};
  }
  friend constexpr PortableInt128 operator-(PortableInt128 a) noexcept {
    return {~a.high_ + (a.low_ == 0 ? 1U : 0U), std::uint64_t{0} - a.low_};
  }
  friend constexpr PortableInt128 operator-(PortableInt128 a, PortableInt128 b) noexcept {
    return {a.high_ - b.high_ - (a.low_ < b.low_ ? 1U : 0U), a.low_ - b.low_};
  }
  constexpr PortableInt128& operator+=(PortableInt128 b) noexcept { return *this = *this + b; }
  constexpr PortableInt128& operator-=(PortableInt128 b) noexcept { return *this = *this - b; }

  template <std::integral I>
  friend constexpr PortableInt128 operator*(PortableInt128 a, I factor) noexcept {
    if (factor < I{}) return -a.times(std::uint64_t{0} - static_cast<std::uint64_t>(factor));
    return a.times(static_cast<std::uint64_t>(factor));
  }

  friend constexpr bool operator==(PortableInt128, PortableInt128) noexcept = default;
  friend constexpr std::strong_ordering operator<=>(PortableInt128 a, PortableInt128 b) noexcept {
    if (a.high_ != b.high_) return static_cast<std::int64_t>(a.high_) <=> static_cast<std::int64_t>(b.high_);
    return a.low_ <=> b.low_;
  }

  [[nodiscard]] constexpr std::uint64_t high_word() const noexcept { return high_; }
  [[nodiscard]] constexpr std::uint64_t low_word() const noexcept { return low_; }

  [[nodiscard]] static constexpr PortableInt128 from_words(std::uint64_t high, std::uint64_t low) noexcept {
    return {high, low};
  }

 private:
  constexpr PortableInt128(std::uint64_t high, std::uint64_t low) noexcept : high_{high}, low_{low} {}

  [[nodiscard]] constexpr PortableInt128 times(std::uint64_t factor) const noexcept {
    constexpr std::uint64_t half = 0xffff'ffffU;
    const std::uint64_t bottom = (low_ & half) * (factor & half);
    const std::uint64_t cross = (low_ >> 32U) * (factor & half) + (bottom >> 32U);
    const std::uint64_t middle = (low_ & half) * (factor >> 32U) + (cross & half);
    const std::uint64_t carry = (low_ >> 32U) * (factor >> 32U) + (cross >> 32U) + (middle >> 32U);
    return {high_ * factor + carry, (middle << 32U) | (bottom & half)};
  }

  std::uint64_t high_ = 0;
  std::uint64_t low_ = 0;
};

/// What `floor_divide` returns: value == quotient * divisor + remainder, 0 <= remainder < divisor.
template <class Int>
struct FloorDivision {
  Int quotient;
  std::uint64_t remainder;
};

/// Quotient rounded towards minus infinity. Precondition: divisor != 0. The portable one takes a step a bit:
/// it serves where queues come and go, not where they are chosen.
[[nodiscard]] constexpr FloorDivision<PortableInt128> floor_divide(PortableInt128 value,
                                                                   std::uint64_t divisor) noexcept {
  const bool negative = value < PortableInt128{};
  const PortableInt128 magnitude = negative ? -value : value;
  const std::uint64_t high = magnitude.high_word() / divisor;
  std::uint64_t rest = magnitude.high_word() % divisor;
  std::uint64_t low = 0;
  for (unsigned bit = 64; bit-- > 0;) {
    const bool carried = (rest >> 63U) != 0;
    rest = (rest << 1U) | ((magnitude.low_word() >> bit) & 1U);
    low <<= 1U;
    if (carried || rest >= divisor) {
      rest -= divisor;
      low |= 1U;
    }
  }
  const PortableInt128 quotient = PortableInt128::from_words(high, low);
  if (!negative) return {quotient, rest};
  if (rest == 0) return {-quotient, 0};
  return {-quotient - PortableInt128{1}, divisor - rest};
}

/// The low 64 bits. Precondition: the value fits.
[[nodiscard]] constexpr std::int64_t to_int64(PortableInt128 value) noexcept {
  return static_cast<std::int64_t>(value.low_word());
}

/// The nearest double, ties to even.
[[nodiscard]] constexpr double to_double(PortableInt128 value) noexcept {
  const bool negative = value < PortableInt128{};
  const PortableInt128 magnitude = negative ? -value : value;
  std::uint64_t top = magnitude.low_word();
  int exponent = 0;
  if (magnitude.high_word() != 0) {
    const int unused = std::countl_zero(magnitude.high_word());
    exponent = 64 - unused;
    top = magnitude.high_word();
    std::uint64_t dropped = magnitude.low_word();
    if (unused != 0) {
      top = (top << unused) | (dropped >> exponent);
      dropped <<= unused;
    }
    if (dropped != 0) top |= 1U;  // what was cut off decides between two neighbours only in a tie
  }
  auto result = static_cast<double>(top);
  for (; exponent > 0; --exponent) result *= 2;
  return negative ? -result : result;
}

#if defined(__SIZEOF_INT128__)
__extension__ typedef __int128 NativeInt128;  // `using` would still draw -Wpedantic

[[nodiscard]] constexpr FloorDivision<NativeInt128> floor_divide(NativeInt128 value,
                                                                 std::uint64_t divisor) noexcept {
  NativeInt128 quotient = value / divisor;
  NativeInt128 rest = value % divisor;
  if (rest < 0) {
    quotient -= 1;
    rest += divisor;
  }
  return {quotient, static_cast<std::uint64_t>(rest)};
}
[[nodiscard]] constexpr std::int64_t to_int64(NativeInt128 value) noexcept {
  return static_cast<std::int64_t>(value);
}
[[nodiscard]] constexpr double to_double(NativeInt128 value) noexcept { return static_cast<double>(value); }
#endif

#if defined(__SIZEOF_INT128__) && !CLOCKWORKER_PORTABLE_INT128
using int128 = NativeInt128;
#else
using int128 = PortableInt128;
#endif

}  // namespace clockworker::detail
