// host: qt
#include "qt_loop.hpp"

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

#include <QtCore/QThread>
#include <QtCore/QTimer>

#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using clockworker_test::Dispatcher;
using clockworker_test::QtApplication;
using Executor = cw::Executor<>;

/// A QThread whose end is seen by ThreadSanitizer, too, as Qt itself has not been compiled with it: it ends
/// from within, and who waits for it is told after Qt's own end of the thread.
class Thread : public QThread {
 public:
  void wait_for_end() {
    ended_.wait(false);
    wait();
    ended_ = false;  // it may be started again
  }
  static cw::Task<> end() {
    QThread::currentThread()->quit();
    co_return;
  }
  std::function<void()> while_dispatcher_goes;

 protected:
  void run() override {
    thread_local AtEnd at_end;
    at_end.tell = &ended_;
    QObject::connect(QAbstractEventDispatcher::instance(), &QObject::destroyed, [this] {
      if (while_dispatcher_goes) while_dispatcher_goes();
    });
    exec();
  }

 private:
  struct AtEnd {
    std::atomic<bool>* tell = nullptr;
    ~AtEnd() {
      tell->store(true);
      tell->notify_one();
    }
  };
  std::atomic<bool> ended_{false};
};

/// One with an executor of its own.
class Worker : public Thread {
 public:
  cw::Remote start_executor() {
    start();
    return remote_.get_future().get();
  }

 private:
  void run() override {
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    const cw::QtGuest guest{executor};
    remote_.set_value(executor.remote());
    Thread::run();
  }
  std::promise<cw::Remote> remote_;
};

TEST_CASE("QtGuest: it lives in a QThread, and tasks are sent there and back", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  Worker worker;
  cw::Remote there = worker.start_executor();
  int sum = 0;
  bool elsewhere = false;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 1; i <= 200; ++i) {
      const auto here = std::this_thread::get_id();
      auto answer = co_await there.spawn(0, [i, here]() -> cw::Task<std::pair<int, bool>> {
        if (i % 8 == 0) co_await cw::sleep_for(1ms);
        co_return std::pair{2 * i, std::this_thread::get_id() != here};
      });
      sum += answer->first;
      elsewhere = answer->second;
    }
    QCoreApplication::quit();
  });
  QCoreApplication::exec();
  there.spawn(0, &Thread::end);
  worker.wait_for_end();
  CHECK(sum == 200 * 201);
  CHECK(elsewhere);
}

/// One that is made here and moved to a thread, as Qt's workers are.
struct Moved {
  Executor executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  std::unique_ptr<cw::QtGuest> guest = std::make_unique<cw::QtGuest>(executor);
};

TEST_CASE("QtGuest: moved to another thread it takes its turns there", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  const bool used_before = GENERATE(false, true);
  Moved moved;
  auto remote = moved.executor.remote();
  int steps = 0;
  moved.executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;; ++steps) co_await cw::sleep_for(1ms);
  });
  if (used_before) {
    QTimer::singleShot(5, qApp, [] { QCoreApplication::quit(); });
    QCoreApplication::exec();
    CHECK(steps > 0);
  }
  const int before = steps;
  Thread thread;
  moved.guest->moveToThread(&thread);
  auto waiting = remote.spawn(0, []() -> cw::Task<std::thread::id> {  // before there is a loop
    co_return std::this_thread::get_id();
  });
  thread.start();
  for (int i = 0; i < 200; ++i) QCoreApplication::processEvents();  // the old loop has no part in it any more
  CHECK(waiting.get().value() != std::this_thread::get_id());
  auto later = remote.spawn(0, [&]() -> cw::Task<int> {
    co_await cw::sleep_for(5ms);
    co_return steps;
  });
  CHECK(later.get().value() > before);
  for (int i = 0; i < 200; ++i) {  // both loops run, and only the new one takes the rings
    auto answer = remote.spawn(0, []() -> cw::Task<> { co_return; });
    while (!answer.wait_for(0ms)) QCoreApplication::processEvents();
  }
  remote.spawn(0, &Thread::end);
  thread.wait_for_end();
}

TEST_CASE("QtGuest: when its thread has ended it may be rung, and deleted on another", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  for (int round = 0; round < 20; ++round) {
    Moved moved;
    auto remote = moved.executor.remote();
    Thread thread;
    moved.guest->moveToThread(&thread);
    thread.start();
    (void)remote.spawn(0, []() -> cw::Task<> { co_return; }).get();
    // Rings all the time while the thread's loop and dispatcher go.
    std::atomic<bool> stop{false};
    std::thread ringing{[&, remote]() mutable {
      while (!stop) {
        remote.spawn(0, []() -> cw::Task<> { co_return; });
        std::this_thread::sleep_for(std::chrono::microseconds{round});
      }
    }};
    std::this_thread::sleep_for(1ms);
    remote.spawn(0, &Thread::end);
    thread.wait_for_end();
    stop = true;
    ringing.join();
    bool ran = false;
    moved.executor.queue(0).spawn([&]() -> cw::Task<> {
      ran = true;
      co_return;
    });
    moved.guest.reset();
    moved.executor.run_until_idle();
    CHECK(ran);
  }
}

