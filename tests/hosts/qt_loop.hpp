/// \file
/// Qt's event loop, for the suite over all hosts. Qt has two of them on Linux; both are to be tried.
#pragma once

#include <clockworker/hosts/qt.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <unistd.h>

#include <QtCore/QByteArray>
#include <QtCore/QCoreApplication>
#include <QtCore/QEventLoop>
#include <QtCore/QObject>
#include <QtCore/QSocketNotifier>
#include <QtCore/QTimer>

namespace clockworker_test {

namespace cw = clockworker;

enum class Dispatcher { of_glib, of_unix };

/// QCoreApplication as an application has it.
class QtApplication {
 public:
  explicit QtApplication(Dispatcher dispatcher = Dispatcher::of_glib)
      : chosen_{dispatcher}, application_{argc_, argv_} {}
  QtApplication(const QtApplication&) = delete;
  QtApplication& operator=(const QtApplication&) = delete;

 private:
  /// Read by Qt when it makes a dispatcher, here and in threads.
  struct Choice {
    explicit Choice(Dispatcher dispatcher) {
      if (dispatcher == Dispatcher::of_unix) {
        qputenv("QT_NO_GLIB", "1");
      } else {
        qunsetenv("QT_NO_GLIB");
      }
    }
  };
  Choice chosen_;
  int argc_ = 1;
  char name_[5] = "test";
  char* argv_[2] = {name_, nullptr};
  QCoreApplication application_;
};

template <Dispatcher dispatcher>
class QtLoop {
 public:
  using Host = cw::QtHost;
  static constexpr bool nests = true;

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    QTimer::singleShot(std::chrono::ceil<std::chrono::milliseconds>(delay), Qt::PreciseTimer, &context_,
                       std::move(f));
  }
  void post(std::function<void()> f) {
    QMetaObject::invokeMethod(&context_, std::move(f), Qt::QueuedConnection);
  }
  void on_readable(int fd, std::function<void()> f) {
    auto* notifier = new QSocketNotifier{fd, QSocketNotifier::Read, &context_};
    QObject::connect(notifier, &QSocketNotifier::activated, &context_, std::move(f));
  }
  void fail(std::exception_ptr what) {
    post([this, what] { host().throw_from_poll(what); });
  }

  void run_until(std::function<bool()> done) {
    QEventLoop loop;
    auto look = [&] {
      if (done()) loop.quit();
    };
    auto* events = QAbstractEventDispatcher::instance();
    QObject::connect(events, &QAbstractEventDispatcher::awake, &loop, look);
    QObject::connect(events, &QAbstractEventDispatcher::aboutToBlock, &loop, look);
    loop.exec();
  }
  void run_nested_for(std::chrono::nanoseconds d) {
    QEventLoop loop;
    QTimer::singleShot(std::chrono::ceil<std::chrono::milliseconds>(d), Qt::PreciseTimer, &loop,
                       &QEventLoop::quit);
    loop.exec();
  }

  cw::QtHost& host() {
    if (!host_) host_.emplace();
    return *host_;
  }
  template <class E>
  std::unique_ptr<cw::QtGuest> guest(E& executor, cw::GuestOptions options = {}) {
    return std::make_unique<cw::QtGuest>(executor, std::move(options));
  }

  cw::Task<> wait_for_ever() {
    co_await cw::suspend([&](cw::Waker waker) { after(std::chrono::hours{1}, [waker] { waker.wake(); }); });
  }
  cw::Task<char> read_byte(int fd) {
    {
      const Duplicate own{fd};  // Qt wants no more than one notifier for a descriptor
      QSocketNotifier notifier{own.fd, QSocketNotifier::Read};
      co_await cw::suspend([&](cw::Waker waker) {
        QObject::connect(&notifier, &QSocketNotifier::activated, &notifier, [&notifier, waker] {
          notifier.setEnabled(false);
          waker.wake();
        });
      });
    }
    char byte = 0;
    if (::read(fd, &byte, 1) != 1) throw std::system_error{errno, std::generic_category(), "read"};
    co_return byte;
  }

 private:
  struct Duplicate {
    explicit Duplicate(int of) : fd{::dup(of)} {
      if (fd < 0) throw std::system_error{errno, std::generic_category(), "dup"};
    }
    Duplicate(const Duplicate&) = delete;
    Duplicate& operator=(const Duplicate&) = delete;
    ~Duplicate() { ::close(fd); }
    const int fd;
  };

  QtApplication application_{dispatcher};
  std::optional<cw::QtHost> host_;
  QObject context_;
};

}  // namespace clockworker_test
