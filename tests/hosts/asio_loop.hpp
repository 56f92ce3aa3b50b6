/// \file
/// An io_context as an application has it, for the suite over all hosts.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/asio.hpp>

#if CLOCKWORKER_ASIO_BOOST
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#else
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#endif

#include <cerrno>
#include <chrono>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace clockworker_test {

namespace cw = clockworker;
#if CLOCKWORKER_ASIO_BOOST
namespace net = boost::asio;
#else
namespace net = asio;
#endif

class AsioLoop {
  /// What a user of an Asio without cancellation slots does, where the context has but one thread.
  template <class Object>
  auto cancelled_on_abort([[maybe_unused]] Object& object) {
#if CLOCKWORKER_DETAIL_ASIO_SLOTS
    return 0;
#else
    return std::make_unique<cw::stop_callback<std::function<void()>>>(
        cw::this_task::stop_token(), [&object, loop = std::weak_ptr{alive_}] {
          if (!loop.expired()) object.cancel();
        });
#endif
  }

 public:
  static constexpr bool nests = true;
  using Host = cw::AsioHost;

  AsioLoop() = default;
  AsioLoop(const AsioLoop&) = delete;
  AsioLoop& operator=(const AsioLoop&) = delete;

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    auto timer = std::make_unique<net::steady_timer>(context, delay);
    net::steady_timer& waiting = *timer;
    waiting.async_wait([timer = std::move(timer), f = std::move(f)](const auto& error) {
      if (!error) f();
    });
  }
  void post(std::function<void()> f) { net::post(context, std::move(f)); }
  void on_readable(int fd, std::function<void()> f) { watch(descriptor(fd), std::move(f)); }
  void fail(std::exception_ptr what) {
    post([what] { std::rethrow_exception(what); });
  }

  void run_until(const std::function<bool()>& done) {
    const auto working = net::make_work_guard(context);
    if (context.stopped()) context.restart();
    while (!done()) context.run_one();
  }
  void run_nested_for(std::chrono::nanoseconds d) {
    const auto working = net::make_work_guard(context);
    context.run_for(d);
  }

  Host& host() {
    if (!host_) host_.emplace(context);
    return *host_;
  }
  template <class E>
  std::unique_ptr<cw::AsioGuest> guest(E& executor, cw::GuestOptions options = {}) {
    return std::make_unique<cw::AsioGuest>(executor, context, std::move(options));
  }

  cw::Task<> wait_for_ever() {
    auto& timer = timers_.emplace_back(context, std::chrono::hours{1});
    [[maybe_unused]] const auto on_abort = cancelled_on_abort(timer);
    co_await timer.async_wait(cw::use_task);
  }
  cw::Task<char> read_byte(int fd) {
    auto& watch = descriptor(fd);
    [[maybe_unused]] const auto on_abort = cancelled_on_abort(watch);
    co_await watch.async_wait(net::posix::stream_descriptor::wait_read, cw::use_task);
    char byte = 0;
    if (::read(fd, &byte, 1) != 1) throw std::system_error{errno, std::generic_category(), "read"};
    co_return byte;
  }

  net::io_context context;

 private:
  /// A copy: Asio has but one object for each descriptor, and closes it.
  net::posix::stream_descriptor& descriptor(int fd) { return descriptors_.emplace_back(context, ::dup(fd)); }
  void watch(net::posix::stream_descriptor& descriptor, std::function<void()> f) {
    descriptor.async_wait(net::posix::stream_descriptor::wait_read,
                          [this, &descriptor, f = std::move(f)](const auto& error) {
                            if (error) return;
                            f();
                            watch(descriptor, f);
                          });
  }

  // They are the loop's, not the tasks', as a task's frame may go after the context.
  std::list<net::posix::stream_descriptor> descriptors_;
  std::list<net::steady_timer> timers_;
  std::optional<Host> host_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // goes first: the tasks may go after the objects
};

}  // namespace clockworker_test
