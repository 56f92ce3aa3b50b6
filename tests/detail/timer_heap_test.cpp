#include <clockworker/detail/timer_heap.hpp>

#include "catch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#if __has_include(<pthread.h>)
#include <pthread.h>
#endif

namespace {

using clockworker::detail::TimerHeap;
using clockworker::detail::TimerNode;

static_assert(sizeof(void*) != 8 || sizeof(TimerNode) == 40);
static_assert(!std::is_copy_constructible_v<TimerNode> && !std::is_move_constructible_v<TimerNode>);
static_assert(!std::is_copy_constructible_v<TimerHeap> && !std::is_move_constructible_v<TimerHeap>);

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t always = std::numeric_limits<std::int64_t>::min();

std::size_t index_of(const std::vector<TimerNode>& nodes, const TimerNode* node) {
  return static_cast<std::size_t>(node - nodes.data());
}

/// What a heap should do, by the plainest means: insertion at the upper bound keeps ties in order of arming.
class Model {
 public:
  void arm(std::size_t node, std::int64_t deadline) { where_[node] = timers_.emplace(deadline, node); }
  void cancel(std::size_t node) {
    timers_.erase(where_.at(node));
    where_.erase(node);
  }
  std::size_t pop() {
    const std::size_t node = timers_.begin()->second;
    cancel(node);
    return node;
  }
  bool due(std::int64_t now) const { return !timers_.empty() && timers_.begin()->first <= now; }
  std::int64_t next() const { return timers_.empty() ? never : timers_.begin()->first; }
  std::size_t size() const { return timers_.size(); }
  bool armed(std::size_t node) const { return where_.count(node) != 0; }

 private:
  using Timers = std::multimap<std::int64_t, std::size_t>;
  Timers timers_;
  std::map<std::size_t, Timers::iterator> where_;
};

struct Mix {
  unsigned arm, cancel, pop;  // shares in 100
  std::int64_t deadlines;     // how many different ones; few make ties
};

/// Takes `steps` random steps with heap and model and returns the number of the first that tells them apart,
/// `steps` if none does.
std::size_t first_difference(std::uint64_t seed, Mix mix, std::size_t node_count, std::size_t steps) {
  std::mt19937_64 random(seed);
  std::vector<TimerNode> nodes(node_count);
  TimerHeap heap;
  Model model;
  const auto below = [&](std::uint64_t n) { return random() % n; };

  std::size_t step = 0;
  for (; step < steps; ++step) {
    const auto dice = below(100);
    const auto node = static_cast<std::size_t>(below(node_count));
    const auto time = static_cast<std::int64_t>(below(static_cast<std::uint64_t>(mix.deadlines)));
    if (dice < mix.arm) {
      if (nodes[node].linked()) continue;
      heap.arm(nodes[node], time);
      model.arm(node, time);
    } else if (dice < mix.arm + mix.cancel) {
      if (!nodes[node].linked()) continue;
      heap.cancel(nodes[node]);
      model.cancel(node);
    } else {
      const bool due = model.due(time);
      TimerNode* const popped = heap.pop_due(time);
      if ((popped != nullptr) != due) break;
      if (due && (index_of(nodes, popped) != model.pop() || popped->linked())) break;
    }
    if (heap.size() != model.size() || heap.empty() != (model.size() == 0)) break;
    if (heap.next_deadline() != model.next() || nodes[node].linked() != model.armed(node)) break;
  }
  while (model.size() > 0) {
    TimerNode* const popped = heap.pop_due(never);
    if (popped == nullptr || index_of(nodes, popped) != model.pop()) {
      step = std::min(step, steps - 1);
      break;
    }
  }
  for (TimerNode& node : nodes) {
    if (node.linked()) heap.cancel(node);
  }
  return step;
}

#if __has_include(<pthread.h>)
constexpr std::size_t small_stack = std::size_t{256} << 10;

/// Calls `f` on a thread whose stack holds a few thousand calls, sanitizers' frames and all.
template <class F>
void with_small_stack(F f) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, small_stack) == 0);
  pthread_t thread;
  const auto start = [](void* argument) -> void* {
    (*static_cast<F*>(argument))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, start, &f) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
}
#else
template <class F>
void with_small_stack(F f) {
  f();
}
#endif

}  // namespace

TEST_CASE("an empty timer heap has no deadline and nothing due") {
  TimerHeap heap;
  CHECK(heap.empty());
  CHECK(heap.size() == 0);
  CHECK(heap.next_deadline() == never);
  CHECK(heap.pop_due(never) == nullptr);
}

TEST_CASE("a timer is due at its deadline and not a nanosecond before") {
  TimerHeap heap;
  TimerNode timer;
  CHECK_FALSE(timer.linked());
  heap.arm(timer, 100);
  CHECK(timer.linked());
  CHECK(timer.deadline == 100);
  CHECK(heap.next_deadline() == 100);
  CHECK(heap.pop_due(99) == nullptr);
  CHECK(heap.size() == 1);
  CHECK(heap.pop_due(100) == &timer);
  CHECK_FALSE(timer.linked());
  CHECK(heap.empty());
  CHECK(heap.next_deadline() == never);
}

