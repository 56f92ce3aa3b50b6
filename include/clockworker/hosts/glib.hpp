/// \file
/// An executor on a GMainContext of GLib (2.36 or later), in either direction. `GlibHost`: the executor drives
/// the context. `GlibGuest`: the executor lives in a context that the program runs by g_main_loop_run(),
/// gtk_main(), g_application_run() and the like.
///
/// GLib blocks for whole milliseconds: sleeps end up to about one late. Its C frames let no exception pass, so
/// a callback must not throw (see GlibHost::throw_from_poll()).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>

#include <glib.h>

#include <clockworker/detail/glib_support.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/host.hpp>

namespace clockworker {

/// Drives a GMainContext: `executor.run(host)`. All members but wake() are for the executor's thread.
///
/// A poll dispatches what is ready at the highest priority, as any iteration of GLib does. Tasks run outside
/// of it, and may run a nested GMainLoop.
class GlibHost {
 public:
  /// nullptr: the default context. Holds a reference to it.
  explicit GlibHost(GMainContext* context = nullptr)
      : context_{detail::ref_glib_context(context)}, timer_{context_.get(), functions(), this, G_MAXINT} {}
  GlibHost(const GlibHost&) = delete;
  GlibHost& operator=(const GlibHost&) = delete;
  ~GlibHost() = default;

  [[nodiscard]] GMainContext* context() const noexcept { return context_.get(); }

  /// One iteration of the context. Throws what was handed to throw_from_poll(), and std::logic_error if
  /// another thread owns the context.
  void poll(PollTimeout timeout) {
    throw_what_was_handed_over();
    Owning owning{context_.get()};
    if (timeout && *timeout <= std::chrono::nanoseconds::zero()) {
      g_main_context_iteration(context_.get(), FALSE);
    } else {
      // acquire: with wake()'s release; what was done before a wake is seen after the poll that it ends.
      const bool woken = woken_.exchange(false, std::memory_order_acquire);
      if (timeout) longest_wait_ = static_cast<gint>(detail::glib_wait<std::chrono::milliseconds>(*timeout));
      g_main_context_iteration(context_.get(), woken ? FALSE : TRUE);
      longest_wait_ = -1;
      woken_.exchange(false, std::memory_order_acquire);  // it has ended this poll
    }
    throw_what_was_handed_over();
  }

  /// Any thread. Never allocates. GLib remembers it for an iteration that has begun; `woken_` does before, and
  /// over those that do not block.
  void wake() noexcept {
    woken_.store(true, std::memory_order_release);
    g_main_context_wakeup(context_.get());
  }

  /// From within a callback of the context: the poll that runs it throws this when GLib's frames are left;
  /// called elsewhere, the next poll does. Of several before that, the first is kept.
  void throw_from_poll(std::exception_ptr exception) noexcept {
    if (!thrown_) thrown_ = std::move(exception);
    g_main_context_wakeup(
        context_.get());  // it may come from a source's prepare(), before the context blocks
  }

 private:
  struct Owning {
    explicit Owning(GMainContext* of) : context{of} {
      if (!g_main_context_acquire(of))
        throw std::logic_error("clockworker: GlibHost::poll() found its context owned by another thread");
    }
    ~Owning() { g_main_context_release(context); }
    Owning(const Owning&) = delete;
    Owning& operator=(const Owning&) = delete;
    GMainContext* context;
  };

  /// A source that is never ready, but says how long the context may block. (A ready time, the usual means,
  /// has GLib end its next wait at once each time that it is set.) For one iteration: a nested loop that a
  /// callback of it runs is not to be hurried.
  [[nodiscard]] static GSourceFuncs& functions() noexcept {
    static GSourceFuncs functions{
        [](GSource* source, gint* timeout) noexcept -> gboolean {
          *timeout = std::exchange(detail::GlibSource<GlibHost>::owner_of(source).longest_wait_, -1);
          return FALSE;
        },
        [](GSource*) noexcept -> gboolean { return FALSE; },
        [](GSource*, GSourceFunc, gpointer) noexcept -> gboolean { return G_SOURCE_CONTINUE; },
        nullptr,
        nullptr,
        nullptr};
    return functions;
  }

