/// \file
/// What runs on this thread right now.
#pragma once

#include <cstdint>

namespace clockworker::detail {

class TaskCell;
class Ring;

/// Plain data, so that reading it is one instruction and needs no initialisation guard.
struct ThreadState {
  TaskCell* task;            // the task whose frame is on the native stack; null between resumes
  Ring* ring;                // the executor driven on this thread, the innermost if several are nested
  std::uint32_t depth;       // nested resumes of awaited children above the slice loop
  const ThreadState* outer;  // what the drive around this one left; null if there is none
};

inline constinit thread_local ThreadState thread_state{nullptr, nullptr, 0, nullptr};

}  // namespace clockworker::detail
