#include <clockworker/histogram.hpp>

#include "catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using clockworker::Histogram;
using std::chrono::nanoseconds;
using namespace std::chrono_literals;

static_assert(std::is_trivially_copyable_v<Histogram>);
static_assert(sizeof(Histogram) <= 4096);
static_assert(std::is_nothrow_default_constructible_v<Histogram>);
static_assert(noexcept(std::declval<Histogram&>().record(std::declval<nanoseconds>())));
static_assert(noexcept(std::declval<Histogram&>().merge(Histogram{})));

static_assert([] {
  Histogram histogram;
  histogram.record(1us);
  histogram.record(3us);
  return histogram.mean() == 2us && histogram.percentile(100) == 3us;
}());

constexpr std::int64_t longest = std::numeric_limits<std::int64_t>::max();

struct Bucket {
  std::int64_t lower, upper;
  std::uint64_t count;
};

std::vector<Bucket> buckets_of(const Histogram& histogram) {
  std::vector<Bucket> buckets;
  histogram.for_each_bucket([&](nanoseconds lower, nanoseconds upper, std::uint64_t count) {
    buckets.push_back({lower.count(), upper.count(), count});
  });
  return buckets;
}

/// Durations of all magnitudes from 0 ns to `octaves` octaves.
std::vector<std::int64_t> samples(std::uint64_t seed, std::size_t count, unsigned octaves) {
  std::mt19937_64 random(seed);
  std::vector<std::int64_t> result(count);
  for (auto& sample : result) sample = static_cast<std::int64_t>(random() >> (64 - random() % octaves - 1));
  return result;
}

Histogram histogram_of(const std::vector<std::int64_t>& values) {
  Histogram histogram;
  for (const auto value : values) histogram.record(nanoseconds(value));
  return histogram;
}

}  // namespace

TEST_CASE("an empty histogram is all zeros") {
  const Histogram histogram;
  CHECK(histogram.count() == 0);
  CHECK(histogram.sum() == 0ns);
  CHECK(histogram.min() == 0ns);
  CHECK(histogram.max() == 0ns);
  CHECK(histogram.mean() == 0ns);
  CHECK(histogram.percentile(0) == 0ns);
  CHECK(histogram.percentile(50) == 0ns);
  CHECK(histogram.percentile(100) == 0ns);
  CHECK(buckets_of(histogram).empty());
}

TEST_CASE("a single duration is known exactly") {
  for (const nanoseconds value : {0ns, 1ns, 15ns, 16ns, 17ns, 1'000'003ns, nanoseconds(longest)}) {
    Histogram histogram;
    histogram.record(value);
    CHECK(histogram.count() == 1);
    CHECK(histogram.sum() == value);
    CHECK(histogram.min() == value);
    CHECK(histogram.max() == value);
    CHECK(histogram.mean() == value);
    CHECK(histogram.percentile(0) == value);
    CHECK(histogram.percentile(50) == value);
    CHECK(histogram.percentile(100) == value);
  }
}

