/// \file
/// What host and guest of a Qt event loop share: a wake that the loop's thread cannot miss.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>

#include <QtCore/QAbstractEventDispatcher>
#include <QtCore/QCoreApplication>
#include <QtCore/QEventLoop>
#include <QtCore/QObject>
#include <QtCore/QThread>

namespace clockworker::detail {

/// A flag, and a dispatcher that is woken to look at it. Never allocates.
///
/// Why no ring is lost if the loop's thread calls `take()` before each time that it may block:
/// `QAbstractEventDispatcher::wakeUp()` is sticky, in a descriptor or a serial number, until the dispatcher
/// next returns from waiting; but while it is just about to reset that, a wakeUp() may count as done already.
/// `ring()` and `take()` exchange the same word. If the ring's exchange is first, `take()` finds it. If it is
/// second, it has acquired what the loop's thread did before it took, the reset included: then wakeUp() is
/// for the coming wait.
class QtBell {
 public:
  /// Any thread.
  void ring() noexcept {
    rung_.exchange(true, std::memory_order_acq_rel);
    std::lock_guard lock{mutex_};  // against the end of the dispatcher, which goes with its thread
    if (dispatcher_ != nullptr) dispatcher_->wakeUp();
  }

  /// The loop's thread. Whether it was rung since the last call.
  bool take() noexcept { return rung_.exchange(false, std::memory_order_acq_rel); }

  /// The loop's thread. Afterwards nobody is in the dispatcher that was there before. What was rung stays.
  void hang_in(QAbstractEventDispatcher* dispatcher) noexcept {
    std::lock_guard lock{mutex_};
    dispatcher_ = dispatcher;
  }

 private:
  std::atomic<bool> rung_{false};
  std::mutex mutex_;
  QAbstractEventDispatcher* dispatcher_ = nullptr;
};

/// The calling thread's, which is made if there is none yet. Throws std::logic_error without a
/// QCoreApplication; `who` asks.
[[nodiscard]] inline QAbstractEventDispatcher& qt_dispatcher(const char* who) {
  if (QCoreApplication::instance() == nullptr) {
    throw std::logic_error(
        std::string{"clockworker: "} + who +
        " needs a QCoreApplication (or QGuiApplication, QApplication), which is to be made "
        "first");
  }
  const QEventLoop makes_one;
  return *QAbstractEventDispatcher::instance();
}

/// Calls `f()` on this thread, whose loop and dispatcher are about to go, but are still there; as long as
/// `context` lives. (The dispatcher's own `destroyed()` comes when most of it has gone.)
template <class F>
void qt_at_end_of_loop(const QObject& context, F f) {
  QObject::connect(QThread::currentThread(), &QThread::finished, &context, f, Qt::DirectConnection);
  // The main thread's dispatcher is a child of the application.
  QCoreApplication* application = QCoreApplication::instance();
  if (application->thread() == QThread::currentThread())
    QObject::connect(application, &QObject::destroyed, &context, f, Qt::DirectConnection);
}

/// Rounded up to what Qt's timers count in, and bounded to what they can count.
[[nodiscard]] inline int qt_interval(std::chrono::nanoseconds time) noexcept {
  using Ms = std::chrono::milliseconds;
  return static_cast<int>(std::clamp(std::chrono::ceil<Ms>(time), Ms{0}, Ms{std::chrono::hours{24}}).count());
}

}  // namespace clockworker::detail
