#include <clockworker/detail/inbox.hpp>

#include "catch.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace {

using clockworker::detail::BasicInbox;
using clockworker::detail::InboxNode;
using clockworker::detail::Posted;

struct Numbered : InboxNode {
  std::size_t poster = 0;
  std::size_t number = 0;
};

std::vector<InboxNode*> listed(InboxNode* node) {
  std::vector<InboxNode*> nodes;
  for (; node != nullptr; node = node->next_posted) nodes.push_back(node);
  return nodes;
}

/// Runs a few actors, one at a time, each up to its next atomic access, and goes through all the orders in
/// which that can be done. An actor that waits for a condition is not chosen before that holds; if none can
/// be chosen, they hang.
class Interleavings {
 public:
  using Actor = std::function<void()>;

  explicit Interleavings(std::vector<Actor> actors) : actors_{std::move(actors)}, seats_(actors_.size()) {
    for (std::size_t i = 0; i < actors_.size(); ++i) threads_.emplace_back([this, i] { act(i); });
  }
  ~Interleavings() {
    {
      std::lock_guard lock{mutex_};
      over_ = true;
      for (Seat& seat : seats_) seat.changed.notify_one();
    }
    for (std::thread& thread : threads_) thread.join();
  }

  /// The number of runs. `begin` resets the world, `end` looks at it; it is told whether the actors hung.
  template <class Begin, class End>
  std::size_t explore(Begin begin, End end) {
    std::size_t runs = 0;
    do {
      begin();
      end(run());
      ++runs;
    } while (advance());
    return runs;
  }

  /// For actors: gives way until the next turn; one that waits for a condition leaves by an exception when
  /// all hang.
  static void step() { wait_until(nullptr); }
  static void wait_until(std::function<bool()> condition) {
    self.of->give_way(self.index, std::move(condition));
  }
  /// For actors, in their turn: one of `options` branches, all of which are gone through.
  static std::size_t choose(std::size_t options) { return self.of->decide(options); }

 private:
  struct Hung {};
  struct Decision {
    std::size_t taken;
    std::size_t options;
  };
  struct Seat {
    std::condition_variable changed;
    std::function<bool()> condition;
    bool finished = true;
    bool started = false;  // a first turn is granted up to the second access
  };
  struct Self {
    Interleavings* of;
    std::size_t index;
  };
  static constexpr std::size_t nobody = ~std::size_t{0};

  bool run() {
    std::unique_lock lock{mutex_};
    position_ = 0;
    hung_ = false;
    for (Seat& seat : seats_) {
      seat.finished = seat.started = false;
      seat.condition = nullptr;
    }
    pass_on();
    all_finished_.wait(lock, [&] { return turn_ == nobody; });
    return hung_;
  }

  void act(std::size_t index) {
    self = Self{this, index};
    std::unique_lock lock{mutex_};
    for (;;) {
      seats_[index].changed.wait(lock, [&] { return over_ || turn_ == index; });
      if (over_) return;
      lock.unlock();
      try {
        actors_[index]();
      } catch (const Hung&) {
      }
      lock.lock();
      seats_[index].finished = true;
      pass_on();
    }
  }

  void give_way(std::size_t index, std::function<bool()> condition) {
    std::unique_lock lock{mutex_};
    Seat& seat = seats_[index];
    if (!std::exchange(seat.started, true)) return;
    seat.condition = std::move(condition);
    pass_on();
    seat.changed.wait(lock, [&] { return turn_ == index; });
    if (hung_) throw Hung{};
  }

  /// Chooses who goes on. If all wait for what never comes, they end one after the other.
  void pass_on() {
    std::vector<std::size_t> ready;
    turn_ = nobody;
    for (std::size_t i = 0; i < seats_.size(); ++i) {
      if (seats_[i].finished) continue;
      turn_ = i;
      if (!seats_[i].condition || seats_[i].condition()) ready.push_back(i);
    }
    if (turn_ == nobody) {
      all_finished_.notify_one();
      return;
    }
    hung_ = hung_ || ready.empty();
    if (!hung_) turn_ = ready[decide(ready.size())];
    seats_[turn_].changed.notify_one();
  }

  std::size_t decide(std::size_t options) {
    if (options == 1) return 0;
    if (position_ == path_.size()) path_.push_back(Decision{0, options});
    return path_[position_++].taken;
  }
  bool advance() {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().options) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    return true;
  }

  static inline thread_local Self self{};

  std::vector<Actor> actors_;
  std::mutex mutex_;
  std::condition_variable all_finished_;
  std::vector<Seat> seats_;
  std::vector<Decision> path_;
  std::size_t position_ = 0;
  std::size_t turn_ = nobody;
  bool hung_ = false;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

bool weak_may_fail = false;

/// As std::atomic, sequentially consistent, with a step before each access; a weak exchange may fail for no
/// reason, once a run, if `weak_may_fail`.
template <class T>
class SteppedAtomic {
 public:
  explicit constexpr SteppedAtomic(T value) noexcept : value_{value} {}
  T load(std::memory_order) const {
    Interleavings::step();
    return value_;
  }
  T exchange(T desired, std::memory_order) {
    Interleavings::step();
    return std::exchange(value_, desired);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) {
    Interleavings::step();
    return compare_exchange(expected, desired);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order, std::memory_order) {
    Interleavings::step();
    if (weak_may_fail && !failed_for_no_reason_ && value_ == expected && Interleavings::choose(2) == 1) {
      failed_for_no_reason_ = true;
      return false;
    }
    return compare_exchange(expected, desired);
  }

