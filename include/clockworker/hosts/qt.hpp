/// \file
/// Qt's event loop, 6 or 5.15: `QtGuest` puts an executor into a loop that others run, `QtHost` has an
/// executor drive it. Needs Qt Core only, and no moc. Both also serve the threads of QThread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <QtCore/QAbstractEventDispatcher>
#include <QtCore/QCoreApplication>
#include <QtCore/QEvent>
#include <QtCore/QEventLoop>
#include <QtCore/QMetaObject>
#include <QtCore/QObject>
#include <QtCore/QThread>

#include <clockworker/config.hpp>
#include <clockworker/detail/qt_bell.hpp>
#include <clockworker/executor.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/host.hpp>

namespace clockworker {

/// A PollHook on the event loop of the thread that makes it: `executor.run(host)` stands where
/// `QCoreApplication::exec()` would. Timers, sockets, posted events and deferred deletes are served; a
/// timeout has Qt's resolution, a millisecond, rounded up. QCoreApplication::quit() ends exec() and has no
/// effect here: use Executor::stop(). The QCoreApplication has to outlive the host.
///
/// Nested event loops, in a slot or in a task, serve Qt; tasks wait meanwhile. The other way round, `run` may
/// be called in a slot. Objects that tasks deleteLater() are deleted at the next poll; if the run is itself
/// inside a Qt event loop, when control has returned there, as with a nested QEventLoop. Best make the host
/// for the run, in that slot: its end wakes the loop around, which else deletes them with its next event.
class QtHost : QObject {
 public:
  /// Throws std::logic_error if there is no QCoreApplication; std::bad_alloc.
  QtHost() : dispatcher_{detail::qt_dispatcher("QtHost")} {
    connect(
        &dispatcher_, &QAbstractEventDispatcher::awake, this, [this] { ++passes_; }, Qt::DirectConnection);
    detail::qt_at_end_of_loop(*this, [this] { bell_.hang_in(nullptr); });
    waits_after_delivery_ = dispatcher_.inherits("QEventDispatcherUNIX");
    bell_.hang_in(&dispatcher_);
  }
  /// Whatever the loop around had to put off while this one ran, a deletion, it is to do at once.
  ~QtHost() override { wake(); }

