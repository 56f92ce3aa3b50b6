// The suite over Boost.Asio.
// starts threads
// host: asio
#define CLOCKWORKER_ASIO_BOOST 1
#include <version>

#ifndef _LIBCPP_VERSION
#include "asio_loop.hpp"

namespace clockworker_test {
using SuiteLoop = AsioLoop;
}

#include "suite.hpp"

#else  // Boost.Asio before 1.75 needs std::result_of, which libc++ has not in C++20

#include "../catch.hpp"

TEST_CASE("Boost.Asio: not tried with this standard library", "[hosts]") { SUCCEED(); }

#endif
