/// \file
/// Memory for coroutine frames and task cells: per-thread free lists, one for every size class.
///
/// Every block comes from `operator new` on its own and is rounded up to its class. Carving blocks out of
/// slabs would save calls while a program warms up, but a block could then not be given back before all of
/// its slab is free, nor on another thread without a lock. So each list can be as short as memory demands,
/// any thread may free any block (it joins that thread's lists), and a failing `operator new` is seen at
/// each block the lists cannot serve.
///
/// A list may keep as many blocks as it has leased room for. Room is leased in chunks of bytes, which
/// bounds both one class and the thread as a whole while the hot path looks at one counter only.
///
/// `CLOCKWORKER_FRAME_POOL` must be the same in every translation unit of a program.
#pragma once

#include <clockworker/config.hpp>

#include <cstddef>
#include <cstdint>
#include <new>

namespace clockworker::detail {

inline constexpr bool frame_pool_enabled = CLOCKWORKER_FRAME_POOL != 0;

inline constexpr std::size_t pool_granularity = 16;
inline constexpr std::size_t pool_max_size = 1024;  ///< larger requests go straight to `operator new`
inline constexpr std::size_t pool_chunk_bytes = std::size_t{16} << 10;
inline constexpr std::size_t pool_class_bytes = std::size_t{32}
                                                << 20;  ///< most kept of one class, per thread
inline constexpr std::size_t pool_total_bytes = std::size_t{64} << 20;  ///< most kept in all, per thread

#if CLOCKWORKER_FRAME_POOL

inline constexpr std::size_t pool_class_count = pool_max_size / pool_granularity;

static_assert(pool_granularity % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);

struct PoolBlock {
  PoolBlock* next;
};

struct alignas(2 * sizeof(void*)) PoolClass {  // never across two cache lines
  PoolBlock* blocks;                           // last freed first
  std::uint32_t room;    // how many more may be kept; with those in `blocks`, what `chunks` hold
  std::uint32_t chunks;  // leased by this class
};

struct FramePool {
  PoolClass classes[pool_class_count];
  std::uint32_t chunks;  // the sum of all classes' chunks
  bool closed;           // this thread's guard is gone: no room is leased any more, all lists stay empty
};

// Trivial and zero-initialised: an access is one thread-relative address, with no call to an
// initialisation wrapper, and is still valid while the thread's other objects are destroyed.
inline constinit thread_local FramePool frame_pool{};

/// The class of a size, `pool_class_count` or above if it has none. A size of 0 has none.
constexpr std::size_t pool_class_of(std::size_t size) noexcept { return (size - 1) / pool_granularity; }
constexpr std::size_t pool_block_size(std::size_t index) noexcept { return (index + 1) * pool_granularity; }
constexpr std::uint32_t pool_chunk_blocks(std::size_t index) noexcept {
  return static_cast<std::uint32_t>(pool_chunk_bytes / pool_block_size(index));
}

inline PoolBlock* pool_pop(PoolClass& from) noexcept {
  PoolBlock* const block = from.blocks;
  from.blocks = block->next;
  ++from.room;
  return block;
}

inline void pool_push(PoolClass& to, void* memory) noexcept {
  --to.room;
  to.blocks = ::new (memory) PoolBlock{to.blocks};
}

/// Gives one chunk's room back, and as many blocks as there is no room without. The class must have a chunk.
inline void pool_return_chunk(FramePool& pool, std::size_t index) noexcept {
  PoolClass& from = pool.classes[index];
  const std::uint32_t blocks = pool_chunk_blocks(index);
  while (from.room < blocks) ::operator delete(pool_pop(from));
  from.room -= blocks;
  --from.chunks;
  --pool.chunks;
}

/// Gives back everything this thread keeps, to `operator delete`.
inline void pool_trim() noexcept {
  FramePool& pool = frame_pool;
  for (std::size_t index = 0; index < pool_class_count; ++index) {
    while (pool.classes[index].chunks > 0) pool_return_chunk(pool, index);
  }
}

/// Empties the lists when the thread ends. Made when the thread first frees a block.
struct FramePoolGuard {
  FramePoolGuard() = default;
  FramePoolGuard(const FramePoolGuard&) = delete;
  FramePoolGuard& operator=(const FramePoolGuard&) = delete;
  ~FramePoolGuard() {
    pool_trim();
    frame_pool.closed = true;
  }
};

/// Leases a chunk for a class; false if it may not grow. When the thread's total is spent, the class that
/// holds most pays, down to equal shares: what an earlier phase of a program left behind does not keep a
/// later one out of the pool.
inline bool pool_lease_chunk(FramePool& pool, std::size_t index) noexcept {
  if (pool.classes[index].chunks >= pool_class_bytes / pool_chunk_bytes) return false;
  if (pool.chunks >= pool_total_bytes / pool_chunk_bytes) {
    std::size_t largest = 0;
    for (std::size_t other = 1; other < pool_class_count; ++other) {
      if (pool.classes[other].chunks > pool.classes[largest].chunks) largest = other;
    }
    // By one chunk alone the two would only change places, for ever.
    if (pool.classes[largest].chunks <= pool.classes[index].chunks + 1) return false;
    pool_return_chunk(pool, largest);
  }
  ++pool.classes[index].chunks;
  ++pool.chunks;
  pool.classes[index].room += pool_chunk_blocks(index);
  return true;
}

CLOCKWORKER_NOINLINE inline void* pool_allocate_slow(std::size_t size) {
  const std::size_t index = pool_class_of(size);
  return ::operator new(index < pool_class_count ? pool_block_size(index) : size);
}

CLOCKWORKER_NOINLINE inline void pool_free_slow(void* memory, std::size_t size) noexcept {
  FramePool& pool = frame_pool;
  const std::size_t index = pool_class_of(size);
  if (index < pool_class_count && !pool.closed) {
    [[maybe_unused]] static thread_local FramePoolGuard guard;
    if (pool_lease_chunk(pool, index)) {
      pool_push(pool.classes[index], memory);
      return;
    }
  }
  ::operator delete(memory);
}

/// Memory for an object of `size` bytes, aligned for all that plain `new` is. Throws `std::bad_alloc`.
[[nodiscard]] inline void* pool_allocate(std::size_t size) {
  const std::size_t index = pool_class_of(size);
  if (index < pool_class_count) [[likely]] {
    PoolClass& from = frame_pool.classes[index];
    if (from.blocks != nullptr) [[likely]]
      return pool_pop(from);
  }
  return pool_allocate_slow(size);
}

/// Takes back what `pool_allocate(size)` returned, on any thread, at any time of that thread's life.
inline void pool_free(void* memory, std::size_t size) noexcept {
  const std::size_t index = pool_class_of(size);
  if (index < pool_class_count) [[likely]] {
    PoolClass& to = frame_pool.classes[index];
    if (to.room > 0) [[likely]] {
      pool_push(to, memory);
      return;
    }
  }
  pool_free_slow(memory, size);
}

#else

[[nodiscard]] inline void* pool_allocate(std::size_t size) { return ::operator new(size); }
inline void pool_free(void* memory, std::size_t) noexcept { ::operator delete(memory); }
inline void pool_trim() noexcept {}

#endif

}  // namespace clockworker::detail
