// host: qt
#include "qt_loop.hpp"

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <QtCore/QMetaObject>
#include <QtCore/QPointer>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker_test::Dispatcher;
using clockworker_test::QtApplication;

static_assert(cw::PollHook<cw::QtHost>);
static_assert(!std::is_copy_constructible_v<cw::QtHost> && !std::is_move_constructible_v<cw::QtHost>);

/// Calls `f` once, when the dispatcher has delivered what was posted and is about to wait.
void once_before_waiting(QObject& context, std::function<void()> f) {
  auto done = std::make_shared<bool>(false);
  QObject::connect(
      QAbstractEventDispatcher::instance(), &QAbstractEventDispatcher::aboutToBlock, &context,
      [done, f = std::move(f)] {
        if (!std::exchange(*done, true)) f();
      },
      Qt::DirectConnection);
}

/// So that the next poll of a time waits: what there was has been delivered.
void settle(cw::QtHost& host) {
  for (int i = 0; i < 3; ++i) host.poll(0ns);
}

TEST_CASE("QtHost: without a QCoreApplication it is refused, and so is a guest", "[hosts]") {
  REQUIRE(QCoreApplication::instance() == nullptr);
  CHECK_THROWS_AS(cw::QtHost{}, std::logic_error);
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  CHECK_THROWS_WITH(cw::QtGuest{executor}, Catch::Contains("QtGuest needs a QCoreApplication"));
  QtApplication application;
  const cw::QtGuest guest{executor};  // the refusal has left nothing behind
}

TEST_CASE("QtHost: a poll on another thread is refused", "[hosts]") {
  QtApplication application;
  cw::QtHost host;
  bool refused = false;
  std::thread{[&] {
    try {
      host.poll(0ns);
    } catch (const std::logic_error&) {
      refused = true;
    }
  }}.join();
  CHECK(refused);
}

TEST_CASE("QtHost: a thread that Qt did not start can have one", "[hosts]") {
  QtApplication application;
  int steps = 0;
  std::thread{[&] {
    cw::QtHost host;
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    executor.run_until(host, [&]() -> cw::Task<> {
      for (; steps < 3; ++steps) co_await cw::sleep_for(1ms);
    });
  }}.join();
  CHECK(steps == 3);
}

TEST_CASE("QtHost: a wake is remembered by polls of no time, until one may wait", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  cw::QtHost host;
  for (int i = 0; i < 3; ++i) {
    host.wake();
    host.wake();
    settle(host);
    host.poll(std::nullopt);  // returns
  }
}

TEST_CASE("QtHost: a wait that nothing ends lasts as long as was asked, wakes do not add up", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  cw::QtHost host;
  for (std::chrono::nanoseconds timeout : {1ns, 999'999ns, 1'000'001ns, 20'000'000ns}) {
    host.wake();
    host.wake();
    host.poll(1h);
    settle(host);
    const auto before = std::chrono::steady_clock::now();
    host.poll(timeout);
    CHECK(std::chrono::steady_clock::now() - before >= timeout);
  }
}

TEST_CASE("QtHost: timeouts longer than Qt's timers can count do not overflow", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  // In milliseconds the second has 33 bits, and 1 in the lower 32.
  const auto timeout =
      GENERATE(std::chrono::nanoseconds::max(), std::chrono::nanoseconds{4'294'967'297'000'000});
  cw::QtHost host;
  settle(host);
  const auto before = std::chrono::steady_clock::now();
  std::thread waker{[&] {
    std::this_thread::sleep_for(5ms);
    host.wake();
  }};
  host.poll(timeout);
  CHECK(std::chrono::steady_clock::now() - before >= 5ms);
  waker.join();
  settle(host);
  const auto woken = std::chrono::steady_clock::now();
  host.poll(5ms);  // the wake was for that sleep, and only that
  CHECK(std::chrono::steady_clock::now() - woken >= 5ms);
}

// The dispatcher for Unix delivers what is posted, then waits. Whatever the delivery has woken must not.
TEST_CASE("QtHost: a task that a posted event wakes does not wait for the next event", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  QObject context;
  cw::QtHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  bool too_late = false;
  QTimer::singleShot(3s, &context, [&] {
    too_late = true;
    executor.stop();
  });
  const bool nested = GENERATE(false, true);
  const bool in_slot = GENERATE(false, true);
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 20; ++i) {
      co_await cw::suspend([&](cw::Waker waker) {
        auto post_wake = [&context, waker] {
          QMetaObject::invokeMethod(
              &context, [waker] { waker.wake(); }, Qt::QueuedConnection);
        };
        if (!nested) {
          // Delivered only by the next pass, while this one takes note of the dispatcher's being woken.
          once_before_waiting(context, post_wake);
          return;
        }
        // The same, but it is a nested pass that takes note of it.
        QMetaObject::invokeMethod(
            &context,
            [&context, post_wake] {
              once_before_waiting(context, post_wake);
              QEventLoop loop;
              loop.processEvents(QEventLoop::WaitForMoreEvents);
            },
            Qt::QueuedConnection);
      });
    }
    executor.stop();
  });
  QEventLoop around;
  QMetaObject::invokeMethod(
      &context,
      [&] {
        executor.run(host);
        around.quit();
      },
      in_slot ? Qt::QueuedConnection : Qt::DirectConnection);
  if (in_slot) around.exec();
  CHECK_FALSE(too_late);
}

