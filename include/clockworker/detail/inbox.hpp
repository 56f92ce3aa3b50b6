/// \file
/// How other threads reach the executor's: a list that many push and one drains, and that knows when its
/// owner sleeps.
#pragma once

#include <atomic>
#include <cstdint>

namespace clockworker::detail {

/// Lies in whatever is posted. Belongs to the poster until pushed, then to the inbox until drained.
struct InboxNode {
  InboxNode* next_posted = nullptr;
};

/// What became of a push.
enum class Posted : std::uint8_t {
  queued,       // the owner is awake and will see it
  owner_slept,  // queued, and it fell to this push to wake the owner
  refused       // the inbox is closed; the node is the poster's again
};

/// A stack of posted nodes whose head is also the owner's state: nothing posted, parked, or closed.
///
/// Why no wake is lost: all the state is one atomic word, so every push stands before or after `try_park()`
/// in its modification order. If before, `try_park()` finds the word not empty and fails; if after, the push
/// finds `parked`, takes the mark away and must ring. Exactly one push takes each mark: one wake an edge.
/// Pushing to a closed inbox fails by the same order, so after `close()` the owner has all that was ever
/// queued.
///
/// Why the contents are seen: a push releases, `drain()` and `close()` acquire with a read-modify-write, and
/// pushes in between are read-modify-writes of the same word, so they carry the release sequence of the
/// earlier ones on.
///
/// There is no ABA: nodes are only taken all at once.
template <template <class> class Atomic = std::atomic>
class BasicInbox {
 public:
  /// Any thread. Lock-free.
  Posted push(InboxNode& node) noexcept {
    std::uintptr_t head = head_.load(std::memory_order_relaxed);
    std::uintptr_t mine = reinterpret_cast<std::uintptr_t>(&node);
    for (;;) {
      if (head == closed) return Posted::refused;
      node.next_posted = head <= closed ? nullptr : reinterpret_cast<InboxNode*>(head);
      // release: what was written before the push is seen by the thread that drains.
      if (head_.compare_exchange_weak(head, mine, std::memory_order_release, std::memory_order_relaxed)) {
        return head == parked ? Posted::owner_slept : Posted::queued;
      }
    }
  }

  /// Owner. Whether something is posted; a hint from a plain load, for a look at every resume.
  [[nodiscard]] bool has_mail() const noexcept { return head_.load(std::memory_order_relaxed) > closed; }

  /// Any thread; a hint but for the owner.
  [[nodiscard]] bool is_closed() const noexcept { return head_.load(std::memory_order_relaxed) == closed; }

  /// Owner, not parked. Takes all that is posted, oldest first. O(posted).
  InboxNode* drain() noexcept {
    if (!has_mail()) return nullptr;
    // acquire: pairs with the release of every push that is taken.
    return oldest_first(head_.exchange(empty, std::memory_order_acq_rel));
  }

  /// Owner. Marks the owner as asleep; fails, and changes nothing, if something is posted.
  bool try_park() noexcept {
    std::uintptr_t expected = empty;
    return head_.compare_exchange_strong(expected, parked, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }

  /// Takes the mark away; true if it was still there, so that nobody else has rung or will.
  bool unpark() noexcept {
    std::uintptr_t expected = parked;
    return head_.compare_exchange_strong(expected, empty, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }

  /// Owner. Refuses every push from now on; returns what was posted, oldest first.
  InboxNode* close() noexcept { return oldest_first(head_.exchange(closed, std::memory_order_acq_rel)); }

 private:
  // States of the head below any address of a node.
  static constexpr std::uintptr_t empty = 0;
  static constexpr std::uintptr_t parked = 1;
  static constexpr std::uintptr_t closed = 2;

  static InboxNode* oldest_first(std::uintptr_t head) noexcept {
    InboxNode* node = head <= closed ? nullptr : reinterpret_cast<InboxNode*>(head);
    InboxNode* reversed = nullptr;
    while (node != nullptr) {
      InboxNode* next = node->next_posted;
      node->next_posted = reversed;
      reversed = node;
      node = next;
    }
    return reversed;
  }

  Atomic<std::uintptr_t> head_{empty};
};

using Inbox = BasicInbox<>;

}  // namespace clockworker::detail
