// What is asked, when, and the ranking that answers it.
#pragma once

#include "index.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

/// SplitMix64 (Steele, Lea, Flood 2014). The distributions of <random> differ between standard libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  /// In [0, 1).
  double uniform() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  std::uint64_t state_;
};

/// When queries arrive, counted from the start: a Poisson process, as of many users who know nothing of each other.
/// It is fixed beforehand, so a server that falls behind does not slow its clients down.
inline std::vector<std::chrono::nanoseconds> poisson_arrivals(double rate, double seconds, std::uint64_t seed) {
  const auto count = static_cast<std::size_t>(std::llround(rate * seconds));
  std::vector<std::chrono::nanoseconds> arrivals;
  arrivals.reserve(count);
  Random random{seed};
  double at = 0;  // seconds
  while (arrivals.size() < count) {
    at += -std::log(1 - random.uniform()) / rate;
    arrivals.emplace_back(std::llround(at * 1e9));
  }
  return arrivals;
}

using Query = std::vector<std::string_view>;

/// Draws queries from the words of an index by Zipf's law: the word that is r-th in popularity with a probability of
/// 1/r. Query n is the same each time it is asked for.
class QuerySource {
 public:
  QuerySource(std::vector<std::string> words_by_popularity, std::uint64_t seed)
      : words_(std::move(words_by_popularity)), seed_(seed) {}

  /// Valid as long as this source. Precondition: there are words.
  [[nodiscard]] Query query(std::uint64_t number, std::size_t length) const {
    Random random{seed_ ^ (number << 32)};
    const double words = static_cast<double>(words_.size());
    Query query(length);
    for (std::string_view& word : query) {
      const auto rank = static_cast<std::size_t>(std::pow(words, random.uniform()));  // 1 ... words, log-uniform
      word = words_[std::min(rank, words_.size()) - 1];
    }
    return query;
  }

 private:
  std::vector<std::string> words_;
  std::uint64_t seed_;
};

struct Hit {
  FileId file;
  float score;
};

/// Ranks the files of an index by BM25 (Robertson and others, 1994). One query at a time.
class Ranker {
 public:
  static constexpr std::size_t most_hits = 10;

  explicit Ranker(const Index& index) : index_(index), scores_(index.file_count()) {}

  /// The best files, best first. Valid until the next call.
  [[nodiscard]] std::span<const Hit> best(const Query& query) {
    candidates_.clear();
    for (const std::string_view word : query) score(word);
    collect_scores();
    best_.resize(std::min(most_hits, candidates_.size()));
    std::partial_sort_copy(candidates_.begin(), candidates_.end(), best_.begin(), best_.end(),  // keeps a heap of best_
                           [](const Hit& a, const Hit& b) { return a.score > b.score; });
    return best_;
  }

 private:
  static constexpr float saturation = 1.2F;     // BM25's k1: how soon one more of the same word ceases to matter
  static constexpr float length_weight = .75F;  // BM25's b: how much a long file must be longer in hits too

  void score(std::string_view word) {
    const std::span<const Posting> postings = index_.postings(word);
    const auto with = static_cast<float>(postings.size());
    const float without = static_cast<float>(index_.file_count()) - with;
    const float rarity = std::log1p((without + .5F) / (with + .5F));
    const float per_word = saturation * length_weight / static_cast<float>(index_.average_words());
    for (const Posting& posting : postings) {
      if (!index_.is_current(posting)) continue;
      const auto count = static_cast<float>(posting.count);
      const float length =
          saturation * (1 - length_weight) + per_word * static_cast<float>(index_.words_in(posting.file));
      float& sum = scores_[posting.file];
      if (sum == 0) candidates_.push_back({posting.file, 0});
      sum += rarity * count * (saturation + 1) / (count + length);
    }
  }

  // Moves the sums into the candidates and leaves zeros behind for the next query.
  void collect_scores() {
    for (Hit& hit : candidates_) hit.score = std::exchange(scores_[hit.file], 0.F);
  }

  const Index& index_;
  std::vector<float> scores_;    // by file; 0 between queries
  std::vector<Hit> candidates_;  // the files whose score is not 0
  std::vector<Hit> best_;
};

struct QueryCost {
  std::size_t words;              ///< in a query
  std::chrono::nanoseconds time;  ///< that ranking it takes, the median
};

inline std::chrono::nanoseconds median_cost(const QuerySource& source, Ranker& ranker, std::size_t words) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::chrono::nanoseconds> costs(101);
  for (std::size_t i = 0; i < costs.size(); ++i) {
    const Clock::time_point start = Clock::now();
    (void)ranker.best(source.query(i, words));
    costs[i] = Clock::now() - start;
  }
  std::nth_element(costs.begin(), costs.begin() + 50, costs.end());
  return costs[50];
}

/// How many words make a query cost about `target` on this machine, with this build, over this index.
inline QueryCost calibrate(const QuerySource& source, Ranker& ranker, std::chrono::nanoseconds target) {
  constexpr double most_words = 2000;  // of a small index no query can be expensive
  std::size_t words = 8;
  for (int round = 0; round < 4; ++round) {
    const double cost = std::max(1.0, static_cast<double>(median_cost(source, ranker, words).count()));
    const double scaled = static_cast<double>(words) * static_cast<double>(target.count()) / cost;
    words = static_cast<std::size_t>(std::clamp(std::round(scaled), 1.0, most_words));
  }
  return {words, median_cost(source, ranker, words)};
}

}  // namespace demo
