/// \file
/// What both directions of hosts/uv.hpp need of libuv.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>

#include <uv.h>

namespace clockworker::detail {

/// Throws std::system_error if `result` is one of libuv's error codes.
inline void check_uv(int result, const char* call) {
  if (result < 0) {
    throw std::system_error{-result, std::generic_category(),
                            std::string{"clockworker: "} + call + ": " + uv_strerror(result)};
  }
}

/// Starts `timer` to go off after `wait`, rounded up to libuv's milliseconds, and a day at the most, which
/// keeps the sum with the present in range. May be early by less than 1 ms if the loop is awake then, as its
/// time is cut to whole milliseconds: it does not matter, as whoever waits then asks for the rest.
inline void start_uv_timer(uv_timer_t& timer, uv_timer_cb callback, std::chrono::nanoseconds wait) noexcept {
  using Ms = std::chrono::milliseconds;
  constexpr std::chrono::nanoseconds longest = std::chrono::hours{24};
  const auto ms = std::chrono::ceil<Ms>(std::clamp(wait, std::chrono::nanoseconds::zero(), longest)).count();
  uv_update_time(
      timer.loop);  // its time stands since the iteration began: what has run since is not to count
  uv_timer_start(&timer, callback, static_cast<std::uint64_t>(ms), 0);
}

template <class Handle>
[[nodiscard]] uv_handle_t* as_uv_handle(Handle& handle) noexcept {
  return reinterpret_cast<uv_handle_t*>(&handle);
}

/// Whether a run of `loop` might call somebody's callback, or is needed for somebody's handles, other than
/// `own`, which is not to be ref'd. O(handles).
[[nodiscard]] inline bool uv_loop_has_others(uv_loop_t* loop, uv_handle_t* own) noexcept {
  struct Search {
    uv_handle_t* own;
    bool found;
  } search{own, uv_loop_alive(loop) != 0};
  uv_walk(
      loop,
      [](uv_handle_t* handle, void* data) noexcept {
        auto& in = *static_cast<Search*>(data);
        if (handle != in.own && uv_is_active(handle) != 0) in.found = true;
      },
      &search);
  return search.found;
}

/// False if somebody has closed it already (uv_walk() reaches every handle).
template <class Handle>
bool close_uv(Handle& handle, uv_close_cb closed) noexcept {
  if (uv_is_closing(as_uv_handle(handle)) != 0) return false;
  uv_close(as_uv_handle(handle), closed);
  return true;
}

/// Base of a `Place` with handles in a loop, made by new; it stays there until libuv has done with them.
template <class Place>
class UvHandles {
 protected:
  /// Once. Closes those that are still open, and deletes the place now or when the loop has given them back.
  ///
  /// One that somebody else has closed has somebody else's callback, so nobody tells when libuv is done with
  /// it. But it is after one whole round of the loop's callbacks for closed handles: a handle that is closed
  /// in such a callback has its own in a later round. If libuv is done with all of them the loop, too, may have
  /// been closed: it must not be touched then.
  template <class... Handle>
  void close_and_delete(uv_loop_t* loop, Handle&... handles) noexcept {
    const bool awaited = (is_being_closed(handles) || ...);
    if (awaited) close_last(loop, 1);
    open_ += awaited ? 1 : 0;
    ((open_ += close_uv(handles, &one_closed) ? 1 : 0), ...);
    if (open_ == 0) delete static_cast<Place*>(this);
  }

 private:
  /// libuv takes the reference of a closed handle away when it is done with it.
  template <class Handle>
  [[nodiscard]] static bool is_being_closed(Handle& handle) noexcept {
    return uv_is_closing(as_uv_handle(handle)) != 0 && uv_has_ref(as_uv_handle(handle)) != 0;
  }

  void close_last(uv_loop_t* loop, int more_rounds) noexcept {
    more_rounds_ = more_rounds;
    uv_idle_init(loop, &last_);
    last_.data = static_cast<Place*>(this);
    uv_close(as_uv_handle(last_), [](uv_handle_t* handle) noexcept {
      UvHandles& self = *static_cast<Place*>(handle->data);
      if (self.more_rounds_ > 0) return self.close_last(handle->loop, self.more_rounds_ - 1);
      one_closed(handle);
    });
  }

  static void one_closed(uv_handle_t* handle) noexcept {
    auto* place = static_cast<Place*>(handle->data);
    if (--place->open_ == 0) delete place;
  }

  int open_ = 0;  // of those whose callback is one_closed()
  uv_idle_t last_{};
  int more_rounds_ = 0;
};

}  // namespace clockworker::detail