  void throw_what_was_handed_over() {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

  detail::GlibContext context_;
  std::atomic<bool> woken_{false};
  gint longest_wait_ = -1;  // ms; -1: for ever
  std::exception_ptr thrown_;
  detail::GlibSource<GlibHost> timer_;
};

static_assert(PollHook<GlibHost>);

/// Keeps an executor as a guest in a GMainContext. Its turns have the priority given, as long as they keep to
/// the budget; an executor that has more to do than that leaves half of the thread to whatever else is ready,
/// also below its priority, however far: a redraw of GTK is not starved by tasks, nor tasks by a busy source of
/// a lower priority or of the same, with which they take turns (see detail::GlibPace). As everything in GLib,
/// it is starved by a busy source of a higher one.
///
/// All members are for the thread that runs the context (before that: any one). A turn that comes in a
/// GMainLoop nested in a task of this executor does nothing; in one nested in `on_exception` turns go on. What
/// a task throws without `on_exception` is std::terminate().
class GlibGuest {
 public:
  /// nullptr: the default context. Holds a reference to it. Asks for a first turn. Throws std::bad_alloc, and
  /// std::logic_error if the executor is a guest already.
  template <QueueKey Key, Clock C>
  GlibGuest(Executor<Key, C>& executor, GMainContext* context, GuestOptions options = {},
            int priority = G_PRIORITY_DEFAULT)
      : context_{detail::ref_glib_context(context)},
        pace_{budget_of(detail::executor_access::ring(executor), options)},
        first_{context_.get(), functions(), this, priority},
        alarm_{context_.get(), functions(), this, priority},
        last_{context_.get(), functions(), this, G_MAXINT},
        turns_{executor, std::move(options), [&bell = first_]() noexcept { bell.ready_at(0); }} {
    first_.ready_at(0);
  }
  GlibGuest(const GlibGuest&) = delete;
  GlibGuest& operator=(const GlibGuest&) = delete;
  /// Not from within a turn, but in `on_exception`. Tasks stay where they are; the context has nothing of the
  /// guest any more.
  ~GlibGuest() = default;

 private:
  [[nodiscard]] static gint64 budget_of(const detail::Ring& ring, const GuestOptions& options) noexcept {
    const auto time = options.budget.time.count() > 0 ? options.budget.time : ring.options.host_poll_interval;
    // No more than half a frame, also where turns are limited by their number of polls.
    return detail::glib_wait<std::chrono::microseconds>(
        std::min<std::chrono::nanoseconds>(time, std::chrono::milliseconds{8}));
  }

  [[nodiscard]] static GSourceFuncs& functions() noexcept {
    static GSourceFuncs functions{nullptr,
                                  nullptr,
                                  [](GSource* source, GSourceFunc, gpointer) noexcept -> gboolean {
                                    detail::GlibSource<GlibGuest>::owner_of(source).dispatched(source);
                                    return G_SOURCE_CONTINUE;
                                  },
                                  nullptr,
                                  nullptr,
                                  nullptr};
    return functions;
  }

  /// Why no bell is lost: what rang before the ready time is taken back has posted what the turn finds; what
  /// rings later sets it again. From the moment the turn has parked the inbox nobody else sets that source:
  /// the timer has one of its own.
  void dispatched(GSource* source) noexcept {
    const bool yielded = last_.is(source);
    first_.ready_at(-1);
    if (!yielded && !may_take_turn()) return;
    alarm_.ready_at(-1);
    last_.ready_at(-1);  // none is ready now: a loop nested in the turn can sleep
    const gint64 began_at = g_get_monotonic_time();
    const AfterTurn after = turns_.take();
    const gint64 now = g_get_monotonic_time();
    pace_.took_turn(began_at, now, yielded);
    if (after.again) {
      ask_for_turn();
    } else if (after.timer) {
      alarm_.ready_at(now + detail::glib_wait<std::chrono::microseconds>(*after.timer));
    }
    turns_.report(after);  // which may destroy the guest
  }

  /// The bell and the timer do not know of the rest.
  [[nodiscard]] bool may_take_turn() noexcept {
    if (pace_.rest_left(g_get_monotonic_time()) == 0) return true;
    alarm_.ready_at(-1);
    ask_for_turn();
    return false;
  }

  void ask_for_turn() noexcept {
    const gint64 now = g_get_monotonic_time();
    const gint64 rest = pace_.rest_left(now);
    first_.ready_at(rest == 0 ? 0 : now + rest);
    if (rest != 0) last_.ready_at(0);
  }

  detail::GlibContext context_;
  detail::GlibPace pace_;
  detail::GlibSource<GlibGuest> first_;  // at the guest's own priority; rung by the bell
  detail::GlibSource<GlibGuest> alarm_;  // the same, for the next timer
  detail::GlibSource<GlibGuest> last_;   // below everybody's
  GuestTurns turns_;                     // last: it goes first, and with it the bell
};

}  // namespace clockworker
