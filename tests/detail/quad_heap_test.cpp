#include <clockworker/detail/quad_heap.hpp>

#include "catch.hpp"

#include <cstddef>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace {

using clockworker::detail::QuadHeap;

struct Entry {
  unsigned key;
  std::size_t id;
  std::vector<std::size_t>* places;

  bool before(const Entry& other) const { return key != other.key ? key < other.key : id < other.id; }
  void placed(std::size_t at) const { (*places)[id] = at; }
};

TEST_CASE("QuadHeap: entries come out in order", "[quad_heap]") {
  for (std::size_t count = 0; count < 100; ++count) {
    std::vector<std::size_t> places(count);
    QuadHeap<Entry> heap;
    heap.reserve(count);
    for (std::size_t i = 0; i < count; ++i) heap.push(Entry{static_cast<unsigned>(i * 37 % 11), i, &places});
    CHECK(heap.size() == count);
    std::vector<Entry> popped;
    while (!heap.empty()) {
      popped.push_back(heap.top());
      heap.pop();
    }
    REQUIRE(popped.size() == count);
    for (std::size_t i = 1; i < count; ++i) REQUIRE(popped[i - 1].before(popped[i]));
  }
}

TEST_CASE("QuadHeap: entries can be found, delayed and erased where they were placed", "[quad_heap]") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random{seed};
    const std::size_t most = seed % 2 == 0 ? 5 : 200;
    std::vector<std::size_t> places(most);
    std::vector<unsigned> keys(most);
    std::vector<std::size_t> free;
    for (std::size_t i = 0; i < most; ++i) free.push_back(i);
    std::set<std::pair<unsigned, std::size_t>> model;
    auto any = [&] {
      auto it = model.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(random() % model.size()));
      return it->second;
    };
    QuadHeap<Entry> heap;
    heap.reserve(most);
    for (int step = 0; step < 5000; ++step) {
      const auto what = random() % 100;
      if (what < 45 && !free.empty()) {
        const std::size_t id = free.back();
        free.pop_back();
        keys[id] = static_cast<unsigned>(random() % 50);
        heap.push(Entry{keys[id], id, &places});
        model.emplace(keys[id], id);
      } else if (what < 70 && !model.empty()) {
        REQUIRE(heap.top().id == model.begin()->second);
        free.push_back(model.begin()->second);
        model.erase(model.begin());
        heap.pop();
      } else if (what < 85 && !model.empty()) {
        const std::size_t id = any();
        REQUIRE(heap[places[id]].id == id);
        model.erase({keys[id], id});
        keys[id] += static_cast<unsigned>(random() % 20);
        model.emplace(keys[id], id);
        heap.delay(places[id], Entry{keys[id], id, &places});
      } else if (!model.empty()) {
        static_cast<void>(heap.top());
        const std::size_t id = any();
        REQUIRE(heap[places[id]].id == id);
        heap.erase(places[id]);
        model.erase({keys[id], id});
        free.push_back(id);
      }
      REQUIRE(heap.size() == model.size());
      REQUIRE(heap.empty() == model.empty());
    }
  }
}

}  // namespace