  /// The thread that made it; std::logic_error elsewhere. One pass of the dispatcher. Throws what was handed
  /// to throw_from_poll().
  void poll(PollTimeout timeout) {
    if (QAbstractEventDispatcher::instance() != &dispatcher_) {
      throw std::logic_error(
          "clockworker: QtHost::poll() was called on another thread than the host was made on, or after the "
          "QCoreApplication had gone");
    }
    const bool may_wait = !timeout || *timeout > std::chrono::nanoseconds::zero();
    const bool waits = may_wait && !bell_.take() && nothing_is_posted();
    pass(waits, timeout);
    if (waits) bell_.take();  // it was for this wait
    // Without a loop around it, Qt takes a deleteLater() of a task as one for a loop that is to come.
    if (QThread::currentThread()->loopLevel() == 0)
      QCoreApplication::sendPostedEvents(nullptr, QEvent::DeferredDelete);
    if (thrown_ != nullptr) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

  /// Any thread. Never allocates.
  void wake() noexcept { bell_.ring(); }

  /// For slots, out of which no exception may come, as it would have to pass through Qt: poll() throws it as
  /// soon as Qt has returned, and so does `run`. The host's thread. Of several the first counts.
  void throw_from_poll(std::exception_ptr thrown) noexcept {
    if (thrown_ == nullptr) thrown_ = std::move(thrown);
    wake();
  }

 private:
  /// A timeout's timer, for one pass. They nest, as passes do where a slot runs another executor.
  class Alarm {
   public:
    explicit Alarm(QtHost& host) noexcept : host_{host}, outer_{std::exchange(host.alarms_, this)} {}
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    ~Alarm() {
      stop();
      host_.alarms_ = outer_;
    }
    void start(std::chrono::nanoseconds timeout) {
      timer_ = host_.startTimer(detail::qt_interval(timeout), Qt::PreciseTimer);
    }
    void stop() noexcept {
      if (timer_ != 0) host_.killTimer(std::exchange(timer_, 0));
    }
    [[nodiscard]] Alarm* outer() const noexcept { return outer_; }
    [[nodiscard]] bool is(int timer) const noexcept { return timer == timer_; }

   private:
    QtHost& host_;
    Alarm* outer_;
    int timer_ = 0;
  };

  /// It has ended the wait; going off again in a nested loop would be to spin.
  void timerEvent(QTimerEvent* event) override {
    for (Alarm* alarm = alarms_; alarm != nullptr; alarm = alarm->outer()) {
      if (alarm->is(event->timerId())) alarm->stop();
    }
  }

  /// Whether a pass may wait: the dispatcher for Unix first delivers what is posted and then waits all the
  /// same, so that a task woken by such an event would have to wait with it.
  ///
  /// Why a pass that follows a quiet one may wait: whoever posts wakes the dispatcher afterwards. The pass
  /// before has taken no wakeUp, and delivered what had been posted by then. So for an event that this pass
  /// delivers the wakeUp is yet to be taken, and the wait returns at once.
  [[nodiscard]] bool nothing_is_posted() const noexcept {
    return !waits_after_delivery_ || quiet_pass_ == passes_;
  }

  void pass(bool waits, PollTimeout timeout) {
    Alarm alarm{*this};
    if (waits && timeout) alarm.start(*timeout);
    const std::uint64_t before = passes_;
    const bool busy = loop_.processEvents(waits ? QEventLoop::WaitForMoreEvents : QEventLoop::AllEvents);
    if (!busy && passes_ == before + 1) quiet_pass_ = passes_;  // else a nested pass may have taken a wakeUp
  }

  QAbstractEventDispatcher& dispatcher_;
  QEventLoop loop_;
  detail::QtBell bell_;
  bool waits_after_delivery_ = false;
  std::uint64_t passes_ = 1;  // of the dispatcher, whoever asked for them
  std::uint64_t quiet_pass_ = 0;
  Alarm* alarms_ = nullptr;
  std::exception_ptr thrown_;
};

static_assert(PollHook<QtHost>);

/// An executor as a guest in a Qt event loop: a QObject that gives it turns, in the thread that the object
/// lives in. While tasks are runnable they have a turn, within the budget, at each pass of the loop beside
/// its timers, sockets and posted events; deadlines have Qt's resolution, a millisecond, rounded up; idle, it
/// costs nothing.
///
/// Nested event loops: in a slot, turns go on in the nested loop. In a task, the nested loop serves Qt only;
/// turns come again when it has returned.
///
/// Lifetime is a QObject's: it may be deleted by its parent, by deleteLater(), in a slot, by a task in its
/// own turn (which then runs to its end), and before or after the executor. Tasks stay where they are, and
/// another guest may take them on. With moveToThread() the executor moves, too, so nothing may use it on the
/// old thread any more; not from within a turn. When the thread's loop has ended the executor rests; if the
/// QThread is started again, so are the turns. In the main thread the guest belongs to the QCoreApplication
/// that is there: a further one needs a new guest.
///
/// Nothing passes through Qt: what a turn throws goes to `GuestOptions::on_exception`, and without one, or if
/// that throws, std::terminate() is called; also if Qt runs out of memory for a timer.
class QtGuest : public QObject {
 public:
  /// On the thread whose loop it is, running or not; the first turn comes in that loop. Throws
  /// std::logic_error if there is no QCoreApplication, or if the executor is a guest already;
  /// std::invalid_argument if `parent` lives in another thread; std::bad_alloc.
  template <QueueKey Key, Clock C>
  explicit QtGuest(Executor<Key, C>& executor, GuestOptions options = {}, QObject* parent = nullptr)
      : QObject{checked(parent)},
        seat_{std::make_shared<Seat>()},
        turns_{std::make_shared<GuestTurns>(executor, std::move(options),
                                            [seat = seat_]() noexcept { seat->bell.ring(); })} {
    enter_loop();
  }
  /// On its thread, or when that has ended.
  ~QtGuest() override {
    seat_->bell.hang_in(nullptr);
    seat_->left = true;
  }

