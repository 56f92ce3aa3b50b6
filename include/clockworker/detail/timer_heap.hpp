/// \file
/// The armed timers in order of their deadlines.
#pragma once

#include <clockworker/config.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace clockworker::detail {

/// A timer that can be armed in a `TimerHeap`, as a base or a member of whatever it wakes.
///
/// The owner must see to it that it is not linked when it dies: an awaiter cancels it in its
/// destructor. Its address must not change while it is linked, hence it is neither copied nor moved.
struct TimerNode {
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;
  ~TimerNode() { CLOCKWORKER_ASSERT(!linked(), "a timer must be cancelled before it dies"); }

  /// True from `TimerHeap::arm` until it is cancelled or popped.
  [[nodiscard]] bool linked() const noexcept { return previous_ != nullptr; }

  std::int64_t deadline = 0;   ///< ns; set by `arm`, to be left alone while linked, kept when unlinked
  std::uint64_t sequence = 0;  ///< place among all that were armed in the same heap; set by `arm`

 private:
  friend class TimerHeap;

  // Links of the half-ordered tree. Not linked: all null.
  TimerNode* child_ = nullptr;     // first of the children, all of which are due no earlier
  TimerNode* next_ = nullptr;      // next sibling to the right; null for the last and for the root
  TimerNode* previous_ = nullptr;  // left sibling, or the parent of a first child; the root's is itself
};

/// The armed timers, earliest deadline first and, among equal deadlines, first armed first.
///
/// An intrusive pairing heap with two-pass merging (Fredman, Sedgewick, Sleator, Tarjan: "The Pairing
/// Heap: A New Form of Self-Adjusting Heap", Algorithmica 1, 1986). Never allocates, never throws,
/// never recurses: the native stack it needs does not depend on the number of timers.
///
/// One pop or cancel may take O(n), where n siblings have gathered since the last one: arming costs
/// next to nothing, and the first pop after it pays. The bounds given below are amortised.
///
/// One thread only. The heap must be empty when it is destroyed.
class TimerHeap {
 public:
  TimerHeap() = default;
  TimerHeap(const TimerHeap&) = delete;
  TimerHeap& operator=(const TimerHeap&) = delete;
  ~TimerHeap() { CLOCKWORKER_ASSERT(empty(), "timers must be cancelled before their heap dies"); }

  /// Links `node`, which must not be linked. O(1).
  void arm(TimerNode& node, std::int64_t deadline) noexcept {
    CLOCKWORKER_ASSERT(!node.linked(), "a timer can be armed once at a time");
    node.deadline = deadline;
    node.sequence = next_sequence_++;
    ++size_;
    set_root(root_ == nullptr ? &node : meld(root_, &node));
  }

  /// Unlinks `node`, which must be linked in this heap. O(1) for a leaf, else O(log n) amortised.
  void cancel(TimerNode& node) noexcept {
    CLOCKWORKER_ASSERT(node.linked() && size_ > 0, "only an armed timer can be cancelled");
    if (&node == root_) {
      remove_root();
      return;
    }
    // What was under the node takes its place: it is due no earlier than the node, hence than its parent.
    TimerNode* heir = node.next_;
    if (node.child_ != nullptr) {
      heir = merge_siblings(node.child_);
      heir->next_ = node.next_;
      if (node.next_ != nullptr) node.next_->previous_ = heir;
    }
    if (heir != nullptr) heir->previous_ = node.previous_;
    (node.previous_->child_ == &node ? node.previous_->child_ : node.previous_->next_) = heir;
    unlink(node);
  }

  [[nodiscard]] bool empty() const noexcept { return root_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// The earliest deadline in ns; the largest `int64_t` if there is none. O(1).
  [[nodiscard]] std::int64_t next_deadline() const noexcept {
    return root_ == nullptr ? std::numeric_limits<std::int64_t>::max() : root_->deadline;
  }

  /// Unlinks and returns the first timer with a deadline of `now` or before; null if none is due.
  /// O(1) when nothing is due, else O(log n) amortised.
  [[nodiscard]] TimerNode* pop_due(std::int64_t now) noexcept {
    TimerNode* const first = root_;
    if (first == nullptr || first->deadline > now) return nullptr;
    remove_root();
    return first;
  }

 private:
  static bool before(const TimerNode& a, const TimerNode& b) noexcept {
    return a.deadline != b.deadline ? a.deadline < b.deadline : a.sequence < b.sequence;
  }

  // Makes the later of two trees the first child of the earlier one, which is returned with its own
  // `previous_` and `next_` as they were: the caller places it.
  static TimerNode* meld(TimerNode* a, TimerNode* b) noexcept {
    TimerNode* const parent = before(*b, *a) ? b : a;
    TimerNode* const child = parent == a ? b : a;
    child->next_ = parent->child_;
    if (parent->child_ != nullptr) parent->child_->previous_ = child;
    child->previous_ = parent;
    parent->child_ = child;
    return parent;
  }

  // Two passes: pairs from left to right, then the pairs into one tree from right to left. Returns the
  // tree's root, whose `previous_` and `next_` the caller has to set.
  static TimerNode* merge_siblings(TimerNode* first) noexcept {
    TimerNode* pairs = nullptr;  // a stack, linked through `next_`
    while (first != nullptr) {
      TimerNode* tree = first;
      TimerNode* const second = first->next_;
      first = second == nullptr ? nullptr : second->next_;
      if (second != nullptr) tree = meld(tree, second);
      tree->next_ = pairs;
      pairs = tree;
    }
    TimerNode* merged = pairs;
    for (TimerNode* pair = pairs->next_; pair != nullptr;) {
      TimerNode* const rest = pair->next_;
      merged = meld(merged, pair);
      pair = rest;
    }
    return merged;
  }

  void set_root(TimerNode* node) noexcept {
    root_ = node;
    node->next_ = nullptr;
    node->previous_ = node;
  }

  void remove_root() noexcept {
    TimerNode& old = *root_;
    if (old.child_ == nullptr) {
      root_ = nullptr;
    } else {
      set_root(merge_siblings(old.child_));
    }
    unlink(old);
  }

  void unlink(TimerNode& node) noexcept {
    node.child_ = nullptr;
    node.next_ = nullptr;
    node.previous_ = nullptr;
    --size_;
  }

  TimerNode* root_ = nullptr;
  std::size_t size_ = 0;  // number of linked nodes; 0 exactly when `root_` is null
  std::uint64_t next_sequence_ = 0;
};

}  // namespace clockworker::detail
