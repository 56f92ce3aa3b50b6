/// \file
/// An executor on a libuv loop (1.x), in either direction. `UvHost`: the executor drives the loop. `UvGuest`:
/// the executor lives in a loop that the program runs by uv_run().
///
/// libuv counts time in milliseconds: sleeps end up to about one late. Its C frames let no exception pass, so
/// a callback must not throw (see UvHost::throw_from_poll()). It forbids uv_run() from within a callback: a
/// task on a UvHost runs outside of it and may call it; a task of a UvGuest runs in a callback and must not.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <uv.h>

#include <clockworker/detail/drive.hpp>
#include <clockworker/detail/thread_state.hpp>
#include <clockworker/detail/uv_support.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/host.hpp>

namespace clockworker {

/// Drives a libuv loop: `executor.run(host)`. All members but wake() are for the executor's thread, and not
/// from within a callback of the loop, unless said. The loop does not end by itself while a host is on it.
/// uv_stop() means nothing here but an early return of a poll; stop the executor.
class UvHost {
 public:
  /// The loop must outlive the host. Throws std::system_error if libuv cannot make a handle for wakes,
  /// std::invalid_argument without a loop, and std::bad_alloc.
  explicit UvHost(uv_loop_t* loop) : loop_{loop}, place_{Place::in(loop)} {
    place_->host = this;
    uv_prepare_start(&place_->prepare, &before_blocking);
  }
  UvHost(const UvHost&) = delete;
  UvHost& operator=(const UvHost&) = delete;

  /// Takes the host out of the loop, which may go on or be closed. No callback of the program runs here.
  ///
  /// libuv gives a handle back only when the loop runs. If nothing but the host is in the loop, that is done
  /// here, and uv_loop_close() may follow at once. If there is something else, it has to be closed before the
  /// loop can be, and the run that this takes anyway gives back the host's handles, too. Another host is
  /// something else: after several on one loop, run it once before uv_loop_close().
  ~UvHost() { Place::leave(place_); }

  [[nodiscard]] uv_loop_t* loop() const noexcept { return loop_; }