TEST_CASE("the whole range of deadlines is kept in order") {
  TimerHeap heap;
  TimerNode last, first, negative, zero;
  heap.arm(last, never);
  heap.arm(zero, 0);
  heap.arm(first, always);
  heap.arm(negative, -1);
  CHECK(heap.pop_due(always) == &first);
  CHECK(heap.pop_due(always) == nullptr);
  CHECK(heap.pop_due(0) == &negative);
  CHECK(heap.pop_due(0) == &zero);
  CHECK(heap.pop_due(never - 1) == nullptr);
  CHECK(heap.pop_due(never) == &last);
}

TEST_CASE("timers with the same deadline fire in the order of arming") {
  TimerHeap heap;
  std::vector<TimerNode> nodes(1000);
  std::vector<std::size_t> armed(nodes.size());
  std::iota(armed.begin(), armed.end(), std::size_t{0});
  std::shuffle(armed.begin(), armed.end(), std::mt19937_64(7));
  for (const std::size_t i : armed) heap.arm(nodes[i], 5);
  // Armed again: it has lost its place.
  heap.cancel(nodes[armed[3]]);
  heap.arm(nodes[armed[3]], 5);
  std::rotate(armed.begin() + 3, armed.begin() + 4, armed.end());

  std::vector<std::size_t> fired;
  while (TimerNode* const timer = heap.pop_due(5)) fired.push_back(index_of(nodes, timer));
  CHECK(fired == armed);
}

TEST_CASE("arming numbers the timers of a heap") {
  TimerHeap heap;
  TimerNode a, b;
  heap.arm(a, 2);
  heap.arm(b, 1);
  CHECK(a.sequence < b.sequence);
  heap.cancel(a);
  heap.arm(a, 2);
  CHECK(a.sequence > b.sequence);
  heap.cancel(b);
  heap.cancel(a);
}

TEST_CASE("a timer armed while others fire takes its place among them") {
  TimerHeap heap;
  TimerNode a, b, c;
  heap.arm(a, 1);
  heap.arm(b, 3);
  REQUIRE(heap.pop_due(10) == &a);
  heap.arm(c, 2);
  heap.arm(a, 3);
  CHECK(heap.pop_due(10) == &c);
  CHECK(heap.pop_due(10) == &b);
  CHECK(heap.pop_due(10) == &a);
  CHECK(heap.pop_due(10) == nullptr);
}

TEST_CASE("any timer can be cancelled, wherever it stands") {
  constexpr std::size_t count = 12;
  for (std::size_t popped = 0; popped < 3; ++popped) {  // each pop gives the heap another shape
    for (std::size_t victim = popped; victim < count; ++victim) {
      TimerHeap heap;
      std::vector<TimerNode> nodes(count);
      for (std::size_t i = 0; i < count; ++i) heap.arm(nodes[i], static_cast<std::int64_t>(i));
      for (std::size_t i = 0; i < popped; ++i) REQUIRE(heap.pop_due(never) == &nodes[i]);
      heap.cancel(nodes[victim]);
      CHECK_FALSE(nodes[victim].linked());
      CHECK(heap.size() == count - popped - 1);
      for (std::size_t i = popped; i < count; ++i) {
        if (i != victim) REQUIRE(heap.pop_due(never) == &nodes[i]);
      }
      CHECK(heap.empty());
    }
  }
}

TEST_CASE("a timer heap behaves like a sorted multimap under random use") {
  const Mix mix = GENERATE(Mix{50, 20, 30, 1'000'000},  // mostly different deadlines
                           Mix{50, 20, 30, 20},         // mostly ties
                           Mix{48, 48, 4, 1'000},       // timeouts: nearly all are cancelled
                           Mix{60, 0, 40, 1'000}, Mix{40, 30, 30, 1});
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::size_t nodes = seed % 4 == 0 ? 8 : 500;
    INFO("seed " << seed << ", " << nodes << " nodes, mix " << mix.arm << '/' << mix.cancel << '/' << mix.pop
                 << ", " << mix.deadlines << " deadlines");
    CHECK(first_difference(seed, mix, nodes, 5000) == 5000);
  }
}

TEST_CASE("a million timers need no more stack than one") {
  constexpr std::size_t count = 1'000'000;
  auto nodes = std::make_unique<TimerNode[]>(count);
  std::size_t disorder = 0;
  std::size_t fired = 0;
  bool emptied = false;
  with_small_stack([&] {
    TimerHeap heap;
    const auto pop_all = [&] {
      std::int64_t before = always;
      while (TimerNode* const timer = heap.pop_due(never)) {
        if (timer->deadline < before) ++disorder;
        before = timer->deadline;
        ++fired;
      }
    };
    // Ascending: all are siblings, under one root. Descending: one chain, a million deep.
    for (std::size_t i = 0; i < count; ++i) heap.arm(nodes[i], static_cast<std::int64_t>(i));
    pop_all();
    for (std::size_t i = 0; i < count; ++i) heap.arm(nodes[i], -static_cast<std::int64_t>(i));
    heap.cancel(nodes[count / 2]);
    pop_all();
    std::mt19937_64 random(3);
    for (std::size_t i = 0; i < count; ++i) heap.arm(nodes[i], static_cast<std::int64_t>(random() >> 1));
    if (heap.pop_due(never) != nullptr) ++fired;
    for (std::size_t i = 0; i < count; ++i) {
      if (i % 2 == 0 && nodes[i].linked()) heap.cancel(nodes[i]);
    }
    pop_all();
    emptied = heap.empty();
  });
  CHECK(disorder == 0);
  CHECK(fired >= 2 * count - 1 + count / 2);
  CHECK(emptied);
}
