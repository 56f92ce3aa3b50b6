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

}  // namespace clockworker::detail
