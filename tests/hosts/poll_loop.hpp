/// \file
/// An event loop written by hand over POSIX poll(), as an application may have one, and an executor on it in
/// both directions: by poll_hook(), and by GuestTurns.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/guest.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace clockworker_test {

namespace cw = clockworker;

/// One thread's loop: posted functions, timers, watched descriptors, and a pipe by which others wake it.
class PollLoop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr bool nests = true;

  PollLoop() {
    if (::pipe2(wake_, O_NONBLOCK | O_CLOEXEC) != 0)
      throw std::system_error{errno, std::generic_category(), "pipe2"};
  }
  PollLoop(const PollLoop&) = delete;
  PollLoop& operator=(const PollLoop&) = delete;
  ~PollLoop() {
    ::close(wake_[0]);
    ::close(wake_[1]);
  }

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    timers_.push_back({Clock::now() + delay, std::move(f)});
  }
  void post(std::function<void()> f) { posted_.push_back(std::move(f)); }
  void on_readable(int fd, std::function<void()> f) { watches_.push_back({fd, true, std::move(f)}); }
  void once_readable(int fd, std::function<void()> f) { watches_.push_back({fd, false, std::move(f)}); }
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

  /// Any thread.
  void wake() noexcept { (void)!::write(wake_[1], "", 1); }

  /// One look at everything, blocking no longer than `timeout` until something is there.
  void iterate(cw::PollTimeout timeout) {
    wait(timeout);
    for (std::size_t n = posted_.size(); n > 0 && !posted_.empty(); --n) {
      auto f = std::move(posted_.front());
      posted_.pop_front();
      f();
    }
    const auto now = Clock::now();
    for (std::size_t i = 0; i < timers_.size();) {
      if (timers_[i].due > now) {
        ++i;
        continue;
      }
      auto f = std::move(timers_[i].f);
      timers_.erase(timers_.begin() + static_cast<std::ptrdiff_t>(i));
      f();
    }
  }

  auto& host() {
    if (!host_) host_.emplace(cw::poll_hook(PollOf{this}, WakeOf{this}));
    return *host_;
  }

  template <class E>
  class Guest {
   public:
    Guest(PollLoop& loop, E& executor, cw::GuestOptions options)
        : state_{std::make_shared<State>(loop)}, turns_{executor, std::move(options), [state = state_] {
                                                          state->rung.store(true);
                                                          state->loop.wake();
                                                        }} {
      state_->take = [this] { take(); };
      state_->rung = true;
      watch(state_);
    }
    ~Guest() { state_->take = nullptr; }

   private:
    struct State {
      explicit State(PollLoop& of) : loop{of} {}
      PollLoop& loop;
      std::atomic<bool> rung{false};
      std::function<void()> take;
    };

    /// Asks at each iteration, as a loop that knows of the executor would.
    static void watch(const std::shared_ptr<State>& state) {
      state->loop.before_wait_.push_back([state] {
        if (!state->take) return false;
        if (state->rung.exchange(false))
          state->loop.post([state] {
            if (state->take) state->take();
          });
        return true;
      });
    }
    void take() {
      const cw::AfterTurn after = turns_.take();
      if (after.again) {
        state_->rung = true;
      } else if (after.timer) {
        state_->loop.after(std::min<std::chrono::nanoseconds>(*after.timer, std::chrono::hours{1}),
                           [state = state_] { state->rung = true; });
      }
      turns_.report(after);
    }

    std::shared_ptr<State> state_;
    cw::GuestTurns turns_;
  };
  template <class E>
  std::unique_ptr<Guest<E>> guest(E& executor, cw::GuestOptions options = {}) {
    return std::make_unique<Guest<E>>(*this, executor, std::move(options));
  }

  cw::Task<> wait_for_ever() {
    co_await cw::suspend([&](cw::Waker waker) { after(std::chrono::hours{1}, [waker] { waker.wake(); }); });
  }
  cw::Task<char> read_byte(int fd) {
    co_await cw::suspend([&](cw::Waker waker) { once_readable(fd, [waker] { waker.wake(); }); });
    char byte = 0;
    if (::read(fd, &byte, 1) != 1) throw std::system_error{errno, std::generic_category(), "read"};
    co_return byte;
  }

 private:
  struct PollOf {
    PollLoop* loop;
    void operator()(cw::PollTimeout timeout) const { loop->iterate(timeout); }
  };
  struct WakeOf {
    PollLoop* loop;
    void operator()() const noexcept { loop->wake(); }
  };
  struct Timer {
    Clock::time_point due;
    std::function<void()> f;
  };
  struct Watch {
    int fd;
    bool stays;
    std::function<void()> f;
  };

  void wait(cw::PollTimeout timeout) {
    std::erase_if(before_wait_, [](const std::function<bool()>& f) { return !f(); });
    using Ms = std::chrono::milliseconds;
    auto longest = std::min(std::chrono::ceil<Ms>(timeout.value_or(Ms{60'000})), Ms{60'000});
    if (!posted_.empty()) longest = Ms{0};
    for (const Timer& timer : timers_)
      longest = std::clamp(std::chrono::ceil<Ms>(timer.due - Clock::now()), Ms{0}, longest);
    std::vector<pollfd> fds{{wake_[0], POLLIN, 0}};
    for (const Watch& watch : watches_) fds.push_back({watch.fd, POLLIN, 0});
    if (::poll(fds.data(), fds.size(), static_cast<int>(longest.count())) <= 0) return;
    char bytes[64];
    if (fds[0].revents != 0) (void)!::read(wake_[0], bytes, sizeof bytes);
    for (std::size_t i = fds.size() - 1; i > 0; --i) {
      if (fds[i].revents == 0) continue;
      auto f = watches_[i - 1].f;
      if (!watches_[i - 1].stays) watches_.erase(watches_.begin() + static_cast<std::ptrdiff_t>(i - 1));
      f();
    }
  }

  int wake_[2];
  std::deque<std::function<void()>> posted_;
  std::vector<Timer> timers_;
  std::vector<Watch> watches_;
  std::vector<std::function<bool()>> before_wait_;  // false: not any more
  std::optional<decltype(cw::poll_hook(PollOf{nullptr}, WakeOf{nullptr}))> host_;
};

}  // namespace clockworker_test
