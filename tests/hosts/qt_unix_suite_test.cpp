// starts threads
// host: qt
#include "qt_loop.hpp"

namespace clockworker_test {
using SuiteLoop = QtLoop<Dispatcher::of_unix>;
}

#include "suite.hpp"
