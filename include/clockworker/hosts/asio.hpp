/// \file
/// Asio: an executor that drives an io_context, an executor as a guest in one that others run, and `use_task`,
/// by which a task awaits any Asio operation. For Boost.Asio see CLOCKWORKER_ASIO_BOOST in config.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>

#include <clockworker/detail/asio_emission.hpp>
#include <clockworker/detail/asio_library.hpp>
#include <clockworker/detail/asio_seat.hpp>
#include <clockworker/detail/asio_use_task.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/host.hpp>
#include <clockworker/queue_options.hpp>

namespace clockworker {

/// Drives an io_context: `executor.run(host)`. During that nobody else is to run the context, but for nested
/// runs inside a handler or a task: then this thread would miss its wakes. The context must outlive the host.
///
/// A poll serves at most 64 handlers, so that one which posts itself over and over does not starve the tasks.
/// Timeouts are rounded up to the context's milliseconds. What a handler throws leaves run*(). While the host
/// lives the context has work, and does not stop by itself; if somebody calls its stop(), that ends one poll,
/// which restarts it: to end run*(), call Executor::stop().
class AsioHost : public detail::AsioDriven {
 public:
  /// Throws std::bad_alloc.
  explicit AsioHost(detail::net::io_context& context)
      : AsioDriven{context},
        working_{context.get_executor()},
        alarm_{std::make_shared<detail::AsioAlarm>()} {}
  AsioHost(const AsioHost&) = delete;
  AsioHost& operator=(const AsioHost&) = delete;

  /// The executor's thread. Throws what a handler throws.
  void poll(PollTimeout timeout) {
    const bool may_block = !has_late() && (!timeout || *timeout > std::chrono::nanoseconds::zero());
    struct Polling {
      detail::AsioDriven* before;
      ~Polling() { detail::asio_polling = before; }
    } polling{std::exchange(detail::asio_polling, this)};
    std::size_t served = 0;
    // acquire: pairs with the wake's release. A wake that comes after this look posts its handler, which run_one
    // finds.
    if (may_block && !alarm_->rung.exchange(false, std::memory_order_acq_rel)) {
      served = timeout ? context().run_one_for(std::min(*timeout, longest_sleep)) : context().run_one();
      alarm_->rung.store(false, std::memory_order_relaxed);
    }
    while (served < most_handlers && context().poll_one() != 0) ++served;
    const bool stopped = served < most_handlers && context().stopped();
    poll_ends(served < most_handlers && !stopped);
    if (stopped) context().restart();
  }

  /// Any thread. Does not allocate.
  void wake() noexcept { detail::AsioAlarm::ring(alarm_, context()); }

 private:
  static constexpr std::size_t most_handlers = 64;
  /// Keeps the sum with the present time within what a clock can count.
  static constexpr std::chrono::nanoseconds longest_sleep = std::chrono::hours{24};

  /// Without work the context would stop, and every poll return at once.
  detail::net::executor_work_guard<detail::net::io_context::executor_type> working_;
  std::shared_ptr<detail::AsioAlarm> alarm_;
};

static_assert(PollHook<AsioHost>);

/// Puts an executor into a loop that others run: `AsioGuest guest{executor, context}; context.run();`. Each turn
/// is posted, behind the handlers that wait, and keeps to the budget; without `on_exception` what comes out of
/// it leaves `context.run()`, which may be called again.
///
/// The context may be run by several threads: turns are taken one at a time, and all of them are the executor's
/// thread then; whatever else touches the executor must do so in a turn, or not while one may be taken. While
/// tasks live, `context.run()` does not return for lack of work, whatever they wait for; as if each were an
/// Asio coroutine.
///
/// Goes before the context, or with it: handlers of ours that are left in the context do nothing. The executor
/// may go first.
class AsioGuest {
 public:
  /// On the loop's thread, or before the loop runs. Throws std::bad_alloc, and std::logic_error if the executor
  /// is a guest already or has an on_runnable() callback.
  template <QueueKey Key, Clock C>
  AsioGuest(Executor<Key, C>& executor, detail::net::io_context& context, GuestOptions options = {})
      : seat_{std::make_shared<detail::AsioSeat>(context.get_executor(), &context)} {
    seat_->open(executor, std::move(options));
  }
  /// Turns go to `on`, a strand or a thread pool, say. Asio allocates at each; if it cannot where a wake asks for
  /// one, the program ends.
  template <QueueKey Key, Clock C>
  AsioGuest(Executor<Key, C>& executor, detail::net::any_io_executor on, GuestOptions options = {})
      : seat_{std::make_shared<detail::AsioSeat>(std::move(on), nullptr)} {
    seat_->open(executor, std::move(options));
  }
  AsioGuest(const AsioGuest&) = delete;
  AsioGuest& operator=(const AsioGuest&) = delete;

  /// Any thread, but not from within a turn (asserted); waits for a turn or an on_exception on another thread. An
  /// on_exception may destroy the guest. Tasks stay.
  ~AsioGuest() { seat_->close(); }

 private:
  std::shared_ptr<detail::AsioSeat> seat_;
};

}  // namespace clockworker