TEST_CASE("QtHost: what tasks give to deleteLater goes while the executor runs", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  cw::QtHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  QPointer<QObject> object{new QObject};
  bool gone = false;
  executor.run_until(host, [&]() -> cw::Task<> {
    object->deleteLater();
    for (int i = 0; i < 1000 && object != nullptr; ++i) co_await cw::sleep_for(1ms);
    gone = object == nullptr;
  });
  CHECK(gone);
}

TEST_CASE("QtHost: a deletion wakes the task that waits for it", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  cw::QtHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int deleted = 0;
  for (int i = 0; i < 20; ++i) {
    executor.run_until(host, [&]() -> cw::Task<> {
      co_await cw::suspend([](cw::Waker waker) {
        auto* object = new QObject;
        QObject::connect(object, &QObject::destroyed, [waker] { waker.wake(); });
        object->deleteLater();
      });
      ++deleted;
    });
  }
  CHECK(deleted == 20);
}

TEST_CASE("QtHost: in a slot, run leaves alone what that slot gave to deleteLater", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  QEventLoop loop;
  QPointer<QObject> object{new QObject};
  bool lived = false;
  QTimer::singleShot(0, &loop, [&] {
    QObject::connect(object, &QObject::destroyed, &loop, &QEventLoop::quit);
    object->deleteLater();
    cw::QtHost host;
    executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(3ms); });
    lived = object != nullptr;
  });
  bool late = false;
  QTimer::singleShot(3s, &loop, [&] {
    late = true;
    loop.quit();
  });
  loop.exec();
  CHECK(lived);
  CHECK(object == nullptr);
  CHECK_FALSE(late);
}

TEST_CASE("QtHost: what a slot hands over leaves run, of several the first", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  QObject context;
  cw::QtHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  QTimer::singleShot(1, &context, [&] {
    host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"first"}));
    host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"second"}));
  });
  CHECK_THROWS_WITH(executor.run(host), "first");
  host.poll(0ns);  // the second is forgotten
  CHECK(executor.stats().live_tasks == 1);
  executor.queue(0).spawn([&]() -> cw::Task<> {
    host.throw_from_poll(std::make_exception_ptr(std::runtime_error{"from a task"}));
    co_return;
  });
  CHECK_THROWS_WITH(executor.run(host), "from a task");  // although nothing else ends its sleep
}

TEST_CASE("QtHost: a slot may run another executor on the same host", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  QObject context;
  cw::QtHost host;
  auto outer = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  auto inner = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int inner_steps = 0;
  QTimer::singleShot(1, &context, [&] {
    inner.run_until(host, [&]() -> cw::Task<> {
      for (; inner_steps < 5; ++inner_steps) co_await cw::sleep_for(2ms);
    });
  });
  outer.run_until(host, []() -> cw::Task<> {
    co_await cw::sleep_for(5ms);  // is over while the inner one runs
    co_await cw::sleep_for(5ms);
  });
  CHECK(inner_steps == 5);
}

TEST_CASE("QtHost: a timeout that is over does not spin in a nested loop", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  QObject context;
  cw::QtHost host;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int passes = 0;
  executor.run_until(host, [&]() -> cw::Task<> {
    QTimer::singleShot(2, Qt::PreciseTimer, &context, [&] {
      QObject::connect(QAbstractEventDispatcher::instance(), &QAbstractEventDispatcher::awake, &context,
                       [&] { ++passes; });
      QEventLoop nested;
      QTimer::singleShot(200, &nested, &QEventLoop::quit);
      nested.exec();
      context.disconnect();
      QObject::disconnect(QAbstractEventDispatcher::instance(), nullptr, &context, nullptr);
    });
    co_await cw::sleep_for(4ms);
  });
  CHECK(passes > 0);
  CHECK(passes < 20);  // with an interval of 4 ms there would be some 50
}

}  // namespace
