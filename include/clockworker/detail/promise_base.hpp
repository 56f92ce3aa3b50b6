/// \file
/// What the promises of all tasks begin with.
#pragma once

#include <coroutine>
#include <cstddef>
#include <type_traits>

#include <clockworker/detail/frame_pool.hpp>
#include <clockworker/detail/result.hpp>

namespace clockworker::detail {

/// The two links of a frame: to the frame that awaits it, and to where its result goes.
struct PromiseBase {
  /// Null in a task's root, and in a child as long as its parent's `await_suspend` is still on the native
  /// stack.
  std::coroutine_handle<> parent;
  ResultBase* slot = nullptr;

  static void* operator new(std::size_t size) { return pool_allocate(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { pool_free(frame, size); }
};

/// Says so where an awaitable of the library's own is awaited in somebody else's coroutine.
template <class Promise>
constexpr void check_awaited_in_task() noexcept {
  static_assert(
      std::is_base_of_v<PromiseBase, Promise>,
      "clockworker: this can be awaited in a clockworker::Task only, not in another coroutine type");
}

/// The promise of any of our frames. Every promise type derives from `PromiseBase` first, adds no member, and
/// has no greater alignment (asserted in task.hpp), so the base lies where the promise of a
/// `coroutine_handle<PromiseBase>` would.
inline PromiseBase& promise_of(std::coroutine_handle<> frame) noexcept {
  return std::coroutine_handle<PromiseBase>::from_address(frame.address()).promise();
}

}  // namespace clockworker::detail