 protected:
  bool event(QEvent* event) override {
    // Sent on the old thread before the move; the call posted here is moved along.
    if (event->type() == QEvent::ThreadChange) {
      CLOCKWORKER_ASSERT(!in_turn_, "QtGuest: moveToThread() was called from within a turn of it");
      leave_loop();
      disconnect(restart_);
      QMetaObject::invokeMethod(
          this, [this] { enter_loop(); }, Qt::QueuedConnection);
    }
    return QObject::event(event);
  }
  void timerEvent(QTimerEvent* /*event*/) noexcept override { take_turn(); }

 private:
  /// Outlives the guest where a turn or another thread is still about it.
  struct Seat {
    detail::QtBell bell;
    bool left = false;  // the loop's thread: the guest is gone
  };

  [[nodiscard]] static QObject* checked(QObject* parent) {
    (void)detail::qt_dispatcher("QtGuest");
    if (parent != nullptr && parent->thread() != QThread::currentThread())
      throw std::invalid_argument("clockworker: QtGuest: its parent lives in another thread");
    return parent;
  }

  /// The bell is looked at when a wait has ended and before one begins. Some dispatchers tell only of the
  /// former, some only of waits that they really come to; together that is before every wait.
  void enter_loop() {
    QAbstractEventDispatcher& dispatcher = detail::qt_dispatcher("QtGuest");
    presence_.emplace();
    auto look = [this] { look_at_bell(); };
    connect(&dispatcher, &QAbstractEventDispatcher::awake, &*presence_, look, Qt::DirectConnection);
    connect(&dispatcher, &QAbstractEventDispatcher::aboutToBlock, &*presence_, look, Qt::DirectConnection);
    detail::qt_at_end_of_loop(*presence_, [this] { leave_loop(); });
    // The thread may be started again, with another dispatcher, which is there when it says so.
    disconnect(restart_);
    restart_ = connect(
        QThread::currentThread(), &QThread::started, this,
        [this] {
          if (QCoreApplication::instance() != nullptr) enter_loop();
        },
        Qt::DirectConnection);
    seat_->bell.hang_in(&dispatcher);
    ask_for_turn();
  }

  void leave_loop() noexcept {
    seat_->bell.hang_in(nullptr);
    stop(soon_);
    stop(later_);
    presence_.reset();
  }

  void look_at_bell() noexcept {
    if (seat_->bell.take()) ask_for_turn();
  }

  /// By a timer of no time: a pass of the loop serves posted events, sockets and every timer that is due
  /// before such a one comes again.
  void ask_for_turn() {
    if (soon_ == 0) soon_ = startTimer(0, Qt::PreciseTimer);
  }

  /// The timers are off during the turn, so nothing spins in a nested loop of its tasks; and what is asked
  /// for afterwards is not the timer now firing, which Qt would not let fire in a nested loop of
  /// `on_exception`.
  void take_turn() noexcept {
    stop(soon_);
    stop(later_);
    // A task may delete the guest: these stay to the end of the turn.
    const std::shared_ptr<Seat> seat = seat_;
    const std::shared_ptr<GuestTurns> turns = turns_;
    const bool outer = std::exchange(in_turn_, true);
    const AfterTurn after = turns->take();
    if (!seat->left) {
      in_turn_ = outer;
      if (after.again) {
        ask_for_turn();
      } else if (after.timer) {
        stop(later_);
        later_ = startTimer(detail::qt_interval(*after.timer), Qt::PreciseTimer);
      }
    }
    turns->report(after);
  }

  void stop(int& timer) noexcept {
    if (timer != 0) killTimer(std::exchange(timer, 0));
  }

  std::shared_ptr<Seat> seat_;
  std::shared_ptr<GuestTurns> turns_;
  std::optional<QObject> presence_;  // what is connected to the loop that the guest is in; none: in none
  QMetaObject::Connection restart_;
  bool in_turn_ = false;
  int soon_ = 0;   // a timer of Qt's; 0: none
  int later_ = 0;  // the next deadline's
};

}  // namespace clockworker
