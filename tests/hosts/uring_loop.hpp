/// \file
/// A loop over io_uring, run by hand around a UringHost or by an executor, and guests in it.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/guest.hpp>
#include <clockworker/hosts/uring.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace clockworker_test {

namespace cw = clockworker;

class UringLoop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr bool nests = true;

  UringLoop() = default;
  UringLoop(const UringLoop&) = delete;
  UringLoop& operator=(const UringLoop&) = delete;

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    timers_.emplace(Clock::now() + delay, std::move(f));
  }
  void post(std::function<void()> f) { posted_.push_back(std::move(f)); }
  void on_readable(int fd, std::function<void()> f) {
    host_.watch(fd, POLLIN, [f = std::move(f)](unsigned) { f(); });
  }
  void fail(std::exception_ptr what) {
    post([what] { std::rethrow_exception(what); });
  }

  void run_until(const std::function<bool()>& done) {
    while (!done()) host_.poll({});
  }
  void run_nested_for(std::chrono::nanoseconds d) {
    const auto end = Clock::now() + d;
    for (auto now = Clock::now(); now < end; now = Clock::now()) host_.poll(end - now);
  }

  /// Besides what the kernel has: posted functions, timers, guests.
  class Host : public cw::UringHost {
   public:
    explicit Host(UringLoop& loop) : loop_{loop} {}
    void poll(cw::PollTimeout timeout) {
      const auto until_due = loop_.until_due(timeout);
      const auto for_ever = std::chrono::nanoseconds::max();
      cw::UringHost::poll(until_due == for_ever ? cw::PollTimeout{} : cw::PollTimeout{until_due});
      loop_.run_what_is_due();
    }

   private:
    UringLoop& loop_;
  };
  Host& host() { return host_; }

  /// As anybody writes one for a loop of his own.
  template <class E>
  class Guest {
   public:
    Guest(UringLoop& loop, E& executor, cw::GuestOptions options)
        : loop_{loop}, turns_{executor, std::move(options), [this] {
                                rung_.store(true);
                                loop_.host_.wake();
                              }} {
      loop_.guests_.push_back([this] { return take(); });
      slot_ = &loop_.guests_.back();
    }
    ~Guest() { *slot_ = nullptr; }

   private:
    /// False if no turn is due.
    bool take() {
      if (Clock::now() >= due_) rung_ = true;
      if (!rung_.exchange(false)) return false;
      const cw::AfterTurn after = turns_.take();
      due_ = Clock::time_point::max();
      if (after.again) {
        rung_ = true;
        loop_.post([] {});
      } else if (after.timer) {
        const auto left = std::min<std::chrono::nanoseconds>(*after.timer, std::chrono::hours{1});
        due_ = Clock::now() + left;
        loop_.after(left, [] {});
      }
      turns_.report(after);
      return true;
    }

    UringLoop& loop_;
    std::atomic<bool> rung_{true};
    Clock::time_point due_ = Clock::time_point::max();
    std::function<bool()>* slot_;
    cw::GuestTurns turns_;
  };
  template <class E>
  std::unique_ptr<Guest<E>> guest(E& executor, cw::GuestOptions options = {}) {
    post([] {});
    return std::make_unique<Guest<E>>(*this, executor, std::move(options));
  }

  cw::Task<> wait_for_ever() {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
      throw std::system_error{errno, std::generic_category(), "pipe2"};
    const cw::detail::OwnedFd reading{ends[0]}, writing{ends[1]};
    co_await host_.readable(ends[0]);
  }
  cw::Task<char> read_byte(int fd) {
    std::byte byte{};
    if (co_await host_.read_some(fd, {&byte, 1}) != 1) throw std::runtime_error{"the end of the pipe"};
    co_return static_cast<char>(byte);
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

  void run_what_is_due() {
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
    for (std::size_t i = 0; i < guests_.size(); ++i) {
      if (guests_[i]) guests_[i]();
    }
  }

  std::deque<std::function<void()>> posted_;
  std::multimap<Clock::time_point, std::function<void()>> timers_;
  std::deque<std::function<bool()>> guests_;  // where they are they stay; of those that have gone: empty
  Host host_{*this};
};

}  // namespace clockworker_test
