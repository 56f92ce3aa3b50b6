/// \file
/// Replaces operator new and delete by ones that count and, where a test says so, fail. For a test that is
/// one translation unit of its own; to be included before the library's headers, as it turns the frame pool
/// off, which would hide most allocations.
#pragma once

#define CLOCKWORKER_FRAME_POOL 0

#include <cstddef>
#include <cstdlib>
#include <new>

namespace heap_under_test {

struct Heap {
  std::size_t allocations = 0;  // made so far
  std::size_t live = 0;         // blocks not given back
  std::size_t left = 0;         // allocations that succeed before one fails; counts only while `armed`
  bool armed = false;
  bool failed = false;
};
inline Heap heap;

#if defined(__GNUC__)
#define TEST_NOINLINE [[gnu::noinline]]
#else
#define TEST_NOINLINE
#endif

TEST_NOINLINE inline void* take(std::size_t size, std::size_t alignment) {
  ++heap.allocations;
  if (heap.armed && !heap.failed) {
    if (heap.left == 0) {
      heap.failed = true;
      throw std::bad_alloc{};
    }
    --heap.left;
  }
  size = (size + alignment - 1) / alignment * alignment;
  void* memory =
      alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, size) : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc{};
  ++heap.live;
  return memory;
}

TEST_NOINLINE inline void give(void* memory) noexcept {
  if (memory == nullptr) return;
  --heap.live;
  std::free(memory);
}

}  // namespace heap_under_test

void* operator new(std::size_t size) { return heap_under_test::take(size != 0 ? size : 1, 1); }
void* operator new[](std::size_t size) { return heap_under_test::take(size != 0 ? size : 1, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return heap_under_test::take(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return heap_under_test::take(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return heap_under_test::take(size != 0 ? size : 1, 1);
  } catch (...) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void operator delete(void* memory) noexcept { heap_under_test::give(memory); }
void operator delete[](void* memory) noexcept { heap_under_test::give(memory); }
void operator delete(void* memory, std::size_t) noexcept { heap_under_test::give(memory); }
void operator delete[](void* memory, std::size_t) noexcept { heap_under_test::give(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { heap_under_test::give(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { heap_under_test::give(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { heap_under_test::give(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  heap_under_test::give(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { heap_under_test::give(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { heap_under_test::give(memory); }
