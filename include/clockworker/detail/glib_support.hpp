/// \file
/// What hosts/glib.hpp needs of GLib: owners of its objects, and how a guest shares the loop with others.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <utility>

#include <glib.h>

namespace clockworker::detail {

struct UnrefContext {
  void operator()(GMainContext* context) const noexcept { g_main_context_unref(context); }
};
using GlibContext = std::unique_ptr<GMainContext, UnrefContext>;

/// nullptr: the default context.
[[nodiscard]] inline GlibContext ref_glib_context(GMainContext* context) noexcept {
  return GlibContext{g_main_context_ref(context != nullptr ? context : g_main_context_default())};
}

/// A source of `Owner` in a context, out of it with this object, which a callback of it may destroy. `owner` is
/// what its callbacks find. They may come while one of them runs, in a loop nested in that.
template <class Owner>
class GlibSource {
 public:
  GlibSource(GMainContext* context, GSourceFuncs& functions, Owner* owner, int priority) noexcept
      : source_{g_source_new(&functions, sizeof(Memory))} {
    reinterpret_cast<Memory*>(source_)->owner = owner;
    g_source_set_priority(source_, priority);
    g_source_set_name(source_, "clockworker");
    g_source_set_can_recurse(source_, TRUE);
    g_source_attach(source_, context);
  }
  GlibSource(const GlibSource&) = delete;
  GlibSource& operator=(const GlibSource&) = delete;
  ~GlibSource() {
    g_source_destroy(source_);
    g_source_unref(source_);
  }

  /// Any thread. In GLib's monotonic microseconds; 0: at once, -1: not at all.
  void ready_at(gint64 time) noexcept { g_source_set_ready_time(source_, time); }
  [[nodiscard]] bool is(const GSource* other) const noexcept { return source_ == other; }
  [[nodiscard]] static Owner& owner_of(GSource* source) noexcept {
    return *reinterpret_cast<Memory*>(source)->owner;
  }

 private:
  struct Memory {
    GSource base;  // first: GLib allocates it, and sees nothing of the rest
    Owner* owner;
  };
  GSource* source_;
};

/// Rounded up, and a day at the most, which keeps the sum with the present in range.
template <class Unit>
[[nodiscard]] auto glib_wait(std::chrono::nanoseconds wait) noexcept {
  constexpr std::chrono::nanoseconds longest = std::chrono::hours{24};
  return std::chrono::ceil<Unit>(std::clamp(wait, std::chrono::nanoseconds::zero(), longest)).count();
}

/// When a guest that has more to do may take its next turn at its own priority, while others want the thread.
///
/// GLib dispatches the highest priority that is ready, and nothing below it. So once the guest has used its
/// budget (in one turn or in several) it rests for as long as it has run: others, also of lower priorities,
/// get as much time as it had. While resting it takes turns at the lowest priority only, which is at once if
/// nobody else wants the thread.
///
/// The rest is counted in time outside of turns, of all guests on this thread: else two of them would take
/// turns in each other's rest and leave nothing to the others. Between two turns that follow each other the
/// loop itself needs some time: that is no rest either, but part of what the guest costs, which counts where
/// turns are short. Times are in microseconds.
///
/// Of one turn no more counts than `longest_turn`. A longer one is that of a task that runs a nested loop, a
/// dialog for instance, in which others were served all the time; how long, only they know.
class GlibPace {
 public:
  explicit GlibPace(gint64 budget) noexcept : budget_{budget} {}

  /// 0: the guest may take a turn. Else the time for which it has to rest, at least.
  [[nodiscard]] gint64 rest_left(gint64 now) const noexcept {
    return resting_ ? std::max<gint64>(0, used_ - outside_since_turn(now)) : 0;
  }

  /// A turn has been taken; `yielded`: at the lowest priority, so that nobody was kept waiting by those
  /// before it.
  void took_turn(gint64 began_at, gint64 ended_at, bool yielded) noexcept {
    const gint64 gap = outside_since_turn(began_at);
    used_ = yielded ? 0 : gap < loop_overhead ? used_ + gap : std::max<gint64>(0, used_ - gap);
    const gint64 took = std::clamp<gint64>(ended_at - began_at, 0, longest_turn);
    used_ += took;
    time_in_turns += took;
    ended_at_ = ended_at;
    in_turns_then_ = time_in_turns;
    resting_ = used_ >= budget_;
  }

 private:
  [[nodiscard]] gint64 outside_since_turn(gint64 now) const noexcept {
    return std::max<gint64>(0, (now - ended_at_) - (time_in_turns - in_turns_then_));
  }

  /// In less than this nobody else is sure to have been served.
  static constexpr gint64 loop_overhead = 50;
  static constexpr gint64 longest_turn = 50'000;

  inline static thread_local gint64 time_in_turns = 0;

  gint64 budget_;
  gint64 used_ = 0;
  gint64 ended_at_ = 0;
  gint64 in_turns_then_ = 0;
  bool resting_ = false;
};

}  // namespace clockworker::detail