TEST_CASE("any unit of duration can be recorded") {
  Histogram histogram;
  histogram.record(2ms);
  histogram.record(std::chrono::seconds(1));
  CHECK(histogram.sum() == 1'002'000'000ns);
}

TEST_CASE("a negative duration counts as zero") {
  Histogram histogram;
  histogram.record(-1ns);
  histogram.record(nanoseconds::min());
  CHECK(histogram.count() == 2);
  CHECK(histogram.sum() == 0ns);
  CHECK(histogram.min() == 0ns);
  CHECK(histogram.max() == 0ns);
}

TEST_CASE("recording n times is recording once, n times over") {
  Histogram at_once, one_by_one;
  for (const nanoseconds value : {0ns, 7ns, 12'345ns}) {
    at_once.record(value, 5);
    for (int i = 0; i < 5; ++i) one_by_one.record(value);
  }
  CHECK(at_once == one_by_one);

  const Histogram before = at_once;
  at_once.record(99s, 0);
  CHECK(at_once == before);
}

TEST_CASE("a sum too large stays at the largest value") {
  Histogram histogram;
  histogram.record(nanoseconds(longest));
  histogram.record(1ns);
  CHECK(histogram.sum() == nanoseconds(longest));
  CHECK(histogram.count() == 2);

  Histogram many;
  many.record(1s, std::uint64_t{1} << 40);
  CHECK(many.sum() == nanoseconds(longest));
  CHECK(many.max() == 1s);

  Histogram just;
  just.record(nanoseconds(longest / 7), 7);
  CHECK(just.sum() == nanoseconds(longest / 7 * 7));
  just.merge(many);
  CHECK(just.sum() == nanoseconds(longest));
}

TEST_CASE("the buckets cover every duration without gap or overlap, and are at most an eighth wide") {
  Histogram histogram;
  // Each of these lies in the middle or at an edge of a bucket; together they touch all of them.
  for (std::int64_t value = 0; value < 16; ++value) histogram.record(nanoseconds(value));
  for (unsigned octave = 4; octave < 63; ++octave) {
    for (std::int64_t eighth = 8; eighth < 16; ++eighth)
      histogram.record(nanoseconds(eighth << (octave - 3)));
  }
  const auto buckets = buckets_of(histogram);
  REQUIRE(buckets.size() == 16 + 59 * 8);
  CHECK(buckets.front().lower == 0);
  CHECK(buckets.back().upper == longest);
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const auto [lower, upper, count] = buckets[i];
    INFO("bucket " << i << ": " << lower << " to " << upper);
    CHECK(count == 1);
    CHECK(upper - lower <= lower / 8);
    if (i > 0) CHECK(lower == buckets[i - 1].upper + 1);
  }
}

TEST_CASE("both edges of a bucket belong to it") {
  for (const auto value : samples(11, 2000, 63)) {
    Histogram one;
    one.record(nanoseconds(value));
    const Bucket bucket = buckets_of(one).at(0);
    INFO(value);
    CHECK(bucket.lower <= value);
    CHECK(bucket.upper >= value);
    Histogram edges;
    edges.record(nanoseconds(bucket.lower));
    edges.record(nanoseconds(bucket.upper), 2);
    const auto both = buckets_of(edges);
    CHECK(both.size() == 1);
    CHECK(both.at(0).count == 3);
  }
}

TEST_CASE("percentiles lie at most an eighth above the exact ones, and never below") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    auto values = samples(seed, seed * 137, 50);
    const Histogram histogram = histogram_of(values);
    std::sort(values.begin(), values.end());

    CHECK(histogram.count() == values.size());
    CHECK(histogram.min().count() == values.front());
    CHECK(histogram.max().count() == values.back());
    const auto sum = std::accumulate(values.begin(), values.end(), std::int64_t{0});
    CHECK(histogram.sum().count() == sum);
    CHECK(histogram.mean().count() == sum / static_cast<std::int64_t>(values.size()));

    nanoseconds previous = 0ns;
    for (std::uint64_t tenth = 0; tenth <= 1000; ++tenth) {  // tenths of a percent, by integers alone
      const auto rank = std::max<std::uint64_t>(1, (tenth * values.size() + 999) / 1000);
      const std::int64_t exact = values[static_cast<std::size_t>(rank - 1)];
      const nanoseconds found = histogram.percentile(static_cast<double>(tenth) / 10.0);
      INFO("seed " << seed << ", percentile " << tenth << "/10, exact " << exact);
      REQUIRE(found.count() >= exact);
      REQUIRE(found.count() <= exact + exact / 8);
      REQUIRE(found >= previous);
      previous = found;
    }
  }
}

TEST_CASE("a percentile that falls on a rank takes that rank, whatever its decimals") {
  // With two values, the step from one to the other must come at exactly the right rank.
  for (std::uint64_t tenth = 1; tenth < 1000; ++tenth) {
    Histogram histogram;
    histogram.record(1ns, tenth);
    histogram.record(2ns, 1000 - tenth);
    INFO(tenth);
    CHECK(histogram.percentile(static_cast<double>(tenth) / 10.0) == 1ns);
    CHECK(histogram.percentile(static_cast<double>(tenth) / 10.0 + 0.001) == 2ns);
  }
}

TEST_CASE("the smallest and the largest percentile are exact") {
  const auto values = samples(5, 1000, 60);
  const Histogram histogram = histogram_of(values);
  CHECK(histogram.percentile(0) == histogram.min());
  CHECK(histogram.percentile(100) == histogram.max());
}

TEST_CASE("a percentile of counts near the end of their range is found") {
  Histogram histogram;
  const std::uint64_t half = std::numeric_limits<std::uint64_t>::max() / 2;
  histogram.record(1ns, half);
  histogram.record(5ns, half);
  CHECK(histogram.percentile(25) == 1ns);
  CHECK(histogram.percentile(75) == 5ns);
  CHECK(histogram.percentile(100) == 5ns);
}

TEST_CASE("a percentile outside 0 to 100 is refused with a reason") {
  const Histogram empty;
  Histogram full;
  full.record(1ns);
  for (const double p : {-0.001, 100.001, -std::numeric_limits<double>::infinity(),
                         std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_AS(empty.percentile(p), std::invalid_argument);
    CHECK_THROWS_AS(full.percentile(p), std::invalid_argument);
  }
  try {
    static_cast<void>(full.percentile(101));
    FAIL("not refused");
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()).find("between 0 and 100") != std::string::npos);
  }
}

TEST_CASE("merging two histograms is recording all in one") {
  const auto some = samples(21, 700, 45);
  const auto others = samples(22, 300, 20);
  std::vector<std::int64_t> all = some;
  all.insert(all.end(), others.begin(), others.end());

  Histogram merged = histogram_of(some);
  merged.merge(histogram_of(others));
  CHECK(merged == histogram_of(all));

  const Histogram before = merged;
  merged.merge(Histogram{});
  CHECK(merged == before);

  Histogram into_empty;
  into_empty.merge(before);
  CHECK(into_empty == before);

  merged.merge(merged);
  CHECK(merged.count() == 2 * before.count());
  CHECK(merged.sum() == 2 * before.sum());
  CHECK(merged.min() == before.min());
}
