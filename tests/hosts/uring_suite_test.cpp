// starts threads
// host: uring
#include "uring_loop.hpp"

namespace clockworker_test {
using SuiteLoop = UringLoop;
}

#include "suite.hpp"
