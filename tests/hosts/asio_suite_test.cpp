// starts threads
// host: asio
#include "asio_loop.hpp"

namespace clockworker_test {
using SuiteLoop = AsioLoop;
}

#include "suite.hpp"
