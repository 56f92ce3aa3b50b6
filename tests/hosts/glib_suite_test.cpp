// starts threads
// host: glib
#include "glib_loop.hpp"

namespace clockworker_test {
using SuiteLoop = GlibLoop;
}

#include "suite.hpp"