 private:
  bool compare_exchange(T& expected, T desired) {
    if (value_ != expected) {
      expected = value_;
      return false;
    }
    value_ = desired;
    return true;
  }
  T value_;
  bool failed_for_no_reason_ = false;
};

/// One run's world: what was posted, what came back, and the bell.
struct World {
  BasicInbox<SteppedAtomic> inbox;
  std::vector<Numbered> nodes;
  std::vector<InboxNode*> received;
  std::vector<InboxNode*> refused;
  std::size_t parks = 0;
  std::size_t bells = 0;  // rung and not yet heard
  std::size_t rings = 0;  // rung in all
  bool bell_without_park = false;

  void post(Numbered& node) {
    switch (inbox.push(node)) {
      case Posted::queued:
        break;
      case Posted::owner_slept:
        ++rings;
        if (++bells > 1 || rings > parks) bell_without_park = true;
        break;
      case Posted::refused:
        refused.push_back(&node);
        break;
    }
  }
  void receive(InboxNode* list) {
    for (InboxNode* node : listed(list)) received.push_back(node);
  }
  /// Every node has come back once, and those of a poster in the order of their posting.
  [[nodiscard]] bool in_order() const {
    std::vector<std::size_t> next(8, 0);
    for (InboxNode* node : received) {
      const auto& numbered = static_cast<const Numbered&>(*node);
      if (next.at(numbered.poster)++ != numbered.number) return false;
    }
    return true;
  }
};

World* world = nullptr;

/// `posts[i]` nodes from poster i; `owner` is the last actor.
template <class Owner, class End>
std::size_t explore(std::vector<std::size_t> posts, Owner owner, End end) {
  World now;
  weak_may_fail = posts.size() == 1;  // with two posters the other one is reason enough
  std::vector<Interleavings::Actor> actors;
  std::size_t first = 0;
  for (std::size_t count : posts) {
    actors.push_back([first, count] {
      for (std::size_t i = 0; i < count; ++i) world->post(world->nodes[first + i]);
    });
    first += count;
  }
  actors.push_back(owner);
  auto begin = [&] {
    now = World{};
    world = &now;
    for (std::size_t poster = 0; poster < posts.size(); ++poster) {
      for (std::size_t i = 0; i < posts[poster]; ++i) {
        Numbered node;
        node.poster = poster;
        node.number = i;
        now.nodes.push_back(node);
      }
    }
  };
  Interleavings all{std::move(actors)};
  return all.explore(begin, [&](bool hung) { end(now, hung); });
}

std::vector<std::vector<std::size_t>> posters() { return {{1}, {2}, {1, 1}}; }

TEST_CASE(
    "Inbox: in every interleaving an owner that sleeps when it may is rung, once, for all that is posted",
    "[inbox]") {
  std::size_t hung = 0, wrong_rings = 0, out_of_order = 0, runs = 0;
  for (const auto& posts : posters()) {
    std::size_t expected = 0;
    for (std::size_t count : posts) expected += count;
    auto owner = [expected] {
      for (;;) {
        world->receive(world->inbox.drain());
        if (world->received.size() == expected) return;
        if (!world->inbox.try_park()) continue;
        ++world->parks;
        Interleavings::wait_until([] { return world->bells != 0; });
        --world->bells;
      }
    };
    // A loop of drain and try_park ends: each goes round only if something has been posted in between.
    runs += explore(posts, owner, [&](World& after, bool stuck) {
      hung += stuck;
      wrong_rings += after.bell_without_park || after.rings != after.parks;
      out_of_order += after.received.size() != after.nodes.size() || !after.in_order();
    });
  }
  CHECK(runs > 500);
  CHECK(hung == 0);
  CHECK(wrong_rings == 0);
  CHECK(out_of_order == 0);
}

TEST_CASE("Inbox: in every interleaving a mark is taken away by one: its ringer or its owner", "[inbox]") {
  std::size_t wrong = 0, out_of_order = 0, runs = 0;
  for (const auto& posts : posters()) {
    int rounds = posts.size() == 1 ? 2 : 1;
    auto owner = [rounds] {
      std::size_t mine = 0;
      for (int round = 0; round < rounds; ++round) {  // its sleep is over at once, as with a timer
        if (world->inbox.try_park()) {
          ++world->parks;
          mine += world->inbox.unpark();
          world->bells = 0;
        }
        world->receive(world->inbox.drain());
      }
      Interleavings::wait_until([] { return true; });
      world->parks -= mine;
      world->receive(world->inbox.close());
    };
    runs += explore(posts, owner, [&](World& after, bool) {
      wrong += after.parks != after.rings;
      out_of_order += after.received.size() + after.refused.size() != after.nodes.size() || !after.in_order();
    });
  }
  CHECK(runs > 500);
  CHECK(wrong == 0);
  CHECK(out_of_order == 0);
}

TEST_CASE("Inbox: in every interleaving with a close each node is either handed over or refused", "[inbox]") {
  std::size_t lost = 0, out_of_order = 0, all_refused = 0, none_refused = 0;
  for (const auto& posts : posters()) {
    auto owner = [] {
      if (world->inbox.try_park()) ++world->parks;
      world->receive(world->inbox.close());
      world->receive(world->inbox.drain());
    };
    explore(posts, owner, [&](World& after, bool) {
      lost += after.received.size() + after.refused.size() != after.nodes.size();
      out_of_order += !after.in_order();
      all_refused += after.received.empty();
      none_refused += after.refused.empty();
    });
  }
  CHECK(lost == 0);
  CHECK(out_of_order == 0);
  CHECK(all_refused > 0);
  CHECK(none_refused > 0);
}

}  // namespace
