/// \file
/// A libuv loop as its users have it, for the suite over all hosts.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/uv.hpp>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <unistd.h>
#include <uv.h>

namespace clockworker_test {

namespace cw = clockworker;

/// One loop, and callables behind its C callbacks.
class UvLoop {
 public:
  using Host = cw::UvHost;
  /// libuv forbids uv_run() inside a callback, and a guest's tasks run in one. A host's do not, and may nest:
  /// see uv_test.cpp ("a task may run the loop itself").
  static constexpr bool nests = false;

  UvLoop() {
    require(uv_loop_init(&loop_) == 0);
    require(uv_prepare_init(&loop_, &before_) == 0 && uv_check_init(&loop_, &after_) == 0);
    require(uv_idle_init(&loop_, &posting_) == 0);
    before_.data = after_.data = posting_.data = this;
  }
  UvLoop(const UvLoop&) = delete;
  UvLoop& operator=(const UvLoop&) = delete;
  ~UvLoop() {
    host_.reset();
    // What is left, the fixture's own: Watch and Timer know how to go.
    uv_walk(
        &loop_, [](uv_handle_t* handle, void*) { close_if_open(handle, closing_of(handle)); }, nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    require(uv_loop_close(&loop_) == 0);  // nobody has left a handle in it
  }

  [[nodiscard]] uv_loop_t* get() { return &loop_; }

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    auto* timer = new Timer{{}, std::move(f)};
    require(uv_timer_init(&loop_, &timer->handle) == 0);
    timer->handle.data = timer;
    uv_update_time(&loop_);
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(delay).count();
    uv_timer_start(
        &timer->handle,
        [](uv_timer_t* handle) {
          auto* self = static_cast<Timer*>(handle->data);
          close_if_open(reinterpret_cast<uv_handle_t*>(handle), &Timer::closed);
          self->f();
        },
        static_cast<std::uint64_t>(ms), 0);
  }

  void post(std::function<void()> f) {
    posted_.push_back(std::move(f));
    uv_idle_start(&posting_, [](uv_idle_t* handle) {
      auto& self = *static_cast<UvLoop*>(handle->data);
      for (std::size_t n = self.posted_.size(); n > 0; --n) {
        auto next = std::move(self.posted_.front());
        self.posted_.pop_front();
        next();
      }
      if (self.posted_.empty()) uv_idle_stop(handle);
    });
  }

  void on_readable(int fd, std::function<void()> f) { watch(fd, std::move(f)); }
  void fail(std::exception_ptr what) {
    after(std::chrono::nanoseconds{0}, [this, what] { host().throw_from_poll(what); });
  }

  void run_until(std::function<bool()> done) {
    done_ = std::move(done);
    uv_prepare_start(&before_,
                     [](uv_prepare_t* handle) { static_cast<UvLoop*>(handle->data)->stop_if_done(); });
    uv_check_start(&after_, [](uv_check_t* handle) { static_cast<UvLoop*>(handle->data)->stop_if_done(); });
    if (!done_()) uv_run(&loop_, UV_RUN_DEFAULT);
    uv_prepare_stop(&before_);
    uv_check_stop(&after_);
  }
  void run_nested_for(std::chrono::nanoseconds) { std::abort(); }

  Host& host() {
    if (!host_) host_.emplace(&loop_);
    return *host_;
  }
  template <class E>
  std::unique_ptr<cw::UvGuest> guest(E& executor, cw::GuestOptions options = {}) {
    return std::make_unique<cw::UvGuest>(executor, &loop_, std::move(options));
  }

  cw::Task<> wait_for_ever() {
    co_await cw::suspend([&](cw::Waker waker) { after(std::chrono::hours{1}, [waker] { waker.wake(); }); });
  }
  cw::Task<char> read_byte(int fd) {
    // If the task is aborted the watch goes with its frame; if the loop has gone before, there is none left.
    struct Watching {
      std::weak_ptr<Watch> watch;
      ~Watching() {
        if (auto self = watch.lock())
          close_if_open(reinterpret_cast<uv_handle_t*>(&self->handle), &Watch::closed);
      }
    } watching;
    co_await cw::suspend([&](cw::Waker waker) { watching.watch = watch(fd, [waker] { waker.wake(); }); });
    char byte = 0;
    if (::read(fd, &byte, 1) != 1) throw std::system_error{errno, std::generic_category(), "read"};
    co_return byte;
  }

 private:
  struct Timer {
    uv_timer_t handle;
    std::function<void()> f;
    static void closed(uv_handle_t* handle) { delete static_cast<Timer*>(handle->data); }
  };
  struct Watch {
    uv_poll_t handle;
    int fd;
    std::function<void()> f;
    std::shared_ptr<Watch> until_closed;
    static void closed(uv_handle_t* handle) {
      auto self = std::move(static_cast<Watch*>(handle->data)->until_closed);
      ::close(self->fd);
    }
  };

  static void require(bool condition) {
    if (condition) return;
    std::fputs("the libuv fixture has failed\n", stderr);
    std::abort();
  }
  static void close_if_open(uv_handle_t* handle, uv_close_cb closed) {
    if (uv_is_closing(handle) == 0) uv_close(handle, closed);
  }
  static uv_close_cb closing_of(uv_handle_t* handle) {
    if (handle->type == UV_TIMER) return &Timer::closed;
    if (handle->type == UV_POLL) return &Watch::closed;
    return nullptr;
  }

  std::shared_ptr<Watch> watch(int fd, std::function<void()> f) {
    auto self = std::make_shared<Watch>();
    self->f = std::move(f);
    self->fd = ::dup(fd);  // libuv takes a descriptor once only
    require(uv_poll_init(&loop_, &self->handle, self->fd) == 0);
    self->handle.data = self.get();
    self->until_closed = self;
    uv_poll_start(&self->handle, UV_READABLE,
                  [](uv_poll_t* handle, int, int) { static_cast<Watch*>(handle->data)->f(); });
    return self;
  }

  void stop_if_done() {
    if (done_()) uv_stop(&loop_);
  }

  uv_loop_t loop_;
  uv_prepare_t before_;
  uv_check_t after_;
  uv_idle_t posting_;
  std::deque<std::function<void()>> posted_;
  std::function<bool()> done_;
  std::optional<Host> host_;
};

}  // namespace clockworker_test
