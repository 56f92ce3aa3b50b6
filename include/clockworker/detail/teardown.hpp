/// \file
/// The end of an executor.
#pragma once

#include <utility>

#include <clockworker/detail/foreign.hpp>
#include <clockworker/detail/ring.hpp>

namespace clockworker::detail {

/// Closes the inbox and ends every task, newest first. From now on nothing becomes runnable and nothing can
/// be posted; the schedulers are not told, and are only to be destroyed. Destructors of locals run as on the
/// executor's thread.
inline void end_everything(Ring& ring) noexcept {
  ring.closing = true;
  ThreadState before = thread_state;
  thread_state = ThreadState{nullptr, &ring, 0, &before};
  InboxNode* posted = ring.mailbox().inbox.close();
  ring.mailbox().clear_notify();
  for (InboxNode* node : {ring.take_undelivered(), posted}) {
    while (node != nullptr) {
      auto& letter = static_cast<Letter&>(*node);
      node = node->next_posted;
      letter.deliver(letter, nullptr);
    }
  }
  while (ring.newest != nullptr) {
    TaskCell& cell = *ring.newest;
    ring.abort(cell);  // its stop callbacks may hurry a stranger
    if (!leave_to_stranger(ring, cell)) ring.end_now(cell);
  }
  while (ring.ended_in_queues != nullptr) ring.popped_after_end(*ring.ended_in_queues);
  thread_state = before;
  // The loop may wait for a timer that nobody needs any more.
  if (ring.guest != nullptr) ring.ring_guest(*ring.guest);
}

}  // namespace clockworker::detail
