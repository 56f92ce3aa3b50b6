// starts threads
#include "poll_loop.hpp"

namespace clockworker_test {
using SuiteLoop = PollLoop;
}

#include "suite.hpp"