  /// One iteration of the loop. Throws what was handed to throw_from_poll(), and std::logic_error if called
  /// from within a callback that it runs.
  void poll(PollTimeout timeout) {
    if (polling_)
      throw std::logic_error("clockworker: UvHost::poll() was called from within a callback of its loop");
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    const bool may_block = !timeout || *timeout > std::chrono::nanoseconds::zero();
    blocking_ = may_block && !woken_;
    if (blocking_) arm(timeout);
    polling_ = true;
    uv_run(loop_, blocking_ ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    polling_ = blocking_ = false;
    if (may_block) {
      uv_timer_stop(&place_->timer);
      woken_ = false;  // a poll of no time leaves a wake to the next sleep
    }
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

  /// Any thread. Never allocates. libuv remembers it until the loop looks, and `woken_` from there on.
  void wake() noexcept { uv_async_send(&place_->async); }

  /// From within a callback of the loop: the poll that runs it returns when the callbacks that are due have
  /// run, and throws this; called elsewhere, the next poll does. Of several before that, the first is kept.
  void throw_from_poll(std::exception_ptr exception) noexcept {
    if (!thrown_) thrown_ = std::move(exception);
    if (polling_) uv_stop(loop_);  // up to now it may have been about to block; the iteration is completed
  }

 private:
  /// The handles, which outlive the host until the loop has closed them.
  struct Place : detail::UvHandles<Place> {
    UvHost* host = nullptr;
    uv_async_t async{};
    uv_timer_t timer{};
    uv_prepare_t prepare{};

    [[nodiscard]] static Place* in(uv_loop_t* loop) {
      if (loop == nullptr)
        throw std::invalid_argument("clockworker: UvHost needs a loop, and was given a null pointer");
      auto place = std::make_unique<Place>();
      detail::check_uv(uv_async_init(loop, &place->async,
                                     [](uv_async_t* handle) noexcept {
                                       static_cast<Place*>(handle->data)->host->woken_ = true;
                                     }),
                       "uv_async_init()");
      uv_timer_init(loop, &place->timer);
      uv_prepare_init(loop, &place->prepare);
      place->async.data = place->timer.data = place->prepare.data = place.get();
      return place.release();  // the loop's, until leave()
    }

    static void leave(Place* place) noexcept {
      uv_loop_t* loop = place->async.loop;
      auto alone = [place, loop] {
        uv_timer_stop(&place->timer);
        uv_prepare_stop(&place->prepare);
        uv_unref(detail::as_uv_handle(place->async));
        return !detail::uv_loop_has_others(loop, detail::as_uv_handle(place->async));
      };
      // If all are closed, by uv_walk(), the loop may be so, too.
      const bool run = uv_is_closing(detail::as_uv_handle(place->async)) == 0 && alone();
      place->close_and_delete(loop, place->timer, place->prepare, place->async);
      while (run && uv_loop_alive(loop) != 0) uv_run(loop, UV_RUN_NOWAIT);  // a uv_stop() may cost one turn
    }
  };

  /// Until when can the loop block without having run a timer before? Now, if something is due, or if libuv
  /// has not told the kernel of a new descriptor, which it does in this poll.
  void arm(PollTimeout timeout) noexcept {
    if (timeout) {
      detail::start_uv_timer(
          place_->timer, [](uv_timer_t*) noexcept {}, *timeout);
    } else {
      uv_update_time(loop_);
    }
    const int wait = uv_backend_timeout(loop_);
    quiet_until_ = wait < 0 ? std::numeric_limits<std::uint64_t>::max()
                            : uv_now(loop_) + static_cast<std::uint64_t>(wait);
  }

  /// libuv before 1.45 runs the timers that are due and then blocks, in one iteration. What their callbacks
  /// did (wake a task, arm an earlier deadline) makes no wake(), as that is for other threads: so if one was
  /// due the loop must not block. Neither if a prepare callback has woken a task; those that were started
  /// before the host come after this one, and are to call wake() as well.
  static void before_blocking(uv_prepare_t* prepare) noexcept {
    UvHost& host = *static_cast<Place*>(prepare->data)->host;
    if (!host.blocking_) return;
    const detail::Ring* ring = detail::thread_state.ring;
    const bool runnable = ring != nullptr && detail::has_runnable(*ring);
    if (runnable || uv_now(host.loop_) >= host.quiet_until_) uv_stop(host.loop_);  // completes the iteration
  }

  uv_loop_t* loop_;
  Place* place_;
  std::uint64_t quiet_until_ = 0;
  bool polling_ = false;
  bool blocking_ = false;  // in a poll that may block
  bool woken_ = false;
  std::exception_ptr thrown_;
};

static_assert(PollHook<UvHost>);

/// Keeps an executor as a guest in a libuv loop. It takes one turn an iteration while tasks are runnable,
/// after the loop's I/O; else it waits for a wake or its next timer and costs nothing.
///
/// The loop is kept from ending while a task is runnable or asleep, and not while all of them wait for
/// something else, unless keep_alive(true) says so: a wake from another thread does not bring back a uv_run()
/// that has returned.
///
/// All members are for the loop's thread (before the loop has first run: any one), and the loop is to stay on
/// it as long as the guest lives. A turn that comes in a uv_run() inside a task of this executor, which libuv
/// forbids, does nothing. What a task throws without `on_exception` is std::terminate().
class UvGuest {
 public:
  /// Asks for a first turn. Throws std::system_error if libuv cannot make a handle, std::invalid_argument
  /// without a loop, std::bad_alloc, and std::logic_error if the executor is a guest already.
  template <QueueKey Key, Clock C>
  UvGuest(Executor<Key, C>& executor, uv_loop_t* loop, GuestOptions options = {}) : place_{Place::in(loop)} {
    try {
      turns_.emplace(executor, std::move(options), [place = place_] { place->ring_bell(); });
    } catch (...) {
      place_->leave();
      throw;
    }
    place_->guest = this;
    place_->ask_for_turn();
  }
  UvGuest(const UvGuest&) = delete;
  UvGuest& operator=(const UvGuest&) = delete;

  /// Not from within a turn, but in `on_exception`. Tasks stay where they are. The handles are closed as any of
  /// libuv's: their memory goes when the loop next runs, and until then uv_loop_close() says UV_EBUSY.
  ~UvGuest() {
    turns_.reset();  // from here on no thread is in the bell
    place_->leave();
  }

  /// Whether the loop is to go on while the executor is idle, because other threads will wake or spawn its
  /// tasks. Off at first.
  void keep_alive(bool on) noexcept {
    if (on) {
      uv_ref(detail::as_uv_handle(place_->bell));
    } else {
      uv_unref(detail::as_uv_handle(place_->bell));
    }
  }

 private:
  /// The handles, which outlive the guest until the loop has closed them.
  struct Place : detail::UvHandles<Place> {
    UvGuest* guest = nullptr;
    uv_async_t bell{};
    uv_check_t after_io{};
    uv_idle_t busy{};  // keeps the loop from blocking, and from ending
    uv_timer_t timer{};
    // Which thread took the last turn; none before the first, which has been asked for already. Relaxed: a
    // thread only asks whether it was itself.
    std::atomic<const detail::ThreadState*> loop_thread{nullptr};

    [[nodiscard]] static Place* in(uv_loop_t* loop) {
      if (loop == nullptr)
        throw std::invalid_argument("clockworker: UvGuest needs a loop, and was given a null pointer");
      auto place = std::make_unique<Place>();
      detail::check_uv(
          uv_async_init(loop, &place->bell, [](uv_async_t* handle) noexcept { of(handle).ask_for_turn(); }),
          "uv_async_init()");
      uv_check_init(loop, &place->after_io);
      uv_idle_init(loop, &place->busy);
      uv_timer_init(loop, &place->timer);
      uv_unref(detail::as_uv_handle(place->bell));
      place->bell.data = place->after_io.data = place->busy.data = place->timer.data = place.get();
      return place.release();  // the loop's, until leave()
    }

    template <class Handle>
    [[nodiscard]] static Place& of(Handle* handle) noexcept {
      return *static_cast<Place*>(handle->data);
    }

    /// Any thread. On the loop's own a handle that keeps the loop from ending is started at once: else the
    /// loop could end before it has looked at the bell.
    void ring_bell() noexcept {
      if (loop_thread.load(std::memory_order_relaxed) == &detail::thread_state) {
        ask_for_turn();
      } else {
        uv_async_send(&bell);
      }
    }

    void ask_for_turn() noexcept {
      if (guest == nullptr || uv_is_closing(detail::as_uv_handle(busy)) != 0) return;
      uv_check_start(&after_io, [](uv_check_t* handle) noexcept { of(handle).guest->take_turn(); });
      uv_idle_start(&busy, [](uv_idle_t*) noexcept {});
    }

    /// In front of a turn, so that a loop nested in it can sleep.
    void ask_for_nothing() noexcept {
      uv_check_stop(&after_io);
      uv_idle_stop(&busy);
      uv_timer_stop(&timer);
    }

    void leave() noexcept {
      guest = nullptr;
      this->close_and_delete(bell.loop, bell, after_io, busy, timer);
    }
  };

  void take_turn() noexcept {
    place_->loop_thread.store(&detail::thread_state, std::memory_order_relaxed);
    place_->ask_for_nothing();
    const AfterTurn after = turns_->take();  // if of nothing, no timer is left to keep the loop from ending
    if (after.again) {
      place_->ask_for_turn();
    } else if (after.timer) {
      detail::start_uv_timer(
          place_->timer, [](uv_timer_t* timer) noexcept { Place::of(timer).ask_for_turn(); }, *after.timer);
    }
    turns_->report(after);  // which may destroy the guest
  }

  Place* place_;
  std::optional<GuestTurns> turns_;
};

}  // namespace clockworker
