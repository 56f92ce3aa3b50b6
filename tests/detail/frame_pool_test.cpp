#include <clockworker/detail/frame_pool.hpp>

#include <clockworker/config.hpp>

#include "catch.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <ostream>
#include <random>
#include <thread>
#include <utility>
#include <vector>

// Replaces the global operators by counting ones: what the pool takes and gives back is seen here, whichever
// thread does it. Tests look at the counts of their own threads, where nothing else allocates.
namespace {

std::atomic<std::int64_t> live_blocks{0};  // news less deletes, of all threads
constinit thread_local std::uint64_t news = 0;
constinit thread_local std::uint64_t deletes = 0;
constinit thread_local bool out_of_memory = false;

}  // namespace

// Not inlined, nor delete: g++ would otherwise warn of `free` for what came from `new`.
CLOCKWORKER_NOINLINE void* operator new(std::size_t size) {
  void* const memory = out_of_memory ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  ++news;
  live_blocks.fetch_add(1, std::memory_order_relaxed);
  return memory;
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
CLOCKWORKER_NOINLINE void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  ++deletes;
  live_blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(memory);
}
CLOCKWORKER_NOINLINE void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete[](void* memory, std::size_t) noexcept { operator delete(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { operator delete(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { operator delete(memory); }

namespace {

using namespace clockworker::detail;

struct Counts {
  std::uint64_t news, deletes;
  friend bool operator==(const Counts&, const Counts&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Counts& counts) {
    return out << counts.news << " news, " << counts.deletes << " deletes";
  }
};

/// The calls of the global operators that `f` makes on this thread.
template <class F>
Counts counts_of(F f) {
  const Counts before{news, deletes};
  f();
  return {news - before.news, deletes - before.deletes};
}

/// Runs `f` on a thread of its own, whose pool is fresh, and returns how many blocks it left behind for good.
template <class F>
std::int64_t blocks_lost(F f) {
  const std::int64_t before = live_blocks.load();
  std::thread(std::move(f)).join();
  return live_blocks.load() - before;
}

void allocate_and_free(std::size_t size, std::size_t times = 1) {
  for (std::size_t i = 0; i < times; ++i) pool_free(pool_allocate(size), size);
}

/// Frees `count` blocks of `size` that are all alive at once.
void free_many(std::size_t size, std::size_t count) {
  std::vector<void*> blocks(count);
  for (void*& block : blocks) block = pool_allocate(size);
  for (void* const block : blocks) pool_free(block, size);
}

}  // namespace

TEST_CASE("frame memory is aligned as plain new is, and all of it can be written") {
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (int round = 0; round < 2; ++round) {
    for (std::size_t size = 0; size <= pool_max_size + 40; ++size) {
      auto* const block = static_cast<unsigned char*>(pool_allocate(size));
      REQUIRE(reinterpret_cast<std::uintptr_t>(block) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);
      std::memset(block, static_cast<int>(size % 251), size);
      blocks.emplace_back(block, size);
    }
    for (const auto& [block, size] : blocks) {
      const bool intact =
          std::all_of(block, block + size, [&](unsigned char byte) { return byte == size % 251; });
      REQUIRE(intact);
      pool_free(block, size);
    }
    blocks.clear();
  }
}

TEST_CASE("a freed block serves the next request of its size class") {
  if (!frame_pool_enabled) return;
  void* again = nullptr;
  void* first = nullptr;
  Counts counts{};
  CHECK(blocks_lost([&] {
          first = pool_allocate(161);
          pool_free(first, 161);
          counts = counts_of([&] { again = pool_allocate(176); });
          pool_free(again, 176);
        }) == 0);
  CHECK(again == first);
  CHECK(counts == Counts{0, 0});
}

TEST_CASE("the block freed last is used first") {
  if (!frame_pool_enabled) return;
  bool in_order = false;
  CHECK(blocks_lost([&] {
          void* const a = pool_allocate(64);
          void* const b = pool_allocate(64);
          pool_free(a, 64);
          pool_free(b, 64);
          void* const c = pool_allocate(64);
          void* const d = pool_allocate(64);
          in_order = c == b && d == a;
          pool_free(c, 64);
          pool_free(d, 64);
        }) == 0);
  CHECK(in_order);
}

TEST_CASE("size classes do not serve each other") {
  if (!frame_pool_enabled) return;
  Counts counts{};
  CHECK(blocks_lost([&] {
          allocate_and_free(176);
          counts = counts_of([] {
            allocate_and_free(160);
            allocate_and_free(177);
          });
        }) == 0);
  CHECK(counts == Counts{2, 0});
}

TEST_CASE("a pool that is warm needs no memory") {
  if (!frame_pool_enabled) return;
  Counts counts{};
  CHECK(blocks_lost([&] {
          for (std::size_t size = 1; size <= pool_max_size; ++size) free_many(size, 3);
          counts = counts_of([] {
            for (std::size_t size = 1; size <= pool_max_size; ++size) allocate_and_free(size, 10);
          });
        }) == 0);
  CHECK(counts == Counts{0, 0});
}

TEST_CASE("requests of no size or a large one go straight to operator new") {
  for (const std::size_t size : {std::size_t{0}, pool_max_size + 1, std::size_t{1} << 20}) {
    CHECK(counts_of([&] { allocate_and_free(size, 5); }) == Counts{5, 5});
  }
}

TEST_CASE("a pool that is switched off passes everything on") {
  if (frame_pool_enabled) return;
  CHECK(counts_of([] { allocate_and_free(64, 5); }) == Counts{5, 5});
}

TEST_CASE("a refill that fails throws bad_alloc, and the pool goes on") {
  bool thrown = false;
  bool large_thrown = false;
  bool served_from_list = false;
  CHECK(blocks_lost([&] {
          void* const block = pool_allocate(80);
          if (frame_pool_enabled) pool_free(block, 80);
          out_of_memory = true;
          void* cached = nullptr;
          if (frame_pool_enabled) cached = pool_allocate(80);
          served_from_list = cached == block;
          try {
            allocate_and_free(80);
          } catch (const std::bad_alloc&) {
            thrown = true;
          }
          try {
            allocate_and_free(pool_max_size + 1);
          } catch (const std::bad_alloc&) {
            large_thrown = true;
          }
          out_of_memory = false;
          pool_free(block, 80);
          allocate_and_free(80, 3);
        }) == 0);
  CHECK(thrown);
  CHECK(large_thrown);
  CHECK(served_from_list == frame_pool_enabled);
}

TEST_CASE("what a thread keeps of one size class is bounded") {
  if (!frame_pool_enabled) return;
  for (const std::size_t size : {std::size_t{1000}, std::size_t{1024}}) {
    const std::size_t block = (size + pool_granularity - 1) / pool_granularity * pool_granularity;
    const std::size_t most = pool_class_bytes / pool_chunk_bytes * (pool_chunk_bytes / block);
    Counts beyond{}, again{};
    CHECK(blocks_lost([&] {
            free_many(size, most);
            std::vector<void*> blocks(most + 10);
            again = counts_of([&] {
              for (void*& memory : blocks) memory = pool_allocate(size);
            });
            beyond = counts_of([&] {
              for (void* const memory : blocks) pool_free(memory, size);
            });
          }) == 0);
    CHECK(again == Counts{10, 0});
    CHECK(beyond == Counts{0, 10});
    CHECK(most * block <= pool_class_bytes);
    CHECK((most + most / 50) * block > pool_class_bytes);
  }
}

TEST_CASE("what a thread keeps in all is bounded, and a new phase takes over from an old one") {
  if (!frame_pool_enabled) return;
  constexpr std::size_t sizes[] = {1024, 1008, 992, 976};
  std::int64_t kept = 0;
  Counts warm{};
  CHECK(blocks_lost([&] {
          const std::int64_t before = live_blocks.load();
          for (const std::size_t size : sizes) free_many(size, pool_class_bytes / size);
          kept = live_blocks.load() - before;
          // Four phases, so a quarter for the last one.
          warm = counts_of([] { free_many(976, pool_total_bytes / 976 / 5); });
        }) == 0);
  CHECK(static_cast<std::size_t>(kept) * 976 <= pool_total_bytes);
  CHECK(static_cast<std::size_t>(kept) * 1024 >= pool_total_bytes / 10 * 9);
  CHECK(warm == Counts{1, 1});  // the test's own vector
}

TEST_CASE("trimming gives back all that a thread keeps, and the pool goes on") {
  if (!frame_pool_enabled) return;
  Counts trimmed{}, reused{};
  CHECK(blocks_lost([&] {
          for (const std::size_t size : {16U, 100U, 300U, 1024U}) free_many(size, 100);
          trimmed = counts_of([] { pool_trim(); });
          reused = counts_of([] { allocate_and_free(100, 5); });
        }) == 0);
  CHECK(trimmed == Counts{0, 400});
  CHECK(reused == Counts{1, 0});
}

TEST_CASE("memory freed on another thread joins that thread's lists") {
  if (!frame_pool_enabled) return;
  void* freed = nullptr;
  void* reused = nullptr;
  CHECK(blocks_lost([&] {
          std::vector<void*> blocks(100);
          for (void*& block : blocks) block = pool_allocate(200);
          freed = blocks.back();
          std::thread([&] {
            for (void* const block : blocks) pool_free(block, 200);
            reused = pool_allocate(200);
            pool_free(reused, 200);
          }).join();
        }) == 0);
  CHECK(reused == freed);
}

TEST_CASE("threads that free each other's memory lose none of it") {
  constexpr std::size_t threads = 4;
  constexpr std::size_t slots = 64;
  constexpr int rounds = 20'000;
  // A slot holds a block of 16 to 1024 bytes, whose first word says how many.
  std::vector<std::atomic<std::size_t*>> exchange(slots);
  const auto release = [](std::size_t* block) {
    if (block != nullptr) pool_free(block, *block);
  };
  const auto work = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < rounds; ++i) {
      const std::size_t size = 16 + static_cast<std::size_t>(random() % (pool_max_size - 15));
      auto* const block = ::new (pool_allocate(size)) std::size_t(size);
      release(exchange[random() % slots].exchange(block, std::memory_order_acq_rel));
    }
  };
  CHECK(blocks_lost([&] {
          std::vector<std::thread> workers;
          for (std::uint64_t seed = 1; seed <= threads; ++seed) workers.emplace_back(work, seed);
          for (std::thread& worker : workers) worker.join();
          for (auto& slot : exchange) release(slot.load());
        }) == 0);
}

TEST_CASE("a thread that ends gives back everything it kept") {
  std::int64_t kept = 0;
  CHECK(blocks_lost([&] {
          const std::int64_t before = live_blocks.load();
          for (std::size_t size = 1; size <= pool_max_size; size += 7) free_many(size, 20);
          kept = live_blocks.load() - before;
        }) == 0);
  CHECK((kept > 0) == frame_pool_enabled);
}

namespace {

/// An object of a thread that uses the pool when it is destroyed.
struct UsesPoolAtThreadEnd {
  void* block = nullptr;
  Counts* counts = nullptr;
  void use(Counts& result) {
    block = pool_allocate(128);
    counts = &result;
  }
  ~UsesPoolAtThreadEnd() {
    if (counts == nullptr) return;
    *counts = counts_of([&] {
      pool_free(block, 128);
      allocate_and_free(128);
      free_many(640, 50);
      pool_trim();
    });
  }
};

}  // namespace

TEST_CASE("the pool can be used by a thread's other objects as they are destroyed") {
  Counts later{}, earlier{};
  // A thread's objects die in the reverse order of their making; the pool's is made at its first free.
  CHECK(blocks_lost([&] {
          static thread_local UsesPoolAtThreadEnd destroyed_after_the_pool;
          destroyed_after_the_pool.use(later);
          allocate_and_free(128);
          static thread_local UsesPoolAtThreadEnd destroyed_before_the_pool;
          destroyed_before_the_pool.use(earlier);
        }) == 0);
  // Each takes 52 blocks (one: the test's vector), frees them and one more; the pool spares one of each.
  CHECK(later == Counts{52, 53});
  CHECK(earlier == (frame_pool_enabled ? Counts{51, 52} : Counts{52, 53}));
}

TEST_CASE("a thread whose first use of the pool is at its end gives everything back") {
  Counts counts{};
  CHECK(blocks_lost([&] {
          static thread_local UsesPoolAtThreadEnd only_user;
          only_user.counts = &counts;
          only_user.block = ::operator new(128);  // as from another thread's pool
        }) == 0);
  CHECK(counts.news >= 51);
}
