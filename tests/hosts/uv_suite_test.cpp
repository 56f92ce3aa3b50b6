// starts threads
// host: uv
#include "uv_loop.hpp"

namespace clockworker_test {
using SuiteLoop = UvLoop;
}

#include "suite.hpp"
