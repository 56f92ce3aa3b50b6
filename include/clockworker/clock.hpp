/// \file
/// Where the executor takes its time from: the concept `Clock` and three models of it.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <stdexcept>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#define CLOCKWORKER_DETAIL_HAS_TSC 1
#else
#define CLOCKWORKER_DETAIL_HAS_TSC 0
#endif

namespace clockworker {

/// A point in an executor's time. Of `std::chrono::steady_clock`, so that `steady_clock::now() + 5ms` is one;
/// what it counts from is the executor's clock's own affair.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

/// A steady source of time: `C::now()` never goes back, and counts nanoseconds. May be called on any thread.
/// `std::chrono::steady_clock` is a model wherever it counts in nanoseconds.
template <class C>
concept Clock = requires {
  { C::now() }
  noexcept->std::same_as<TimePoint>;
  requires C::is_steady;
};

/// The default: `std::chrono::steady_clock`.
struct SteadyClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = TimePoint;
  static constexpr bool is_steady = true;

  [[nodiscard]] static TimePoint now() noexcept {
    return std::chrono::time_point_cast<duration>(std::chrono::steady_clock::now());
  }
};

/// Time that stands still until `advance()` moves it, for tests. Each thread has its own, and starts at
/// `TimePoint{}`.
struct ManualClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = TimePoint;
  static constexpr bool is_steady = true;

  [[nodiscard]] static TimePoint now() noexcept { return now_; }

  /// Moves the calling thread's time on. Throws `std::invalid_argument` for a negative `by`: the clock is
  /// steady.
  static void advance(std::chrono::nanoseconds by) {
    if (by < std::chrono::nanoseconds::zero()) {
      throw std::invalid_argument(
          "clockworker: ManualClock::advance() by a negative duration; time does not go back");
    }
    now_ += by;
  }

 private:
  static inline constinit thread_local TimePoint now_{};
};

/// The processor's time stamp counter, scaled to nanoseconds: cheaper to read than `SteadyClock`.
///
/// The scale is taken once, at the first call in the process, which costs 10 ms: the counter is held against
/// `steady_clock` over that time. Each of the two readings may be off by the time of one clock read (some 50
/// ns), so the rate is right to about 10 parts in a million; the two clocks drift apart by that much. Where
/// the processor has no invariant counter, `now()` is `SteadyClock::now()`: see `uses_tsc()`.
class TscClock {
 public:
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = TimePoint;
  static constexpr bool is_steady = true;

  [[nodiscard]] static TimePoint now() noexcept {
#if CLOCKWORKER_DETAIL_HAS_TSC
    const Scale& scale = calibrated();
    if (scale.usable) {
      // 32.32 fixed point; the product is taken in halves, so that it does not overflow for as long as the
      // counter lasts.
      std::uint64_t ticks = read() - scale.base_ticks;
      std::uint64_t high = (ticks >> 32) * scale.ns_per_tick_32;
      std::uint64_t low = ((ticks & 0xffffffffU) * scale.ns_per_tick_32) >> 32;
      return scale.base_time + duration{static_cast<rep>(high + low)};
    }
#endif
    return SteadyClock::now();
  }

  /// Whether `now()` reads the counter, or falls back to `SteadyClock`.
  [[nodiscard]] static bool uses_tsc() noexcept {
#if CLOCKWORKER_DETAIL_HAS_TSC
    return calibrated().usable;
#else
    return false;
#endif
  }

#if CLOCKWORKER_DETAIL_HAS_TSC
 private:
  struct Scale {
    bool usable = false;
    std::uint64_t base_ticks = 0;
    std::uint64_t ns_per_tick_32 =
        0;  // below 2^32 on every machine whose counter runs faster than 1 GHz, below 2^36 otherwise
    TimePoint base_time{};
  };

  static std::uint64_t read() noexcept { return __builtin_ia32_rdtsc(); }

  static bool invariant() noexcept {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    return __get_cpuid(0x80000007U, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
  }

  struct Reading {
    TimePoint time;
    std::uint64_t ticks;
  };

  /// The closest of a few attempts: a pause of the thread between the two clocks would falsify the rate for
  /// good.
  static Reading read_both() noexcept {
    Reading best{};
    std::uint64_t closest = ~std::uint64_t{0};
    for (int attempt = 0; attempt < 5; ++attempt) {
      std::uint64_t before = read();
      TimePoint time = SteadyClock::now();
      std::uint64_t took = read() - before;
      if (took >= closest) continue;
      closest = took;
      best = Reading{time, before + took / 2};
    }
    return best;
  }

  static Scale calibrate() noexcept {
    Scale scale;
    if (!invariant()) return scale;
    const Reading start = read_both();
    while (SteadyClock::now() - start.time < std::chrono::milliseconds{10}) {
    }
    const Reading end = read_both();
    std::uint64_t ticks = end.ticks - start.ticks;
    if (ticks < 1'000'000) return scale;  // slower than 100 MHz: not the counter we know
    double ratio = static_cast<double>((end.time - start.time).count()) / static_cast<double>(ticks);
    scale.ns_per_tick_32 = static_cast<std::uint64_t>(ratio * 4294967296.0);
    scale.base_ticks = end.ticks;
    scale.base_time = end.time;
    scale.usable = true;
    return scale;
  }

  static const Scale& calibrated() noexcept {
    static const Scale scale = calibrate();
    return scale;
  }
#endif
};

static_assert(Clock<SteadyClock> && Clock<ManualClock> && Clock<TscClock>);

}  // namespace clockworker
