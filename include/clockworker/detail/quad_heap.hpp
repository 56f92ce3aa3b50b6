/// \file
/// A heap of small values that lie side by side: what schedulers keep runnable tasks in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace clockworker::detail {

/// A 4-ary min-heap. Four children lie in two cache lines and halve the depth of a binary heap (LaMarca and
/// Ladner, "The Influence of Caches on the Performance of Heaps", 1996).
///
/// `a.before(b)` is a strict total order. `entry.placed(at)` is called whenever the entry comes to stand at
/// `at`, so that whoever wants to `delay` or `erase` it can find it. Room is made by `reserve` alone; nothing
/// else allocates or throws.
///
/// `pop` leaves the root vacant, and the next `push` or `top` fills it: a task that goes back at once sinks
/// once from the root, and stays there in O(1) if it is still the first. All else is O(log n), with 4-ary
/// logarithms.
template <class Entry>
class QuadHeap {
 public:
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size() - (vacant_ ? 1U : 0U); }

  /// Makes room for `count` entries. Throws std::bad_alloc and then has done nothing.
  void reserve(std::size_t count) {
    if (count > entries_.capacity()) entries_.reserve(std::max(count, 2 * entries_.capacity()));
  }

  /// Precondition: there is room.
  void push(const Entry& entry) noexcept {
    if (vacant_) {
      vacant_ = false;
      sink(0, entry);
    } else {
      entries_.push_back(entry);
      rise(entries_.size() - 1, entry);
    }
  }

  /// Precondition: not empty.
  [[nodiscard]] const Entry& top() noexcept {
    fill();
    return entries_.front();
  }

  /// Takes out what `top` has just returned. O(1).
  void pop() noexcept { vacant_ = true; }

  /// Precondition: `at` is where an entry was placed last, and `entry`, which takes its place, does not go
  /// before it.
  void delay(std::size_t at, const Entry& entry) noexcept { sink(at, entry); }

  /// Precondition: `at` is where an entry was placed last, and since then `top` was called.
  void erase(std::size_t at) noexcept {
    const Entry last = entries_.back();
    entries_.pop_back();
    if (at < entries_.size()) sink(rise(at, last), last);
  }

  /// What stands at `at`; preconditions as for `delay`.
  [[nodiscard]] const Entry& operator[](std::size_t at) const noexcept { return entries_[at]; }

 private:
  static constexpr std::size_t arity = 4;

  void fill() noexcept {
    if (!vacant_) return;
    vacant_ = false;
    erase(0);
  }

  void put(std::size_t at, const Entry& entry) noexcept {
    entries_[at] = entry;
    entries_[at].placed(at);
  }

  std::size_t rise(std::size_t at, const Entry entry) noexcept {
    while (at > 0 && entry.before(entries_[(at - 1) / arity])) {
      put(at, entries_[(at - 1) / arity]);
      at = (at - 1) / arity;
    }
    put(at, entry);
    return at;
  }

  void sink(std::size_t at, const Entry entry) noexcept {
    const std::size_t size = entries_.size();
    for (std::size_t child = arity * at + 1; child < size; child = arity * at + 1) {
      const std::size_t least = child + arity <= size
                                    ? lesser(lesser(child, child + 1), lesser(child + 2, child + 3))
                                    : least_until(child, size);
      if (!entries_[least].before(entry)) break;
      put(at, entries_[least]);
      at = least;
    }
    put(at, entry);
  }

  /// Without a jump: which of two children is the lesser cannot be foretold.
  [[nodiscard]] std::size_t lesser(std::size_t a, std::size_t b) const noexcept {
    const std::size_t take_b = std::size_t{0} - static_cast<std::size_t>(entries_[b].before(entries_[a]));
    return a ^ ((a ^ b) & take_b);
  }

  [[nodiscard]] std::size_t least_until(std::size_t child, std::size_t end) const noexcept {
    std::size_t least = child;
    while (++child < end) least = lesser(least, child);
    return least;
  }

  std::vector<Entry> entries_;
  bool vacant_ =
      false;  // the root's entry has been popped and only holds the place; its key is still before all others
};

}  // namespace clockworker::detail
