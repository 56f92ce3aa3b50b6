// host: qt
#include "qt_loop.hpp"

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <QtCore/QMetaObject>
#include <QtCore/QPointer>
#include <QtCore/QTimer>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker_test::Dispatcher;
using clockworker_test::QtApplication;
using Executor = cw::Executor<>;

cw::Task<> count(int& steps) {
  for (;; ++steps) co_await cw::sleep_for(1ms);
}

/// Runs the application's loop, for at most some seconds, until `done`.
void exec_until(const std::function<bool()>& done) {
  QEventLoop loop;
  QTimer looks;
  QObject::connect(&looks, &QTimer::timeout, &loop, [&] {
    if (done()) loop.quit();
  });
  looks.start(1);
  QTimer::singleShot(10s, &loop, &QEventLoop::quit);
  loop.exec();
}

TEST_CASE("QtGuest: QTimers and the executor's timers go off beside each other, in order", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  std::string order;
  QObject context;
  const auto start = executor.now();
  QTimer::singleShot(10, Qt::PreciseTimer, &context, [&] { order += 'a'; });
  QTimer::singleShot(50, Qt::PreciseTimer, &context, [&] { order += 'c'; });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_until(start + 30ms);
    order += 'b';
    co_await cw::sleep_until(start + 70ms);
    order += 'd';
    QCoreApplication::quit();
  });
  QCoreApplication::exec();
  CHECK(order == "abcd");
}

TEST_CASE("QtGuest: it is served beside timers of no time, and they beside it", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  int fired[2] = {};
  QTimer timers[2];
  for (int i = 0; i < 2; ++i) {
    QObject::connect(&timers[i], &QTimer::timeout, [&fired, i] { ++fired[i]; });
    timers[i].start(0);
  }
  int steps = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;; ++steps) co_await cw::yield_now();
  });
  exec_until([&] { return fired[0] > 100 && fired[1] > 100 && steps > 1000; });
  CHECK(fired[0] > 100);
  CHECK(fired[1] > 100);
  CHECK(steps > 1000);
}

TEST_CASE("QtGuest: quit leaves tasks as they are, and the next exec goes on with them", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  int steps = 0;
  executor.queue(0).spawn(count, std::ref(steps));
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;;) {
      co_await cw::sleep_for(10ms);
      QCoreApplication::exit(7);
    }
  });
  CHECK(QCoreApplication::exec() == 7);
  const int then = steps;
  CHECK(executor.stats().live_tasks == 2);
  CHECK(QCoreApplication::exec() == 7);
  CHECK(steps > then);
}

TEST_CASE("QtGuest: a run in between is allowed, also in a slot, and turns go on afterwards", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  cw::QtHost host;
  int steps = 0;
  executor.queue(0).spawn(count, std::ref(steps));
  int after_run = 0;
  QObject context;
  QTimer::singleShot(3, &context, [&] {
    executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(5ms); });
    after_run = steps;
    CHECK(after_run > 0);
  });
  exec_until([&] { return after_run > 0 && steps > after_run + 5; });
  CHECK(steps > after_run);
}

TEST_CASE("QtGuest: its parent deletes it, and another goes on with the tasks", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int steps = 0;
  executor.queue(0).spawn(count, std::ref(steps));
  auto window = std::make_unique<QObject>();
  QPointer<QObject> guest{new cw::QtGuest{executor, {}, window.get()}};
  exec_until([&] { return steps > 3; });
  window.reset();
  CHECK(guest == nullptr);
  const int then = steps;
  int ticks = 0;
  exec_until([&] { return ++ticks > 10; });
  CHECK(steps == then);
  const cw::QtGuest another{executor};
  exec_until([&] { return steps > then; });
  CHECK(steps > then);
}

