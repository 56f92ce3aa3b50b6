// What was measured, as a table.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace demo {

using Nanoseconds = std::chrono::nanoseconds;

struct Percentiles {
  Nanoseconds p50, p90, p99, worst;
};

/// By nearest rank. Precondition: there are samples.
inline Percentiles percentiles(std::vector<Nanoseconds> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double part) {
    const double rank = std::ceil(part * static_cast<double>(samples.size()));
    return samples[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
  };
  return {at(.5), at(.9), at(.99), samples.back()};
}

struct IndexingRate {
  double files, bytes;  ///< a second
  double hindered;      ///< the part of the time in which this program wanted a processor and had none
};

/// One setting's line.
struct Result {
  std::string setting;
  Percentiles wait, latency;
  std::optional<IndexingRate> indexing;  ///< none: nothing was to be indexed
};

/// 1234567 -> "1,234,567"
inline std::string grouped(double number) {
  std::string text = std::to_string(std::llround(number));
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return text;
}

/// "1 file", "1,234 files"
inline std::string counted(double number, std::string one, std::string many = {}) {
  if (many.empty()) many = one + "s";
  const std::string text = grouped(number);
  return text + " " + (text == "1" ? one : many);
}

inline void print_table_head() {
  std::printf("\n%-18s  %-31s  %-31s  %s\n", "", "          wait, ms", "         latency, ms", "     indexed");
  std::printf("%-18s", "setting");
  for (int group = 0; group < 2; ++group) {
    std::printf("  %7s %7s %7s %7s", "p50", "p90", "p99", "worst");
  }
  std::printf("  %8s %6s\n", "files/s", "MB/s");
  std::fflush(stdout);
}

inline void print_table_row(const Result& result) {
  std::printf("%-18s", result.setting.c_str());
  for (const Percentiles& p : {result.wait, result.latency}) {
    std::printf(" ");
    for (const Nanoseconds value : {p.p50, p.p90, p.p99, p.worst}) {
      std::printf(" %7.3f", static_cast<double>(value.count()) * 1e-6);
    }
  }
  if (result.indexing) {
    std::printf("  %8s %6.1f\n", grouped(result.indexing->files).c_str(), result.indexing->bytes * 1e-6);
  } else {
    std::printf("  %8s %6s\n", "-", "-");
  }
  std::fflush(stdout);
}

inline void print_comparison(const Result& alone, const Result& fifo, const Result& weighted) {
  const auto times_alone = [&](const Result& result) {
    return static_cast<double>(result.latency.p99.count()) / static_cast<double>(alone.latency.p99.count());
  };
  std::printf("\np99 latency against the foreground alone: %.1f x on one FIFO queue, %.1f x on weighted queues\n",
              times_alone(fifo), times_alone(weighted));
  if (fifo.indexing && weighted.indexing && fifo.indexing->bytes > 0) {
    std::printf("indexing, MB/s: on weighted queues %.0f %% of what one FIFO queue gets\n",
                100 * weighted.indexing->bytes / fifo.indexing->bytes);
  }
  if (weighted.latency.p50 < alone.latency.p50) {
    std::puts("(alone, the thread sleeps between queries and must be woken; with indexing it is awake)");
  }
}

/// Such waits are no doing of the queues.
inline void warn_if_hindered(std::initializer_list<Result> results) {
  double worst = 0;
  for (const Result& result : results) worst = std::max(worst, result.indexing ? result.indexing->hindered : 0);
  if (worst < .03) return;
  std::fflush(stdout);
  std::fprintf(stderr,
               "foreground_background: this program had to wait for the processor or the disk up to %.0f %% of the "
               "time,\n  which makes the waits above too long: for a clear picture run it on a quiet machine\n",
               100 * worst);
}

}  // namespace demo
