// starts threads
// host: epoll
#include "epoll_loop.hpp"

namespace clockworker_test {
using SuiteLoop = EpollLoop;
}

#include "suite.hpp"
