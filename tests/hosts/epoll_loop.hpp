/// \file
/// An event loop written by hand over epoll, as an application may have one, and an executor on it in both
/// directions. As a whole it is one descriptor: an EpollHost watches that.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/epoll.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <sys/epoll.h>
#include <unistd.h>

namespace clockworker_test {

namespace cw = clockworker;

/// One thread's loop: watched descriptors, posted functions, timers.
class EpollLoop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr bool nests = true;

  EpollLoop() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
    if (epoll_ < 0) throw std::system_error{errno, std::generic_category(), "epoll_create1"};
  }
  EpollLoop(const EpollLoop&) = delete;
  EpollLoop& operator=(const EpollLoop&) = delete;
  ~EpollLoop() {
    host_.reset();
    ::close(epoll_);
  }

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    timers_.emplace(Clock::now() + delay, std::move(f));
  }
  void post(std::function<void()> f) { posted_.push_back(std::move(f)); }
  void on_readable(int fd, std::function<void()> f) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0)
      throw std::system_error{errno, std::generic_category(), "epoll_ctl"};
    watches_[fd] = std::make_shared<std::function<void()>>(std::move(f));
  }
  void not_readable(int fd) {
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    watches_.erase(fd);
  }
  void fail(std::exception_ptr what) {
    post([what] { std::rethrow_exception(what); });
  }

  void run_until(const std::function<bool()>& done) {
    while (!done()) iterate(std::nullopt);
  }
  void run_nested_for(std::chrono::nanoseconds d) {
    const auto end = Clock::now() + d;
    for (auto now = Clock::now(); now < end; now = Clock::now()) iterate(end - now);
  }

  /// One look at everything, blocking no longer than `timeout` until something is there.
  void iterate(cw::PollTimeout timeout) {
    using Ms = std::chrono::milliseconds;
    std::array<epoll_event, 16> events;
    const auto longest =
        std::chrono::ceil<Ms>(std::min<std::chrono::nanoseconds>(until_due(timeout), Ms{60'000}));
    const int count = ::epoll_wait(epoll_, events.data(), 16, static_cast<int>(longest.count()));
    for (std::size_t i = 0; count > 0 && i < static_cast<std::size_t>(count); ++i) {
      auto found = watches_.find(events[i].data.fd);
      if (found == watches_.end()) continue;
      const auto f = found->second;
      (*f)();
    }
    for (std::size_t n = posted_.size(); n > 0 && !posted_.empty(); --n) {
      auto f = std::move(posted_.front());
      posted_.pop_front();
      f();
    }
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first <= now) {
      auto f = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      f();
    }
  }

  /// The loop under an executor: its descriptors are watched through the epoll instance, the rest bounds the poll.
  class Host : public cw::EpollHost {
   public:
    explicit Host(EpollLoop& loop) : loop_{loop} {
      watch(loop.epoll_, EPOLLIN, [this](std::uint32_t) { loop_.iterate(std::chrono::nanoseconds{0}); });
    }
    void poll(cw::PollTimeout timeout) {
      const auto until_due = loop_.until_due(timeout);
      cw::EpollHost::poll(until_due == std::chrono::nanoseconds::max() ? cw::PollTimeout{}
                                                                       : cw::PollTimeout{until_due});
      if (loop_.until_due({}).count() == 0) loop_.iterate(std::chrono::nanoseconds{0});
    }

   private:
    EpollLoop& loop_;
  };
  Host& host() {
    if (!host_) host_.emplace(*this);
    return *host_;
  }

  /// The guest, and its descriptor among the loop's.
  class Guest {
   public:
    template <class E>
    Guest(EpollLoop& loop, E& executor, cw::GuestOptions options)
        : loop_{loop}, guest_{executor, std::move(options)} {
      loop.on_readable(guest_.fd(), [this] { guest_.dispatch(); });
    }
    ~Guest() { loop_.not_readable(guest_.fd()); }

   private:
    EpollLoop& loop_;
    cw::EpollGuest guest_;
  };
  template <class E>
  std::unique_ptr<Guest> guest(E& executor, cw::GuestOptions options = {}) {
    return std::make_unique<Guest>(*this, executor, std::move(options));
  }

  /// With the host if there is one, else with the guest that the task runs on.
  auto readable(int fd) { return host_ ? host_->readable(fd) : cw::readable(fd); }

  cw::Task<> wait_for_ever() {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) throw std::runtime_error{"pipe2"};
    const cw::detail::OwnedFd reading{ends[0]}, writing{ends[1]};
    co_await readable(ends[0]);
  }
  cw::Task<char> read_byte(int fd) {
    co_await readable(fd);
    char byte = 0;
    if (::read(fd, &byte, 1) != 1) throw std::system_error{errno, std::generic_category(), "read"};
    co_return byte;
  }

 private:
  std::chrono::nanoseconds until_due(cw::PollTimeout timeout) const {
    auto longest = timeout.value_or(std::chrono::nanoseconds::max());
    if (!posted_.empty()) longest = std::chrono::nanoseconds{0};
    if (!timers_.empty()) {
      const std::chrono::nanoseconds left = timers_.begin()->first - Clock::now();
      longest = std::clamp(left, std::chrono::nanoseconds{0}, std::max(longest, std::chrono::nanoseconds{0}));
    }
    return longest;
  }

  int epoll_;
  std::map<int, std::shared_ptr<std::function<void()>>> watches_;
  std::deque<std::function<void()>> posted_;
  std::multimap<Clock::time_point, std::function<void()>> timers_;
  std::optional<Host> host_;
};

}  // namespace clockworker_test
