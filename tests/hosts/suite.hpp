/// \file
/// One suite for all hosts. A test file includes the fixture of its loop, names it `SuiteLoop` in namespace
/// clockworker_test, and includes this. What a fixture has to have is seen at poll_loop.hpp.
#pragma once

#include "suite_ends.hpp"
#include "suite_service.hpp"
#include "suite_wakes.hpp"
