/// \file
/// A GMainContext as its users have it, for the suite over all hosts.
#pragma once

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/glib.hpp>

#include <cerrno>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <glib-unix.h>
#include <glib.h>
#include <unistd.h>

namespace clockworker_test {

namespace cw = clockworker;

/// One context, not the default one, and callables behind its C callbacks.
class GlibLoop {
 public:
  using Host = cw::GlibHost;
  static constexpr bool nests = true;

  GlibLoop() : context_{g_main_context_new()} {}
  GlibLoop(const GlibLoop&) = delete;
  GlibLoop& operator=(const GlibLoop&) = delete;
  ~GlibLoop() {
    host_.reset();
    for (GSource* source : sources_) {
      g_source_destroy(source);
      g_source_unref(source);
    }
    g_main_context_unref(context_);
  }

  [[nodiscard]] GMainContext* get() const { return context_; }

  void after(std::chrono::nanoseconds delay, std::function<void()> f) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(delay).count();
    add(g_timeout_source_new(static_cast<guint>(ms)), G_PRIORITY_DEFAULT, [f = std::move(f)] {
      f();
      return false;
    });
  }
  void post(std::function<void()> f) {
    add(g_idle_source_new(), G_PRIORITY_DEFAULT, [f = std::move(f)] {
      f();
      return false;
    });
  }
  void on_readable(int fd, std::function<void()> f) {
    watch(fd, [f = std::move(f)] {
      f();
      return true;
    });
  }
  void fail(std::exception_ptr what) {
    post([this, what] { host().throw_from_poll(what); });
  }

  void run_until(const std::function<bool()>& done) {
    while (!done()) g_main_context_iteration(context_, TRUE);
  }
  void run_nested_for(std::chrono::nanoseconds d) {
    GMainLoop* nested = g_main_loop_new(context_, FALSE);
    after(d, [nested] { g_main_loop_quit(nested); });
    g_main_loop_run(nested);
    g_main_loop_unref(nested);
  }

  Host& host() {
    if (!host_) host_.emplace(context_);
    return *host_;
  }
  template <class E>
  std::unique_ptr<cw::GlibGuest> guest(E& executor, cw::GuestOptions options = {}) {
    return std::make_unique<cw::GlibGuest>(executor, context_, std::move(options));
  }

  cw::Task<> wait_for_ever() {
    co_await cw::suspend([&](cw::Waker waker) { after(std::chrono::hours{1}, [waker] { waker.wake(); }); });
  }
  cw::Task<char> read_byte(int fd) {
    // If the task is aborted its watch goes with the frame; the reference is good also when the loop has gone.
    struct Watching {
      GSource* source = nullptr;
      ~Watching() {
        if (source == nullptr) return;
        g_source_destroy(source);
        g_source_unref(source);
      }
    } watching;
    co_await cw::suspend([&](cw::Waker waker) {
      watching.source = g_source_ref(watch(fd, [waker] {
        waker.wake();
        return false;
      }));
    });
    char byte = 0;
    if (::read(fd, &byte, 1) != 1) throw std::system_error{errno, std::generic_category(), "read"};
    co_return byte;
  }

  /// `f` is called until it returns false.
  GSource* add(GSource* source, int priority, std::function<bool()> f) {
    return add(source, priority, std::move(f), [](gpointer data) -> gboolean { return call(data); });
  }

 private:
  static bool call(gpointer f) { return (*static_cast<std::function<bool()>*>(f))(); }

  GSource* watch(int fd, std::function<bool()> f) {
    GUnixFDSourceFunc readable = [](gint, GIOCondition, gpointer data) -> gboolean { return call(data); };
    return add(g_unix_fd_source_new(fd, G_IO_IN), G_PRIORITY_DEFAULT, std::move(f),
               reinterpret_cast<GSourceFunc>(reinterpret_cast<void (*)()>(readable)));
  }

  GSource* add(GSource* source, int priority, std::function<bool()> f, GSourceFunc function) {
    std::erase_if(sources_, [](GSource* old) {
      if (!g_source_is_destroyed(old)) return false;
      g_source_unref(old);
      return true;
    });
    g_source_set_priority(source, priority);
    g_source_set_callback(source, function, new std::function<bool()>{std::move(f)},
                          [](gpointer data) { delete static_cast<std::function<bool()>*>(data); });
    g_source_attach(source, context_);
    sources_.push_back(source);
    return source;
  }

  GMainContext* context_;
  std::vector<GSource*> sources_;
  std::optional<Host> host_;
};

}  // namespace clockworker_test