TEST_CASE("QtGuest: a ring while its thread's loop is taken down does not touch that", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  Moved moved;
  auto remote = moved.executor.remote();
  Thread thread;
  bool ran = false;
  thread.while_dispatcher_goes = [&] {
    remote.spawn(0, [&]() -> cw::Task<> {
      ran = true;
      co_return;
    });
  };
  moved.guest->moveToThread(&thread);
  thread.start();
  remote.spawn(0, &Thread::end);
  thread.wait_for_end();
  CHECK_FALSE(ran);
  moved.guest.reset();
  moved.executor.run_until_idle();
  CHECK(ran);
}

TEST_CASE("QtGuest: when its thread has ended and is started again, it takes its turns there again",
          "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  Moved moved;
  auto remote = moved.executor.remote();
  Thread thread;
  moved.guest->moveToThread(&thread);
  for (int round = 0; round < 3; ++round) {
    // Posted while there is no loop, and in a sleep when it ends.
    auto waiting = remote.spawn(0, []() -> cw::Task<> { co_return; });
    remote.spawn(0, []() -> cw::Task<> { co_await cw::sleep_for(1h); });
    thread.start();
    REQUIRE(waiting.wait_for(10s));
    auto later = remote.spawn(0, []() -> cw::Task<> { co_await cw::sleep_for(1ms); });
    REQUIRE(later.wait_for(10s));
    remote.spawn(0, &Thread::end);
    thread.wait_for_end();
  }
}

TEST_CASE("QtGuest: moved away from a thread, it has no part in a restart of that", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  Moved moved;
  Moved staying;
  auto remote = moved.executor.remote();
  Thread first;
  Thread second;
  auto thread_of_task = [&remote] {
    auto answer = remote.spawn(0, []() -> cw::Task<QThread*> { co_return QThread::currentThread(); });
    REQUIRE(answer.wait_for(10s));
    return answer.get().value();
  };
  moved.guest->moveToThread(&first);
  staying.guest->moveToThread(&first);
  first.start();
  CHECK(thread_of_task() == &first);
  remote.spawn(0, [&]() -> cw::Task<> {
    QTimer::singleShot(0, moved.guest.get(), [&] {
      moved.guest->moveToThread(&second);
      QThread::currentThread()->quit();
    });
    co_return;
  });
  first.wait_for_end();
  second.start();
  CHECK(thread_of_task() == &second);
  first.start();
  REQUIRE(staying.executor.remote().spawn(0, []() -> cw::Task<> { co_return; }).wait_for(10s));
  for (int i = 0; i < 20; ++i) CHECK(thread_of_task() == &second);
  staying.executor.remote().spawn(0, &Thread::end);
  first.wait_for_end();
  remote.spawn(0, &Thread::end);
  second.wait_for_end();
}

TEST_CASE("QtGuest: a parent of another thread is refused", "[hosts]") {
  QtApplication application;
  QObject parent;
  bool refused = false;
  std::thread{[&] {
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    try {
      const cw::QtGuest guest{executor, {}, &parent};
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    const cw::QtGuest guest{executor};  // the refusal has left nothing behind
  }}.join();
  CHECK(refused);
  CHECK(parent.children().isEmpty());
}

TEST_CASE("QtGuest: of rings in any moment of the loop none is lost", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  // Passes that find something else: the loop's own wakes and timers, in nested passes, too.
  QObject context;
  QTimer noise;
  QObject::connect(&noise, &QTimer::timeout, &context, [&] {
    QMetaObject::invokeMethod(
        &context, [] { QCoreApplication::processEvents(); }, Qt::QueuedConnection);
  });
  noise.start(1);
  constexpr int rounds = 20'000;
  int done = 0;
  std::thread other{[&, remote = executor.remote()]() mutable {
    for (int i = 0; i < rounds; ++i) {
      auto handle = remote.spawn(0, [&]() -> cw::Task<> {
        if (++done == rounds) QCoreApplication::quit();
        co_return;
      });
      (void)handle.get();
    }
  }};
  QCoreApplication::exec();  // a ring that is lost leaves it asleep, but for the noise
  other.join();
  CHECK(done == rounds);
}

TEST_CASE("QtGuest: without on_exception, what a task throws ends the program before it reaches Qt",
          "[hosts]") {
  const ::pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::set_terminate([] { ::_exit(42); });
    QtApplication application;
    auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
    const cw::QtGuest guest{executor};
    executor.queue(0).spawn([]() -> cw::Task<> {
      throw std::runtime_error{"out of a task"};
      co_return;
    });
    try {
      QCoreApplication::processEvents();
      QCoreApplication::processEvents();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
}

}  // namespace