TEST_CASE("QtGuest: it is deleted by deleteLater in a task and in a slot, and in a slot at once", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  const int how = GENERATE(0, 1, 2);
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int steps = 0;
  executor.queue(0).spawn(count, std::ref(steps));
  QPointer<cw::QtGuest> guest{new cw::QtGuest{executor}};
  QObject context;
  if (how == 0) {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      co_await cw::sleep_for(5ms);
      guest->deleteLater();
    });
  } else {
    QTimer::singleShot(5, &context, [&] {
      if (how == 1) {
        guest->deleteLater();
      } else {
        delete guest.data();
      }
    });
  }
  exec_until([&] { return guest == nullptr; });
  CHECK(guest == nullptr);
  const int then = steps;
  int ticks = 0;
  exec_until([&] { return ++ticks > 10; });
  CHECK(steps == then);
}

TEST_CASE("QtGuest: a task that deletes it in its own turn goes on, and so does that turn", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  std::string reported;
  cw::GuestOptions options;
  options.on_exception = [&](std::exception_ptr) { reported += 'x'; };
  auto* guest = new cw::QtGuest{executor, options};
  int before = 0;
  int after = 0;
  cw::Waker waker;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; before < 5; ++before) co_await cw::sleep_for(1ms);
    delete guest;
    guest = nullptr;
    waker.wake();
    executor.queue(0).spawn([&]() -> cw::Task<> {
      ++after;
      throw std::runtime_error{"told to the one that had asked"};
      co_return;
    });
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker given) { waker = given; });
    ++after;
    co_await cw::sleep_for(1ms);
    ++after;
  });
  exec_until([&] { return guest == nullptr; });
  CHECK(after == 2);
  CHECK(reported == "x");
  const cw::QtGuest another{executor};
  exec_until([&] { return after == 3; });
  CHECK(after == 3);
}

TEST_CASE("QtGuest: the executor may go first, wakes and turns then do nothing", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  int steps = 0;
  cw::Waker waker;
  std::optional<cw::QtGuest> guest;
  {
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    guest.emplace(executor);
    executor.queue(0).spawn(count, std::ref(steps));
    executor.queue(0).spawn(
        [&]() -> cw::Task<> { co_await cw::suspend([&](cw::Waker given) { waker = given; }); });
    exec_until([&] { return steps > 2; });
  }
  const int then = steps;
  waker.wake();
  int ticks = 0;
  exec_until([&] { return ++ticks > 10; });
  CHECK(steps == then);
}

TEST_CASE("QtGuest: turns go on in a nested loop of on_exception", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int steps = 0;
  int in_nested = 0;
  cw::GuestOptions options;
  options.on_exception = [&](std::exception_ptr) {  // as it would show a dialog
    const int then = steps;
    QEventLoop nested;
    QTimer::singleShot(40, &nested, &QEventLoop::quit);
    nested.exec();
    in_nested = steps - then;
    QCoreApplication::quit();
  };
  const cw::QtGuest guest{executor, options};
  executor.queue(0).spawn(count, std::ref(steps));
  executor.queue(0).spawn([]() -> cw::Task<> {
    co_await cw::sleep_for(5ms);
    throw std::runtime_error{"out of a task"};
  });
  QCoreApplication::exec();
  CHECK(in_nested > 0);
}

TEST_CASE("QtGuest: destroyed with its application gone already, it harms nobody", "[hosts]") {
  auto application = std::make_unique<QtApplication>(GENERATE(Dispatcher::of_glib, Dispatcher::of_unix));
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  std::optional<cw::QtGuest> guest{std::in_place, executor};
  int steps = 0;
  cw::Waker waker;
  executor.queue(0).spawn(count, std::ref(steps));
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await cw::suspend([&](cw::Waker given) { waker = given; });
    ++steps;
  });
  exec_until([&] { return steps > 2; });
  application.reset();
  waker.wake();  // rings the bell
  guest.reset();
  const int then = steps;
  executor.run_until([]() -> cw::Task<> { co_await cw::sleep_for(3ms); });
  CHECK(steps > then);
}

}  // namespace
