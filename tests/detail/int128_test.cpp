#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <clockworker/detail/int128.hpp>

#include "../catch.hpp"

namespace {

using clockworker::detail::floor_divide;
using clockworker::detail::int128;
using clockworker::detail::PortableInt128;
using clockworker::detail::to_double;
using clockworker::detail::to_int64;

constexpr PortableInt128 words(std::uint64_t high, std::uint64_t low) {
  return PortableInt128::from_words(high, low);
}

static_assert(sizeof(int128) == 16 && alignof(PortableInt128) == alignof(int128));
static_assert(PortableInt128{-1} == words(~std::uint64_t{0}, ~std::uint64_t{0}));
static_assert(PortableInt128{~std::uint64_t{0}} == words(0, ~std::uint64_t{0}));

constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t greatest = std::numeric_limits<std::int64_t>::max();

}  // namespace

TEST_CASE("a portable 128-bit sum carries from word to word", "[int128]") {
  const PortableInt128 below = words(0, ~std::uint64_t{0});
  CHECK(below + PortableInt128{1} == words(1, 0));
  CHECK(words(1, 0) - PortableInt128{1} == below);
  CHECK(PortableInt128{0} - PortableInt128{1} == PortableInt128{-1});
  CHECK(-words(1, 0) == words(~std::uint64_t{0}, 0));
  CHECK(-PortableInt128{0} == PortableInt128{0});
  CHECK(-PortableInt128{least} == words(0, std::uint64_t{1} << 63U));
  PortableInt128 value{5};
  value += PortableInt128{-7};
  CHECK(value == PortableInt128{-2});
  value -= PortableInt128{-7};
  CHECK(value == PortableInt128{5});
}

TEST_CASE("portable 128-bit integers are ordered by sign, high word, low word", "[int128]") {
  const std::vector<PortableInt128> ascending{words(std::uint64_t{1} << 63U, 0),
                                              words(~std::uint64_t{0}, 0),
                                              PortableInt128{least},
                                              PortableInt128{-1},
                                              PortableInt128{0},
                                              PortableInt128{1},
                                              PortableInt128{greatest},
                                              words(0, ~std::uint64_t{0}),
                                              words(1, 0)};
  for (std::size_t a = 0; a < ascending.size(); ++a) {
    for (std::size_t b = 0; b < ascending.size(); ++b) {
      CHECK((ascending[a] < ascending[b]) == (a < b));
      CHECK((ascending[a] >= ascending[b]) == (a >= b));
      CHECK((ascending[a] == ascending[b]) == (a == b));
    }
  }
}

