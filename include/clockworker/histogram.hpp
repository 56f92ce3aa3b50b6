/// \file
/// Distributions of durations, as the statistics hand them out.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>

namespace clockworker {

/// How often durations of which length occurred: a value of fixed size that never allocates.
///
/// Buckets are log-linear: 0 to 15 ns exactly, above that 8 to the octave, so a bucket is at most 12.5 %
/// wide. They cover every non-negative `std::int64_t`. `min`, `max`, `count` are exact, so is `sum` until
/// it would overflow, where it stays at the largest value. At most 2^64 - 1 durations fit in.
class Histogram {
 public:
  using Duration = std::chrono::nanoseconds;

  /// Adds a duration, `times` times over; a negative one counts as 0. O(1), some ten instructions.
  constexpr void record(Duration value, std::uint64_t times = 1) noexcept {
    if (times == 0) return;
    const std::uint64_t ns = value.count() < 0 ? 0 : static_cast<std::uint64_t>(value.count());
    counts_[bucket_of(ns)] += times;
    count_ += times;
    const std::uint64_t headroom = largest - sum_;
    sum_ = times == 1 ? (ns <= headroom ? sum_ + ns : largest)
                      : (ns == 0 || times <= headroom / ns ? sum_ + ns * times : largest);
    if (ns < min_) min_ = ns;
    if (ns > max_) max_ = ns;
  }

  /// Adds all that the other one has recorded. O(buckets).
  constexpr void merge(const Histogram& other) noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ = other.sum_ <= largest - sum_ ? sum_ + other.sum_ : largest;
    if (other.min_ < min_) min_ = other.min_;
    if (other.max_ > max_) max_ = other.max_;
  }

  [[nodiscard]] constexpr std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] constexpr Duration sum() const noexcept { return duration(sum_); }

  // All of these are 0 as long as nothing is recorded.
  [[nodiscard]] constexpr Duration min() const noexcept { return duration(count_ == 0 ? 0 : min_); }
  [[nodiscard]] constexpr Duration max() const noexcept { return duration(max_); }
  [[nodiscard]] constexpr Duration mean() const noexcept { return duration(count_ == 0 ? 0 : sum_ / count_); }

  /// The duration that `p` percent of all did not exceed (nearest rank): never less than the exact one
  /// and at most 12.5 % more; exact for the smallest and the largest. 0 as long as nothing is recorded.
  /// Throws `std::invalid_argument` unless 0 <= p <= 100. O(buckets).
  [[nodiscard]] constexpr Duration percentile(double p) const {
    if (!(p >= 0.0 && p <= 100.0)) {
      throw std::invalid_argument("clockworker::Histogram::percentile: p must lie between 0 and 100");
    }
    const std::uint64_t rank = rank_of(p);
    if (rank <= 1) return min();
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < bucket_count; ++i) {
      seen += counts_[i];
      if (seen >= rank) return duration(upper_of(i) < max_ ? upper_of(i) : max_);
    }
    return max();
  }

  /// Calls `f(lower, upper, count)` for every bucket that is not empty, in ascending order. Both edges
  /// belong to the bucket.
  template <std::invocable<Duration, Duration, std::uint64_t> F>
  constexpr void for_each_bucket(F&& f) const {
    for (std::size_t i = 0; i < bucket_count; ++i) {
      if (counts_[i] != 0) f(duration(lower_of(i)), duration(upper_of(i)), counts_[i]);
    }
  }

  friend constexpr bool operator==(const Histogram&, const Histogram&) = default;

 private:
  static constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();
  static constexpr std::size_t sub_bits = 3;  // 2^3 buckets an octave
  static constexpr std::size_t sub_count = std::size_t{1} << sub_bits;
  static constexpr std::size_t bucket_count = (63 - sub_bits + 1) * sub_count;

  // An octave's values share their bit width; the bits below the leading one choose the bucket in it.
  // The values below 2^sub_bits have a bucket each, and their indices continue into the first octave.
  static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    const auto shift = static_cast<std::size_t>(std::bit_width(ns | sub_count)) - sub_bits - 1;
    return (shift << sub_bits) + static_cast<std::size_t>(ns >> shift);
  }
  static constexpr std::uint64_t lower_of(std::size_t index) noexcept {
    if (index < sub_count) return index;
    const std::size_t shift = (index >> sub_bits) - 1;
    return (std::uint64_t{index} - (shift << sub_bits)) << shift;
  }
  static constexpr std::uint64_t upper_of(std::size_t index) noexcept {
    return lower_of(index + 1) - 1;  // 2^63 - 1 for the last
  }

  static constexpr Duration duration(std::uint64_t ns) noexcept {
    return Duration(static_cast<std::int64_t>(ns));
  }

  // ceil(p % of count), where an exact product must not end one rank higher for being rounded up.
  constexpr std::uint64_t rank_of(double p) const noexcept {
    const double all = static_cast<double>(count_);
    const double share = p * all / 100.0 * (1.0 - 4.0 * std::numeric_limits<double>::epsilon());
    if (share >= all) return count_;
    const auto below = static_cast<std::uint64_t>(share);
    return static_cast<double>(below) < share && below < count_ ? below + 1 : below;
  }

  std::array<std::uint64_t, bucket_count> counts_{};
  std::uint64_t count_ = 0;      // sum of `counts_`
  std::uint64_t sum_ = 0;        // at most `largest`
  std::uint64_t min_ = largest;  // `largest` if nothing is recorded
  std::uint64_t max_ = 0;
};

}  // namespace clockworker
