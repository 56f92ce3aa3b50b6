/// \file
/// A heap whose members can be found in it again: what the picker keeps queues in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace clockworker::detail {

/// A binary heap of pointers to nodes that know their own place in it, so that any of them can be moved or
/// taken out.
///
/// `Slot` is the node's member that holds its place; a node is in one heap at a time for each slot.
/// `Before(a, b)` is a strict total order that puts the top first. Room is made by `reserve` alone: nothing
/// else allocates or throws. Everything is O(log n) but `top`, O(1), and `rebuild`, O(n).
template <class Node, std::size_t Node::*Slot, class Before>
class IndexedHeap {
 public:
  [[nodiscard]] bool empty() const noexcept { return nodes_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] Node& top() const noexcept { return *nodes_.front(); }

  /// Makes room for `count` nodes. Throws std::bad_alloc and then has done nothing.
  void reserve(std::size_t count) {
    if (count > nodes_.capacity()) nodes_.reserve(std::max(count, 2 * nodes_.capacity()));
  }

  /// Precondition: the node is not in the heap, and there is room for it.
  void push(Node& node) noexcept {
    nodes_.push_back(&node);
    rise(nodes_.size() - 1);
  }

  /// Precondition: the node is in the heap. Its key may be out of order.
  void erase(Node& node) noexcept {
    const std::size_t at = node.*Slot;
    nodes_[at] = nodes_.back();
    nodes_[at]->*Slot = at;
    nodes_.pop_back();
    if (at < nodes_.size()) sink(rise(at));
  }

  /// The node's key has changed.
  void update(Node& node) noexcept { sink(rise(node.*Slot)); }

  /// Any number of keys have changed.
  void rebuild() noexcept {
    for (std::size_t at = nodes_.size() / 2; at-- > 0;) sink(at);
  }

  /// For tests: whether order and places hold.
  [[nodiscard]] bool valid() const noexcept {
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
      if (nodes_[at]->*Slot != at) return false;
      if (at > 0 && Before{}(*nodes_[at], *nodes_[(at - 1) / 2])) return false;
    }
    return true;
  }

 private:
  void put(std::size_t at, Node* node) noexcept {
    nodes_[at] = node;
    node->*Slot = at;
  }

  std::size_t rise(std::size_t at) noexcept {
    Node* const node = nodes_[at];
    while (at > 0 && Before{}(*node, *nodes_[(at - 1) / 2])) {
      put(at, nodes_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
    put(at, node);
    return at;
  }

  void sink(std::size_t at) noexcept {
    Node* const node = nodes_[at];
    for (std::size_t child = 2 * at + 1; child < nodes_.size(); child = 2 * at + 1) {
      if (child + 1 < nodes_.size() && Before{}(*nodes_[child + 1], *nodes_[child])) ++child;
      if (!Before{}(*nodes_[child], *node)) break;
      put(at, nodes_[child]);
      at = child;
    }
    put(at, node);
  }

  std::vector<Node*> nodes_;
};

}  // namespace clockworker::detail