TEST_CASE("a portable 128-bit product takes both words and both signs", "[int128]") {
  const std::uint64_t big = ~std::uint64_t{0};
  CHECK(PortableInt128{big} * big == words(big - 1, 1));
  CHECK(PortableInt128{-3} * std::uint64_t{7} == PortableInt128{-21});
  CHECK(PortableInt128{-3} * std::int64_t{-7} == PortableInt128{21});
  CHECK(PortableInt128{1} * least == PortableInt128{least});
  CHECK(words(3, 5) * std::uint64_t{1'000} == words(3'000, 5'000));
}

TEST_CASE("floor division of 128 bits rounds down and leaves a remainder below the divisor", "[int128]") {
  const auto check = [](auto value, std::uint64_t divisor, auto quotient, std::uint64_t remainder) {
    const auto [q, r] = floor_divide(value, divisor);
    CHECK((q == quotient));
    CHECK(r == remainder);
  };
  check(PortableInt128{7}, 3, PortableInt128{2}, 1);
  check(PortableInt128{-7}, 3, PortableInt128{-3}, 2);
  check(PortableInt128{-6}, 3, PortableInt128{-2}, 0);
  check(PortableInt128{0}, 3, PortableInt128{0}, 0);
  check(words(1, 0), 2, words(0, std::uint64_t{1} << 63U), 0);
  check(int128(-7), 3, int128(-3), 2);
  check(int128(-6), 3, int128(-2), 0);
}

TEST_CASE("a 128-bit integer becomes the nearest double, ties to even", "[int128]") {
  CHECK(to_double(PortableInt128{0}) == 0.0);
  CHECK(to_double(PortableInt128{-1}) == -1.0);
  CHECK(to_double(words(1, 0)) == 18446744073709551616.0);
  CHECK(to_double(-words(1, 0)) == -18446744073709551616.0);
  const std::uint64_t half_ulp = std::uint64_t{1} << 11U;  // 2^64 is followed by 2^64 + 2^12
  CHECK(to_double(words(1, half_ulp)) == 18446744073709551616.0);
  CHECK(to_double(words(1, half_ulp + 1)) == 18446744073709555712.0);
  CHECK(to_double(words(1, 3 * half_ulp)) == 18446744073709551616.0 + 2 * 4096.0);
  CHECK(to_double(int128(-3)) == -3.0);
}

#if defined(__SIZEOF_INT128__)

namespace {

using clockworker::detail::NativeInt128;
__extension__ typedef unsigned __int128 NativeUint128;

NativeInt128 native(PortableInt128 value) {
  return static_cast<NativeInt128>((NativeUint128{value.high_word()} << 64U) | value.low_word());
}

// Any number of leading zeros or ones, often 0 or all ones below.
PortableInt128 any(std::mt19937_64& random, unsigned bits) {
  const auto shape = random();
  std::uint64_t high = random();
  std::uint64_t low = random();
  if (shape % 8 == 0) low = 0;
  if (shape % 8 == 1) low = ~std::uint64_t{0};
  if (bits <= 64) {
    high = 0;
    low = bits == 64 ? low : low & ((std::uint64_t{1} << bits) - 1);
  } else {
    high &= (std::uint64_t{1} << (bits - 64)) - 1;
  }
  return (shape & 16U) != 0 ? -words(high, low) : words(high, low);
}

}  // namespace

TEST_CASE("the portable 128-bit integer computes what the native one does", "[int128]") {
  std::mt19937_64 random{GENERATE(1U, 2U, 3U)};
  unsigned wrong = 0;
  const auto expect = [&wrong](bool same) { wrong += same ? 0U : 1U; };
  for (int round = 0; round < 20'000; ++round) {
    const PortableInt128 a = any(random, 1 + static_cast<unsigned>(random() % 125));
    const PortableInt128 b = any(random, 1 + static_cast<unsigned>(random() % 125));
    expect(native(a + b) == native(a) + native(b));
    expect(native(a - b) == native(a) - native(b));
    expect(native(-a) == -native(a));
    expect((a < b) == (native(a) < native(b)));
    expect((a == b) == (native(a) == native(b)));
    expect((a >= b) == (native(a) >= native(b)));
    expect(to_double(a) == to_double(native(a)));

    const std::uint64_t divisor = (random() >> (random() % 64)) | 1U;
    const auto ours = floor_divide(a, divisor);
    const auto theirs = floor_divide(native(a), divisor);
    expect(native(ours.quotient) == theirs.quotient);
    expect(ours.remainder == theirs.remainder);
    const auto rest = static_cast<NativeInt128>(theirs.remainder);
    expect(theirs.quotient * static_cast<NativeInt128>(divisor) + rest == native(a));

    const PortableInt128 narrow = any(random, 1 + static_cast<unsigned>(random() % 73));
    const std::uint64_t factor = random() >> (11 + random() % 53);
    expect(native(narrow * factor) == native(narrow) * factor);
    const auto signed_factor = static_cast<std::int64_t>(factor) * ((round & 1) != 0 ? -1 : 1);
    expect(native(narrow * signed_factor) == native(narrow) * signed_factor);

    const auto small = static_cast<std::int64_t>(random());
    expect(native(PortableInt128{small}) == NativeInt128{small});
    expect(to_int64(PortableInt128{small}) == small);
    expect(to_int64(NativeInt128{small}) == small);
  }
  CHECK(wrong == 0);
}

#endif
